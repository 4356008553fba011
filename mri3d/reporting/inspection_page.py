"""The page that explains a look into a detector to a student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mri3d.evaluation.latent import LatentStatistics
from mri3d.reporting.html import FIGURE_STYLE, definitions, figure, scrolling_table, write_document

Way = Literal["down", "bottom", "up"]


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Args:
        path: the PNG.
        words: what it shows and why, a paragraph.
        alt: what is to be seen, for those who cannot.
    """

    path: Path
    words: str
    alt: str


@dataclass(frozen=True)
class LevelFacts:
    """Feature maps of one level.

    Args:
        name: of the module that made them.
        way: before, at or after the coarsest level.
        maps: how many.
        shape: of each, as a volume.
        block: input voxels along each axis that one voxel of a map stands for.
        voxel_mm: size of such a block.
        mean: of all their values.
        std: of all their values.
        dead_maps: those that are constant on this volume.
    """

    name: str
    way: Way
    maps: int
    shape: tuple[int, ...]
    block: tuple[int, ...]
    voxel_mm: tuple[float, ...]
    mean: float
    std: float
    dead_maps: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class LatentFacts:
    """What passes the bottleneck.

    Args:
        shape: units and places.
        window: of the input, channels and voxels.
        inside: brain voxels of the input.
        inputs: how many inputs the statistics are from.
        statistics: of the units.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...]
    inside: int
    inputs: int
    statistics: LatentStatistics

    @property
    def unit(self) -> str:
        """What a unit is called, in the plural."""
        return "maps" if len(self.shape) > 1 else "numbers"

    @property
    def ratio(self) -> float:
        """How many numbers of the input there are to one of the latent."""
        return prod(self.window) / prod(self.shape)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "shape": list(self.shape), "numbers": prod(self.shape), "input_shape": list(self.window),
            "input_numbers": prod(self.window), "brain_voxels": self.inside, "compression_ratio": self.ratio,
            "statistics_from_inputs": self.inputs, **self.statistics.as_dict(),
        }  # fmt: skip


@dataclass(frozen=True)
class VariationalFacts:
    """How a variational latent lies to its prior.

    Args:
        kl_nats: Kullback-Leibler divergence by unit, summed over places.
        mean_std: standard deviation of the means.
        drawn_std: mean standard deviation of the Gaussians.
        draw_spread: mean standard deviation of the drawn reconstructions at a brain voxel.
        sample_correlations: of each sample from the prior with the reconstruction, at brain voxels.
        input_correlation: of the input with the reconstruction, likewise.
        traversed: units of the traversal.
    """

    kl_nats: tuple[float, ...]
    mean_std: float
    drawn_std: float
    draw_spread: float
    sample_correlations: tuple[float, ...]
    input_correlation: float
    traversed: tuple[int, ...]


@dataclass(frozen=True)
class ScanFacts:
    """What the detector makes of one brain.

    Args:
        name: what it is called.
        score: see :class:`mri3d.scoring.detection.Score`, as the next two.
        decision: see there.
        threshold: see there.
        fidelity: of the reconstruction, by name.
        z_inside: mean z in a lesion of known place; None where there is none.
        z_outside: mean z in the rest of the brain.
    """

    name: str
    score: float
    decision: str
    threshold: float | None
    fidelity: Mapping[str, float]
    z_inside: float | None = None
    z_outside: float | None = None


@dataclass(frozen=True)
class Part:
    """A network that was looked into.

    Args:
        name: such as ``Member 2``; empty where there is one alone.
        network: class of the network.
        levels: with their pictures.
        latent: with its pictures; None without a bottleneck.
        variational: with its pictures; None where the network is not.
        slicewise: whether it sees axial slices one by one.
        without_layers: what a network without layers is, in its own words; empty for others.
    """

    name: str
    network: str
    levels: Sequence[tuple[LevelFacts, Picture]] = ()
    latent: tuple[LatentFacts, Sequence[Picture]] | None = None
    variational: tuple[VariationalFacts, Sequence[Picture]] | None = None
    slicewise: bool = False
    without_layers: str = ""

    @property
    def pictures(self) -> list[Picture]:
        """All of them, in the order of reading."""
        both = [*(self.latent[1] if self.latent else ()), *(self.variational[1] if self.variational else ())]
        return [*(picture for _, picture in self.levels), *both]


@dataclass(frozen=True)
class Inspection:
    """A look into a detector.

    Args:
        bundle: its name.
        volume: the volume's file name.
        scans: the volume, and the abnormal one.
        origin: what the abnormal one is, a sentence.
        reconstruction: the picture of both.
        parts: the networks.
        made: how it was made, by name.
    """

    bundle: str
    volume: str
    scans: Sequence[ScanFacts]
    origin: str
    reconstruction: Picture
    parts: Sequence[Part]
    made: Mapping[str, object] = field(default_factory=dict)

    @property
    def pictures(self) -> list[Picture]:
        """All of them, in the order of reading."""
        return [self.reconstruction, *(picture for part in self.parts for picture in part.pictures)]


def write_inspection_page(path: Path, inspection: Inspection) -> None:
    """Write the page, which holds its pictures and needs nothing else."""
    network = ", ".join(dict.fromkeys(part.network for part in inspection.parts))
    header = f"""<h1>A look into {escape(inspection.bundle)}</h1>
<p class="lead">{escape(network)}, shown {escape(inspection.volume)}.</p>
<p class="soft">Each picture's text ends with the name of its file. {escape(inspection.origin)}</p>"""
    sections = ["<h2>What the detector does</h2>", _paragraph(DETECTOR), _scans_table(inspection.scans)]
    sections.append(_figure(inspection.reconstruction, path.parent))
    for part in inspection.parts:
        sections += _part(part, path.parent)
    sections += ["<h2>How it was made</h2>", definitions(inspection.made)]
    write_document(path, f"A look into {inspection.bundle}", header, "".join(sections), FIGURE_STYLE)


def _part(part: Part, folder: Path) -> list[str]:
    def heading(words: str) -> str:
        whole = f"{part.name}, {part.network}: {words}" if part.name else words
        return f"<h2>{escape(whole[0].upper() + whole[1:])}</h2>"

    if part.without_layers:
        words = f"This detector has no layers to look into. {part.without_layers}"
        return [heading("no layers"), _paragraph(words)]
    sections = [heading("what each layer sees"), _paragraph(LAYERS)]
    if part.slicewise:
        sections.append(_paragraph(SLICES))
    sections.append(_levels_table([facts for facts, _ in part.levels]))
    sections += [_figure(picture, folder) for _, picture in part.levels]
    if part.latent is not None:
        facts, pictures = part.latent
        sections += [heading("the latent"), _paragraph(latent_words(facts))]
        sections += [_figure(picture, folder) for picture in pictures]
    else:
        sections += [heading("no bottleneck"), _paragraph(NO_BOTTLENECK)]
    if part.variational is not None:
        sections += [heading("the variational latent"), _paragraph(variational_words(part.variational[0]))]
        sections += [_figure(picture, folder) for picture in part.variational[1]]
    return sections


DETECTOR = (
    "The detector knows healthy brains alone. It is shown a brain and gives back the brain it expects: the "
    "reconstruction. What it does not expect, such as a lesion, should come back as healthy tissue, so the residual, "
    "input minus reconstruction, is what we look at. But no healthy brain is reconstructed perfectly either, least of "
    "all where it has sharp edges. So each voxel's residual is compared with the residuals of healthy people at the "
    "same place: the z-map says how unusual it is."
)
LAYERS = (
    "A layer slides many small filters over the image. Each filter gives a new image, a feature map, that is high "
    "where the image looks like the filter. The next layer does the same with all maps of the one before. A filter "
    "of the first layer sees few voxels (three along each axis in most networks), and from so few one can tell little "
    "more than how bright they are and in which direction brightness changes: that is why early maps look like the "
    "image itself or like its edges. Further down the maps are coarser and a voxel of a map depends on more and "
    "more of the brain; on the way up what was gathered is brought back to finer voxels. A fine grid on maps there "
    "is no anatomy: an up-convolution writes several voxels from one, by filters that differ, and later layers "
    "even that out. Nobody tells a filter what to look for: maps have no names, and the same network trained again "
    "has other ones."
)
SLICES = (
    "This network sees one axial slice at a time. Its maps of all slices are put side by side here, so that the "
    "coronal and sagittal planes go through slices that know nothing of each other."
)
NO_BOTTLENECK = (
    "Nothing of this network's way is so narrow that all has to pass it: connections lead from the way down straight "
    "to the way up, or from the image to the result. So there is no latent that would stand for the whole brain."
)


def level_words(facts: LevelFacts, number: int, count: int) -> str:
    """What a level's picture shows."""
    place = f"Level {number} of {count}, module {facts.name}: {facts.maps} maps of {_times(facts.shape)}."
    fine = max(facts.block) == 1
    block = "As fine as the image." if fine else (
        f"A voxel of a map stands for {_times(facts.block)} voxels of the image, {_times(facts.voxel_mm)} mm."
    )  # fmt: skip
    if facts.way == "down" and number == 1:
        seen = "The first level: look for maps that show the brain itself, its outline, or edges of one direction."
    elif facts.way == "down":
        seen = "On the way down: anatomy can still be recognised, in fewer voxels and with more kinds of contrast."
    elif facts.way == "bottom":
        seen = "The coarsest level: places count more than shapes here, and single voxels stand for whole regions."
    elif number == count:
        seen = "The last level: from these maps the result is mixed, voxel by voxel or with a last small filter."
    else:
        seen = "On the way up: what was gathered at coarser levels is brought back to finer voxels."
    dead = len(facts.dead_maps)
    constant = f" {dead} of the maps {'is' if dead == 1 else 'are'} constant and tell nothing." if dead else ""
    return f"{place} {block} {seen}{constant}"


def latent_words(facts: LatentFacts) -> str:
    """What the latent is, and its numbers."""
    statistics = facts.statistics
    dead = np.flatnonzero(statistics.dead).tolist()
    died = f"Dead are {len(dead)} of them: {_list(dead)}" if dead else "None of them is dead"
    shape = f"{facts.shape[0]} maps of {_times(facts.shape[1:])}" if len(facts.shape) > 1 else f"{facts.shape[0]}"
    return (
        f"All that the second half of the network is told of the brain is the latent: {shape}, that is "
        f"{prod(facts.shape)} numbers for {prod(facts.window)} voxels of the window, {facts.ratio:.0f} to one "
        f"({facts.inside} of the voxels, {facts.inside / prod(facts.shape):.0f} to a number, lie in the brain). "
        "With so few numbers the network can keep what most brains share and a little of what is this brain's own; "
        "that a lesion does not fit in is the idea, and that fine folds do not either is the price. "
        f"Mean {statistics.mean:.2f}, standard deviation {statistics.std:.2f} over {facts.inputs} inputs (windows or "
        "slices of both brains and of their mirror images). "
        f"A unit, here one of the {facts.shape[0]} {facts.unit}, is dead where it hardly varies (less than 1 % of the "
        f"liveliest one's spread): it tells the decoder nothing. {died}."
    )


def variational_words(facts: VariationalFacts) -> str:
    """What makes a latent variational, and how far it is from its prior."""
    return (
        "In training this network did not pass numbers on but drew them: the encoder gives a mean and a spread for "
        "each, and a penalty, the Kullback-Leibler divergence, pulls them towards the prior, a mean of 0 and a "
        f"standard deviation of 1. It comes to {sum(facts.kl_nats):.0f} nats for this brain. Detection uses the "
        f"mean. The means of this brain spread with a standard deviation of {facts.mean_std:.2f}, and a number is "
        f"drawn around its mean with {facts.drawn_std:.2f}."
    )


def traversal_words(facts: VariationalFacts, unit: str) -> str:
    """What the traversal shows."""
    return (
        f"Each row takes one of the {unit} of the latent, those with the largest divergence first (here "
        f"{_list(facts.traversed)}), and adds \N{MINUS SIGN}3 to +3 standard deviations of the prior to it, at all "
        "places at once. Look for what changes along a row: size of ventricles, contrast, brightness. A unit need "
        "not mean anything that has a name, and the ends may be brains that nobody has."
    )


def draws_words(facts: VariationalFacts) -> str:
    """What the drawn reconstructions show."""
    return (
        "The same brain reconstructed from the mean of its latent and from numbers drawn around it. They differ by "
        f"{facts.draw_spread:.3f} of normalised intensity at a voxel of the brain on average. Where the spread is "
        "large, the network is unsure what belongs there."
    )


def samples_words(facts: VariationalFacts) -> str:
    """How samples from the prior look, judged by how much they have in common with a reconstruction."""
    middle = float(np.median(facts.sample_correlations))
    if middle >= 0.8:
        verdict = "They look much like brains"
    elif middle >= 0.5:
        verdict = "They resemble a brain roughly, and would not pass for one"
    else:
        verdict = "They are no brains"
    found = f"{verdict}: at brain voxels they correlate {middle:.2f} with the reconstruction (median)"
    known = f"which itself correlates {facts.input_correlation:.2f} with the input."
    why = ""
    if middle < 0.8:
        wide = f"the means of this brain spread {facts.mean_std:.1f} times as wide as the prior, and "
        why = (
            f" A likely reason: {wide if facts.mean_std > 1.25 else ''}the numbers of a real brain belong together, as "
            "its neighbouring parts do, while the prior draws each by itself. Detection does not suffer from it, since "
            "it draws nothing from the prior."
        )
    return f"New volumes from nothing but chance. {found}, {known}{why}"


def _paragraph(words: str) -> str:
    return f"<p>{escape(words)}</p>\n"


def _figure(picture: Picture, folder: Path) -> str:
    name = picture.path.relative_to(folder).as_posix()
    return figure(picture.path, f"{picture.words} [{name}]", picture.alt)


def _scans_table(scans: Sequence[ScanFacts]) -> str:
    heads = ("", "score", "threshold", "decision", "MSE", "PSNR in dB", "SSIM", "mean z in the lesion", "elsewhere")
    rows = []
    for scan in scans:
        values = [scan.score, scan.threshold, scan.decision, *(scan.fidelity.get(k) for k in ("mse", "psnr", "ssim"))]
        cells = [_cell(scan.name, "name"), *(_cell(value) for value in (*values, scan.z_inside, scan.z_outside))]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f'<th scope="col" class="{"number" if name else ""}">{name}</th>' for name in heads)
    return scrolling_table("The two brains", head, "".join(rows))


def _levels_table(levels: Sequence[LevelFacts]) -> str:
    heads = ("level", "module", "maps", "voxels of a map", "mm a voxel", "mean", "std", "constant maps")
    rows = "".join(
        f"<tr>{_cell(number)}{_cell(level.name, 'name')}{_cell(level.maps)}{_cell(_times(level.shape))}"
        f"{_cell(_times(level.voxel_mm))}{_cell(level.mean)}{_cell(level.std)}{_cell(len(level.dead_maps))}</tr>"
        for number, level in enumerate(levels, 1)
    )
    head = "".join(f'<th scope="col" class="{"" if name == "module" else "number"}">{name}</th>' for name in heads)
    return scrolling_table("The levels", head, rows)


def _cell(value: object, kind: str = "number") -> str:
    said = "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
    return f'<td class="{kind}">{escape(said)}</td>'


def _times(numbers: Sequence[float]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(f"{number:g}" for number in numbers)


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))

"""A look into a trained detector: what its layers see, what its latent holds, what it does with two brains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mri3d.detector import Detector
from mri3d.errors import UsageError
from mri3d.evaluation.latent import divergence, latent_statistics
from mri3d.grid import Grid
from mri3d.models.autoencoder import VariationalAutoEncoder
from mri3d.models.features import Features, features, parts_of
from mri3d.reporting.feature_figures import (
    Decoded,
    Seen,
    draw_draws,
    draw_features,
    draw_latent,
    draw_samples,
    draw_traversal,
    stacked,
)
from mri3d.reporting.inspection_page import (
    Inspection,
    LatentFacts,
    LevelFacts,
    Part,
    Picture,
    ScanFacts,
    VariationalFacts,
    draws_words,
    level_words,
    samples_words,
    traversal_words,
    write_inspection_page,
)
from mri3d.reporting.ownership import PageFolder, writable
from mri3d.reporting.reconstruction_figure import Side, draw_reconstructions
from mri3d.reporting.subject_files import versions
from mri3d.scoring.fidelity import fidelity
from mri3d.transforms.case import Item
from mri3d.transforms.lesion import put_lesion
from mri3d.volumes.atomic import write_json
from mri3d.volumes.volume import BoolArray, FloatArray

PAGE, NUMBERS, FIGURES = "inspect.html", "inspect.json", "figures"
SEED = 0
STEPS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""Of a traversal, in standard deviations of the prior."""

TRAVERSED, SAMPLES, DRAWS = 4, 5, 16
CONSTANT = 1e-4
"""Of a level's spread: a map that varies less is constant."""


def inspect(
    volume: Path, bundle: Path, output: Path, abnormal: Path | None, device: str, overwrite: bool = False
) -> Inspection:
    """Write ``inspect.html``, ``inspect.json`` and ``figures``.

    Args:
        volume: what the network is shown, best a healthy brain.
        bundle: the bundle's folder.
        output: where the results go.
        abnormal: a volume to set beside it; None puts the demonstration's lesion into ``volume``.
        device: see :func:`mri3d.workflow.pick_device`.
        overwrite: replace an earlier inspection.

    Returns:
        What was found, with the pictures that were written.

    Raises:
        UsageError: no volume, an unknown device, or results that stand there already.
        BundleError: the bundle's parts do not belong together.
        Mri3dError: a volume is unfit.
    """
    folder = PageFolder(output, "inspect", NUMBERS, (PAGE, f"{FIGURES}/*.png"))
    folder.refuse_standing(overwrite)
    detector = Detector.load(bundle, device)
    torch.manual_seed(SEED)
    with tqdm(total=5, desc="inspect", unit="step") as bar:
        item = detector.preprocess(volume)
        bar.update()
        sides, given = _two_sides(detector, item, abnormal)
        bar.update()
        made = {
            "command": "inspect", "volume": str(volume), "abnormal": str(abnormal or "the volume with a lesion put in"),
            "bundle": detector.bundle, "device": str(detector.device), "seed": SEED, "versions": versions(),
        }  # fmt: skip
        with writable(output):
            folder.clear()
            write_json(output / NUMBERS, {"made": made})
            reconstruction = _draw_sides(sides, output / FIGURES)
            bar.update()
            parts = _look(detector, given, sides[0].detection.model.grid, output / FIGURES)
            bar.update()
            found = Inspection(
                bundle=detector.bundle["name"], volume=sides[0].detection.subject.name, made=made, parts=parts,
                scans=[_scan(side) for side in sides], origin=_origin(abnormal), reconstruction=reconstruction,
            )  # fmt: skip
            _write(found, output)
        bar.update()
    return found


def _two_sides(detector: Detector, item: Item, abnormal: Path | None) -> tuple[list[Side], list[Item]]:
    """The volume and the abnormal one, as scored and as given to the network."""
    first = detector.score(item)
    if abnormal is not None:
        other = detector.preprocess(abnormal)
        return [Side("given", first), Side("abnormal", detector.score(other))], [item, other]
    changed, lesion = put_lesion(item, first.model.grid)
    return [Side("given", first), Side("with a lesion", detector.score(changed), lesion)], [item, changed]


def _origin(abnormal: Path | None) -> str:
    if abnormal is not None:
        return f"Beside it stands {abnormal.name}."
    return (
        "The brain beside it is the same one with a lesion put in by computer: an ellipsoid in the white matter of "
        "the right frontal lobe, darkened by 75 % of the way to cerebrospinal fluid, which is easier to find than "
        "most real lesions."
    )


def _draw_sides(sides: Sequence[Side], folder: Path) -> Picture:
    path = folder / "reconstruction.png"
    draw_reconstructions(sides, _place(sides[-1]), path)
    words = (
        "From top to bottom: what the network is shown, what it gives back, the difference of the two, and the "
        "z-map that detection reports. In the reconstruction look for what is missing; in the residual, for how "
        "much of it is plain anatomy; in the z-map, for what is left once healthy residuals are taken into account."
    )
    return Picture(path, words, "Input, reconstruction, residual and z-map of both brains in three planes each")


def _place(side: Side) -> tuple[float, float, float]:
    """The middle of a known lesion, or where the map is highest."""
    model = side.detection.model
    if side.lesion is not None and side.lesion.any():
        index = np.argwhere(side.lesion).mean(axis=0)
    else:
        values = np.abs(model.image - model.reconstruction) * model.mask if model.zscore is None else model.zscore
        index = np.array(np.unravel_index(int(values.argmax()), values.shape), dtype=np.float64)
    x, y, z = model.grid.world(index)
    return float(x), float(y), float(z)


def _scan(side: Side) -> ScanFacts:
    detection, model = side.detection, side.detection.model
    inside = outside = None
    if side.lesion is not None and side.lesion.any() and model.zscore is not None:
        inside = float(model.zscore[side.lesion].mean())
        outside = float(model.zscore[model.mask & ~side.lesion].mean())
    score = detection.score
    known = fidelity(model.image, model.reconstruction, model.mask)
    return ScanFacts(side.name, score.value, score.decision, score.threshold, known, inside, outside)


def _look(detector: Detector, items: Sequence[Item], grid: Grid, folder: Path) -> list[Part]:
    """Every network of the detector, by the pictures of its levels."""
    windows = [_window(detector.given(item), grid, detector.root) for item in items]
    image = stacked(windows[0][:, :1].cpu().numpy())[0]
    # a window's place in the model grid is of no matter here: its pictures are of itself alone
    seen = Seen(image, Grid((image.shape[0], image.shape[1], image.shape[2]), grid.affine))
    parts = []
    for name, network in parts_of(detector.network).items():
        found, prefix = features(network, windows[0]), f"member{name}_" if name else ""
        title, kind = f"Member {name}" if name else "", type(network).__name__
        if not found.levels:
            parts.append(Part(title, kind, without_layers=_in_its_own_words(network)))
            continue
        levels = [*_draw_levels(found, seen, folder, prefix)]
        latent = _draw_latent(network, found, windows, seen, folder, prefix)
        variational = None
        if isinstance(network, VariationalAutoEncoder):
            variational = draw_variational(network, windows[0], seen, folder, prefix)
        parts.append(Part(title, kind, levels, latent, variational, slicewise=windows[0].dim() == 4))
    return parts


def _window(given: torch.Tensor, grid: Grid, bundle: Path) -> torch.Tensor:
    """All slices of a network of two dimensions; else the window that holds most of the brain.

    Raises:
        UsageError: windows that are parts of slices.
    """
    if given.dim() == 4:
        if (*given.shape[2:], given.shape[0]) != grid.shape:
            found = "windows of {} x {}".format(*given.shape[2:])
            raise UsageError(bundle, "a network that sees whole axial slices", found, "Build it with the whole window")
        return given
    best = int((given > 0).flatten(1).sum(1).argmax())
    return given[best : best + 1]


def _in_its_own_words(network: torch.nn.Module) -> str:
    """The first paragraph of a network's documentation."""
    words = type(network).__doc__ or ""
    return " ".join(words.strip().split("\n\n")[0].split())


def _draw_levels(found: Features, seen: Seen, folder: Path, prefix: str) -> Iterator[tuple[LevelFacts, Picture]]:
    volumes = [stacked(level.maps.numpy()) for level in found.levels]
    count = len(volumes)
    coarsest = int(np.argmin([prod(maps.shape[1:]) for maps in volumes]))
    bar = tqdm(zip(found.levels, volumes, strict=True), total=count, desc="draw", unit="level", leave=False)
    for number, (level, maps) in enumerate(bar, 1):
        grid = seen.coarse(maps.shape[1:])
        block = tuple(round(a / b) for a, b in zip(grid.spacing, seen.grid.spacing, strict=True))
        spread = maps.reshape(len(maps), -1).std(axis=1)
        facts = LevelFacts(
            name=level.name,
            way="bottom" if number - 1 == coarsest else "down" if number - 1 < coarsest else "up",
            maps=len(maps), shape=maps.shape[1:], block=block, voxel_mm=tuple(round(mm, 3) for mm in grid.spacing),
            mean=float(maps.mean()), std=float(maps.std()),
            dead_maps=tuple(np.flatnonzero(spread <= CONSTANT * spread.max()).tolist()),
        )  # fmt: skip
        path = folder / f"{prefix}level{number:02}_{re.sub(r'[^A-Za-z0-9.]', '_', level.name)}.png"
        shape = " \N{MULTIPLICATION SIGN} ".join(map(str, facts.shape))
        title = f"Level {number} of {count}: {len(maps)} maps of {shape}"
        draw_features(seen, maps, title, f"Module {level.name}. ", path)
        alt = f"Feature maps of level {number}, {level.name}, in three planes, beside the input"
        yield facts, Picture(path, level_words(facts, number, count), alt)


def _draw_latent(
    network: torch.nn.Module, found: Features, windows: Sequence[torch.Tensor], seen: Seen, folder: Path, prefix: str
) -> tuple[LatentFacts, list[Picture]] | None:
    if found.latent is None:
        return None
    inputs = torch.cat([each for window in windows for each in (window, window.flip(2))])
    inputs = inputs[(inputs > 0).flatten(1).any(1)]  # slices without brain all look alike
    latents = features(network, inputs).latent
    assert latents is not None
    window = windows[0]
    inside = int((window > 0).flatten(1).sum(1).max())
    facts = LatentFacts(
        tuple(found.latent.shape[1:]), tuple(window.shape[1:]), inside, len(inputs), latent_statistics(latents.numpy())
    )
    path = folder / f"{prefix}latent.png"
    variational = isinstance(network, VariationalAutoEncoder)
    draw_latent(found.latent.numpy(), facts.statistics, facts.unit, variational, path)
    dead = int(facts.statistics.dead.sum())
    words = (
        "Left, how often each value occurs among the latent's "
        f"numbers{', and the prior they were pulled to' if variational else ''}. Right, how much each of its "
        f"{facts.unit} varies; a unit without spread would be wasted. Here {dead or 'none'} "
        f"{'are' if dead > 1 else 'is'} dead."
    )
    pictures = [Picture(path, words, "Histogram of the latent's numbers, and spread of its units")]
    if found.latent.dim() == window.dim():
        path = folder / f"{prefix}latent_maps.png"
        maps = stacked(found.latent.numpy())
        draw_features(seen, maps, f"The latent: {len(maps)} maps", "", path)
        words = (
            "The latent itself, as the decoder gets it. It is still laid out in space: each block is a few numbers "
            "on one region of the brain, and from those alone, and from its neighbours', the region is drawn again."
        )
        pictures.append(Picture(path, words, "The maps of the latent in three planes, beside the input"))
    return facts, pictures


@torch.no_grad()
def draw_variational(
    network: VariationalAutoEncoder, x: torch.Tensor, seen: Seen, folder: Path, prefix: str = ""
) -> tuple[VariationalFacts, list[Picture]]:
    """Write the PNGs of a latent traversal, of draws around the mean of a volume, and of samples from the prior.

    Args:
        network: in eval mode.
        x: what it is given, (1, channels, *window) or (slices, channels, width, height).
        seen: the same as a volume.
        folder: where ``traversal.png``, ``draws.png`` and ``samples.png`` go.
        prefix: of their names.

    Returns:
        What they show in numbers, and the pictures.
    """
    mean, log_variance = network.encode(x)
    spread = (0.5 * log_variance).exp()

    def decode(latent: torch.Tensor) -> FloatArray:
        volume: FloatArray = stacked(network.decoder(latent)[:, :1].float().cpu().numpy())[0]
        return volume

    by_unit = np.moveaxis(divergence(mean.cpu().numpy(), log_variance.cpu().numpy()), 1, 0).reshape(mean.shape[1], -1)
    kl = by_unit.sum(axis=1)
    traversed, unit = np.argsort(-kl, kind="stable")[:TRAVERSED].tolist(), "map" if mean.dim() > 2 else "number"
    decoded = Decoded(
        traversal=[(f"{unit} {k}", [decode(_shifted(mean, k, step)) for step in STEPS]) for k in traversed],
        steps=STEPS,
        mean=decode(mean),
        draws=[decode(mean + spread * torch.randn_like(mean)) for _ in range(DRAWS)],
        samples=[decode(torch.randn_like(mean)) for _ in range(SAMPLES)],
    )
    brain: BoolArray = seen.image > 0
    facts = VariationalFacts(
        kl_nats=tuple(kl.tolist()),
        mean_std=float(mean.std()),
        drawn_std=float(spread.mean()),
        draw_spread=float(np.std(decoded.draws, axis=0)[brain].mean()),
        sample_correlations=tuple(_correlation(sample, decoded.mean, brain) for sample in decoded.samples),
        input_correlation=_correlation(seen.image, decoded.mean, brain),
        traversed=tuple(traversed),
    )
    told = (
        ("traversal", traversal_words(facts, f"{unit}s"), "Axial planes along a latent traversal"),
        ("draws", draws_words(facts), "Reconstructions from the mean of the latent and from drawn latents"),
        ("samples", samples_words(facts), "Volumes decoded from samples of the prior, beside a reconstruction"),
    )
    pictures = [Picture(folder / f"{prefix}{name}.png", words, alt) for name, words, alt in told]
    for draw, picture in zip((draw_traversal, draw_draws, draw_samples), pictures, strict=True):
        draw(seen, decoded, picture.path)
    return facts, pictures


def _shifted(latent: torch.Tensor, unit: int, step: float) -> torch.Tensor:
    shifted = latent.clone()
    shifted[:, unit] += step
    return shifted


def _correlation(a: FloatArray, b: FloatArray, brain: BoolArray) -> float:
    """0 where one of them is constant."""
    if not brain.any() or a[brain].std() == 0 or b[brain].std() == 0:
        return 0.0
    return float(np.corrcoef(a[brain], b[brain])[0, 1])


def _write(found: Inspection, output: Path) -> None:
    numbers = {
        "made": dict(found.made),
        "scans": [asdict(scan) for scan in found.scans],
        "networks": [
            {
                "name": part.name,
                "network": part.network,
                "levels": [asdict(facts) for facts, _ in part.levels],
                "latent": None if part.latent is None else part.latent[0].as_dict(),
                "variational": None if part.variational is None else asdict(part.variational[0]),
            }
            for part in found.parts
        ],
        "pictures": {picture.path.relative_to(output).as_posix(): picture.alt for picture in found.pictures},
    }
    write_json(output / NUMBERS, numbers)
    write_inspection_page(output / PAGE, found)

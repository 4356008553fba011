"""A plain and a variational autoencoder side by side: reconstruction, blur, detection, latent; a page that says it.

    python -m benchmarks.autoencoders HEALTHY LESION_SHAPES --ae B1 --vae B2 -o docs/autoencoders

HEALTHY is the data set that both bundles were trained on, with one split. Reconstruction and latent are measured on the
test participants as they are, detection on the validation participants with simulated lesions, so that nobody chooses a
detector by the test part. The page is ``docs/autoencoders.md``; its pictures and ``metrics.json`` go into the folder.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import ndimage
from tqdm import tqdm

from benchmarks import detection
from mri3d.bundle import find_bundle
from mri3d.detector import Detector
from mri3d.evaluation.bootstrap import Estimate, average
from mri3d.evaluation.latent import divergence, latent_statistics
from mri3d.models.autoencoder import VariationalAutoEncoder
from mri3d.models.features import features
from mri3d.reporting.feature_figures import Seen
from mri3d.reporting.inspection_page import VariationalFacts, draws_words, samples_words, traversal_words
from mri3d.reporting.network_pictures import draw_variational
from mri3d.reporting.panels import save_png
from mri3d.reporting.reconstruction_figure import Side, draw_reconstructions
from mri3d.scoring.fidelity import fidelity
from mri3d.transforms.case import Item
from mri3d.transforms.lesion import LESION_CENTRE_MM, put_lesion
from mri3d.volumes.atomic import write_json, write_text
from mri3d.volumes.discovery import discover
from mri3d.volumes.volume import BoolArray, FloatArray

NAMES = ("autoencoder", "variational autoencoder")
COLOURS, STYLES = ("#0072b2", "#d55e00"), ("-", "--")
FINE_MM = 3.0
"""Standard deviation of the Gaussian that fine detail is what it takes away."""

ACTIVE = 0.01
"""Variance over people above which the mean of a variational latent's number is active (Burda et al. 2016, arXiv
1509.00519)."""

MEASURES = {
    "mse": ("MSE", 4, "of normalised intensity, inside the brain; lower is better"),
    "psnr": ("PSNR, dB", 2, "the same on a logarithmic scale, peak 1; higher is better"),
    "ssim": ("SSIM", 3, "structural similarity, inside the brain; higher is better"),
    "fine_power": ("power of fine detail", 3, "reconstruction against input; 1 is as sharp as the input"),
    "fine_kept": ("fine detail kept", 3, "how much of the input's own fine detail is in the reconstruction, 0 to 1"),
}
FOUND = {
    "voxel_ap": "voxel AP",
    "voxel_ap_small": "AP under 5 ml",
    "dice_normals": "Dice at the threshold of normals",
    "subject_auroc": "subject AUROC",
}


@dataclass(frozen=True, eq=False)
class Looked:
    """One person under one network.

    Args:
        numbers: by the names of ``MEASURES``.
        spectrum: (2, B) by spatial frequency, power against the input's and coherence with it.
        latent: what passes the bottleneck, flat.
        shape: of the latent, units and places.
        kl: divergence of each of its numbers from the prior; None where there is none.
    """

    numbers: Mapping[str, float]
    spectrum: np.ndarray
    latent: np.ndarray
    shape: tuple[int, ...]
    kl: np.ndarray | None


def look(detector: Detector, item: Item) -> Looked:
    """Reconstruct a person and measure."""
    model = detector.score(item).model
    x = detector.given(item)
    latent = features(detector.network, x).latent
    assert latent is not None
    kl = None
    if isinstance(detector.network, VariationalAutoEncoder):
        with torch.no_grad():
            mean, log_variance = detector.network.encode(x)
        kl = divergence(mean.cpu().numpy(), log_variance.cpu().numpy())[0].ravel()
    fine = sharpness(model.image, model.reconstruction, model.mask, FINE_MM / model.grid.spacing[0])
    numbers = {**fidelity(model.image, model.reconstruction, model.mask), **fine}
    bands = spectrum(model.image, model.reconstruction, model.mask)
    return Looked(numbers, bands, latent[0].numpy().ravel(), tuple(latent.shape[1:]), kl)


def sharpness(image: FloatArray, reconstruction: FloatArray, mask: BoolArray, width: float) -> dict[str, float]:
    """Fine detail of a reconstruction against its input's, away from the brain's border.

    Args:
        image: (X, Y, Z) normalised intensity.
        reconstruction: (X, Y, Z).
        mask: (X, Y, Z) brain.
        width: standard deviation in voxels; fine detail is what a Gaussian of this width takes away.

    Returns:
        ``fine_power``, the ratio of its power; and ``fine_kept``, the slope of the reconstruction's fine detail on the
        input's: 1 where all is kept, 0 where none is, whatever else the reconstruction holds that is not in the input.
    """
    inside = ndimage.binary_erosion(mask, iterations=max(1, round(width)))
    real, made = (_fine(array, mask, width)[inside] for array in (image, reconstruction))
    power = float(np.mean(real**2))
    return {"fine_power": float(np.mean(made**2)) / power, "fine_kept": float(np.mean(made * real)) / power}


def _fine(array: FloatArray, mask: BoolArray, width: float) -> np.ndarray:
    """An array less its surroundings within the brain (normalised convolution)."""
    weight = ndimage.gaussian_filter(mask.astype(np.float64), width)
    return array - ndimage.gaussian_filter(array.astype(np.float64) * mask, width) / np.maximum(weight, 1e-3)


def spectrum(image: FloatArray, reconstruction: FloatArray, mask: BoolArray, bins: int = 20) -> np.ndarray:
    """Power of a reconstruction against its input's, and their coherence, by spatial frequency.

    The brain fades out softly, so that its border, which both share, does not pass for detail.

    Returns:
        (2, bins), from 0 to half a cycle a voxel in equal steps.
    """
    window = ndimage.gaussian_filter(ndimage.binary_erosion(mask, iterations=4).astype(np.float64), 2.0)
    real, made = (np.fft.rfftn((array - array[mask].mean()) * window) for array in (image, reconstruction))
    axes = [np.fft.fftfreq(n) for n in image.shape[:2]] + [np.fft.rfftfreq(image.shape[2])]
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij")))
    place = np.minimum((frequency / 0.5 * bins).astype(int), bins).ravel()  # corners beyond 0.5 are left out
    own, other, both = (
        np.bincount(place, of.ravel(), bins + 1)[:bins]
        for of in (np.abs(real) ** 2, np.abs(made) ** 2, (made * real.conj()).real)
    )
    return np.stack([other / own, both / np.sqrt(own * other)])


def measure_people(detectors: Sequence[Detector], healthy: Path, people: Sequence[str]) -> list[list[Looked]]:
    """Everyone under each network."""
    found = {subject.participant: subject for subject in discover(healthy).subjects}
    return [
        [look(detector, item) for detector in detectors]
        for item in (detectors[0].preprocess(found[person]) for person in tqdm(people, desc="test", unit="person"))
    ]


def of_reconstruction(looked: Sequence[Sequence[Looked]], people: Sequence[str]) -> dict[str, dict[str, Estimate]]:
    """By measure the mean of each network, and the paired difference of the second to the first."""
    table = {}
    for name in MEASURES:
        means = [average([row[k].numbers[name] for row in looked], people) for k in range(len(NAMES))]
        table[name] = {**dict(zip(NAMES, means, strict=True)), "difference": means[1].minus(means[0])}
    return table


def of_latent(looked: Sequence[Sequence[Looked]], voxels: int) -> dict[str, dict[str, Any]]:
    """By network what its latent holds, over people."""
    found: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(NAMES):
        rows = [row[k] for row in looked]
        values, shape = np.stack([row.latent for row in rows]), rows[0].shape
        statistics = latent_statistics(values)
        own: dict[str, Any] = {
            "shape": list(shape), "numbers": prod(shape), "compression_ratio": voxels / prod(shape),
            "varying_numbers": int((~statistics.dead).sum()), "mean": statistics.mean, "std": statistics.std,
        }  # fmt: skip
        if rows[0].kl is not None:
            kl = np.stack([row.kl for row in rows if row.kl is not None])
            by_unit = kl.reshape(len(kl), shape[0], -1).sum(axis=2)
            own |= {
                "active_numbers": int((values.var(axis=0) > ACTIVE).sum()),
                "kl_nats": average(by_unit.sum(axis=1).tolist()),
                "kl_nats_by_unit": by_unit.mean(axis=0).tolist(),
            }
        found[name] = own
    return found


def draw_spectra(looked: Sequence[Sequence[Looked]], voxel_mm: float, path: Path) -> None:
    """Write the PNG of what is kept by spatial frequency."""
    figure = Figure(figsize=(8.6, 3.3), dpi=130, facecolor="white", layout="constrained")
    bins = looked[0][0].spectrum.shape[1]
    frequency = (np.arange(bins) + 0.5) / bins * 0.5 / voxel_mm
    heads = (
        ("power against the input's", "How much detail"),
        ("correlation with the input", "Whether it is the right one"),
    )
    for row, (axes, (label, title)) in enumerate(zip(figure.subplots(1, 2), heads, strict=True)):
        for k, name in enumerate(NAMES):
            mean = np.mean([seen[k].spectrum[row] for seen in looked], axis=0)
            axes.plot(frequency, mean, STYLES[k], color=COLOURS[k], label=name)
        axes.set(xlabel="cycles a mm (fine to the right)", ylabel=label, title=title, ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.legend(frameon=False)
    save_png(figure, path)


def draw_divergence(kl: Sequence[float], path: Path) -> None:
    """Write the PNG of the divergence a unit."""
    figure = Figure(figsize=(5.6, 2.9), dpi=130, facecolor="white", layout="constrained")
    axes = figure.add_subplot(xlabel="map of the latent", ylabel="divergence in nats")
    axes.bar([str(unit) for unit in range(len(kl))], list(kl), color=COLOURS[1])
    axes.set_title("What each map tells beyond the prior, mean over people")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    save_png(figure, path)


def draw_example(detectors: Sequence[Detector], item: Item, folder: Path) -> None:
    """Write the PNG of one person with the demonstration's lesion, under each network."""
    changed, lesion = put_lesion(item, detectors[0].score(item).model.grid)
    sides = [Side(name, detector.score(changed), lesion) for name, detector in zip(NAMES, detectors, strict=True)]
    draw_reconstructions(sides, LESION_CENTRE_MM, folder / "example.png")


def draw_latents(vae: Detector, item: Item, folder: Path) -> VariationalFacts:
    """Write the PNGs of traversal, draws and samples of one person; what they show, in numbers."""
    network = vae.network
    assert isinstance(network, VariationalAutoEncoder)
    torch.manual_seed(0)
    model = vae.score(item).model
    facts, _ = draw_variational(network, vae.given(item), Seen(model.image, model.grid), folder)
    return facts


def page(found: Mapping[str, Any], facts: VariationalFacts, folder: str) -> str:
    """The page, as Markdown."""
    people, latent = found["people"], found["latent"]
    vae = latent[NAMES[1]]
    width = [latent[name]["shape"][0] for name in NAMES]
    return _filled(f"""# Autoencoder and variational autoencoder

Two networks with the same layers and schedule: a plain autoencoder (recipe `cae`), trained to fill in what is wiped
out, and a variational one (recipe `vae`), whose latent is a Gaussian that is drawn anew in training and pulled towards
a standard normal prior. So they differ in three ways: the drawing, the filling in, and the width of the latent,
{width[0]} maps and {width[1]}. There is one training of each. This page and all its numbers are written by
`python -m benchmarks.autoencoders`.

![Two reconstructions of a brain with a lesion]({folder}/example.png)

*A healthy head from IXI (CC BY-SA 3.0) of the validation part, with a lesion put in by computer. From top to bottom:
input, reconstruction, residual, z-map.*

## Reconstruction

{people["test"]} healthy people of the test part, as they are; 95 % bootstrap intervals over people. The difference is
paired: an interval without 0 speaks for a real difference between these two networks.

{_measures_table(found["reconstruction"])}

Fine detail is what a Gaussian of {FINE_MM:g} mm takes away. {_blur_words(found["reconstruction"])}

![Power and correlation by spatial frequency]({folder}/spectrum.png)

## Detection

{people["validation"]} healthy people of the validation part, each as they are and with a clear and with a subtle
stroke-shaped lesion put into the raw volume (see `benchmarks/detection.py`). The validation part also chose each
network's best epoch, by healthy brains alone. Thresholds come from other, healthy people.

{_detection_table(found["detection"])}

## Latent

{_latent_table(latent)}

A number varies where its spread over people is more than 1 % of the liveliest one's; of the variational means
{vae["active_numbers"]} of {vae["numbers"]} have a variance above {ACTIVE:g} over people, the usual measure of active
units.

![Divergence of each map]({folder}/divergence.png)

![Latent traversal]({folder}/traversal.png)

*{traversal_words(facts, "maps" if len(vae["shape"]) > 1 else "numbers")}*

![Reconstructions drawn around one mean]({folder}/draws.png)

*{draws_words(facts)}*

![Samples from the prior]({folder}/samples.png)

*{samples_words(facts)}*

## What to take from it

{_summary(found)}
""")


def _filled(text: str) -> str:
    """Markdown whose paragraphs are wrapped anew; tables, headings, pictures and lists stay."""
    parts = [
        part if part.startswith(("|", "#", "!", "-")) else textwrap.fill(" ".join(part.split()), 124)
        for part in text.strip().split("\n\n")
    ]
    return "\n\n".join(parts) + "\n"


def _measures_table(table: Mapping[str, Mapping[str, Estimate]]) -> str:
    lines = [f"| measure | {' | '.join(NAMES)} | difference | |", "| --- | --- | --- | --- | --- |"]
    for name, (label, digits, meaning) in MEASURES.items():
        own = table[name]
        cells = [_interval(own[who], digits) for who in NAMES]
        cells.append(_interval(own["difference"], digits, sign=True))
        lines.append(f"| {label} | {' | '.join(cells)} | {meaning} |")
    return "\n".join(lines)


def _detection_table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    heads = ("lesions", "network", *FOUND.values(), "AP less the first's")
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for kind, of in measured.items():
        for name, metrics in of.items():
            cells = [_interval(metrics.get(key), 2) for key in FOUND]
            cells.append(_interval(metrics.get("differences", {}).get("voxel_ap"), 2, sign=True))
            lines.append(f"| {kind} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _latent_table(latent: Mapping[str, Mapping[str, Any]]) -> str:
    heads = ("network", "shape", "numbers", "voxels a number", "numbers that vary", "mean", "std", "divergence, nats")
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name, of in latent.items():
        shape = " x ".join(map(str, of["shape"]))
        cells = [name, shape, str(of["numbers"]), f"{of['compression_ratio']:.0f}", str(of["varying_numbers"])]
        cells += [f"{of['mean']:.2f}", f"{of['std']:.2f}", _interval(of.get("kl_nats"), 0)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _interval(estimate: Estimate | None, digits: int, sign: bool = False) -> str:
    if estimate is None:
        return ""
    kind = f"{'+' if sign else ''}.{digits}f"
    low, high = estimate.ci95 or (float("nan"), float("nan"))
    return f"{estimate.value:{kind}} ({low:{kind}} to {high:{kind}})"


def _blur_words(table: Mapping[str, Mapping[str, Estimate]]) -> str:
    kept = [table["fine_kept"][name].value for name in NAMES]
    return (
        f"The plain autoencoder keeps {100 * kept[0]:.1f} % of it, the variational one {100 * kept[1]:.1f} %; the "
        "rest is blurred away and stands in the residual, in healthy and ill alike. That is why residuals are compared "
        "with those of healthy people at the same place. Power without correlation is a pattern of the network's own."
    )


def _summary(found: Mapping[str, Any]) -> str:
    lines = [
        _verdict("Reconstruction error (MSE)", found["reconstruction"]["mse"]["difference"], "{:+.4f}"),
        _verdict("Fine detail kept", found["reconstruction"]["fine_kept"]["difference"], "{:+.3f}"),
    ]
    for kind, of in found["detection"].items():
        difference = of[NAMES[1]].get("differences", {}).get("voxel_ap")
        if difference is not None:
            lines.append(_verdict(f"Detection of {kind} lesions (voxel AP)", difference, "{:+.2f}"))
    lines.append(
        "What a difference comes from, the drawing, the filling in, the width of the latent or the luck of one "
        "training, is not told by two networks."
    )
    lines.append(
        "Both share the blur of the bottleneck; the README's table of detectors tells what a network without one does."
    )
    return "\n".join(textwrap.fill(line, 124, initial_indent="- ", subsequent_indent="  ") for line in lines)


def _verdict(what: str, difference: Estimate, kind: str) -> str:
    low, high = difference.ci95 or (float("-inf"), float("inf"))
    side = "higher" if difference.value > 0 else "lower"
    clear = f"{side} for the variational one" if low > 0 or high < 0 else "no clear difference"
    return f"{what}: {clear} ({kind.format(difference.value)}, interval {kind.format(low)} to {kind.format(high)})."


def main() -> None:
    """Run the comparison from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("shapes", type=Path)
    parser.add_argument("--ae", required=True, help="a bundle of the recipe cae")
    parser.add_argument("--vae", required=True, help="a bundle of the recipe vae, with the same split")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the pictures, beside the page")
    words = parser.parse_args()

    bundles = tuple(str(find_bundle(bundle)) for bundle in (words.ae, words.vae))
    parts = {part: detection.people_of(bundles, part) for part in ("test", "validation")}
    detectors = [Detector.load(bundle, "cpu") for bundle in bundles]
    if not isinstance(detectors[1].network, VariationalAutoEncoder):
        raise SystemExit(f"--vae {words.vae}: expected a bundle of the recipe vae")
    looked = measure_people(detectors, words.healthy, parts["test"])
    jobs = detection.simulated_jobs(bundles, words.healthy, words.shapes, parts["validation"], 0)
    measured = detection.measure(jobs, detection.run(jobs), bundles)
    subjects = {subject.participant: subject for subject in discover(words.healthy).subjects}
    item = detectors[0].preprocess(subjects[parts["validation"][0]])

    draw_example(detectors, item, words.output)
    facts = draw_latents(detectors[1], item, words.output)
    found: dict[str, Any] = {
        "people": {part: len(people) for part, people in parts.items()},
        "reconstruction": of_reconstruction(looked, parts["test"]),
        "detection": {kind: dict(zip(NAMES, of.values(), strict=True)) for kind, of in measured.items()},
        "latent": of_latent(looked, int(item["image"].numel())),
    }
    draw_spectra(looked, detectors[0].score(item).model.grid.spacing[0], words.output / "spectrum.png")
    draw_divergence(found["latent"][NAMES[1]]["kl_nats_by_unit"], words.output / "divergence.png")
    write_json(words.output / "metrics.json", detection.plain({**found, "variational": asdict(facts)}))
    write_text(words.output.with_suffix(".md"), page(found, facts, words.output.name))
    print(page(found, facts, words.output.name))


if __name__ == "__main__":
    main()

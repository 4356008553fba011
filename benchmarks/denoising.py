"""How much noise is taken off heads that the bundle has not seen, and what that costs a lesion.

    python -m benchmarks.denoising HEALTHY [LESION_SHAPES] --bundle B -o OUT

HEALTHY is the data set the bundle was trained on. Its test participants' volumes, as scanned, are taken for free of
noise; Gaussian and Rician noise of 2, 4, 8 and 12 % of the brain's bright intensity (98th percentile) is put on them.
PSNR (of that intensity) and SSIM are measured inside the brain. Where a method has a width or a number of steps, the
truth chooses it for each volume, which is the most the method can reach; the bundle's network chooses nothing. With
LESION_SHAPES a lesion is put in before the noise, and what of its contrast to its surroundings stays is measured.

Needs scikit-image: pip install 'mri3d[benchmarks]'. OUT gets ``metrics.json``, ``table.md`` and a picture. Choices are
made with ``--part validation``; the test participants are for the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib.figure import Figure
from scipy import ndimage
from skimage.restoration import denoise_nl_means
from tqdm import tqdm

from benchmarks.simulated_lesions import Lesion, choose_shapes, lesion_on_source, paste_lesion, plan
from mri3d.bundle import DENOISING_BUNDLE, SPLIT, find_bundle
from mri3d.commands.denoise import Denoiser
from mri3d.evaluation.bootstrap import average
from mri3d.scoring.fidelity import fidelity
from mri3d.transforms.intensity import scale_of
from mri3d.volumes.alignment import align, load_template
from mri3d.volumes.atomic import write_json, write_text
from mri3d.volumes.brain import find_brain
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume
from mri3d.volumes.volume import BoolArray, FloatArray, Volume

LEVELS = (0.02, 0.04, 0.08, 0.12)
KINDS = ("gaussian", "rician")
LESION_NOISE = ("rician", 0.08)
WIDTHS = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Standard deviations of the Gaussian filter in voxels, of which the truth chooses."""
STEPS = (2, 4, 8, 16)
"""Of curvature flow, likewise; each is 1/16, the longest that is stable in 3D."""
STRENGTH = 0.8
"""Of non-local means: h in standard deviations of the noise, as scikit-image advises."""
PATCH, SEARCH = 3, 3
"""Side of a patch of non-local means, and how far around it looks for others like it."""
SURROUNDINGS = 3
"""Voxels around a lesion that its contrast is to."""
MARGIN = 8
"""Voxels around the brain that are filtered too."""


@dataclass(frozen=True)
class Job:
    """A subject's volume, the bundle to apply, and the lesions to put in.

    Args:
        bundle: its folder.
        path: the volume.
        seed: of the noise.
        lesions: in place of none.
    """

    bundle: str
    path: Path
    seed: int
    lesions: tuple[Lesion, ...]


@dataclass(frozen=True)
class Noisy:
    """A head with noise.

    Args:
        volume: what a method gets.
        clean: (X, Y, Z) what it should give back.
        brain: (X, Y, Z) where that is measured.
        bright: the brain's bright intensity.
        sigma: standard deviation of the noise, in the volume's unit.
    """

    volume: Volume
    clean: FloatArray
    brain: BoolArray
    bright: float
    sigma: float

    def measure(self, result: FloatArray) -> dict[str, float]:
        """``mse``, ``psnr`` and ``ssim`` of a result inside the brain."""
        (box,) = ndimage.find_objects(self.brain.astype(np.uint8))
        inside = self.brain[box]
        clean, made = (np.where(inside, data[box] / self.bright, 0) for data in (self.clean, result))
        return fidelity(clean.astype(np.float32), made.astype(np.float32), inside)

    def best(self, results: Iterable[FloatArray]) -> FloatArray:
        """That of several results which comes nearest to the truth."""
        return min(results, key=lambda result: float(((result - self.clean)[self.brain] ** 2).mean()))


Method = Callable[[Noisy, Denoiser], FloatArray]


def noisy_input(noisy: Noisy, _: Denoiser) -> FloatArray:
    """Nothing done."""
    return noisy.volume.data


def gaussian(noisy: Noisy, _: Denoiser) -> FloatArray:
    """The best Gaussian filter."""
    return noisy.best(ndimage.gaussian_filter(noisy.volume.data, width) for width in WIDTHS)


def non_local_means(noisy: Noisy, _: Denoiser) -> FloatArray:
    """Non-local means (Buades et al. 2005) that knows the noise."""
    return denoise_nl_means(
        noisy.volume.data, PATCH, SEARCH, h=STRENGTH * noisy.sigma, fast_mode=True, sigma=noisy.sigma
    )


def curvature_flow(noisy: Noisy, _: Denoiser) -> FloatArray:
    """ITK's curvature flow, stopped at its best."""
    return noisy.best(_flow(noisy.volume.data))


def _flow(data: FloatArray) -> Iterable[FloatArray]:
    image, done = sitk.GetImageFromArray(data), 0
    for steps in STEPS:
        image = sitk.CurvatureFlow(image, timeStep=0.0625, numberOfIterations=steps - done)
        done = steps
        yield sitk.GetArrayFromImage(image)


def ours_told(noisy: Noisy, denoiser: Denoiser) -> FloatArray:
    """The bundle, told the noise's standard deviation."""
    return denoiser(noisy.volume, noisy.sigma).data


def ours(noisy: Noisy, denoiser: Denoiser) -> FloatArray:
    """The bundle, which estimates it."""
    return denoiser(noisy.volume).data


REFERENCE = "Gaussian, best width"
METHODS: Mapping[str, Method] = {
    "noisy input": noisy_input,
    REFERENCE: gaussian,
    "non-local means, sigma given": non_local_means,
    "curvature flow, best steps": curvature_flow,
    "mri3d, sigma given": ours_told,
    "mri3d, sigma estimated": ours,
}


def add_noise(data: FloatArray, kind: str, sigma: float, rng: np.random.Generator) -> FloatArray:
    """White Gaussian noise, or that of a magnitude image: both of its channels get Gaussian noise."""
    real = data + rng.normal(0, sigma, data.shape)
    result = real if kind == "gaussian" else np.hypot(real, rng.normal(0, sigma, data.shape))
    return result.astype(np.float32)


def run_one(job: Job) -> dict[str, Any]:
    """A subject under all methods: ``noise`` and ``lesions``, a row for each measurement."""
    denoiser = _denoiser(job.bundle)
    whole = read_volume(job.path)
    brain = find_brain(whole).mask
    bright = scale_of(whole.data[brain], job.path)
    rng = np.random.default_rng(job.seed)
    rows = []
    for kind in KINDS:
        for level in LEVELS:
            noisy = _made_noisy(whole, whole.data, brain, bright, kind, level, rng)
            estimate = denoiser(noisy.volume).sigma / noisy.sigma
            for name, method in METHODS.items():
                start = time.process_time()
                result = method(noisy, denoiser)
                seconds = time.process_time() - start
                rows.append({"kind": kind, "level": level, "method": name, "seconds": seconds, "estimate": estimate,
                             **noisy.measure(result)})  # fmt: skip
    return {"noise": rows, "lesions": _lesions(job, whole, brain, bright, denoiser, rng)}


def _made_noisy(
    whole: Volume, clean: FloatArray, brain: BoolArray, bright: float, kind: str, level: float,
    rng: np.random.Generator,
) -> Noisy:  # fmt: skip
    """The brain and some voxels around it with noise: what lies further away is not measured."""
    sigma = level * bright
    noise = add_noise(clean, kind, sigma, rng)
    (box,) = ndimage.find_objects(brain.astype(np.uint8))
    box = tuple(slice(max(side.start - MARGIN, 0), side.stop + MARGIN) for side in box)
    grid = replace(whole.grid, shape=noise[box].shape)
    volume = replace(whole, data=np.ascontiguousarray(noise[box]), grid=grid)
    return Noisy(volume, clean[box], brain[box], bright, sigma)


def _lesions(
    job: Job, whole: Volume, brain: BoolArray, bright: float, denoiser: Denoiser, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """What of the contrast of lesions is kept by each method."""
    rows: list[dict[str, Any]] = []
    world = align(whole, brain).template_to_source if job.lesions else None
    for lesion in job.lesions:
        share = lesion_on_source(Path(lesion.shape), world, whole.grid, flipped=lesion.flipped)
        data, truth = paste_lesion(whole.data, brain, share, lesion.kind, lesion.strength)
        noisy = _made_noisy(whole, data, brain, bright, *LESION_NOISE, rng)
        without = _made_noisy(whole, whole.data, brain, bright, *LESION_NOISE, rng)
        inside, around = _inside_and_around(truth, share, brain, noisy)
        if not inside.any():
            continue
        before = _contrast(noisy.clean, inside, around) - _contrast(without.clean, inside, around)
        for name, method in METHODS.items():
            after = _contrast(method(noisy, denoiser), inside, around)
            after -= _contrast(method(without, denoiser), inside, around)
            rows.append({"lesion": lesion.kind, "method": name, "kept": 100 * after / before})
    return rows


def _inside_and_around(
    truth: BoolArray, share: FloatArray, brain: BoolArray, noisy: Noisy
) -> tuple[BoolArray, BoolArray]:
    """A lesion and the brain that borders on it, within the box of a noisy volume."""
    (box,) = ndimage.find_objects(brain.astype(np.uint8))
    box = tuple(slice(max(side.start - MARGIN, 0), side.stop + MARGIN) for side in box)
    around = ndimage.binary_dilation(truth, iterations=SURROUNDINGS) & (share < 0.01) & brain
    return truth[box], around[box]


def _contrast(data: FloatArray, inside: BoolArray, around: BoolArray) -> float:
    return float(data[inside].mean() - data[around].mean())


@lru_cache(maxsize=1)
def _denoiser(bundle: str) -> Denoiser:
    return Denoiser(Path(bundle), "cpu")


def jobs_of(bundle: Path, healthy: Path, shapes: Path | None, part: str, limit: int | None, seed: int) -> list[Job]:
    """A job for each participant of a part of the bundle's split, spread over all of them where there is a limit.

    Raises:
        SystemExit: nobody is in the part.
    """
    people = json.loads((bundle / SPLIT).read_text(encoding="utf-8"))[part]
    if not people:
        raise SystemExit(f"the bundle's split has nobody in {part}: --set training.shares=...")
    if limit is not None:
        people = [people[i] for i in np.unique(np.linspace(0, len(people) - 1, limit).round().astype(int))]
    found = {subject.participant: subject.reference for subject in discover(healthy).subjects}
    lesions: dict[str, list[Lesion]] = {person: [] for person in people}
    if shapes is not None:
        template = load_template()
        for case in plan(people, choose_shapes(shapes, seed, len(people), template.brain, template.grid), seed):
            lesions[case.subject] += [case.lesion] if case.lesion is not None else []
    return [Job(str(bundle), found[person], seed + i, tuple(lesions[person])) for i, person in enumerate(people)]


def run(jobs: Sequence[Job], processes: int) -> list[dict[str, Any]]:
    """All subjects, on one thread a process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_one_thread) as pool:
        return list(tqdm(pool.map(run_one, jobs), total=len(jobs), unit="subject"))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def summary(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over subjects with 95 % intervals, a row for each kind of noise, level and method.

    ``psnr_gained`` is paired: over the best Gaussian filter of the same head and noise.
    """
    rows = []
    for method in METHODS:
        for kind in KINDS:
            for level in LEVELS:
                own, gaussians = (_of(results, kind, level, name) for name in (method, REFERENCE))
                means = {name: average(own[name]).as_dict() for name in ("psnr", "ssim", "estimate", "seconds")}
                means["psnr_gained"] = average(np.subtract(own["psnr"], gaussians["psnr"]).tolist()).as_dict()
                rows.append({"kind": kind, "level": level, "method": method, **means})
    return rows


def _of(results: Sequence[Mapping[str, Any]], kind: str, level: float, method: str) -> dict[str, list[float]]:
    """What was measured of a method under one noise, by name, in the order of the subjects."""
    own = [row for of in results for row in of["noise"]
           if (row["kind"], row["level"], row["method"]) == (kind, level, method)]  # fmt: skip
    return {name: [row[name] for row in own] for name in ("psnr", "ssim", "estimate", "seconds")}


def kept(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means over subjects of the contrast that is kept, by kind of lesion and method."""
    found: dict[str, dict[str, Any]] = {}
    for name, kinds in (("clear", ("clear",)), ("subtle", ("subtle_bright", "subtle_dark"))):
        for method in METHODS:
            own = [row["kept"] for of in results for row in of["lesions"]
                   if row["method"] == method and row["lesion"] in kinds]  # fmt: skip
            if own:
                found.setdefault(name, {})[method] = average(own).as_dict()
    return found


def table(rows: Sequence[Mapping[str, Any]], contrasts: Mapping[str, Mapping[str, Any]]) -> str:
    """One Markdown table: PSNR and SSIM by noise, contrast kept, seconds; then dB over the best Gaussian."""
    noises = [(kind, level) for kind in KINDS for level in LEVELS]
    heads = [f"{kind.capitalize()} {level:.0%}" for kind, level in noises]
    heads += [f"contrast kept, {name} lesions, %" for name in contrasts] + ["seconds"]
    lines = [f"| PSNR in dB / SSIM | {' | '.join(heads)} |", f"|{' --- |' * (len(heads) + 1)}"]
    for method in METHODS:
        own = {(row["kind"], row["level"]): row for row in rows if row["method"] == method}
        cells = [f"{_cell(own[noise]['psnr'], 1)} / {own[noise]['ssim']['value']:.3f}" for noise in noises]
        cells += [_cell(of[method], 0) for of in contrasts.values()]
        cells.append(f"{np.mean([row['seconds']['value'] for row in own.values()]):.1f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    for method in ("mri3d, sigma given", "mri3d, sigma estimated"):
        own = {(row["kind"], row["level"]): row for row in rows if row["method"] == method}
        cells = [_cell(own[noise]["psnr_gained"], 2) for noise in noises] + [""] * (len(contrasts) + 1)
        lines.append(f"| dB over the best Gaussian, paired: {method} | {' | '.join(cells)} |")
    last = {(row["kind"], row["level"]): row for row in rows if row["method"] == "noisy input"}
    cells = [_cell(last[noise]["estimate"], 2) for noise in noises] + [""] * (len(contrasts) + 1)
    return "\n".join([*lines, f"| estimated sigma over the added one | {' | '.join(cells)} |"]) + "\n"


def _cell(estimate: Mapping[str, Any], digits: int) -> str:
    low, high = estimate["ci95"] or (float("nan"), float("nan"))
    return f"{estimate['value']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def draw(job: Job, path: Path) -> None:
    """A slice through the middle of a brain, in the order it is stored in: clean, noisy and under each method."""
    whole = read_volume(job.path)
    brain = find_brain(whole).mask
    bright = scale_of(whole.data[brain], job.path)
    noisy = _made_noisy(whole, whole.data, brain, bright, *LESION_NOISE, np.random.default_rng(job.seed))
    pictures = {"as scanned": noisy.clean}
    pictures |= {name: method(noisy, _denoiser(job.bundle)) for name, method in METHODS.items()}
    figure = Figure(figsize=(4 * len(pictures), 9), layout="constrained")
    for column, (name, data) in enumerate(pictures.items()):
        for row, shown in enumerate((data / bright, (data - noisy.clean) / bright)):
            axes = figure.add_subplot(2, len(pictures), 1 + column + row * len(pictures))
            low, high = ((0, 1.2), (-0.2, 0.2))[row]
            axes.imshow(shown[:, :, shown.shape[2] // 2].T, cmap="gray", origin="lower", vmin=low, vmax=high)
            axes.set_title(name if row == 0 else "less the scan", fontsize=14)
            axes.axis("off")
    figure.savefig(path, dpi=60)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("shapes", type=Path, nargs="?")
    parser.add_argument("--bundle", default=DENOISING_BUNDLE)
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    parser.add_argument("--limit", type=int, help="participants at most")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()

    jobs = jobs_of(find_bundle(words.bundle), words.healthy, words.shapes, words.part, words.limit, words.seed)
    results = run(jobs, words.processes)
    rows, contrasts = summary(results), kept(results)
    words.output.mkdir(parents=True, exist_ok=True)
    made = {"part": words.part, "people": len(jobs), "seed": words.seed, "noise": rows, "contrast_kept": contrasts}
    write_json(words.output / "metrics.json", made)
    write_text(words.output / "table.md", table(rows, contrasts))
    print(table(rows, contrasts))
    draw(jobs[0], words.output / "slice.png")


if __name__ == "__main__":
    main()

"""How well a bundle finds simulated lesions in healthy heads it has not seen, beside a plain intensity threshold.

    python -m benchmarks.detection HEALTHY LESION_SHAPES --bundle bundles/brain_t1_cae -o OUT

HEALTHY is the data set the bundle was trained on. The bundle's test participants serve as test cases: each is scored as
it is, with a clear and with a subtle lesion, put into the raw whole-head volume before any preprocessing. Thresholds
come from the calibration participants alone. OUT gets ``metrics.json`` and ``table.md``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.simulated_lesions import Case, choose_shapes, lesion_on_source, paste_lesion, plan
from mri3d.detector import Detector
from mri3d.evaluation import bootstrap, subjects, voxels
from mri3d.grid import Affine
from mri3d.reporting.figure import draw_subject
from mri3d.reporting.subject_files import template_on
from mri3d.scoring.detection import Detection
from mri3d.volumes.alignment import align, load_template
from mri3d.volumes.atomic import write_json, write_text
from mri3d.volumes.brain import find_brain
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.subject import Subject
from mri3d.volumes.volume import Volume

METHODS = {
    "intensity": "intensity, deviation from the brain's median",
    "residual": "raw residual of the autoencoder",
    "zscore": "z-map (what mri3d reports)",
}
KINDS = {"clear": ("clear",), "subtle": ("subtle_bright", "subtle_dark")}
CASES_A_SUBJECT = 3
"""Clean, clear and subtle, one after the other: a process that takes all three places the subject once."""

NORMALS = 15
"""Calibration subjects that give the thresholds of the methods a bundle holds none for."""

TAIL = 0.999
"""Share of healthy brain voxels below a voxel threshold."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One case under all methods: brain voxels' scores by method, their truth, the subject's score, and seconds."""

    case: Case
    maps: Mapping[str, np.ndarray]
    truth: np.ndarray
    scores: Mapping[str, float]
    voxel_ml: float
    flagged_ml: float
    seconds: float


Job = tuple[str, Subject, Case]
"""Bundle, the healthy subject, and what is done to it."""


def score(job: Job) -> Scored:
    """The case under all methods."""
    start = time.perf_counter()
    detection, truth = detect(job)
    return _scored(job[2], detection, truth, time.perf_counter() - start)


def detect(job: Job) -> tuple[Detection, np.ndarray]:
    """Put the case's lesion, if it has one, into the raw volume, run the bundle on the file; detection and truth."""
    bundle, subject, case = job
    volume, brain, world = _placed(subject.reference)
    truth = np.zeros(volume.data.shape, bool)
    with tempfile.TemporaryDirectory() as folder:
        path = subject.reference
        if case.lesion is not None:
            shape = lesion_on_source(Path(case.lesion.shape), world, volume.grid, flipped=case.lesion.flipped)
            data, truth = paste_lesion(volume.data, brain, shape, case.lesion.kind, case.lesion.strength)
            path = Path(folder) / f"{subject.name}.nii.gz"
            write_map(path, data, volume)
        return _detector(bundle).detect(path), truth


@lru_cache(maxsize=1)
def _placed(path: Path) -> tuple[Volume, np.ndarray, Affine]:
    """A healthy volume, its brain, and where the template lies in it."""
    volume = read_volume(path)
    brain = find_brain(volume).mask
    return volume, brain, align(volume, brain).template_to_source


@lru_cache(maxsize=1)
def _detector(bundle: str) -> Detector:
    return Detector.load(bundle, device="cpu")


def _scored(case: Case, detection: Detection, truth: np.ndarray, seconds: float) -> Scored:
    inside = detection.volume.data[detection.brain]
    assert detection.zscore is not None and detection.anomalous_ml is not None
    maps = {
        "intensity": np.abs(inside / np.median(inside) - 1).astype(np.float32),
        "residual": detection.error[detection.brain],
        "zscore": detection.zscore[detection.brain],
    }
    scores = {name: _top_mean(values) for name, values in maps.items()} | {"zscore": detection.score.value}
    ml = detection.volume.grid.voxel_ml
    return Scored(case, maps, truth[detection.brain], scores, ml, detection.anomalous_ml, seconds)


def _top_mean(values: np.ndarray, share: float = 0.001) -> float:
    top = max(1, round(values.size * share))
    return float(np.partition(values, -top)[-top:].mean())


def run(jobs: Sequence[Job], label: str) -> list[Scored]:
    """Score all cases, a process a core."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_one_thread) as pool:
        return list(tqdm(pool.map(score, jobs, chunksize=CASES_A_SUBJECT), total=len(jobs), desc=label, unit="case"))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def measure(tested: Sequence[Scored], thresholds: Mapping[str, float]) -> dict[str, dict[str, dict[str, Any]]]:
    """Metrics by kind of lesion and method, each ``{"value", "ci95"}``."""
    clean = [scored for scored in tested if scored.case.lesion is None]
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, members in KINDS.items():
        lesioned = [s for s in tested if s.case.lesion is not None and s.case.lesion.kind in members and s.truth.any()]
        small = [s for s in lesioned if s.case.lesion is not None and s.case.lesion.small]
        results[kind] = {
            name: {
                "voxel_ap": _ranked(lesioned, name)["average_precision"],
                "voxel_ap_small": _ranked(small, name).get("average_precision"),
                "dice_best": _ranked(lesioned, name)["dice_best"],
                "dice_normals": _at(lesioned, name, thresholds[name])["dice"],
                "subject_auroc": subjects.ranking(
                    [s.scores[name] for s in (*clean, *lesioned)],
                    [False] * len(clean) + [True] * len(lesioned),
                    [s.case.subject for s in (*clean, *lesioned)],
                )["auroc"].as_dict(),
                "healthy_ml_beyond": bootstrap.average(
                    [float((s.maps[name] >= thresholds[name]).sum() * s.voxel_ml) for s in clean]
                ).as_dict(),
                "healthy_exceedance": bootstrap.average(
                    [float((s.maps[name] >= thresholds[name]).mean()) for s in clean]
                ).as_dict(),
            }
            for name in METHODS
        }
    return results


def _cases(scored: Iterable[Scored], name: str) -> list[voxels.BrainVoxels]:
    return [voxels.BrainVoxels(s.case.subject, s.maps[name], s.truth) for s in scored]


def _ranked(scored: Sequence[Scored], name: str) -> dict[str, Any]:
    return {key: value.as_dict() for key, value in voxels.ranking(_cases(scored, name), replicates=500).items()}


def _at(scored: Sequence[Scored], name: str, threshold: float) -> dict[str, Any]:
    return {key: value.as_dict() for key, value in voxels.at_threshold(_cases(scored, name), threshold).items()}


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The metrics as a Markdown table with intervals."""
    columns = {
        "voxel_ap": "voxel AP",
        "dice_best": "best Dice (label-chosen)",
        "dice_normals": "Dice at the 99.9 % threshold of normals",
        "subject_auroc": "subject AUROC",
        "voxel_ap_small": "voxel AP, lesions under 5 ml",
        "healthy_ml_beyond": "ml beyond the threshold a healthy scan",
    }
    lines = [f"| lesions | method | {' | '.join(columns.values())} |", f"|{' --- |' * (len(columns) + 2)}"]
    for kind, methods in results.items():
        for name, values in methods.items():
            cells = [_cell(values[column]) for column in columns]
            lines.append(f"| {kind} | {METHODS[name]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return ""
    low, high = estimate["ci95"] or (float("nan"), float("nan"))
    return f"{estimate['value']:.2f} ({low:.2f} to {high:.2f})"


def draw_examples(jobs: Sequence[Job], results: Sequence[Scored], threshold: float, folder: Path) -> None:
    """Pictures of the best, median and worst lesion of each kind, by Dice at the threshold."""
    for kind, members in KINDS.items():
        dice = {
            i: 2 * float((found := s.maps["zscore"] >= threshold)[s.truth].sum()) / float(found.sum() + s.truth.sum())
            for i, s in enumerate(results)
            if s.case.lesion is not None and s.case.lesion.kind in members and s.truth.any()
        }
        ranked = sorted(dice, key=lambda i: dice[i])
        for name, i in (("worst", ranked[0]), ("median", ranked[len(ranked) // 2]), ("best", ranked[-1])):
            detection, truth = detect(jobs[i])
            stem = folder / f"{kind}_{name}_dice{dice[i]:.2f}"
            draw_subject(detection, stem.with_name(stem.name + ".png"), template_on(detection.model.grid))
            shown = replace(detection, zscore=truth.astype(np.float32) * 99, anomaly=truth)
            draw_subject(shown, stem.with_name(stem.name + "_truth.png"), template_on(detection.model.grid))


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("shapes", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="test participants at most, for a quick look")
    words = parser.parse_args()

    split = json.loads((words.bundle / "models" / "split.json").read_text(encoding="utf-8"))
    if not split["test"]:
        parser.error(f"{words.bundle} was trained without test participants: --set training.shares=...")
    found = {subject.participant: subject for subject in discover(words.healthy).subjects}
    tested, normals = split["test"][: words.limit], split["calibration"][: words.limit or NORMALS]
    template = load_template()
    shapes = choose_shapes(words.shapes, words.seed, len(tested), template.brain, template.grid)
    cases = plan(tested, shapes, words.seed)
    bundle = str(words.bundle)
    calibration = run([(bundle, found[name], Case(name, None)) for name in normals], "calibration subjects")
    jobs = [(bundle, found[case.subject], case) for case in cases]
    results = run(jobs, "test cases")
    thresholds = {
        name: float(np.quantile(np.concatenate([s.maps[name] for s in calibration]), TAIL))
        for name in METHODS
        if name != "zscore"
    }
    thresholds["zscore"] = json.loads((words.bundle / "models/calibration.json").read_text("utf-8"))["voxel_threshold"]
    metrics = measure(results, thresholds)
    clean = [s for s in results if s.case.lesion is None]
    write_json(
        words.output / "metrics.json",
        {
            "simulated": "stroke-shaped lesions in healthy heads",
            "test_subjects": len(tested),
            "seed": words.seed,
            "thresholds": thresholds,
            "metrics": metrics,
            "false_positive_ml": bootstrap.average([s.flagged_ml for s in clean]).as_dict(),
            "seconds_a_case": float(np.median([s.seconds for s in results])),
            "cases": [
                {"subject": s.case.subject, "kind": s.case.lesion.kind if s.case.lesion else "clean",
                 "lesion_ml": float(s.truth.sum() * s.voxel_ml), "scores": dict(s.scores), "flagged_ml": s.flagged_ml}
                for s in results
            ],
        },
    )
    write_text(words.output / "table.md", table(metrics))
    draw_examples(jobs, results, thresholds["zscore"], words.output / "pictures")
    print(table(metrics))


if __name__ == "__main__":
    main()

"""How well detectors find lesions in heads they have not seen, all on the same split, side by side.

    python -m benchmarks.detection HEALTHY LESION_SHAPES --bundle B1 --bundle B2 -o OUT [--data FOLDER]

HEALTHY is the data set the bundles were trained on, all with one split. Its test participants serve as cases: each as
it is, with a clear and with a subtle lesion, put into the raw whole-head volume before any preprocessing. FOLDER is a
BIDS or BraTS data set with lesion masks, scored beside. Every case is brought onto the model grid once and scored by
all bundles; thresholds are those the bundles hold, from calibration participants alone. Differences are to the first
bundle. OUT gets ``metrics.json``, ``table.md`` and pictures of the last bundle's best, median and worst cases;
``benchmarks.detection_page`` makes a page of one or several ``metrics.json``.

Choices are made with ``--part validation``; the test participants are for the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from tqdm import tqdm

from benchmarks.detection_page import tables
from benchmarks.simulated_lesions import Case, choose_shapes, lesion_on_source, paste_lesion, plan
from mri3d.bundle import find_bundle
from mri3d.detector import Detector
from mri3d.evaluation import cohort
from mri3d.evaluation.bootstrap import Estimate, average
from mri3d.grid import Affine
from mri3d.recipe import config_of, record_of
from mri3d.reporting.compared_figure import Compared, draw_compared
from mri3d.reporting.panels import Overlay
from mri3d.reporting.subject_figure import draw_subject
from mri3d.scoring.calibration import Calibration
from mri3d.scoring.detection import Detection
from mri3d.transforms.template import template_on
from mri3d.volumes.alignment import align, load_template
from mri3d.volumes.atomic import write_json, write_text
from mri3d.volumes.brain import find_brain
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.subject import Subject
from mri3d.volumes.truth import Who, find_truths, read_mask
from mri3d.volumes.volume import Volume

KINDS = {"clear": ("clear",), "subtle": ("subtle_bright", "subtle_dark")}
REPLICATES_SEED = 0
CASES_A_SUBJECT = 3
"""Clean, clear and subtle, one after the other: a process that takes all three places the subject once."""


@dataclass(frozen=True)
class Job:
    """A case and who is to score it.

    Args:
        bundles: folders.
        subject: the volume.
        case: what is put into it; of a real case nothing.
        truth: the lesion mask of a real case.
    """

    bundles: tuple[str, ...]
    subject: Subject
    case: Case
    truth: Path | None = None


@dataclass(frozen=True, eq=False)
class Scored:
    """A case under one bundle: what is measured, its lesion's volume, and the seconds that this bundle took."""

    scan: cohort.Scan
    lesion_ml: float
    seconds: float


def score(job: Job) -> list[Scored]:
    """The case under each of the bundles, in their order."""
    results = []
    item, truth, common = _preprocessed(job)
    for bundle in job.bundles:
        start = time.perf_counter()
        detection = _detectors(job.bundles)[bundle].score(item)
        seconds = common + time.perf_counter() - start
        results.append(Scored(_measured(job, detection, truth, bundle), _ml(truth, detection), seconds))
    return results


def detect(job: Job) -> tuple[Detection, np.ndarray]:
    """What the last bundle makes of the case, and the truth."""
    item, truth, _ = _preprocessed(job)
    return _detectors(job.bundles)[job.bundles[-1]].score(item), truth


def _preprocessed(job: Job) -> tuple[dict[str, Any], np.ndarray, float]:
    """The case on the model grid, its truth on the source grid, and the seconds of the way there."""
    detector = next(iter(_detectors(job.bundles).values()))
    with tempfile.TemporaryDirectory() as folder:
        path, truth = _simulated(job, Path(folder))
        start = time.perf_counter()
        return detector.preprocess(path), truth, time.perf_counter() - start


def _simulated(job: Job, folder: Path) -> tuple[Path, np.ndarray]:
    """The case's file, with its lesion put in if it is to have one, and the truth."""
    path, lesion = job.subject.reference, job.case.lesion
    if job.truth is not None:
        return path, read_mask(job.truth, read_volume(path).grid)
    volume, brain, world = _placed(path)
    if lesion is None:
        return path, np.zeros(volume.data.shape, bool)
    shape = lesion_on_source(Path(lesion.shape), world, volume.grid, flipped=lesion.flipped)
    data, truth = paste_lesion(volume.data, brain, shape, lesion.kind, lesion.strength)
    path = folder / f"{job.subject.name}.nii.gz"
    write_map(path, data, volume)
    return path, truth


@lru_cache(maxsize=1)
def _placed(path: Path) -> tuple[Volume, np.ndarray, Affine]:
    """A healthy volume, its brain, and where the template lies in it."""
    volume = read_volume(path)
    brain = find_brain(volume).mask
    return volume, brain, align(volume, brain).template_to_source


@lru_cache(maxsize=1)
def _detectors(bundles: tuple[str, ...]) -> Mapping[str, Detector]:
    return {bundle: Detector.load(bundle, device="cpu") for bundle in bundles}


@lru_cache
def _min_ml(bundle: str) -> float:
    return float(config_of(Path(bundle))["min_ml"])


def _measured(job: Job, detection: Detection, truth: np.ndarray, bundle: str) -> cohort.Scan:
    assert detection.zscore is not None
    scan = cohort.measure(
        subject=job.case.subject,
        abnormal=bool(truth.any()),
        score=detection.score.value,
        maps=cohort.Maps(detection.zscore, detection.brain, truth, detection.volume.grid.voxel_ml),
        voxel_threshold=detection.voxel_threshold,
        min_ml=_min_ml(bundle),
        fidelity={},
        anomalous_ml=detection.anomalous_ml,
    )
    if scan.abnormal:
        return scan
    inside = detection.zscore[detection.brain]
    tail = {f"exceedance_{share}": float(np.mean(inside > z)) for share, z in _calibration(bundle).voxel_tail.items()}
    return replace(scan, healthy={**scan.healthy, **tail})


@lru_cache
def _calibration(bundle: str) -> Calibration:
    calibration = Calibration.load(Path(bundle) / "models" / "calibration.json")
    assert calibration is not None
    return calibration


def _ml(truth: np.ndarray, detection: Detection) -> float:
    return float(truth.sum()) * detection.volume.grid.voxel_ml


def run(jobs: Sequence[Job]) -> list[list[Scored]]:
    """Score all cases under all bundles, a process a core."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_one_thread) as pool:
        return list(tqdm(pool.map(score, jobs, chunksize=CASES_A_SUBJECT), total=len(jobs), unit="case"))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def simulated_jobs(
    bundles: tuple[str, ...], healthy: Path, shapes: Path, people: Sequence[str], seed: int
) -> list[Job]:
    """Three cases for each of the people."""
    found = {subject.participant: subject for subject in discover(healthy).subjects}
    template = load_template()
    chosen = choose_shapes(shapes, seed, len(people), template.brain, template.grid)
    return [Job(bundles, found[case.subject], case) for case in plan(people, chosen, seed)]


def real_jobs(bundles: tuple[str, ...], folder: Path) -> list[Job]:
    """The cases of a data set that have a lesion mask."""
    found = discover(folder).subjects
    truths = find_truths(folder, [Who(subject.key, subject.participant) for subject in found])
    return [
        Job(bundles, subject, Case(subject.participant, None), truths.known[subject.key].mask)
        for subject in found
        if subject.key in truths.known
    ]


def groups(jobs: Sequence[Job]) -> dict[str, list[int]]:
    """Which cases are measured together: those of a kind of lesion, with the healthy scans beside."""
    clean = [i for i, job in enumerate(jobs) if job.case.lesion is None and job.truth is None]
    put_in = {i: job.case.lesion.kind for i, job in enumerate(jobs) if job.case.lesion is not None}
    of = {name: clean + [i for i, kind in put_in.items() if kind in kinds] for name, kinds in KINDS.items()}
    return {**of, "real": [i for i, job in enumerate(jobs) if job.truth is not None]}


def measure(jobs: Sequence[Job], results: Sequence[Sequence[Scored]], bundles: Sequence[str]) -> dict[str, Any]:
    """Metrics by kind of lesion and bundle; see :func:`mri3d.evaluation.cohort.metrics`."""
    measured: dict[str, Any] = {}
    for kind, members in groups(jobs).items():
        if not members:
            continue
        measured[kind] = {}
        for index, bundle in enumerate(bundles):
            calibration = _calibration(bundle)
            scans = [results[i][index].scan for i in members]
            small = [results[i][index].scan for i in members if _is_small(jobs[i])]
            metrics = cohort.metrics(scans, calibration.voxel_threshold, calibration.thresholds, REPLICATES_SEED)
            if small:
                of_small = cohort.metrics(small, calibration.voxel_threshold, {}, REPLICATES_SEED)
                metrics["voxel_ap_small"] = of_small["voxel_ap"]
            if index:
                metrics["differences"] = cohort.differences(metrics, measured[kind][_name(bundles[0])])
            metrics["seconds"] = float(np.median([results[i][index].seconds for i in members]))
            measured[kind][_name(bundle)] = metrics
    return measured


def _is_small(job: Job) -> bool:
    return job.case.lesion is not None and job.case.lesion.small


def _name(bundle: str) -> str:
    return Path(bundle).name


def of_healthy(jobs: Sequence[Job], results: Sequence[Sequence[Scored]], bundles: Sequence[str]) -> dict[str, Any]:
    """By bundle, on the healthy scans: what passes thresholds that hardly anything should, and whether p is uniform."""
    clean = [i for i in groups(jobs)["clear"] if not results[i][0].scan.abnormal]
    people = [jobs[i].case.subject for i in clean]
    found = {}
    for index, bundle in enumerate(bundles):
        scans, calibration = [results[i][index].scan for i in clean], _calibration(bundle)
        means = {name: average([scan.healthy[name] for scan in scans], people) for name in scans[0].healthy}
        # p-values share one calibration set, so that a test for independent uniform ones would find too much
        uniform = stats.ks_2samp([scan.score for scan in scans], calibration.scores)
        found[_name(bundle)] = {
            **means,
            "p_values": {
                "kolmogorov_smirnov": float(uniform.statistic),
                "p": float(uniform.pvalue),
                "resolution": 1 / (len(calibration.scores) + 1),
            },
        }
    return found


def draw_examples(jobs: Sequence[Job], results: Sequence[Sequence[Scored]], threshold: float, folder: Path) -> None:
    """Pictures of the last bundle's best, median and worst lesion of each kind, by Dice at the threshold."""
    for kind, members in groups(jobs).items():
        dice = {
            i: cohort.numbers(results[i][-1].scan, threshold)["dice_normals"]
            for i in members
            if results[i][-1].scan.voxels is not None
        }
        ranked = sorted(dice, key=lambda i: dice[i])
        for name, place in (("worst", 0), ("median", len(ranked) // 2), ("best", -1)):
            if not ranked:
                continue
            detection, truth = detect(jobs[ranked[place]])
            stem = folder / f"{kind}_{name}_dice{dice[ranked[place]]:.2f}"
            draw_subject(detection, stem.with_name(stem.name + ".png"), template_on(detection.model.grid))
            words = f"{kind}, Dice {dice[ranked[place]]:.2f}"
            draw_compared(_compared(detection, truth, words), stem.with_name(stem.name + "_truth.png"))


def _compared(detection: Detection, truth: np.ndarray, words: str) -> Compared:
    assert detection.zscore is not None
    return Compared(
        name=detection.subject.name,
        grid=detection.volume.grid,
        scan=detection.volume.data,
        scan_name="the scan",
        brain=detection.brain,
        overlay=Overlay.of_zscore(detection.zscore, detection.voxel_threshold),
        found=detection.anomaly,
        truth=truth,
        words=words,
    )


def people_of(bundles: Sequence[str], part: str) -> list[str]:
    """The participants of a part of the split that all bundles share.

    Raises:
        SystemExit: splits or preprocessing differ, or nobody is in the part.
    """
    if len({_name(bundle) for bundle in bundles}) < len(bundles):
        raise SystemExit("two bundles have folders of one name: the table could not tell them apart")
    splits = [json.loads((Path(bundle) / "models" / "split.json").read_text(encoding="utf-8")) for bundle in bundles]
    if any(split != splits[0] for split in splits):
        raise SystemExit("the bundles were not trained on one split: use the same --seed and training.shares")
    settings = [Detector.load(bundle, device="cpu").preprocessing for bundle in bundles]
    if any(setting != settings[0] for setting in settings):
        raise SystemExit("the bundles do not preprocess alike")
    if not splits[0][part]:
        raise SystemExit(f"the bundles' split has nobody in {part}: --set training.shares=...")
    return list(splits[0][part])


def about(bundle: Path) -> dict[str, Any]:
    """How a detector was made: recipe, seed, epochs of its training, if it has any, and number of learnt weights."""
    config, network = config_of(bundle, "train"), Detector.load(bundle, device="cpu").network
    return {
        "recipe": record_of(bundle)["recipe"],
        "seed": config["seed"],
        "epochs": config["training"].get("epochs"),
        "weights": sum(parameter.numel() for parameter in network.parameters()),
    }


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("shapes", type=Path)
    parser.add_argument("--bundle", action="append", required=True, help="repeatable; the first is compared against")
    parser.add_argument("--data", type=Path, action="append", default=[], help="a data set with lesion masks")
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    parser.add_argument("--limit", type=int, help="participants at most, for a quick look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()

    bundles = tuple(str(find_bundle(bundle)) for bundle in words.bundle)
    people = people_of(bundles, words.part)[: words.limit]
    jobs = simulated_jobs(bundles, words.healthy, words.shapes, people, words.seed)
    jobs += [job for folder in words.data for job in real_jobs(bundles, folder)]
    results = run(jobs)
    cases = [
        {"subject": job.case.subject, "kind": job.case.lesion.kind if job.case.lesion else "as it is",
         "lesion_ml": scored[0].lesion_ml,
         **{_name(bundle): cohort.numbers(of.scan, None) | {"score": of.scan.score}
            for bundle, of in zip(bundles, scored, strict=True)}}
        for job, scored in zip(jobs, results, strict=True)
    ]  # fmt: skip
    measured = plain(
        {"simulated": "stroke-shaped lesions in healthy heads", "part": words.part, "people": len(people),
         "seed": words.seed, "detectors": {_name(bundle): about(Path(bundle)) for bundle in bundles},
         "metrics": measure(jobs, results, bundles), "healthy": of_healthy(jobs, results, bundles), "cases": cases}
    )  # fmt: skip
    words.output.mkdir(parents=True, exist_ok=True)
    write_json(words.output / "metrics.json", measured)
    write_text(words.output / "table.md", tables(measured))
    print(tables(measured))
    draw_examples(jobs, results, _calibration(bundles[-1]).voxel_threshold, words.output / "pictures")


def plain(value: Any) -> Any:
    """Estimates as JSON has them, at any depth."""
    if isinstance(value, Estimate):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()

"""What T1w, T2w and FLAIR show, alone and together, beside two plain thresholds on FLAIR.

    python -m benchmarks.modalities LESIONS HEALTHY --bundle B -o OUT

LESIONS is a data set of several modalities with lesion masks below ``derivatives``. HEALTHY is the data set that the
bundle was trained on; the people of its split's test part are the healthy ones here, and whether their images are real
or simulated is for the reader to know. The bundle goes on without a modality (``missing_modalities``).

Each subject is brought onto the model grid once. ``T1w`` and so on are subjects that have these modalities alone;
``FLAIR of all`` is the map of FLAIR alone where the network was given all of them. The thresholds on FLAIR are those
that the field compares with: the histogram-equalised FLAIR (Meissen et al. 2021, doi 10.1007/978-3-031-08999-2_5) and
FLAIR over its brain's median, on the reference's grid without smoothing. "Normals" are the calibration's subjects, for
the thresholds on FLAIR the healthy people of this benchmark. OUT gets ``metrics.json``, ``table.md`` and pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from tqdm import tqdm

from benchmarks.detection import plain
from mri3d.bundle import find_bundle
from mri3d.detector import Detector
from mri3d.evaluation import cohort
from mri3d.recipe import config_of
from mri3d.reporting.subject_figure import draw_subject
from mri3d.scoring.detection import Detection
from mri3d.scoring.modality_sets import ModalitySet, modality_sets, set_name
from mri3d.transforms.case import Case, Item
from mri3d.transforms.resampling import resample
from mri3d.transforms.template import template_on
from mri3d.volumes.atomic import write_json, write_text
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume
from mri3d.volumes.subject import Subject
from mri3d.volumes.truth import Who, find_truths, read_mask
from mri3d.volumes.volume import BoolArray, FloatArray

QUANTILE = 0.999
"""Share of healthy brain voxels below the thresholds on FLAIR."""

ALONE = "FLAIR of all"
THRESHOLDS = ("FLAIR, histogram-equalised", "FLAIR over its median")


@dataclass(frozen=True, eq=False)
class Shown:
    """What one method makes of one subject.

    Args:
        scores: (X, Y, Z), larger is more abnormal.
        threshold: of normals; None where it is still to be found.
        detection: of the bundle, where the method is a set of modalities.
    """

    scores: FloatArray
    threshold: float | None = None
    detection: Detection | None = None


class Comparison:
    """One bundle and the thresholds on FLAIR.

    Args:
        bundle: a folder.
    """

    def __init__(self, bundle: Path) -> None:
        config = config_of(bundle)
        if "FLAIR" not in config["modalities"] or not config["missing_modalities"]:
            raise SystemExit(f"{bundle.name} is no bundle of FLAIR and others that goes on without some of them")
        self.detector = Detector.load(bundle, "cpu", {"per_modality": "reference"})
        self.min_ml = float(config["min_ml"])
        self.sets = modality_sets(self.detector.modalities, missing=True)

    def shown(self, subject: Subject) -> tuple[BoolArray, float, dict[str, Shown]]:
        """The brain, a voxel's ml, and every method's map of a subject that has all modalities."""
        item = self.detector.preprocess(subject)
        methods = dict(zip(THRESHOLDS, map(Shown, _thresholded(item["case"])), strict=True))
        complete, *partial = (self.detector.score(_without_others(item, given)) for given in self.sets)
        alone = next(m.data for m in complete.modality_maps if (m.modality, m.kind) == ("FLAIR", "zscore"))
        methods[ALONE] = Shown(alone, complete.voxel_threshold)
        for detection in (*reversed(partial), complete):
            if detection.zscore is None:
                raise SystemExit("the bundle is not calibrated: it gives no z-maps")
            name = set_name(tuple(detection.subject.images))
            methods[name] = Shown(detection.zscore, detection.voxel_threshold, detection)
        return complete.brain, complete.volume.grid.voxel_ml, methods


def _without_others(item: Item, given: ModalitySet) -> Item:
    """The subject as if it had these modalities alone."""
    case: Case = item["case"]
    kept = torch.tensor([name in given for name in case.channels])[:, None, None, None]
    images = {name: path for name, path in case.subject.images.items() if name in given}
    volumes = {name: volume for name, volume in case.volumes.items() if name in given}
    found = {name: one for name, one in case.coregistrations.items() if name in given}
    subject = replace(case.subject, images=images)
    case = replace(case, subject=subject, volumes=volumes, coregistrations=found)
    return {**item, "case": case, "image": item["image"] * kept, "mask": item["mask"] & kept}


def _thresholded(case: Case) -> tuple[FloatArray, FloatArray]:
    """FLAIR on the reference's grid, as its rank within the brain (0 to 1) and over the brain's median."""
    assert case.volume is not None and case.brain is not None
    volume, found = case.volumes["FLAIR"], case.coregistrations["FLAIR"]
    flair = np.clip(resample(volume.data, volume.grid, case.volume.grid, found.to_moving), 0, None)
    brain = case.brain.mask & (flair > 0)
    equalised = np.zeros(flair.shape, np.float32)
    equalised[brain] = rankdata(flair[brain], "average") / brain.sum()
    return equalised, np.where(brain, flair / np.median(flair[brain]), 0).astype(np.float32)


def healthy_people(bundle: Path, folder: Path, modalities: Sequence[str], limit: int | None) -> list[Subject]:
    """The test part of the bundle's split."""
    test = json.loads((bundle / "models" / "split.json").read_text(encoding="utf-8"))["test"]
    people = [subject for subject in discover(folder, modalities).subjects if subject.participant in test][:limit]
    if not people:
        raise SystemExit(f"nobody in {folder} is of the test part of {bundle.name}: train with a share for it")
    return people


def lesioned(folder: Path, modalities: Sequence[str]) -> Iterator[tuple[Subject, Path]]:
    """The subjects that have a lesion mask."""
    subjects = discover(folder, modalities).subjects
    truths = find_truths(folder, [Who(subject.key, subject.participant) for subject in subjects])
    for subject in subjects:
        if subject.key in truths.known and (mask := truths.known[subject.key].mask) is not None:
            yield subject, mask


def measure_healthy(comparison: Comparison, people: Sequence[Subject]) -> tuple[dict[str, Any], dict[str, float]]:
    """What passes the thresholds of normals in healthy people, by set of modalities; and thresholds on FLAIR."""
    found: dict[str, list[dict[str, float]]] = {}
    quantiles: dict[str, list[float]] = {name: [] for name in THRESHOLDS}
    for subject in tqdm(people, desc="healthy", unit="subject"):
        brain, _, methods = comparison.shown(subject)
        for name, shown in methods.items():
            if name in quantiles:
                quantiles[name].append(float(np.quantile(shown.scores[brain], QUANTILE)))
            elif shown.detection is not None:
                found.setdefault(name, []).append({
                    "false_positive_ml": float(shown.detection.anomalous_ml or 0),
                    "exceedance": float(np.mean(shown.scores[brain] > shown.threshold)),
                    "anomalous": float(shown.detection.score.decision == "anomalous"),
                })
    means = {name: {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} for name, rows in found.items()}
    return means, {name: float(np.mean(each)) for name, each in quantiles.items()}


def measure_lesioned(
    comparison: Comparison, cases: Sequence[tuple[Subject, Path]], thresholds: Mapping[str, float], pictures: Path
) -> dict[str, dict[str, Any]]:
    """Metrics of each method: of each subject, and of all together."""
    scans: dict[str, list[tuple[cohort.Scan, float]]] = {}
    for subject, mask in tqdm(cases, desc="lesions", unit="subject"):
        truth = read_mask(mask, read_volume(subject.reference).grid)
        brain, voxel_ml, methods = comparison.shown(subject)
        for name, shown in methods.items():
            level = thresholds[name] if shown.threshold is None else shown.threshold
            maps = cohort.Maps(shown.scores, brain, truth, voxel_ml)
            scan = cohort.measure(subject.participant, True, 0.0, maps, level, comparison.min_ml, {}, None)
            scans.setdefault(name, []).append((scan, level))
            if shown.detection is not None:
                picture = pictures / f"{subject.participant}_{name}.png"
                draw_subject(shown.detection, picture, template_on(shown.detection.model.grid))
    return {
        name: {
            **{scan.subject: cohort.metrics([scan], level, {}) for scan, level in of},
            "together": cohort.metrics([scan for scan, _ in of], of[0][1], {}),
        }
        for name, of in scans.items()
    }


def table(measured: Mapping[str, Any]) -> str:
    """Markdown."""
    people = list(next(iter(measured["lesions"].values())))
    head = [f"{person}: AP / best Dice / Dice" for person in people]
    lines = [["method", *head], ["---"] * (len(head) + 1)]
    for name, of in measured["lesions"].items():
        cells = [
            " / ".join(f"{of[person][key]['value']:.2f}" for key in ("voxel_ap", "dice_best", "dice_normals"))
            for person in people
        ]
        lines.append([name, *cells])
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    text += f"\nHealthy ({measured['healthy_people']} people)\n\n"
    text += "| given | false-positive ml a scan | voxels | anomalous |\n| --- | --- | --- | --- |\n"
    for name, row in measured["healthy"].items():
        voxels, flagged = 100 * row["exceedance"], row["anomalous"]
        text += f"| {name} | {row['false_positive_ml']:.2f} | {voxels:.3f} % | {flagged:.2f} |\n"
    return text


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lesions", type=Path)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--bundle", default="brain_t1t2flair")
    parser.add_argument("--limit", type=int, help="healthy people at most")
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()

    bundle = find_bundle(words.bundle)
    comparison = Comparison(bundle)
    modalities = comparison.detector.modalities
    people = healthy_people(bundle, words.healthy, modalities, words.limit)
    healthy, thresholds = measure_healthy(comparison, people)
    cases = list(lesioned(words.lesions, modalities))
    (words.output / "pictures").mkdir(parents=True, exist_ok=True)
    lesions = measure_lesioned(comparison, cases, thresholds, words.output / "pictures")
    measured = plain({"healthy_people": len(people), "healthy": healthy, "lesions": lesions})
    write_json(words.output / "metrics.json", measured)
    write_text(words.output / "table.md", table(measured))
    print(table(measured))


if __name__ == "__main__":
    main()

"""Who is measured, with whom, and against what: the benchmark's bookkeeping, on made-up maps."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection import Job, Scored, about, groups, measure, of_healthy, people_of
from benchmarks.simulated_lesions import Case, Lesion
from mri3d.bundle import find_bundle
from mri3d.evaluation import cohort
from mri3d.scoring.calibration import Calibration
from tests.helpers import subject_of

BUNDLES = tuple(str(find_bundle(name)) for name in ("brain_t1", "brain_t1_cae"))
SUBJECT = subject_of("sub-1_T1w.nii.gz")
SHAPE = (12, 12, 12)
BRAIN = np.ones(SHAPE, bool)


def case(person: str, kind: str | None, ml: float = 20.0) -> Case:
    lesion = None if kind is None else Lesion("shape.nii.gz", kind, 0.5, flipped=False, small=ml < 5)
    return Case(person, lesion)


def job(person: str, kind: str | None, ml: float = 20.0, truth: Path | None = None) -> Job:
    return Job(BUNDLES, SUBJECT, case(person, kind, ml), truth)


JOBS = [
    *(job(person, None) for person in "abcd"),
    *(job(person, "clear", 2.0 if person == "a" else 20.0) for person in "abcd"),
    job("a", "subtle_dark"),
    job("b", "subtle_bright"),
    job("r", None, truth=Path("mask.nii.gz")),
]


def scored(of: Job, zscore: np.ndarray, truth: np.ndarray, score: float) -> Scored:
    maps = cohort.Maps(zscore, BRAIN, truth, 0.001)
    ml = 1.0 if not truth.any() else None
    scan = cohort.measure(of.case.subject, bool(truth.any()), score, maps, 3.3, 0.0, {}, ml)
    if not scan.abnormal:
        inside = zscore[BRAIN]
        tail = {f"exceedance_{share}": float(np.mean(inside > 3.3)) for share in (0.99, 0.995, 0.999)}
        scan = replace(scan, healthy={**scan.healthy, **tail})
    return Scored(scan, float(truth.sum()), 1.0)


def results() -> list[list[Scored]]:
    """The first bundle tells nothing of lesions, the second finds all but the small one."""
    rng, rows = np.random.default_rng(0), []
    for index, of in enumerate(JOBS):
        truth = np.zeros(SHAPE, bool)
        if index >= 4:
            truth[3:6, 3:6, 3:6] = True
        noise = rng.uniform(0, 3, SHAPE).astype(np.float32)
        found = noise.copy()
        if index != 4:
            found[truth] = 9.0
        rows.append([scored(of, noise, truth, 1.0), scored(of, found, truth, 9.0 if index > 4 else 1.0)])
    return rows


def test_healthy_scans_stand_beside_every_kind_of_simulated_lesion_but_not_beside_real_ones() -> None:
    assert groups(JOBS) == {"clear": [0, 1, 2, 3, 4, 5, 6, 7], "subtle": [0, 1, 2, 3, 8, 9], "real": [10]}


def test_metrics_are_those_of_each_kind_and_differences_those_to_the_first() -> None:
    measured = measure(JOBS, results(), BUNDLES)
    first, second = (measured["subtle"][name] for name in ("brain_t1", "brain_t1_cae"))
    assert second["voxel_ap"].value == pytest.approx(1.0)
    assert first["voxel_ap"].value < 0.1
    assert "differences" not in first
    assert second["differences"]["voxel_ap"].value == pytest.approx(1 - first["voxel_ap"].value)
    assert second["subject_auroc"].value == 1.0 and first["subject_auroc"].value == 0.5
    clear = measured["clear"]["brain_t1_cae"]
    assert 0.5 < clear["voxel_ap"].value < 1, "the small lesion is missed"
    assert clear["voxel_ap_small"].value < 0.1, "and is the only small one"
    assert "voxel_ap_small" not in second
    assert measured["real"]["brain_t1_cae"]["voxel_ap"].value == pytest.approx(1.0)
    assert "subject_auroc" not in measured["real"]["brain_t1_cae"]


@pytest.mark.parametrize(("shift", "alike"), [(0.0, True), (3.0, False)])
def test_healthy_scores_are_compared_with_those_of_the_calibration(shift: float, alike: bool) -> None:
    calibrations = [Calibration.load(Path(bundle) / "models" / "calibration.json") for bundle in BUNDLES]
    rows = []
    for row, of in zip(results(), JOBS, strict=True):
        number = "abcd".find(of.case.subject)
        scores = [np.quantile(c.scores, 0.2 * (number + 1)) + shift * np.std(c.scores) for c in calibrations if c]
        rows.append([replace(one, scan=replace(one.scan, score=float(s))) for one, s in zip(row, scores, strict=True)])
    for found in of_healthy(JOBS, rows, BUNDLES).values():
        assert (found["p_values"]["p"] > 0.5) == alike
        assert found["p_values"]["resolution"] == 1 / 40
        assert found["exceedance_0.999"].value == 0.0
        assert found["false_positive_ml"].value == 1.0


def test_the_people_are_those_of_one_split(tmp_path: Path) -> None:
    people = people_of(BUNDLES, "test")
    assert len(people) == 25 == len(set(people))
    assert not set(people) & set(people_of(BUNDLES, "train"))
    with pytest.raises(SystemExit, match="folders of one name"):
        people_of([BUNDLES[0], BUNDLES[0]], "test")
    other = tmp_path / "other"
    shutil.copytree(BUNDLES[0], other)
    split = json.loads((other / "models" / "split.json").read_text())
    split["train"].append(split["test"].pop())
    (other / "models" / "split.json").write_text(json.dumps(split))
    with pytest.raises(SystemExit, match="not trained on one split"):
        people_of([BUNDLES[0], str(other)], "test")


def test_a_detector_is_described_by_recipe_seed_and_size() -> None:
    assert about(Path(BUNDLES[1])) == {"recipe": "cae", "seed": 0, "epochs": 30, "weights": 540797}

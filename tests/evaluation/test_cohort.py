from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mri3d.evaluation.bootstrap import Estimate
from mri3d.evaluation.cohort import COMPARED, FROC_STEPS, Maps, Scan, differences, measure, metrics, numbers

SHAPE = (8, 8, 8)
THRESHOLDS = {"mean+1std": 1.0, "mean+3std": 2.0}


def scan(seed: int, lesion: int = 0, person: str = "", **changes) -> Scan:
    """A scan of noise with a cubic lesion of that many voxels along an edge, in the corner of a brain."""
    rng = np.random.default_rng(seed)
    brain, truth = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    brain[1:7, 1:7, 1:7] = True
    truth[1 : 1 + lesion, 1 : 1 + lesion, 1 : 1 + lesion] = True
    maps = Maps(brain * (rng.gamma(1.0, size=SHAPE) + 4 * truth + 1e-6), brain, truth, 0.5)
    given = {
        "subject": person or f"s{seed}", "abnormal": lesion > 0, "score": seed / 4 + lesion, "maps": maps,
        "voxel_threshold": 3.0, "min_ml": 1.0, "fidelity": {"mse": 0.1 * seed}, "anomalous_ml": 0.25 * seed,
    }  # fmt: skip
    return measure(**{**given, **changes})


def test_froc_steps_fall_and_hold_the_threshold_itself():
    assert 1.0 in FROC_STEPS and list(FROC_STEPS) == sorted(FROC_STEPS, reverse=True)


def test_a_lesion_outside_the_brain_counts_and_air_does_not():
    truth = np.zeros(SHAPE, bool)
    truth[0, 0, 0] = truth[2, 2, 2] = True
    brain = np.zeros(SHAPE, bool)
    brain[1:7, 1:7, 1:7] = True
    maps = Maps(np.where(brain, 5.0, 0.0), brain, truth, 0.5)
    found = scan(0, abnormal=True, maps=maps)
    assert found.voxels is not None and found.voxels.scores.size == 6**3 + 1
    assert found.spread is not None and found.spread.sum(axis=1).tolist() == [6**3 - 1, 2]
    assert metrics([found], 3.0, {})["voxel_sensitivity"].value == 0.5


def test_a_healthy_scan_gives_false_positives_and_keeps_no_voxels():
    found = scan(2)
    assert found.voxels is None and set(found.healthy) == {"exceedance", "false_positive_ml"}
    assert found.healthy["false_positive_ml"] == 0.5 and 0 < found.healthy["exceedance"] < 0.2
    assert scan(2, lesion=2).healthy == {}


def test_numbers_of_one_scan():
    found = numbers(scan(0, lesion=3), 3.0)
    assert found["lesion_ml"] == 13.5 and found["lesions"] == found["lesions_detected"] == 1
    assert 0.5 < found["dice_normals"] <= 1 and 0.5 < found["ap"] <= 1 and found["sensitivity"] == 1.0
    assert numbers(scan(0), 3.0)["lesions"] == 0 and "dice_normals" not in numbers(scan(0), 3.0)


def test_healthy_scans_do_not_move_voxel_metrics_of_lesions_and_do_move_false_findings():
    lesioned = [scan(i, lesion=2) for i in range(3)]
    noisy = scan(9, maps=Maps(np.full(SHAPE, 9.0), np.ones(SHAPE, bool), np.zeros(SHAPE, bool), 0.5))
    alone, with_healthy = (metrics(scans, 3.0, THRESHOLDS) for scans in (lesioned, [*lesioned, noisy]))
    for name in ("voxel_ap", "dice_normals", "dice_best", "voxel_precision", "lesion_sensitivity"):
        assert with_healthy[name].value == alone[name].value
    assert with_healthy["false_findings_a_scan"].value == pytest.approx(
        (3 * alone["false_findings_a_scan"].value + 1) / 4
    )
    assert with_healthy["exceedance"].value == 1.0 and "exceedance" not in alone


def test_decisions_use_the_thresholds_given():
    scans = [scan(0), scan(6), scan(1, lesion=2)]  # scores 0, 1.5 and 2.25
    found = metrics(scans, 3.0, THRESHOLDS)
    assert found["decision"]["mean+1std"]["confusion"]["healthy"] == {"normal": 1, "anomalous": 1}
    assert found["decision"]["mean+3std"]["confusion"]["healthy"] == {"normal": 2, "anomalous": 0}
    assert found["decision"]["mean+3std"]["accuracy"].value == 1.0
    assert found["flagged"].value == 0.0


def test_a_metric_that_cannot_be_given_is_absent():
    assert "subject_auroc" not in metrics([scan(0)], 3.0, {}) and "decision" not in metrics([scan(0)], 3.0, {})
    bare = scan(0, lesion=2, voxel_threshold=None)
    assert bare.lesions is None and set(metrics([bare], None, {})) == {
        "voxel_ap", "voxel_auroc", "dice_best", "dice_best_threshold", "mse",
    }  # fmt: skip
    unmasked = scan(0, abnormal=True, maps=Maps(np.ones(SHAPE), np.ones(SHAPE, bool), None, 0.5))
    assert set(metrics([unmasked], 3.0, {})) == {"mse"}


def test_means_are_over_the_scans_that_have_the_value():
    scans = [scan(1), replace(scan(3), fidelity={})]
    assert metrics(scans, 3.0, {})["mse"].value == pytest.approx(0.1)


def test_differences_pair_the_draws_of_both():
    ours = [scan(i, lesion=2 * (i % 2), person=f"p{i // 4}") for i in range(16)]
    theirs = [replace(s, score=s.score - (0.5 if s.abnormal else 0)) for s in ours]
    a, b = metrics(ours, 3.0, THRESHOLDS), metrics(theirs, 3.0, THRESHOLDS)
    found = differences(a, b)
    assert set(found) <= set(COMPARED) and "dice_best" not in found
    assert found["voxel_ap"].value == 0.0 and found["voxel_ap"].ci95 == (0.0, 0.0)
    assert found["subject_auroc"].value == a["subject_auroc"].value - b["subject_auroc"].value
    assert all(isinstance(of, Estimate) for of in found.values())

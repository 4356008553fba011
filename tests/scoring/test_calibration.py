"""Thresholds and p-values of unseen healthy subjects."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri3d.errors import BundleError
from mri3d.scoring.calibration import Calibration, uncalibrated

SCORES = (1.0, 2.0, 3.0, 4.0, 10.0)


def test_thresholds_are_mean_plus_k_sample_deviations():
    # mean 4, deviations -3, -2, -1, 0, 6: the squares sum up to 50, divided by n - 1 = 4
    std = np.sqrt(12.5)
    assert Calibration(SCORES, 4.0, 0.999).thresholds == pytest.approx({"mean+1std": 4 + std, "mean+3std": 4 + 3 * std})


def test_the_decision_changes_just_above_the_threshold():
    calibration = Calibration(SCORES, 4.0, 0.999)
    limit = calibration.thresholds["mean+3std"]
    at, above = calibration.judge(limit), calibration.judge(float(np.nextafter(limit, 99)))
    assert (at.decision, above.decision) == ("normal", "anomalous")
    assert at.threshold == limit
    assert at.thresholds == calibration.thresholds
    assert calibration.judge(4 + 1.01 * np.sqrt(12.5)).decision == "normal"


def test_p_values_by_hand():
    calibration = Calibration(SCORES, 4.0, 0.999)
    assert [calibration.judge(value).p_value for value in (0.5, 3.0, 3.5, 10.0, 11.0)] == pytest.approx(
        [6 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    assert calibration.judge(11.0).p_resolution == pytest.approx(1 / 6)
    assert calibration.judge(11.0).value == 11.0


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_larger_score_is_never_less_abnormal(scores: list[float], one: float, other: float):
    calibration = Calibration(tuple(scores), 4.0, 0.999)
    low, high = (calibration.judge(value) for value in sorted((one, other)))
    assert 1 / (len(scores) + 1) <= high.p_value <= low.p_value <= 1
    assert (low.decision, high.decision) != ("anomalous", "normal")


def test_p_values_of_exchangeable_healthy_subjects_hold_their_level():
    # 4000 studies of 20 healthy subjects and one more: P(p <= a) <= a, and close to it
    rng = np.random.default_rng(0)
    draws = rng.gamma(2.0, size=(4000, 21))
    p = np.array([Calibration(tuple(row[:-1]), 4.0, 0.999).judge(row[-1]).p_value for row in draws])
    for level in (0.05, 0.1, 0.25, 0.5):
        share, sampling = (p <= level).mean(), 3 * np.sqrt(level * (1 - level) / len(p))
        assert share <= level + sampling
        assert share >= np.floor(level * 21) / 21 - sampling


def test_ties_count_against_the_subject():
    assert Calibration((2.0, 2.0, 2.0), 4.0, 0.999).judge(2.0).p_value == 1


def test_saved_and_loaded_it_is_the_same(tmp_path: Path):
    kept = Calibration((1.1, 1 / 3, 2.7e-9), 3.3, 0.999, {"weights": "ab", "settings": "cd"})
    kept.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == kept
    for_readers = json.loads((tmp_path / "calibration.json").read_text())
    assert for_readers["subjects"] == 3
    assert for_readers["thresholds"] == pytest.approx(kept.thresholds)


def test_no_file_is_no_calibration(tmp_path: Path):
    assert Calibration.load(tmp_path / "calibration.json") is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"scores": "abc"}', '{"scores": [1, null], "voxel_threshold": 1}', "\xff"]
)
def test_a_damaged_file_is_a_bundle_error(tmp_path: Path, content: str):
    path = tmp_path / "calibration.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BundleError, match="Train the bundle again, or restore the file"):
        Calibration.load(path)


@pytest.mark.parametrize("scores", ["[]", "[1.0]", "[1.0, NaN, 2.0]"])
def test_scores_that_give_no_threshold_are_refused_and_never_become_nan(tmp_path: Path, scores: str):
    path = tmp_path / "calibration.json"
    path.write_text(f'{{"scores": {scores}, "voxel_threshold": 4.0, "voxel_quantile": 0.999, "sha256": {{}}}}')
    with pytest.raises(BundleError):
        Calibration.load(path)


def test_without_a_calibration_there_is_a_number_and_nothing_else():
    score = uncalibrated(3.5)
    assert (score.value, score.decision) == (3.5, "uncalibrated")
    assert score.threshold is score.p_value is score.p_resolution is None
    assert score.thresholds == {}


def test_a_modality_that_departs_throughout_is_named():
    known = Calibration(SCORES, 4.0, 0.999, typical={"T1w": 0.6, "FLAIR": 0.5})
    assert known.doubts(np.zeros(10), {"T1w": 0.7, "FLAIR": 0.6}) == ()
    (words,) = known.doubts(np.zeros(10), {"T1w": 0.7, "FLAIR": 1.2})
    assert words.startswith("FLAIR departs throughout the brain, 2.4 times as far as in any healthy subject")
    assert Calibration(SCORES, 4.0, 0.999).doubts(np.zeros(10), {"T1w": 9.0}) == ()


def test_a_score_that_is_no_number_is_not_normal():
    with pytest.raises(ValueError, match="nan"):
        Calibration(SCORES, 4.0, 0.999).judge(float("nan"))


def test_a_bundle_that_is_not_calibrated_for_it_does_not_judge_an_incomplete_subject():
    known = Calibration(SCORES, 4.0, 0.999, partial={"T1w+T2w": Calibration((1.0, 2.0), 3.0, 0.999)})
    assert known.of_partial(("T1w", "T2w")).voxel_threshold == 3.0
    with pytest.raises(BundleError, match="a calibration for subjects of T1w alone"):
        known.of_partial(("T1w",))

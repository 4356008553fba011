from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.froc import compute_froc_score

from mri3d.evaluation.lesions import ScanLesions, by_size, find_lesions, froc, froc_score, sensitivity

SHAPE = (20, 20, 20)


def block(*spans: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


SMALL = block((1, 3), (1, 3), (1, 3))  # 8 voxels
LARGE = block((10, 15), (10, 14), (10, 15))  # 100 voxels


def scan(covered, false, sizes=(), subject="a") -> ScanLesions:
    return ScanLesions(subject, np.asarray(sizes, float), np.asarray(covered, float), np.asarray(false, float))


def test_a_tenth_of_a_lesion_makes_it_detected_and_a_voxel_less_does_not():
    for voxels, detected in ((10, True), (9, False)):
        scores = np.zeros(SHAPE)
        scores[10:12, 10, 10:15] = 5.0
        scores[11, 10, 14] = 5.0 if voxels == 10 else 0.0
        found = find_lesions("a", scores, LARGE, 0.01, [4.0], 0.0)
        assert found.covered[0, 0] == pytest.approx(voxels / 100)
        assert found.detected[0, 0] == detected


def test_lesions_that_touch_at_a_corner_are_one():
    touching = SMALL | block((3, 5), (3, 5), (3, 5))
    assert find_lesions("a", np.zeros(SHAPE), touching, 0.5, [1.0], 0.0).sizes_ml.tolist() == [8.0]
    apart = SMALL | block((4, 6), (3, 5), (3, 5))
    assert find_lesions("a", np.zeros(SHAPE), apart, 0.5, [1.0], 0.0).sizes_ml.tolist() == [4.0, 4.0]


def test_findings_below_the_minimum_volume_neither_find_nor_disturb():
    scores = 5.0 * SMALL + 5.0 * block((17, 18), (17, 18), (17, 18))
    for min_ml, covered, false in ((0.001, 1.0, 1), (0.008, 1.0, 0), (0.009, 0.0, 0)):
        found = find_lesions("a", scores, SMALL, 0.001, [4.0], min_ml)
        assert (found.covered[0, 0], found.false_findings[0]) == (covered, false)


def test_a_finding_far_larger_than_the_lesion_in_it_is_false():
    scores = np.full(SHAPE, 5.0)
    found = find_lesions("a", scores, SMALL, 0.001, [4.0], 0.0)
    assert found.detected.all() and found.false_findings.tolist() == [1]
    assert find_lesions("a", 5.0 * SMALL, SMALL, 0.001, [4.0], 0.0).false_findings.tolist() == [0]


def test_a_healthy_scan_has_only_false_findings():
    found = find_lesions("a", 5.0 * SMALL + 3.0 * LARGE, np.zeros(SHAPE, bool), 1.0, [6.0, 4.0, 2.0], 0.0)
    assert found.covered.shape == (3, 0) and found.false_findings.tolist() == [0, 1, 2]
    assert froc([found]) is None and froc_score([found]) is None and sensitivity([found], 0) is None


def test_an_empty_map_finds_nothing():
    found = find_lesions("a", np.zeros(SHAPE), np.zeros(SHAPE, bool), 1.0, [1.0], 0.0)
    assert found.sizes_ml.size == 0 and found.false_findings.tolist() == [0]


def test_sensitivity_by_size():
    scans = [scan([[1.0, 0.0]], [0], [0.5, 1.0], "a"), scan([[0.1, 0.09, 1.0]], [0], [4.9, 5.0, 20.0], "b")]
    assert sensitivity(scans, 0).value == pytest.approx(3 / 5)
    found = {name: (count, share.value) for name, (count, share) in by_size(scans, 0).items()}
    assert found == {"<1 ml": (1, 1.0), "1-5 ml": (2, 0.5), "5-20 ml": (1, 0.0), ">=20 ml": (1, 1.0)}


CURVED = [
    scan([[0.0, 0.0], [1.0, 0.0], [1.0, 0.2]], [0, 1, 6], [1.0, 1.0], "a"),
    scan([[0.5], [0.5], [0.5]], [0, 0, 4], [1.0], "b"),
    scan(np.zeros((3, 0)), [0, 2, 2], (), "c"),
]


def test_froc_by_hand():
    curve = froc(CURVED)
    assert curve.false_findings == pytest.approx([0, 0, 1, 4])
    assert curve.sensitivity == pytest.approx([0, 1 / 3, 2 / 3, 1])
    expected = [1 / 3 + 1 / 12, 1 / 3 + 1 / 6, 2 / 3, 2 / 3 + 1 / 9, 1.0, 1.0]
    assert froc_score(CURVED).value == pytest.approx(np.mean(expected))


def test_froc_score_is_monais():
    curve = froc(CURVED)
    assert curve.score == pytest.approx(compute_froc_score(curve.false_findings[::-1], curve.sensitivity[::-1]))


def test_the_curve_ends_where_false_findings_grow_into_one_another():
    merged = [scan([[0.0], [0.3], [0.3], [1.0]], [0, 3, 3, 1], [2.0])]
    curve = froc(merged)
    assert curve.false_findings.tolist() == [0, 0, 3, 3] and curve.sensitivity.tolist() == [0, 0, 1, 1]
    never_false = froc([scan([[0.0], [1.0]], [0, 0], [2.0])])
    assert never_false.sensitivity[-1] == 1.0 and never_false.score == 1.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 3))
def test_lower_thresholds_cover_more_and_curves_rise(seed, min_ml):
    rng = np.random.default_rng(seed)
    scans = [
        find_lesions(str(i), rng.random((6, 6, 6)), rng.random((6, 6, 6)) < 0.1, 1.0, [0.9, 0.7, 0.4, 0.1], min_ml)
        for i in range(3)
    ]
    assert all((np.diff(found.covered, axis=0) >= 0).all() for found in scans)
    if (curve := froc(scans)) is not None:
        assert (np.diff(curve.false_findings) >= 0).all() and (np.diff(curve.sensitivity) >= 0).all()
        assert 0 <= curve.score <= 1


def test_intervals_resample_subjects():
    rng = np.random.default_rng(0)
    scans = [scan(rng.random((1, 4)) < 0.5, [1], np.ones(4), f"s{i}") for i in range(40)]
    found = sensitivity(scans, 0)
    spread = np.std([one.detected.mean() for one in scans]) / np.sqrt(40)
    assert found.ci95[1] - found.ci95[0] == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert sensitivity(scans[:1], 0).ci95 is None and froc_score(scans[:1]).ci95 is None
    low, high = froc_score(scans).ci95
    assert low <= froc_score(scans).value <= high


def test_refuses_shapes_that_differ_and_thresholds_that_rise():
    with pytest.raises(ValueError, match="sub-1"):
        find_lesions("sub-1", np.zeros(SHAPE), np.zeros((3, 3, 3), bool), 1.0, [1.0], 0.0)
    with pytest.raises(ValueError, match="fall"):
        find_lesions("sub-1", np.zeros(SHAPE), SMALL, 1.0, [1.0, 2.0], 0.0)

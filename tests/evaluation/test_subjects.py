from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from mri3d.evaluation.bootstrap import Estimate, average, draw_subjects
from mri3d.evaluation.subjects import (
    auroc_of_counts,
    average_precision_of_counts,
    confusion,
    curve,
    decisions,
    ranking,
)

labelled_scores = st.lists(st.tuples(st.integers(-50, 50), st.booleans()), min_size=2, max_size=40)


def test_known_values_by_hand():
    # Sorted from above: abnormal, healthy, abnormal, healthy. 3 of 4 pairs in order; precision 1/1 and 2/3 at the hits.
    found = ranking([4, 3, 2, 1], [True, False, True, False])
    assert found["auroc"].value == pytest.approx(0.75)
    assert found["average_precision"].value == pytest.approx((1 + 2 / 3) / 2)


def test_perfect_and_worthless_scores():
    assert ranking([1, 2, 3, 4], [0, 0, 1, 1])["auroc"] == Estimate(1.0, (1.0, 1.0))
    assert ranking([5, 5, 5, 5], [0, 0, 1, 1])["auroc"].value == 0.5


def test_one_class_gives_no_metric():
    assert ranking([1, 2, 3], [0, 0, 0]) == {}
    assert ranking([1, 2, 3], [1, 1, 1]) == {}
    assert ranking([], []) == {}


@settings(max_examples=60, deadline=None)
@given(labelled_scores)
def test_counts_agree_with_scikit_learn(pairs):
    scores, truth = np.array([s for s, _ in pairs], float), np.array([t for _, t in pairs])
    one_hot = (scores[:, None] == np.unique(scores)).astype(float)
    positives, negatives = one_hot[truth].sum(axis=0), one_hot[~truth].sum(axis=0)
    if truth.any() and not truth.all():
        assert auroc_of_counts(positives, negatives) == pytest.approx(roc_auc_score(truth, scores))
        assert average_precision_of_counts(positives, negatives) == pytest.approx(
            average_precision_score(truth, scores)
        )
    else:
        assert np.isnan(auroc_of_counts(positives, negatives))


@settings(max_examples=30, deadline=None)
@given(labelled_scores)
def test_bounds_and_invariance_to_monotone_transformation(pairs):
    scores, truth = np.array([s for s, _ in pairs], float), np.array([t for _, t in pairs])
    found = ranking(scores, truth, replicates=50)
    assert found == ranking(scores**3 + 5 * scores, truth, replicates=50)
    for estimate in found.values():
        assert 0 <= estimate.value <= 1
        assert (estimate.ci95 is None) == (len(pairs) < 2)
        low, high = estimate.ci95 or (0, 1)
        assert 0 <= low <= high <= 1


def test_interval_holds_the_value_and_narrows_with_more_subjects():
    def interval(n: int) -> tuple[float, float]:
        rng = np.random.default_rng(0)
        truth = np.arange(n) % 2 == 0
        auroc = ranking(rng.normal(size=n) + truth, truth)["auroc"]
        assert auroc.ci95 is not None
        assert auroc.ci95[0] < auroc.value < auroc.ci95[1]
        return auroc.ci95

    few, many = interval(40), interval(400)
    assert many[1] - many[0] < 0.5 * (few[1] - few[0])


def test_interval_width_is_that_of_theory():
    # Hanley and McNeil (1982), standard error of AUROC with 50 against 50 subjects.
    rng = np.random.default_rng(3)
    truth = np.arange(100) % 2 == 0
    auroc = ranking(rng.normal(size=100) + truth, truth)["auroc"]
    a = auroc.value
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = np.sqrt((a * (1 - a) + 49 * (q1 - a * a) + 49 * (q2 - a * a)) / 2500)
    assert auroc.ci95 is not None
    assert auroc.ci95[1] - auroc.ci95[0] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_same_seed_same_interval():
    scores, truth = np.random.default_rng(1).normal(size=30), np.arange(30) % 3 == 0
    assert ranking(scores, truth, seed=5) == ranking(scores, truth, seed=5)
    assert ranking(scores, truth, seed=5) != ranking(scores, truth, seed=6)


def test_cases_of_one_subject_are_drawn_together():
    draws = draw_subjects(["b", "a", "b", "c"], replicates=200, seed=0)
    assert draws.shape == (200, 4)
    assert np.array_equal(draws[:, 0], draws[:, 2])
    assert (draws[:, [0, 1, 3]].sum(axis=1) == 3).all()
    # Each subject with and without a lesion: every draw has both classes, and pairing narrows the interval.
    rng = np.random.default_rng(0)
    habit = np.repeat(rng.normal(size=25), 2)
    truth = np.tile([False, True], 25)
    scores, names = habit + truth + rng.normal(scale=0.1, size=50), np.repeat(np.arange(25).astype(str), 2).tolist()
    paired, single = ranking(scores, truth, names)["auroc"], ranking(scores, truth)["auroc"]
    assert paired.ci95 is not None and single.ci95 is not None
    assert paired.value == single.value
    assert paired.ci95[1] - paired.ci95[0] < single.ci95[1] - single.ci95[0]


def test_one_subject_has_no_interval():
    found = ranking([1, 2], [0, 1], ["a", "a"])
    assert found["auroc"] == Estimate(1.0, None)


def test_as_dict_is_json():
    assert json.loads(json.dumps(Estimate(0.5, (0.25, 0.75)).as_dict())) == {"value": 0.5, "ci95": [0.25, 0.75]}
    assert json.dumps(ranking(np.array([1.0, 2.0], np.float32), [0, 1])["auroc"].as_dict(), allow_nan=False)
    assert Estimate(0.5, None).as_dict()["ci95"] is None


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([1.0, np.nan], [0, 1], "not finite"),
        ([1.0, np.inf], [0, 1], "not finite"),
        ([1.0], [0, 1], "one a case"),
        ([[1.0]], [[1]], "one a case"),
    ],
)
def test_refuses_what_cannot_be_ranked(scores, truth, message):
    with pytest.raises(ValueError, match=message):
        ranking(scores, truth)


def test_average_has_the_interval_of_the_standard_error():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    estimate = average(values)
    assert estimate.value == pytest.approx(values.mean())
    low, high = estimate.ci95
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(400), rel=0.1)


def test_decisions_by_hand():
    flagged, abnormal = [1, 0, 1, 0, 0], [1, 1, 1, 0, 0]
    found = {name: estimate.value for name, estimate in decisions(flagged, abnormal).items()}
    assert found == pytest.approx({"accuracy": 4 / 5, "sensitivity": 2 / 3, "specificity": 1.0})
    assert confusion(flagged, abnormal).tolist() == [[2, 0], [1, 2]]
    assert confusion([0], [0]).tolist() == [[1, 0], [0, 0]]


def test_decisions_on_one_class_say_what_they_can():
    assert set(decisions([0, 1], [0, 0])) == {"accuracy", "specificity"}
    assert set(decisions([0, 1], [1, 1])) == {"accuracy", "sensitivity"}
    assert decisions([], []) == {}
    with pytest.raises(ValueError, match="one a case"):
        decisions([0], [0, 1])


def test_a_mean_over_scans_of_few_people_is_less_sure():
    values = np.repeat(np.random.default_rng(0).normal(size=20), 5)
    grouped, single = average(values, [str(i // 5) for i in range(100)]), average(values)
    assert grouped.value == single.value
    assert grouped.ci95[1] - grouped.ci95[0] > 1.5 * (single.ci95[1] - single.ci95[0])


def test_a_paired_difference_is_surer_than_its_parts():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=60)
    truth = np.arange(60) % 2 == 0
    a, b = (ranking(hard + gain * truth + 0.05 * rng.normal(size=60), truth)["auroc"] for gain in (1.0, 0.8))
    found = a.minus(b)
    assert found.value == pytest.approx(a.value - b.value)
    assert found.ci95[1] - found.ci95[0] < 0.5 * (a.ci95[1] - a.ci95[0])
    assert a.minus(a).ci95 == (0.0, 0.0)
    with pytest.raises(ValueError, match="pairs"):
        a.minus(ranking(hard, truth, replicates=5)["auroc"])


@settings(max_examples=40, deadline=None)
@given(labelled_scores)
def test_curves_are_scikit_learns(pairs):
    scores, truth = np.array([s for s, _ in pairs], float), np.array([t for _, t in pairs])
    if truth.all() or not truth.any():
        return
    found = curve(scores, truth)
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert found.recall == pytest.approx(true[1:]) and found.false_positive_rate == pytest.approx(false[1:])
    precision, recall, _ = precision_recall_curve(truth, scores)
    assert found.precision == pytest.approx(precision[:-1][::-1]) and found.recall == pytest.approx(recall[:-1][::-1])


def test_a_curve_of_one_class_has_no_false_positive_rate():
    assert np.isnan(curve([1.0, 2.0], [1, 1]).false_positive_rate).all()

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from mri3d.evaluation.bootstrap import Estimate, draw_subjects
from mri3d.evaluation.subjects import auroc_of_counts, average_precision_of_counts
from mri3d.evaluation.voxels import BrainVoxels, at_threshold, bin_edges, curve, histogram, ranking


def case(subject: str, scores, truth) -> BrainVoxels:
    return BrainVoxels(subject, np.asarray(scores, dtype=np.float32), np.asarray(truth, dtype=bool))


def cohort(n: int, voxels: int = 3000, seed: int = 0) -> list[BrainVoxels]:
    """Subjects of whom every second has a lesion, of a size and contrast of its own."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(n):
        truth = np.arange(voxels) < (rng.integers(5, voxels // 20) if i % 2 else 0)
        scores = rng.gamma(1.0, size=voxels) + truth * rng.normal(rng.uniform(1, 5), 1.0, voxels)
        cases.append(case(f"sub-{i}", scores, truth))
    return cases


def pooled(cases: list[BrainVoxels]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([c.scores for c in cases]), np.concatenate([c.truth for c in cases])


HAND = [case("a", [0.9, 0.8, 0.1, 0.2], [1, 0, 0, 1]), case("b", [0.7, 0.3, 0.1, 0.0], [1, 0, 0, 0])]


def test_ranking_known_values_by_hand():
    # From above: 0.9 hit, 0.8 miss, 0.7 hit, 0.3 miss, 0.2 hit, then three misses.
    found = ranking(HAND)
    assert found["average_precision"].value == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert found["auroc"].value == pytest.approx((5 + 4 + 3) / 15)
    assert found["dice_best"].value == pytest.approx(2 * 3 / (3 + 5))
    assert found["dice_best_threshold"].value == pytest.approx(0.2)


def test_at_threshold_known_values_by_hand():
    # At 0.7: a flags two, one of them in its lesion of two; b flags its lesion of one and nothing else.
    found = {name: estimate.value for name, estimate in at_threshold(HAND, 0.7).items()}
    assert found == pytest.approx(
        {"dice": 4 / 6, "dice_subject_mean": (2 / 4 + 1) / 2, "sensitivity": 2 / 3, "precision": 2 / 3}
    )


def test_healthy_cases_cost_precision_but_have_no_dice_of_their_own():
    healthy = case("c", [0.9, 0.9, 0.0], [0, 0, 0])
    found, without = at_threshold([*HAND, healthy], 0.7), at_threshold(HAND, 0.7)
    assert found["precision"].value == pytest.approx(2 / 5)
    assert found["dice"].value == pytest.approx(4 / 8)
    assert found["dice_subject_mean"].value == without["dice_subject_mean"].value


def test_a_metric_the_data_cannot_give_is_absent():
    healthy = [case("a", [1, 2], [0, 0]), case("b", [1, 3], [0, 0])]
    assert ranking(healthy) == {} == ranking([])
    assert set(at_threshold(healthy, 2)) == {"precision"}
    assert at_threshold(healthy, 9) == {} == at_threshold([], 9)
    assert set(ranking([case("a", [1, 2], [1, 1])])) == {"average_precision", "dice_best", "dice_best_threshold"}
    missed = at_threshold([case("a", [1, 2], [0, 1]), case("b", [1, 2], [0, 1])], 9)
    assert {name: estimate.value for name, estimate in missed.items()} == {
        "dice": 0.0,
        "dice_subject_mean": 0.0,
        "sensitivity": 0.0,
    }


def test_values_agree_with_scikit_learn():
    cases = cohort(8)
    scores, truth = pooled(cases)
    found = ranking(cases, replicates=20)
    assert found["average_precision"].value == pytest.approx(average_precision_score(truth, scores))
    assert found["auroc"].value == pytest.approx(roc_auc_score(truth, scores))
    best = found["dice_best_threshold"].value
    assert found["dice_best"].value == pytest.approx(f1_score(truth, scores >= best))
    others = [f1_score(truth, scores >= t) for t in np.quantile(scores, np.linspace(0.5, 0.999, 60))]
    assert found["dice_best"].value >= max(others)
    assert at_threshold(cases, best)["dice"].value == pytest.approx(found["dice_best"].value)


def test_replicates_from_histograms_agree_with_sorting_to_1e_3():
    cases = cohort(12, voxels=60_000)
    edges = bin_edges(np.concatenate([c.scores[c.truth] for c in cases]))
    assert sum(c.truth.sum() for c in cases) > 4 * edges.size  # binning does lose something here
    draws = draw_subjects([c.subject for c in cases], replicates=6, seed=1)
    positives, negatives = (draws @ np.stack(side) for side in zip(*(histogram(c, edges) for c in cases), strict=True))
    for i, weights in enumerate(draws):
        scores, truth = pooled([c for c, times in zip(cases, weights, strict=True) for _ in range(int(times))])
        area, precision = roc_auc_score(truth, scores), average_precision_score(truth, scores)
        assert auroc_of_counts(positives, negatives)[i] == pytest.approx(area, abs=1e-3)
        assert average_precision_of_counts(positives, negatives)[i] == pytest.approx(precision, abs=1e-3)


def test_bins_lose_nothing_where_lesion_voxels_are_few():
    cases = cohort(6)
    scores, truth = pooled(cases)
    positives, negatives = np.sum([histogram(c, bin_edges(scores[truth])) for c in cases], axis=0)
    assert average_precision_of_counts(positives, negatives) == pytest.approx(average_precision_score(truth, scores))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-99, 99), st.booleans()), min_size=2, max_size=60))
def test_bounds_and_invariance_to_monotone_transformation(pairs):
    scores, truth = np.array([s for s, _ in pairs], float), np.array([t for _, t in pairs])

    def found(values: np.ndarray) -> dict[str, Estimate]:
        cases = [BrainVoxels(str(i), values[i::2], truth[i::2]) for i in range(2)]
        return ranking(cases, replicates=40) | at_threshold(cases, float(values[0]), replicates=40)

    plain, bent = found(scores), found(scores**3 + 5 * scores)
    for metrics in (plain, bent):
        metrics.pop("dice_best_threshold", None)
    assert plain == bent
    for estimate in plain.values():
        low, high = estimate.ci95 or (0.0, 1.0)
        assert 0 <= low <= high <= 1 + 1e-12
        assert 0 <= estimate.value <= 1 + 1e-12


def test_intervals_hold_their_values():
    cases = cohort(40)
    for estimate in (ranking(cases) | at_threshold(cases, 4.0)).values():
        assert estimate.ci95 is not None
        low, high = estimate.ci95
        assert low <= estimate.value <= high


def test_dice_interval_is_the_bootstrap_done_by_hand():
    cases = cohort(10)
    draws = draw_subjects([c.subject for c in cases], replicates=200, seed=4)
    dice = []
    for weights in draws:
        scores, truth = pooled([c for c, times in zip(cases, weights, strict=True) for _ in range(int(times))])
        if truth.any():
            dice.append(f1_score(truth, scores >= 4.0))
    assert at_threshold(cases, 4.0, replicates=200, seed=4)["dice"].ci95 == pytest.approx(
        tuple(np.percentile(dice, (2.5, 97.5)))
    )


def test_same_seed_same_interval():
    cases = cohort(10)
    assert ranking(cases, seed=2) == ranking(cases, seed=2)
    assert ranking(cases, seed=2) != ranking(cases, seed=3)


def test_one_subject_has_no_interval():
    assert all(estimate.ci95 is None for estimate in ranking(HAND[:1]).values())
    assert all(estimate.ci95 is None for estimate in at_threshold(HAND[:1], 0.5).values())


def test_only_voxels_inside_the_brain_count():
    rng = np.random.default_rng(0)
    brain, scores, truth = rng.random((4, 5, 6)) < 0.5, rng.random((4, 5, 6)), rng.random((4, 5, 6)) < 0.3
    inside = BrainVoxels.within("a", brain, scores, truth)
    scores[~brain] = np.nan
    again = BrainVoxels.within("a", brain, scores, truth & brain)
    assert np.array_equal(inside.scores, again.scores) and np.array_equal(inside.truth, again.truth)
    assert inside.scores.shape == (brain.sum(),)


def test_refuses_shapes_that_differ_and_scores_that_are_not_finite():
    with pytest.raises(ValueError, match="sub-1"):
        case("sub-1", [1.0, np.nan], [0, 1])
    with pytest.raises(ValueError, match="sub-1"):
        case("sub-1", [1.0, 2.0], [0])
    with pytest.raises(ValueError, match="differ"):
        BrainVoxels.within("sub-1", np.ones((2, 2, 2), bool), np.ones((2, 2, 3)), np.ones((2, 2, 2), bool))


def test_the_curve_of_pooled_voxels_passes_through_its_thresholds():
    found = curve(HAND)
    # At 0.9, 0.7 and 0.2, the scores of the lesion voxels, and at last all voxels together.
    assert found.recall == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert found.precision == pytest.approx([1, 2 / 3, 3 / 5, 3 / 8])
    assert found.false_positive_rate == pytest.approx([0, 1 / 5, 2 / 5, 1])

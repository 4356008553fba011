"""Differences between groups: values worked out by hand, what must not matter, and what must."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mri3d.errors import UsageError
from mri3d.evaluation.design import as_covariate, entangled, regressors
from mri3d.evaluation.groups import Measure, adjusted, benjamini_hochberg, compare, hedges, welch

A, B = [1.0, 2.0, 3.0, 4.0], [3.0, 5.0, 7.0]
FloatArray = npt.NDArray[np.float64]
FEW = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 10_000)


def test_welch_by_hand() -> None:
    # means 2.5 and 5; variances 5/3 and 4: t = -2.5 / sqrt(5/12 + 4/3) = -1.88982
    found = welch(A, B)
    assert (found.n, found.n_reference, found.mean, found.mean_reference, found.difference) == (4, 3, 2.5, 5.0, -2.5)
    df = (5 / 12 + 4 / 3) ** 2 / ((5 / 12) ** 2 / 3 + (4 / 3) ** 2 / 2)
    assert found.p == pytest.approx(2 * stats.t.sf(1.8898224, df))
    assert found.p == pytest.approx(stats.ttest_ind(A, B, equal_var=False).pvalue)
    half = float(stats.t.ppf(0.975, df)) * np.sqrt(5 / 12 + 4 / 3)
    assert (found.difference_low, found.difference_high) == pytest.approx((-2.5 - half, -2.5 + half))
    assert (found.sd, found.sd_reference) == pytest.approx((np.sqrt(5 / 3), 2.0))
    # pooled variance (5 + 8) / 5 = 2.6: d = -2.5 / 1.61245 = -1.55043; J of 5 degrees of freedom 0.84078
    assert found.g == pytest.approx(-1.55043 * 0.840749, abs=2e-4)
    assert found.g_low is not None and found.g_high is not None and found.g_low < found.g < found.g_high


def test_the_interval_holds_the_differences_that_do_not_contradict() -> None:
    # d = 1 between two groups of 10: the limits are those that a noncentral t has 2.5 % beyond (t = 2.236, df = 18)
    spread = np.sqrt(0.2)
    g, low, high = hedges(1.0, 18, spread)
    assert g == pytest.approx(0.9576, abs=1e-3)
    assert stats.nct.sf(1 / spread, 18, low / spread) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(1 / spread, 18, high / spread) == pytest.approx(0.025, abs=1e-6)
    assert hedges(-1.0, 18, spread) == pytest.approx((-g, -high, -low))


def test_the_interval_covers_the_truth_19_times_of_20() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        found = welch(rng.normal(0.8, 1, 8), rng.normal(0, 1, 6))
        assert found.g_low is not None and found.g_high is not None
        covered += found.g_low < 0.8 < found.g_high
    assert 0.91 < covered / 400 < 0.985


def test_least_squares_by_hand() -> None:
    # y = 10 - 2 (in the group) + 0.5 age + errors that are orthogonal to all of it
    age = np.array([1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0, 6.0])
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    errors = np.array([1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0])
    (found,) = adjusted(10 - 2 * groups + 0.5 * age + errors, groups, age[:, None])
    assert found.difference == pytest.approx(-2.0)
    assert (found.mean, found.mean_reference) == (pytest.approx(10.25), pytest.approx(11.25))
    # residual variance 8 / 5; (X'X)^-1 of the group 0.9 (two means of 4, 2 apart in age, within sum of squares 10)
    se = np.sqrt(8 / 5 * (0.25 + 0.25 + 2**2 / 10))
    assert found.p == pytest.approx(2 * stats.t.sf(2 / se, 5))
    half = stats.t.ppf(0.975, 5) * se
    assert (found.difference_low, found.difference_high) == pytest.approx((-2 - half, -2 + half))
    assert found.g == pytest.approx(-2 / np.sqrt(8 / 5) * 0.840749, abs=2e-4)


def test_without_covariates_least_squares_is_students_t() -> None:
    values, groups = np.array(A + B), np.array([1] * 4 + [0] * 3)
    (found,) = adjusted(values, groups, np.zeros((7, 0)))
    assert found.p == pytest.approx(stats.ttest_ind(A, B).pvalue)
    assert found.g == pytest.approx(welch(A, B).g)
    assert (found.g_low, found.g_high) == pytest.approx((welch(A, B).g_low, welch(A, B).g_high))


def _drawn(seed: int, n: int = 24) -> tuple[FloatArray, npt.NDArray[np.int64], FloatArray]:
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.arange(n) % 3)
    covariates = rng.normal(size=(n, 2))
    return rng.normal(size=n) + 0.5 * groups + covariates[:, 0], groups, covariates


@FEW
@given(seeds, st.floats(-50, 50), st.floats(0.05, 20), st.booleans())
def test_shift_and_scale_change_the_difference_alone(seed: int, shift: float, scale: float, with_them: bool) -> None:
    values, groups, covariates = _drawn(seed)
    used = covariates if with_them else None
    before = compare([Measure("a", "z", values)], groups, used)
    after = compare([Measure("a", "z", shift + scale * values)], groups, used)
    for one, two in zip(before, after, strict=True):
        assert one.found.p == pytest.approx(two.found.p, rel=1e-6)
        assert one.found.g == pytest.approx(two.found.g, rel=1e-6, abs=1e-9)
        assert two.found.difference == pytest.approx(scale * one.found.difference, rel=1e-6, abs=1e-8)


@FEW
@given(seeds, st.booleans())
def test_swapping_two_groups_flips_the_sign(seed: int, with_them: bool) -> None:
    values, groups, covariates = _drawn(seed)
    kept = groups < 2
    values, groups, used = values[kept], groups[kept], covariates[kept] if with_them else None
    (one,) = compare([Measure("a", "z", values)], groups, used)
    (two,) = compare([Measure("a", "z", values)], 1 - groups, used)
    told = (one.found.difference, one.found.g, one.found.g_low, one.found.g_high, one.found.p)
    swapped = (two.found.difference, two.found.g, two.found.g_high, two.found.g_low, two.found.p)
    assert all(each is not None for each in (*told, *swapped))
    assert told == pytest.approx([-swapped[0], -swapped[1], -swapped[2], -swapped[3], swapped[4]])  # type: ignore


@FEW
@given(seeds, st.booleans())
def test_the_order_of_people_does_not_matter(seed: int, with_them: bool) -> None:
    values, groups, covariates = _drawn(seed)
    values[3] = np.nan
    order = np.random.default_rng(seed + 1).permutation(len(values))
    one = compare([Measure("a", "z", values)], groups, covariates if with_them else None)
    shuffled = covariates[order] if with_them else None
    two = compare([Measure("a", "z", values[order])], groups[order], shuffled)
    for first, second in zip(one, two, strict=True):
        assert first.found.n == second.found.n
        for name in ("mean", "difference", "g", "g_low", "g_high", "p"):
            assert getattr(first.found, name) == pytest.approx(getattr(second.found, name), abs=1e-7)


@FEW
@given(seeds)
def test_a_covariate_that_explains_all_takes_the_difference_away(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.arange(16) % 2
    age = 40 + 20 * groups + rng.normal(0, 5, 16)
    (plain,) = compare([Measure("a", "z", 0.1 * age)], groups)
    assert plain.found.difference is not None and plain.found.difference > 1
    noisy = 0.1 * age + rng.normal(0, 1e-3, 16)
    (without,) = compare([Measure("a", "z", noisy)], groups, (age - age.mean())[:, None])
    assert without.found.difference == pytest.approx(0, abs=0.02)
    (exactly,) = compare([Measure("a", "z", 0.1 * age)], groups, (age - age.mean())[:, None])
    assert exactly.found.difference == pytest.approx(0, abs=1e-9)
    assert exactly.found.p is None and exactly.found.g is None  # nothing is left to judge by


def test_people_without_a_value_count_nowhere() -> None:
    nan = np.nan
    assert welch([*A, nan], [nan, *B]) == welch(A, B)
    found = welch([1.0, 2.0, nan], B)
    assert (found.n, found.mean, found.difference, found.p) == (2, 1.5, None, None)
    values = np.array([*A, nan, *B, 1.0, 2.0, nan])
    groups = np.array([0] * 5 + [1] * 3 + [2] * 3)
    one, two = adjusted(values, groups, np.zeros((11, 0)))
    assert (one.n, one.n_reference, two.n) == (3, 4, 2)
    assert one.p == pytest.approx(stats.ttest_ind(A, B).pvalue) and two.p is None


def test_equal_values_are_not_judged() -> None:
    found = welch([2.0] * 4, [1.0] * 4)
    assert found.difference == 1.0 and found.p is None and found.g is None


def test_corrected_p_values_and_what_is_not_in_their_family() -> None:
    # sorted 0.01, 0.02, 0.04: times 3 / rank, made to rise
    assert benjamini_hochberg([0.04, None, 0.01, 0.02]) == pytest.approx([0.04, None, 0.03, 0.03])
    assert benjamini_hochberg([None]) == [None]
    values, groups, _ = _drawn(0)
    lines = compare([Measure("a", "z", values), Measure("s", "score", values, corrected=False)], groups)
    assert [line.group for line in lines] == [1, 1, 2, 2]
    # of one region in the family, q is p; each group is a family of its own
    assert [line.q == line.found.p for line in lines[::2]] == [True, True]
    assert [line.q for line in lines[1::2]] == [None, None]


def test_volumes_differ_in_percent_of_their_geometric_means() -> None:
    volumes = np.array([4.0, 4.0, 4.0, 8.0, 8.0, 8.0])
    (line,) = compare([Measure("a", "z", np.arange(6.0), volumes)], np.array([1, 1, 1, 0, 0, 0]))
    assert line.volume_percent == pytest.approx(-50.0)
    odd = np.array([0.0, 4.0, 4.0, 8.0, 8.0, 8.0])  # a volume of 0 has no logarithm
    (line,) = compare([Measure("a", "z", np.arange(6.0), odd)], np.array([1, 1, 1, 0, 0, 0]))
    assert line.volume_percent is None


def people(cells: list[str]) -> dict[str, str]:
    return {f"sub-{i}": cell for i, cell in enumerate(cells)}


def test_covariates_as_numbers_and_as_kinds() -> None:
    age = as_covariate("age", people(["20", "30", "40.0"]))
    assert age.columns[:, 0] == pytest.approx([-10, 0, 10])
    site = as_covariate("site", people(["1", "2", "3", "2"]))  # codes are kinds
    assert site.columns.shape == (4, 2) and site.words == "2, 3 against 1"
    hand = as_covariate("hand", people(["left", "right", "right"]))
    assert hand.columns[:, 0] == pytest.approx([-2 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("name", "cells", "words"),
    [
        ("age", ["20", "old", "40"], "'old' of sub-1"),
        ("age", ["34,5", "30,1", "20,0"], "'34,5' of sub-0 and 2 more"),
        ("score", ["1", "2", "89+"], "'89+' of sub-2"),
        ("score", ["1", "2", "inf"], "'inf' of sub-2"),
        ("sex", ["F", "F", "F"], "F in all 3 people"),
        ("age", ["30", "30.0", "30"], "30 in all 3 people"),
    ],
)
def test_covariates_that_cannot_be_used_say_why(name: str, cells: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        as_covariate(name, people(cells))
    assert words in str(caught.value) and f"--covariates {name}" in str(caught.value)


def test_what_cannot_be_parted_is_refused() -> None:
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    names = ("HC", "HD")
    site = as_covariate("site", people(["a"] * 4 + ["b"] * 4))
    with pytest.raises(UsageError, match="that the group does not tell already"):
        regressors([site], groups, names)
    years = [20 + 3 * i**2 for i in range(8)]
    age, months = (as_covariate(n, people([str(v * k) for v in years])) for n, k in (("age", 1), ("months", 12)))
    with pytest.raises(UsageError, match="months: expected a covariate that the group and age do not tell already"):
        regressors([age, months], groups, names)
    assert regressors([age], groups, names) == pytest.approx(age.columns)
    # ages of 20 to 47 and 68 to 167: between the groups lies 65 % of the variance; of the other, nothing
    assert entangled([age, as_covariate("even", people(list("01" * 4)))], groups) == ["age"]
    kinds = as_covariate("town", people(list("abcdefgh")))
    with pytest.raises(UsageError, match="at least 12 people"):
        regressors([kinds], groups, names)

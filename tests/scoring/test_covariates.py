"""Healthy values by age, sex, head and site: what is expected of one new person, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mri3d.scoring.covariates import Spline, UnknownCovariateError, head_of, person_of, regress
from mri3d.volumes.alignment import load_template


def people(n: int, seed: int = 0) -> list[dict[str, float | str]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "age": float(rng.uniform(20, 80)),
            "sex": "MF"[i % 2],
            "tiv": float(rng.normal(1500, 100)),
            "site": "AB"[i % 3 > 1],
        }
        for i in range(n)
    ]


def values(who: list[dict[str, float | str]], seed: int = 1) -> np.ndarray:
    """Two regions: one that shrinks with age and is larger in men, and one that follows nothing."""
    rng = np.random.default_rng(seed)
    ages, men = (np.array([each["age"] for each in who]), np.array([each["sex"] == "M" for each in who]))
    return np.stack([5 - 0.02 * ages + 0.3 * men + rng.normal(0, 0.1, len(who)), rng.normal(0, 1, len(who))], axis=1)


def test_without_covariates_p_is_that_of_crawford_and_howell() -> None:
    healthy = values(people(12))
    z, p = regress(healthy, people(12), ()).judge(np.array([3.0, 2.0]), {})
    np.testing.assert_allclose(z, (np.array([3.0, 2.0]) - healthy.mean(axis=0)) / healthy.std(axis=0, ddof=1))
    # one person against n is Student's two-sample test with a sample of one
    for region, value in enumerate((3.0, 2.0)):
        assert p[region] == pytest.approx(stats.ttest_ind([value], healthy[:, region]).pvalue, rel=1e-6)


def test_with_covariates_p_is_that_of_a_regression_which_has_a_column_for_the_person() -> None:
    healthy = people(20)
    new: dict[str, float | str] = {"age": 75.0, "sex": "F", "tiv": 1600.0}
    own = values(healthy)[:, :1]
    found = regress(own, healthy, ("age", "sex", "tiv"))
    assert not any(isinstance(term, Spline) for term in found.terms)
    rows = [[1.0, each["age"], each["sex"] == "M", each["tiv"], 0.0] for each in healthy]
    design = np.array([*rows, [1.0, 75.0, 0.0, 1600.0, 1.0]], dtype=float)
    target = np.append(own[:, 0], 2.0)
    coefficients, residual, *_ = np.linalg.lstsq(design, target)
    freedom = 21 - 5
    error = np.sqrt(residual[0] / freedom * np.linalg.inv(design.T @ design)[4, 4])
    expected = 2 * stats.t.sf(abs(coefficients[4] / error), freedom)
    z, p = found.judge(np.array([2.0]), new)
    assert p[0] == pytest.approx(expected, rel=1e-6)
    assert z[0] == pytest.approx(coefficients[4] / found.spread[0], rel=1e-6), "what it departs by, in residual spread"


def test_p_of_healthy_people_is_uniform_at_every_age() -> None:
    p, ages = [], []
    for seed in range(1500):
        who = people(14, seed)
        own = values(who, seed)
        _, found = regress(own[1:], who[1:], ("age", "sex")).judge(own[0], who[0])
        p.append(found[0])
        ages.append(float(who[0]["age"]))
    assert stats.kstest(p, "uniform").pvalue > 0.01
    old = np.array(ages) > 65
    assert np.mean(np.array(p)[old] < 0.1) == pytest.approx(0.1, abs=0.04)


def test_what_age_makes_is_no_departure() -> None:
    who = people(40)
    own = values(who)
    old: dict[str, float | str] = {"age": 80.0, "sex": "F"}
    value = np.array([5 - 0.02 * 80, 0.0])
    assert regress(own, who, ()).judge(value, {})[0][0] < -1.3
    assert abs(regress(own, who, ("age", "sex")).judge(value, old)[0][0]) < 1.0


@given(st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_units_do_not_matter(scale: float, shift: float) -> None:
    who = people(15)
    own = values(who)
    moved = [{**each, "tiv": float(each["tiv"]) * scale + shift} for each in who]
    z, p = regress(own[1:], who[1:], ("tiv",)).judge(own[0], who[0])
    z2, p2 = regress(own[1:], moved[1:], ("tiv",)).judge(own[0], moved[0])
    np.testing.assert_allclose(z, z2, atol=1e-6)
    np.testing.assert_allclose(p, p2, atol=1e-6)


def test_age_bends_where_healthy_people_bend() -> None:
    who = people(60)
    ages = np.array([float(each["age"]) for each in who])
    noise = np.random.default_rng(0).normal(0, 0.05, len(who))
    bent = (np.maximum(ages - 50, 0) / 10 + noise)[:, None]
    (term,) = regress(bent, who, ("age",)).terms
    assert isinstance(term, Spline)
    at = lambda age: np.array(term.columns({"age": age}))  # noqa: E731
    for low, high in ((5.0, 15.0), (90.0, 110.0)):
        np.testing.assert_allclose(at(low) + at(high), 2 * at((low + high) / 2), atol=1e-9, err_msg="straight outside")


def test_those_of_whom_it_is_not_known_are_left_out() -> None:
    who = people(20)
    own = values(who)
    own[7] = 1000.0  # nobody knows this one's age
    del who[7]["age"]
    assert abs(regress(own, who, ("age",)).judge(own[0], who[0])[0][0]) < 4
    assert regress(own, who, ()).judge(own[0], who[0])[0][0] < 0


@pytest.mark.parametrize(
    ("covariates", "new", "words"),
    [
        (("age",), {"sex": "M"}, "age is not known"),
        (("sex",), {"age": 40.0}, "sex is not known"),
        (("site",), {"site": "C"}, "none of the healthy people has the site C"),
    ],
)
def test_who_cannot_be_placed_is_told(covariates: tuple[str, ...], new: dict[str, float | str], words: str) -> None:
    found = regress(values(people(20)), people(20), covariates)
    with pytest.raises(UnknownCovariateError, match=words):
        found.judge(np.zeros(2), new)


def test_too_few_or_all_alike_cannot_be_fitted() -> None:
    with pytest.raises(UnknownCovariateError, match="4 healthy people with a known age"):
        regress(values(people(4)), people(4), ("age",))
    alike = [{**each, "age": 30.0} for each in people(20)]
    with pytest.raises(UnknownCovariateError, match="cannot be told apart"):
        regress(values(people(20)), alike, ("age",))


def test_beyond_the_healthy_is_told() -> None:
    found = regress(values(people(20)), people(20), ("age", "sex"))
    (words,) = found.beyond({"age": 93.0, "sex": "M"})
    assert words.startswith("age 93 is beyond")
    assert not found.beyond({"age": 50.0, "sex": "M"})


def test_people_are_read_from_their_table() -> None:
    assert person_of({"age": "61.5", "sex": "female", "site": "Rome", "weight": "70"}, 1400.0) == {
        "age": 61.5, "sex": "F", "site": "Rome", "tiv": 1400.0,
    }  # fmt: skip
    for age in (None, "", "89+", "nan", "-9", "999"):
        assert person_of({"age": age, "sex": "2", "site": " "}, 1400.0) == {"tiv": 1400.0}


def test_a_head_twice_as_large_has_twice_the_volume() -> None:
    affine = np.diag([2.0, 1.0, -1.0, 1.0])  # mirrored, as heads may be stored
    affine[:3, 3] = 40
    template = load_template()
    assert head_of(affine) == pytest.approx(2 * template.brain.sum() * template.grid.voxel_ml)
    assert 1300 < head_of(np.eye(4)) < 2100

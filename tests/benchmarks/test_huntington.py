"""What is measured of simulated atrophy: by hand, on a few people."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.huntington import auroc, discoveries, page, table_of
from benchmarks.simulated_atrophy import STRIATUM

NAMES = [*STRIATUM, *(f"other {i}" for i in range(6))]


def test_auroc_is_against_other_people() -> None:
    people = np.array([0, 1, 2])
    # each beats only itself
    assert auroc(np.array([1.5, 2.5, 3.5]), np.array([1.0, 2.0, 3.0]), people) == pytest.approx(3 / 6)
    assert auroc(np.array([9.0, 9.0, 9.0]), np.array([1.0, 2.0, 3.0]), people) == 1.0
    assert auroc(np.ones(3), np.ones(3), people) == 0.5
    assert np.isnan(auroc(np.array([0.0, 9.0]), np.array([5.0, 5.0]), np.array([0, 0]))), "there is nobody else"


def test_ranks_count_from_the_largest_departure_either_way() -> None:
    clean = np.random.default_rng(0).normal(0, 1, (8, len(NAMES)))
    gone = clean.copy()
    gone[:, :4] = [-9.0, -8.0, -7.0, -6.0]
    gone[:, 4] = 10.0  # another region departs more, to the other side
    measured = table_of({0.0: clean, 0.2: gone}, NAMES)["0.2"]
    assert measured["auroc"]["value"] == 1.0
    assert measured["mean_rank"]["value"] == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert measured["best_rank"]["value"] == 2.0
    assert measured["in_top_three"]["value"] == 1.0


def test_intervals_hold_the_value() -> None:
    rng = np.random.default_rng(3)
    clean = rng.normal(0, 1, (20, len(NAMES)))
    gone = clean - np.array([1.0] * 4 + [0.0] * 6)
    for measured in table_of({0.0: clean, 0.1: gone}, NAMES)["0.1"].values():
        low, high = measured["ci95"]
        assert low <= measured["value"] <= high


def test_false_discoveries_are_people_with_any_region() -> None:
    q = np.ones((20, 5))
    q[3, [1, 2]] = 0.01
    q[7, 0] = 0.049
    found = discoveries(q)
    assert (found["people"], found["with_any"], found["share"]) == (20, 2, 0.1)
    # Clopper and Pearson 1934, two of twenty
    assert found["ci95"] == pytest.approx([0.0123, 0.3170], abs=1e-3)


def test_the_page_tells_all_of_it() -> None:
    value = {"value": 0.9, "ci95": [0.8, 0.95]}
    cells = dict.fromkeys(("auroc", "mean_rank", "best_rank", "in_top_three"), value)
    none = {"people": 20, "with_any": 1, "share": 0.05, "ci95": [0.0, 0.25]}
    text = page({"severities": {"0.2": cells}, "false_discoveries": {"clean": none, "calibration": none}})
    assert "| 20 % | 0.90 (0.80 to 0.95) |" in text
    assert "1 of 20 have a region at q < 0.05 (5 %, 0 to 25)" in text

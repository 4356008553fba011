"""Slices are scored by their own brain voxels and judged by the same slice of healthy subjects."""

from __future__ import annotations

import numpy as np
import pytest

from mri3d.grid import Grid
from mri3d.scoring.slices import LEAST, SHARE, healthy_slices, judge_slices, slice_scores

GRID = Grid.centred((30, 40, 12), 2.0, (0.0, -17.0, 5.0))


def brain() -> np.ndarray:
    """The lowest slice has too little of it."""
    mask = np.zeros(GRID.shape, bool)
    mask[5:25, 5:35, 2:10] = True
    mask[5:15, 5 : 5 + LEAST // 10, 1] = True
    mask[5, 5, 1] = False
    return mask


def test_a_score_is_the_mean_of_the_largest_hundredth_inside_the_brain():
    zscore = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    found = slice_scores(np.where(brain(), zscore, 99), brain())
    assert list(found) == list(range(2, 10))
    inside = np.sort(zscore[..., 4][brain()[..., 4]])
    assert found[4] == pytest.approx(inside[-round(SHARE * inside.size) :].mean())


def test_a_slice_is_held_against_its_own_kind():
    zscore = np.ones(GRID.shape, np.float32) * brain()
    error = np.full(GRID.shape, 0.02, np.float32)
    error[..., 5] = 0.5
    healthy = {str(k): (0.5, 0.1) for k in range(2, 10)} | {"5": (0.5, 0.2)}
    del healthy["9"]
    found = {score.index: score for score in judge_slices(error, zscore, brain(), GRID, healthy)}
    assert found[4].threshold == pytest.approx(0.8)
    assert found[4].decision == "anomalous"
    assert found[5].threshold == pytest.approx(1.1)
    assert found[5].decision == "normal"
    assert found[5].error == pytest.approx(0.5)
    assert (found[9].threshold, found[9].decision) == (None, "uncalibrated")
    assert found[4].position_mm == GRID.world((0, 0, 4))[2]


def test_what_is_known_of_a_slice_comes_from_all_who_have_it_and_from_enough():
    people = [{3: 1.0, 4: 2.0}, {3: 3.0, 4: 2.5}, {3: 2.0}]
    assert healthy_slices(people, 3) == {"3": (2.0, 1.0)}
    assert set(healthy_slices(people, 2)) == {"3", "4"}

"""Heads whose headers mislead."""

from __future__ import annotations

import numpy as np
import pytest

from mri3d.checking import turned as module
from mri3d.checking.turned import find_turn
from mri3d.errors import BrainError
from mri3d.volumes.alignment import Alignment
from mri3d.volumes.brain import Brain
from tests.brains import CENTRE, FOV, brain_on
from tests.helpers import head_grid, volume_of

GRID = head_grid("RAS", (4.0, 4.0, 4.0), 0.0, FOV, CENTRE)
TURNS = {"RPI": (1, 2), "LPS": (0, 1), "LAI": (0, 2)}


@pytest.fixture(scope="module")
def brain():
    return brain_on(GRID, seed=1).astype(np.float32)


def test_there_are_24_ways_to_lie_and_each_is_another():
    rotations = module._rotations()
    assert len({matrix.tobytes() for matrix in rotations}) == 23
    assert all(np.allclose(matrix @ matrix.T, np.eye(3)) and np.linalg.det(matrix) > 0 for matrix in rotations)


def test_turning_the_header_and_turning_the_voxels_are_one(brain):
    volume = volume_of(brain, GRID)
    for axes in module._rotations():
        seen, _ = module._turned(volume, axes).canonical(brain)
        assert np.array_equal(seen, module._rotated(brain, axes))


def test_the_middle_of_the_field_of_view_stays(brain):
    middle = (np.array(GRID.shape) - 1) / 2
    for axes in module._rotations():
        assert np.allclose(module._turned(volume_of(brain, GRID), axes).grid.world(middle), GRID.world(middle))


@pytest.mark.parametrize(("axcodes", "axes"), TURNS.items())
def test_a_turned_brain_s_true_way_is_among_the_likely_ones(brain, axcodes, axes):
    wrong = volume_of(np.flip(brain, axes), GRID)
    seen = [module._rotated(wrong.data, way) for way in module._likely_axes(wrong)]
    assert any(np.array_equal(view, brain) for view in seen)


def _lies_well_as(brain, monkeypatch):
    """Brain extraction and registration that know how the brain lies."""

    def find_brain(volume, given, device):
        return Brain(volume.data > 0, "deepbet")

    def register(volume, mask):
        right = np.array_equal(volume.canonical(volume.data)[0], brain)
        return Alignment(np.eye(4), 0.95 if right else 0.85, 0.4 if right else 0.1)

    monkeypatch.setattr(module, "find_brain", find_brain)
    monkeypatch.setattr(module, "register", register)


@pytest.mark.parametrize(("axcodes", "axes"), TURNS.items())
def test_the_true_way_is_told(brain, axcodes, axes, monkeypatch):
    _lies_well_as(brain, monkeypatch)
    assert find_turn(volume_of(np.flip(brain, axes), GRID)) == ("RAS", axcodes)


def test_a_head_that_fits_in_no_way_is_not_called_turned(brain, monkeypatch):
    _lies_well_as(brain + 1, monkeypatch)
    assert find_turn(volume_of(np.flip(brain, (1, 2)), GRID)) is None


def test_a_way_in_which_no_brain_is_found_is_passed_by(brain, monkeypatch):
    _lies_well_as(brain, monkeypatch)
    known = module.find_brain
    wrong = volume_of(np.flip(brain, (0, 2)), GRID)
    tried = []

    def once_in_vain(volume, given, device):
        tried.append(volume)
        if len(tried) == 1:
            raise BrainError("a", "a brain", "none", "Look")
        return known(volume, given, device)

    monkeypatch.setattr(module, "find_brain", once_in_vain)
    find_turn(wrong)
    assert len(tried) > 1


def test_nothing_looks_like_nothing():
    assert np.isfinite(module._likeness(np.zeros((40, 40, 40), np.float32)))

"""Slices keep proportions and places, and go back to where they came from on any grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mri3d.transforms.slicing import DROPPED, SIZE, from_slices, slice_grid, to_slices
from tests.helpers import head, head_grid, volume_of

CODES = ["RAS", "LPS", "PSR", "ILA", "SRP"]


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("degrees", [0.0, 12.0])
def test_a_point_is_found_at_its_own_place(codes: str, degrees: float):
    grid = head_grid(codes, (2.0, 2.5, 3.0), degrees)
    data = np.zeros(grid.shape, np.float32)
    voxel = tuple(n // 3 for n in grid.shape)
    data[voxel] = 1
    stack = to_slices(volume_of(ndimage.gaussian_filter(data, 2.5), grid))
    found = stack.grid.world(ndimage.center_of_mass(stack.data))
    assert np.linalg.norm(found - grid.world(voxel)) < 1.5
    directions = stack.grid.affine[:3, :3] / np.asarray(stack.grid.spacing)
    assert (np.diag(directions) > 0.9).all()  # right, front and up


def test_slices_are_those_of_the_scan_and_pixels_are_square():
    grid = head_grid("LPS", (1.5, 1.5, 6.0), 8.0)
    stack = slice_grid(volume_of(head(grid), grid).canonical(head(grid))[1])
    assert stack.shape == (SIZE, SIZE, grid.shape[2])
    assert stack.spacing[0] == pytest.approx(stack.spacing[1])
    assert stack.spacing[2] == pytest.approx(6.0)
    # the square holds the volume: the longer side fits, and the middle stays in the middle
    assert stack.spacing[0] * SIZE == pytest.approx(max(np.asarray(grid.spacing[:2]) * grid.shape[:2]))
    centres = [g.world([(n - 1) / 2 for n in g.shape]) for g in (stack, grid)]
    assert centres[0] == pytest.approx(centres[1])


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(CODES), st.floats(0, 20), st.tuples(*[st.floats(1.8, 4.0)] * 3))
def test_there_and_back_a_smooth_volume_is_the_same(codes: str, degrees: float, spacing: tuple[float, float, float]):
    grid = head_grid(codes, spacing, degrees)
    data = ndimage.gaussian_filter(head(grid), 6.0 / np.asarray(spacing)).astype(np.float32)
    stack = to_slices(volume_of(data, grid))
    back = from_slices({k: stack.data[..., k] for k in range(stack.data.shape[2])}, stack.grid, grid)
    low, high = stack.scale
    inner = (slice(2, -2),) * 3  # beyond the outermost pixels' centres there is nothing to interpolate
    wanted = np.clip((data - low) / (high - low), 0, 1)
    assert np.abs(back - wanted)[inner].max() < 0.06
    assert np.abs(back - wanted)[inner].mean() < 0.004


@pytest.mark.parametrize("darkest", [0.0, -1000.0, 50.0])
def test_beyond_a_volume_is_dark_whatever_number_darkness_has(darkest: float):
    grid = head_grid("RAS", (2.0, 2.0, 2.0))
    usual, moved = (to_slices(volume_of(head(grid) + offset, grid)) for offset in (0.0, darkest))
    assert moved.kept == usual.kept
    assert np.abs(moved.data - usual.data).max() < 1e-3


def test_the_outermost_and_the_empty_are_left_out_and_all_lies_in_0_to_1():
    grid = head_grid("RAS", (2.0, 2.0, 2.0))
    data = head(grid)
    data[..., 40:50] = 0
    stack = to_slices(volume_of(data * 700 + 5, grid))
    dropped = round(DROPPED * grid.shape[2])
    assert min(stack.kept) >= dropped
    assert max(stack.kept) < grid.shape[2] - dropped
    assert not set(range(41, 49)) & set(stack.kept)
    assert {38, 39, 51, 52} <= set(stack.kept)
    assert stack.data.min() == 0
    assert stack.data.max() == 1
    assert stack.data.dtype == np.float32


def test_a_slice_that_is_not_given_is_zero_and_does_not_shine_into_the_others():
    grid = head_grid("PSR", (3.0, 2.0, 2.0))
    stack = to_slices(volume_of(head(grid), grid))
    ones = np.ones((SIZE, SIZE), np.float32)
    back = from_slices({20: ones}, stack.grid, grid)
    upwards = np.moveaxis(back, 1, -1)  # PSR: the second axis runs upwards
    assert (upwards[..., 20] > 0.99).mean() > 0.9
    assert np.abs(np.delete(upwards, 20, axis=-1)).max() < 1e-3


@pytest.mark.parametrize(("index", "size"), [(500, SIZE), (-1, SIZE), (3, 64)])
def test_slices_of_another_stack_are_refused(index: int, size: int):
    grid = head_grid()
    with pytest.raises(ValueError, match="none of a stack"):
        from_slices({index: np.zeros((size, size), np.float32)}, slice_grid(grid), grid)

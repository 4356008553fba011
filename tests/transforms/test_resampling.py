"""One linear interpolation between any two grids, without aliasing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mri3d.grid import Grid
from mri3d.transforms.resampling import crop_to, extend, resample, resample_within
from tests.helpers import head_grid, rotation_about

CENTRE = (4.0, -3.0, 8.0)


def grid_around(spacing: tuple[float, ...], degrees: float, size: float, axcodes: str = "RAS") -> Grid:
    return head_grid(axcodes, tuple(spacing), degrees, fov=(size, size, size), centre=CENTRE)


def indices(grid: Grid) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)


def ramp(grid: Grid, slope: tuple[float, ...], world: np.ndarray | None = None) -> np.ndarray:
    at = grid.world(indices(grid))
    return at @ slope if world is None else (at @ world[:3, :3].T + world[:3, 3]) @ slope


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.floats(1.0, 4.0)] * 3),
    st.tuples(*[st.floats(1.5, 8.0)] * 3),
    st.floats(-180, 180),
    st.sampled_from(["RAS", "LAS", "PSR", "IPL", "ASL"]),
    st.tuples(*[st.floats(-3, 3)] * 3),
)
def test_a_linear_ramp_is_reproduced_exactly_on_any_grid(spacing, target_spacing, degrees, axcodes, slope):
    source = grid_around(spacing, degrees, 60.0, axcodes)
    target = grid_around(target_spacing, -degrees / 2, 24.0)
    world = np.eye(4)
    world[:3, :3] = rotation_about((1, 0, 1), 10) * (1.05, 1.0, 0.95)
    world[:3, 3] = np.array(CENTRE) - world[:3, :3] @ CENTRE + (1, -1, 0.5)
    found = resample(ramp(source, slope).astype(np.float32), source, target, world)
    to_source = target.index_affine_to(source, world)
    at = indices(target) @ to_source[:3, :3].T + to_source[:3, 3]
    # the blur needs its surroundings, and beyond the edge there is nothing
    reach = 1 + 3 * np.linalg.norm(to_source[:3, :3], axis=1) / 2.355 + 1
    inner = ((at >= reach) & (at <= np.array(source.shape) - 1 - reach)).all(axis=-1)
    wanted = ramp(target, slope, world)
    assert found.dtype == np.float32
    assert found.shape == target.shape
    assert inner.any()
    assert np.abs(found - wanted)[inner].max() < 2e-3


def test_a_checkerboard_downsampled_goes_to_its_mean():
    fine, coarse = Grid.centred((24, 24, 24), 1.0, (0, 0, 0)), Grid.centred((10, 10, 10), 2.0, (0.5, 0.5, 0.5))
    board = (indices(fine).sum(axis=-1) % 2).astype(np.float32)
    assert resample(board, fine, coarse)[2:-2, 2:-2, 2:-2] == pytest.approx(0.5, abs=0.01)


def test_stripes_are_smoothed_along_the_coarse_axis_alone():
    fine, coarse = Grid((24, 24, 24), np.eye(4)), Grid((24, 6, 24), np.diag([1.0, 4.0, 1.0, 1.0]))
    stripes = indices(fine) % 2
    across = resample(stripes[..., 1].astype(np.float32), fine, coarse)
    along = resample(stripes[..., 0].astype(np.float32), fine, coarse)
    assert across[:, 1:-1] == pytest.approx(0.5, abs=0.05)
    assert (along == stripes[:, ::4, :, 0]).all()


def test_a_finer_target_is_not_blurred():
    coarse = Grid((6, 7, 8), np.diag([2.0, 2.0, 2.0, 1.0]))
    fine = Grid((11, 13, 15), np.eye(4))
    data = np.random.default_rng(0).normal(size=coarse.shape).astype(np.float32)
    found = resample(data, coarse, fine)
    assert found[::2, ::2, ::2] == pytest.approx(data)
    assert found[1::2, ::2, ::2] == pytest.approx((data[1:] + data[:-1]) / 2, abs=1e-6)


@given(st.floats(-45, 45))
@settings(deadline=None, max_examples=20)
def test_beyond_the_edge_there_is_zero(degrees: float):
    source, target = grid_around((2, 2, 2), degrees, 20), grid_around((2, 2, 2), 0, 60)
    found = resample(np.ones(source.shape, np.float32), source, target)
    to_source = target.index_affine_to(source)
    at = indices(target) @ to_source[:3, :3].T + to_source[:3, 3]
    outside = ((at < -0.001) | (at > np.array(source.shape) - 0.999)).any(axis=-1)
    inside = ((at > 0.001) & (at < np.array(source.shape) - 1.001)).all(axis=-1)
    assert outside.any()
    assert (found[outside] == 0).all()
    assert inside.any()
    assert found[inside] == pytest.approx(1)


def test_the_input_is_left_alone():
    fine, coarse = Grid((12, 12, 12), np.eye(4)), Grid((4, 4, 4), np.diag([3.0, 3.0, 3.0, 1.0]))
    data = np.random.default_rng(0).normal(size=fine.shape).astype(np.float32)
    before = data.copy()
    resample(data, fine, coarse)
    assert (data == before).all()


@given(st.tuples(*[st.tuples(st.integers(0, 8), st.integers(1, 4))] * 3), st.integers(0, 5), st.floats(-90, 90))
def test_a_crop_keeps_world_coordinates_and_its_margin(spans, margin: int, degrees: float):
    grid = grid_around((5.0, 6.0, 7.0), degrees, 80.0, "PSR")
    mask = np.zeros(grid.shape, bool)
    mask[tuple(slice(start, start + length) for start, length in spans)] = True
    box, cropped = crop_to(mask, grid, margin)
    assert cropped.shape == mask[box].shape
    assert mask[box].sum() == mask.sum()
    start = np.array([s.start for s in box])
    for index in [(0, 0, 0), tuple(n - 1 for n in cropped.shape), (1, 2, 0)]:
        assert cropped.world(index) == pytest.approx(grid.world(start + index))
    for (first, length), s, n in zip(spans, box, grid.shape, strict=True):
        assert (s.start, s.stop) == (max(0, first - margin), min(n, min(n, first + length) + margin))


def test_an_empty_mask_has_no_box():
    with pytest.raises(ValueError, match="empty mask"):
        crop_to(np.zeros((4, 4, 4), bool), Grid((4, 4, 4), np.eye(4)))


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_outside_a_mask_the_nearest_value_inside_is_taken(seed: int):
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 6, 7)) < 0.1
    mask[2, 3, 4] = True
    data = rng.normal(size=mask.shape).astype(np.float32)
    found = extend(data, mask)
    assert (found[mask] == data[mask]).all()
    inside = np.argwhere(mask)
    for index in np.argwhere(~mask):
        apart = ((inside - index) ** 2).sum(axis=1)
        nearest = inside[apart == apart.min()]
        assert found[tuple(index)] in data[tuple(nearest.T)]


def test_a_map_does_not_fade_over_its_last_voxels() -> None:
    """A map of 5 within a ball, on a moved and turned grid of other voxels."""
    source, target = grid_around((3.0, 4.0, 5.0), 20.0, 90.0, "PSR"), grid_around((2.0, 2.0, 2.0), 0.0, 90.0)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = rotation_about((0, 1, 1), 15.0), (3.0, 0.0, -2.0)
    ball = np.linalg.norm(source.world(indices(source)) - CENTRE, axis=-1) < 30
    values, inside = resample_within(np.full(source.shape, 5.0, np.float32), ball, source, target, world)
    assert values[inside] == pytest.approx(5.0, abs=1e-5) and not values[~inside].any()
    there = target.world(indices(target)) @ world[:3, :3].T + world[:3, 3]
    away = np.linalg.norm(there - CENTRE, axis=-1)
    assert inside[away < 27].all() and not inside[away > 33].any()

"""A grid says where voxels lie, and nothing that is no grid gets through."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri3d.grid import Grid
from tests.helpers import head_grid, rotation_about

AXCODES = ["".join(codes) for axes in permutations(["RL", "AP", "SI"]) for codes in product(*axes)]


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Oblique and anisotropic grids in all 48 orientations."""
    spacing = draw(st.tuples(*[st.floats(0.5, 9)] * 3))
    return head_grid(draw(st.sampled_from(AXCODES)), spacing, draw(st.floats(-180, 180)), fov=(60, 70, 80))


def test_a_grid_cannot_be_changed_not_even_through_the_array_it_was_made_from():
    affine = np.eye(4)
    grid = Grid((2, 3, 4), affine)
    affine[0, 3] = 99
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError):
        grid.affine[0, 3] = 5
    with pytest.raises(AttributeError):
        grid.shape = (1, 1, 1)  # type: ignore[misc]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5), (2, 0, 4), (2, -3, 4)])
def test_a_shape_that_is_not_three_positive_numbers_is_refused(shape):
    with pytest.raises(ValueError, match="three positive dimensions"):
        Grid(shape, np.eye(4))


@pytest.mark.parametrize(
    "affine", [np.eye(3), np.full((4, 4), np.nan), np.diag([1, 1, np.inf, 1]), np.diag([1, 1, 0, 1])]
)
def test_an_affine_that_is_not_finite_square_and_invertible_is_refused(affine):
    with pytest.raises(ValueError, match="affine"):
        Grid((2, 3, 4), affine)


def test_world_by_hand():
    turned = np.array([[0, -2, 0, 10], [3, 0, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    grid = Grid((5, 6, 7), turned)
    assert grid.world((1, 2, 3)).tolist() == [10 - 4, 20 + 3, 30 + 12]
    assert grid.spacing == (3, 2, 4)
    assert grid.voxel_ml == pytest.approx(0.024)
    many = grid.world(np.arange(24).reshape(2, 4, 3))
    assert many.shape == (2, 4, 3)
    assert many[1, 2].tolist() == grid.world((18, 19, 20)).tolist()


@given(grids())
def test_spacing_and_volume_are_distances_and_determinants_on_any_grid(grid: Grid):
    origin = grid.world((0, 0, 0))
    steps = [float(np.linalg.norm(grid.world(step) - origin)) for step in np.eye(3)]
    assert grid.spacing == pytest.approx(steps)
    assert grid.voxel_ml == pytest.approx(np.prod(steps) / 1000)


@given(grids(), grids(), st.floats(-90, 90), st.lists(st.floats(0, 50), min_size=3, max_size=3))
def test_index_affine_goes_through_both_worlds(one: Grid, other: Grid, degrees: float, index: list[float]):
    world = np.eye(4)
    world[:3, :3] = rotation_about((3, 1, 2), degrees) * (0.9, 1.0, 1.2)
    world[:3, 3] = 5, -6, 7
    there = (one.index_affine_to(other, world) @ [*index, 1])[:3]
    assert other.world(there) == pytest.approx((world @ [*one.world(index), 1])[:3], abs=1e-6)
    back = (other.index_affine_to(one, np.linalg.inv(world)) @ [*there, 1])[:3]
    assert back == pytest.approx(index, abs=1e-6)


def test_centred_has_its_middle_where_asked():
    grid = Grid.centred((4, 5, 6), 2.5, (1.0, -2.0, 3.0))
    assert grid.world((1.5, 2, 2.5)).tolist() == [1, -2, 3]
    assert grid.spacing == (2.5, 2.5, 2.5)
    assert (np.diag(grid.affine[:3, :3]) > 0).all()


def test_grids_match_within_a_tolerance_at_the_far_corner():
    grid = head_grid(degrees=20)
    far = grid.affine.copy()
    far[0, 0] += 0.9e-3 / (grid.shape[0] - 1)
    assert grid.matches(Grid(grid.shape, far))
    far[0, 0] += 0.2e-3 / (grid.shape[0] - 1)
    assert not grid.matches(Grid(grid.shape, far))
    assert grid.matches(Grid(grid.shape, far), tolerance_mm=0.1)
    assert not grid.matches(Grid((grid.shape[0] + 1, *grid.shape[1:]), grid.affine))


def test_as_dict_gives_the_grid_back():
    grid = head_grid("PSR", (3, 4, 5), degrees=12)
    copy = Grid(**grid.as_dict())
    assert copy.shape == grid.shape
    assert (copy.affine == grid.affine).all()

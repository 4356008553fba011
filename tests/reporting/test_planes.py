from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mri3d.grid import Grid
from mri3d.reporting.planes import AXIAL, CORONAL, PLANES, SAGITTAL, Canonical, bounds_and_centre

Build = Callable[..., Any]

GRIDS = {
    "RAS": ("RAS", 3.0, 0.0),
    "LAS": ("LAS", 3.0, 0.0),
    "PSR": ("PSR", 3.0, 0.0),
    "LPS thick": ("LPS", (0.9, 0.9, 5.0), 0.0),
    "SAL": ("SAL", (4.0, 2.0, 3.0), 0.0),
    "RAS oblique": ("RAS", 3.0, 12.0),
    "ILP oblique thick": ("ILP", (5.0, 1.5, 2.0), -8.0),
}


@pytest.fixture(params=GRIDS.values(), ids=GRIDS.keys())
def grid(request: pytest.FixtureRequest, head_grid: Build) -> Grid:
    return head_grid(*request.param)


def test_a_marker_in_the_left_frontal_lobe_is_seen_where_radiologists_expect_it(
    grid: Grid, ball: Build, lesion_mm: tuple[float, float, float]
) -> None:
    canonical = Canonical.of(grid)
    marker = canonical.view(ball(grid, lesion_mm, (9, 9, 9)))
    index = canonical.index(lesion_mm)
    places = {}
    for plane in PLANES:
        picture = plane.cut(marker, index)
        assert picture.any(), f"the {plane.name} plane through the marker misses it"
        rows, columns = np.nonzero(picture)
        places[plane.name] = (rows.mean() / (picture.shape[0] - 1) - 0.5, columns.mean() / (picture.shape[1] - 1) - 0.5)
    down, right = places["axial"]
    assert down < -0.02 and right > 0.1, "anterior is at the top, the subject's left at the right"
    down, right = places["coronal"]
    assert down < -0.02 and right > 0.1, "superior is at the top, the subject's left at the right"
    down, right = places["sagittal"]
    assert down < -0.02 and right < -0.02, "superior is at the top, anterior at the left"


def test_edges_name_the_directions_of_the_canonical_axes(grid: Grid) -> None:
    canonical = Canonical.of(grid)
    letters = (("L", "R"), ("P", "A"), ("I", "S"))
    coordinates = np.stack(np.meshgrid(*map(np.arange, canonical.grid.shape), indexing="ij"), axis=-1)
    world = canonical.grid.world(coordinates)
    for plane in PLANES:
        middle = tuple(n // 2 for n in canonical.grid.shape)
        x, y, z = (plane.cut(world[..., axis], middle) for axis in range(3))
        left, right, top, bottom = plane.edges
        for start, end, across in ((left, right, True), (top, bottom, False)):
            axis = next(i for i, pair in enumerate(letters) if start in pair)
            assert end in letters[axis]
            mm = (x, y, z)[axis]
            growth = (mm[:, -1] - mm[:, 0]).mean() if across else (mm[-1] - mm[0]).mean()
            assert (growth > 0) == (end == letters[axis][1])


def test_canonical_voxels_keep_their_place_in_the_world(grid: Grid) -> None:
    canonical = Canonical.of(grid)
    rng = np.random.default_rng(0)
    data = rng.normal(size=grid.shape)
    view = canonical.view(data)
    assert view.shape == canonical.grid.shape
    assert np.shares_memory(view, data)
    for _ in range(20):
        index = tuple(int(rng.integers(n)) for n in grid.shape)
        assert view[canonical.index(grid.world(index))] == data[index]
    assert canonical.grid.voxel_ml == pytest.approx(grid.voxel_ml)


def test_the_plane_at_a_position_in_mm_is_the_nearest_one(head_grid: Build) -> None:
    canonical = Canonical.of(head_grid("LPS", (0.9, 0.9, 5.0)))
    centres = canonical.grid.world([(0, 0, k) for k in range(canonical.grid.shape[2])])[:, 2]
    _, _, k = canonical.index((0.0, 0.0, 17.0))
    assert abs(centres[k] - 17.0) == np.abs(centres - 17.0).min()


def test_a_position_outside_goes_to_the_border(head_grid: Build) -> None:
    canonical = Canonical.of(head_grid("LAS", 3.0))
    assert canonical.index((-1e4, 1e4, -1e4)) == (0, canonical.grid.shape[1] - 1, 0)


def test_spacing_follows_the_axes_when_they_are_permuted(head_grid: Build) -> None:
    canonical = Canonical.of(head_grid("PSR", (1.0, 2.0, 5.0)))  # 5 mm from left to right, 2 mm from foot to head
    assert AXIAL.spacing(canonical.grid) == pytest.approx((1.0, 5.0))
    assert CORONAL.spacing(canonical.grid) == pytest.approx((2.0, 5.0))
    assert SAGITTAL.spacing(canonical.grid) == pytest.approx((2.0, 1.0))


@pytest.mark.parametrize(("tilt", "expected"), [(0.0, 0.0), (12.0, 16.9)])
def test_tilt(tilt: float, expected: float, head_grid: Build) -> None:
    assert Canonical.of(head_grid("PSR", 3.0, tilt=tilt)).tilt_degrees == pytest.approx(expected, abs=0.1)


def test_bounds_and_centre() -> None:
    mask = np.zeros((9, 10, 11), dtype=bool)
    mask[2:5, 3, 4:10] = True
    assert bounds_and_centre(mask) == ((slice(2, 5), slice(3, 4), slice(4, 10)), (3, 3, 6))

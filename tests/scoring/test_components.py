"""Regions of the anomaly mask: what hangs together, how large it is in millilitres, where its peak lies in mm."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.scoring.components import find_components
from tests.helpers import head_grid

UNIT = Grid((12, 12, 12), np.diag([10.0, 10.0, 10.0, 1.0]))  # a voxel is 1 ml


def zmap(*voxels: tuple[tuple[int, int, int], float], grid: Grid = UNIT) -> np.ndarray:
    data = np.zeros(grid.shape, np.float32)
    for index, value in voxels:
        data[index] = value
    return data


@pytest.mark.parametrize("step", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (-1, 1, 0)])
def test_voxels_that_touch_by_a_face_an_edge_or_a_corner_hang_together(step):
    other = tuple(5 + d for d in step)
    mask, components = find_components(zmap(((5, 5, 5), 4), (other, 6)), UNIT, 3.0, 0.0)
    assert len(components) == 1
    assert components[0].volume_ml == pytest.approx(2)
    assert components[0].peak_z == 6
    assert components[0].mean_z == pytest.approx(5)
    assert components[0].peak_mm == tuple(10.0 * i for i in other)
    assert mask.sum() == 2


def test_two_voxels_apart_are_two_components():
    _, components = find_components(zmap(((5, 5, 5), 4), ((5, 5, 7), 6)), UNIT, 3.0, 0.0)
    assert [c.index for c in components] == [1, 2]


def test_a_voxel_counts_only_above_the_threshold():
    mask, components = find_components(zmap(((5, 5, 5), 3.0), ((1, 1, 1), 3.000001)), UNIT, 3.0, 0.0)
    assert np.argwhere(mask).tolist() == [[1, 1, 1]]
    assert len(components) == 1


def test_the_smallest_volume_is_in_ml_on_anisotropic_voxels():
    grid = Grid((12, 12, 12), np.diag([1.0, 2.0, 5.0, 1.0]))  # 0.01 ml a voxel
    data = np.zeros(grid.shape, np.float32)
    data[1, 1, :10] = 5  # 0.1 ml
    data[5:8, 5:8, 5] = 5  # 0.09 ml
    data[10, 10, 10] = 9
    mask, components = find_components(data, grid, 3.0, 0.1)
    assert [c.volume_ml for c in components] == pytest.approx([0.1])
    assert mask.sum() == 10
    assert mask[1, 1, 0]
    _, smaller = find_components(data, grid, 3.0, 0.0)
    assert [c.volume_ml for c in smaller] == pytest.approx([0.1, 0.09, 0.01])


def test_the_largest_comes_first_whatever_its_peak():
    data = np.zeros(UNIT.shape, np.float32)
    data[0, 0, 0] = 99
    data[3:5, 3:5, 3:5] = 5
    data[8:11, 8:11, 8:11] = 4
    _, components = find_components(data, UNIT, 3.0, 0.0)
    assert [(c.index, round(c.volume_ml, 9), c.peak_z) for c in components] == [(1, 27, 4), (2, 8, 5), (3, 1, 99)]


def test_the_peak_lies_where_a_viewer_shows_it_on_an_oblique_grid():
    grid = head_grid("PSR", (4, 5, 6), degrees=20)
    data = np.zeros(grid.shape, np.float32)
    data[20:24, 15:19, 8:11] = 5
    data[22, 18, 9] = 8
    _, components = find_components(data, grid, 3.0, 0.0)
    assert components[0].peak_mm == pytest.approx(tuple((grid.affine @ [22, 18, 9, 1])[:3]))
    assert components[0].peak_z == 8
    assert components[0].volume_ml == pytest.approx(48 * 4 * 5 * 6 / 1000)


def test_a_neighbour_in_the_same_box_does_not_lend_its_peak():
    # an L around a single hotter voxel: it lies in the L's box, but is another component
    data = np.zeros(UNIT.shape, np.float32)
    data[2, 2:9, 5] = data[2:9, 2, 5] = 4
    data[7, 7, 5] = 50
    _, components = find_components(data, UNIT, 3.0, 0.0)
    assert [(round(c.volume_ml, 9), c.peak_z, c.mean_z) for c in components] == [(13, 4, 4), (1, 50, 50)]


def test_nothing_above_the_threshold_is_no_component():
    mask, components = find_components(zmap(((5, 5, 5), 2.0)), UNIT, 3.0, 0.0)
    assert mask.dtype == bool
    assert not mask.any()
    assert components == ()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 3), st.floats(0, 8))
def test_mask_and_components_tell_the_same(seed: int, threshold: float, min_ml: float):
    data = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=UNIT.shape), 0.7).astype(np.float32)
    data /= data.std()
    mask, components = find_components(data, UNIT, threshold, min_ml)
    assert mask.sum() == pytest.approx(sum(c.volume_ml for c in components))
    assert (data[mask] > threshold).all()
    volumes = [c.volume_ml for c in components]
    assert volumes == sorted(volumes, reverse=True)
    assert all(volume >= min_ml - 1e-6 for volume in volumes)
    assert ndimage.label(mask, np.ones((3, 3, 3)))[1] == len(components)
    assert all(c.mean_z <= c.peak_z for c in components)
    if components:
        assert max(c.peak_z for c in components) == data[mask].max()


def test_a_small_region_of_a_large_volume_costs_little_memory():
    grid = Grid((160, 160, 160), np.eye(4))
    data = np.zeros(grid.shape, np.float32)
    data[70:80, 90:95, 100] = 5
    tracemalloc.start()
    mask, components = find_components(data, grid, 3.0, 0.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mask.sum() == 50 and components[0].peak_mm == (70, 90, 100)
    assert peak < 2 * data.size, "bytes: the mask, and no labels of the whole"

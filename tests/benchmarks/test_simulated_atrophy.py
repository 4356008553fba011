"""Simulated atrophy takes what it is asked to take, where it is asked to, and folds nowhere."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from benchmarks.simulated_atrophy import STRIATUM, shrink_striatum
from mri3d.grid import Grid
from tests.helpers import head_grid

GRID = head_grid("PSR", (2.5, 2.5, 2.5), fov=(110.0, 110.0, 100.0), centre=(0.0, 0.0, 0.0))
PARTS = {
    36: ((13, 10, 10), (5, 14, 9)),
    37: ((-13, 10, 10), (5, 14, 9)),
    57: ((26, 2, 0), (6, 15, 10)),
    58: ((-26, 2, 0), (6, 15, 10)),
    51: ((5, 8, 12), (4, 20, 8)),
    52: ((-5, 8, 12), (4, 20, 8)),
}


def labels_on(grid: Grid) -> np.ndarray:
    at = grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    labels = np.zeros(grid.shape, np.int16)
    for number, (middle, radii) in PARTS.items():
        labels[np.linalg.norm((at - middle) / radii, axis=-1) < 1] = number
    return labels


def scan_of(labels: np.ndarray) -> np.ndarray:
    return np.select([labels >= 57, labels >= 51, labels > 0], [160.0, 30.0, 150.0], 200.0).astype(np.float32)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_striatum_loses_what_it_is_to_lose(share: float) -> None:
    labels = labels_on(GRID)
    made = shrink_striatum(scan_of(labels), labels, GRID, share)
    assert set(made.lost) == set(STRIATUM)
    for name, lost in made.lost.items():
        assert lost == pytest.approx(share, abs=0.01), name
    # dark fluid has come into the room of brighter tissue
    assert made.data.sum() < scan_of(labels).sum()
    assert made.horns > share / 4
    assert 0 < made.least_jacobian < 1
    assert made.farthest_mm < 6


def test_what_is_far_away_stays() -> None:
    labels = labels_on(GRID)
    scan = scan_of(labels) + np.random.default_rng(0).normal(0, 3, GRID.shape).astype(np.float32)
    made = shrink_striatum(scan, labels, GRID, 0.2)
    at = GRID.world(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
    far = (np.abs(at) > (54, 50, 48)).any(axis=-1)
    assert far.any()
    np.testing.assert_allclose(made.data[far], scan[far], atol=1e-2)
    assert np.abs(made.data - scan).max() > 30


def test_storage_does_not_matter() -> None:
    labels = labels_on(GRID)
    image = nib.Nifti1Image(labels, GRID.affine)
    other = nib.as_closest_canonical(image)
    turned, grid = np.asarray(other.dataobj), Grid(other.shape, other.affine)
    there = shrink_striatum(scan_of(turned), turned, grid, 0.2)
    here = nib.as_closest_canonical(
        nib.Nifti1Image(shrink_striatum(scan_of(labels), labels, GRID, 0.2).data, GRID.affine)
    )
    np.testing.assert_allclose(there.data, np.asarray(here.dataobj), atol=1.0)


def test_labels_without_a_structure_are_refused() -> None:
    labels = labels_on(GRID)
    labels[labels == 36] = 0
    with pytest.raises(ValueError, match="labels without Right Caudate"):
        shrink_striatum(scan_of(labels), labels, GRID, 0.2)
    with pytest.raises(ValueError, match="without a striatum"):
        shrink_striatum(scan_of(labels), np.zeros_like(labels), GRID, 0.2)

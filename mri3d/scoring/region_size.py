"""How large each region of a brain is: by how much the brain has to grow or shrink there to become the template."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.transforms.warping import log_jacobian
from mri3d.volumes.regions import Labels
from mri3d.volumes.volume import FloatArray

SURROUNDINGS_MM = 12.0
"""Standard deviation of the Gaussian that makes a region's surroundings. Heads differ in shape, and alignments by a
little, over larger distances than atrophy; on simulated atrophy in validation subjects 12 mm found more than 8 or 20,
and all of them more than the volume as it is."""

LEAST_VOXELS = 10
"""Of the model grid, from which on a region is measured."""


class Size(NamedTuple):
    """One region of one brain.

    Args:
        ml: its volume once the whole brain has the template's size.
        value: what is compared with healthy people; larger where the region is larger.
    """

    ml: float
    value: float


def measure(image: FloatArray, labels: Labels, grid: Grid) -> dict[int, Size]:
    """How large each region of an aligned brain is, by the growth that brings the template's region into it.

    Args:
        image: (X, Y, Z) normalised T1w intensity, 0 outside the brain.
        labels: (X, Y, Z) regions of the template on the same grid.
        grid: the model grid.

    Returns:
        By number, in their order; regions of fewer than ten voxels are left out.
    """
    return size_of(log_jacobian(image, grid), labels, grid)


def size_of(growth: FloatArray, labels: Labels, grid: Grid) -> dict[int, Size]:
    """How large each region is, from how much each part of the template has grown.

    Args:
        growth: (X, Y, Z) log-Jacobian of :func:`mri3d.transforms.warping.log_jacobian`.
        labels: (X, Y, Z) regions on the same grid.
        grid: the model grid.
    """
    flat = labels.ravel()
    voxels = np.bincount(flat)
    room = np.bincount(flat, np.exp(growth.astype(np.float64)).ravel())
    against = growth - ndimage.gaussian_filter(growth, SURROUNDINGS_MM / np.array(grid.spacing))
    relative = np.bincount(flat, against.astype(np.float64).ravel())
    regions = (int(n) for n in np.flatnonzero(voxels >= LEAST_VOXELS) if n)
    return {n: Size(float(room[n] * grid.voxel_ml), float(relative[n] / voxels[n])) for n in regions}

"""Axial slices of a volume as it was scanned, of one size and scale for networks in 2D, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mri3d.grid import Grid
from mri3d.transforms.resampling import resample
from mri3d.volumes.volume import FloatArray, Volume

SIZE = 128
"""Pixels along each side of a slice."""

DROPPED = 0.15
"""Share of the volume's slices left out at the top, and again at the bottom."""

PERCENTILES = (0.1, 99.9)
"""Of the volume's voxels, which become 0 and 1."""

DIM = 0.1
"""Intensity up to which a pixel counts as background."""

FILLED = 0.01
"""Share of a slice's pixels that must be brighter, or the slice is empty."""


@dataclass(frozen=True, eq=False)
class SliceStack:
    """The axial slices of a volume.

    Args:
        data: (128, 128, Z) float32 in [0, 1]; Z are all slices of the volume in canonical order: the first axis runs to
            the right, the second to the front, the third upwards, as nearly as the scan's own axes do.
        grid: where they lie, in the volume's world.
        kept: indices of those that are neither empty nor among the outermost.
        scale: the intensities of the volume that became 0 and 1.
    """

    data: FloatArray
    grid: Grid
    kept: tuple[int, ...]
    scale: tuple[float, float]


def slice_grid(source: Grid) -> Grid:
    """The grid of a volume's axial slices, each a square around the volume's middle that holds all of it.

    The square keeps proportions: a voxel has one size along both sides. Slices stay where they were scanned.

    Args:
        source: of the volume, in canonical order.
    """
    lengths = np.asarray(source.spacing) * source.shape
    side = max(lengths[0], lengths[1]) / SIZE
    steps = np.array([side, side, source.spacing[2]]) / source.spacing  # in the source's voxels
    middle = (np.asarray(source.shape) - 1) / 2
    first = middle - steps * (np.array([SIZE, SIZE, source.shape[2]]) - 1) / 2
    to_source = np.eye(4)
    to_source[:3, :3], to_source[:3, 3] = np.diag(steps), first
    return Grid((SIZE, SIZE, source.shape[2]), source.affine @ to_source)


def to_slices(volume: Volume) -> SliceStack:
    """Cut a volume into axial slices; between its own slices nothing is interpolated."""
    canonical, source = volume.canonical(volume.data)
    grid = slice_grid(source)
    low, high = (float(value) for value in np.percentile(canonical, PERCENTILES))
    if not low < high:  # next to nothing but background
        low, high = float(canonical.min()), float(canonical.max())
    # beyond the volume's edge is its darkest, whatever number that has
    data = np.clip(resample(canonical - np.float32(low), source, grid) / (high - low), 0, 1).astype(np.float32)
    outermost = round(DROPPED * grid.shape[2])
    filled = (data > DIM).mean(axis=(0, 1)) >= FILLED
    kept = tuple(int(k) for k in np.flatnonzero(filled) if outermost <= k < grid.shape[2] - outermost)
    return SliceStack(data, grid, kept, (low, high))


def from_slices(slices: Mapping[int, FloatArray], grid: Grid, target: Grid) -> FloatArray:
    """Put slices, or maps of them, back to where they came from; 0 where there is none.

    Args:
        slices: (128, 128) arrays by index.
        grid: of the stack, as :func:`to_slices` gave it.
        target: the volume's own grid, in the order it is stored in.

    Raises:
        ValueError: a slice that the stack does not have, of another size, or with numbers that are not finite.
    """
    stack = np.zeros(grid.shape, np.float32)
    for index, data in slices.items():
        if not 0 <= index < grid.shape[2] or np.shape(data) != grid.shape[:2]:
            raise ValueError(f"slice {index} of shape {np.shape(data)} is none of a stack of {grid.shape}")
        if not np.isfinite(data).all():
            raise ValueError(f"slice {index} holds numbers that are not finite")
        stack[..., index] = data
    return resample(stack, grid, target)

"""Connected regions of a thresholded z-map."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.scoring.detection import Component
from mri3d.volumes.volume import BoolArray, FloatArray

_NEIGHBOURS_26 = np.ones((3, 3, 3), bool)


def find_components(
    zscore: FloatArray, grid: Grid, threshold: float, min_ml: float
) -> tuple[BoolArray, tuple[Component, ...]]:
    """Voxels above the threshold that hang together (26-neighbourhood) in at least the minimum volume.

    Args:
        zscore: (X, Y, Z) z-map on ``grid``.
        grid: where it lies; gives volumes and the world coordinates of peaks.
        threshold: a voxel counts where its z is larger.
        min_ml: smallest component kept, in ml.

    Returns:
        The mask of what is kept, and its components, largest first.
    """
    labels, n = ndimage.label(zscore > threshold, structure=_NEIGHBOURS_26)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    kept = [label for label in range(1, n + 1) if sizes[label - 1] * grid.voxel_ml >= min_ml - 1e-9]
    kept.sort(key=lambda label: -sizes[label - 1])
    boxes = ndimage.find_objects(labels)
    components = tuple(
        _describe(index, zscore, labels, label, boxes[label - 1], grid) for index, label in enumerate(kept, start=1)
    )
    return np.isin(labels, kept), components


def _describe(
    index: int, zscore: FloatArray, labels: np.ndarray, label: int, box: tuple[slice, slice, slice], grid: Grid
) -> Component:
    inside = labels[box] == label
    values = np.where(inside, zscore[box], -np.inf)
    peak = np.array(np.unravel_index(int(np.argmax(values)), values.shape)) + [s.start for s in box]
    x, y, z = grid.world(peak)
    return Component(
        index=index,
        volume_ml=float(inside.sum() * grid.voxel_ml),
        peak_z=float(zscore[tuple(peak)]),
        peak_mm=(float(x), float(y), float(z)),
        mean_z=float(zscore[box][inside].mean()),
    )

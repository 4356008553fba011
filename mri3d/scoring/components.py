"""Connected regions of a thresholded z-map."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.scoring.detection import Component
from mri3d.volumes.volume import BoolArray, FloatArray

_NEIGHBOURS_26 = np.ones((3, 3, 3), bool)
Box = tuple[slice, ...]


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
    mask = np.asarray(zscore > threshold)
    boxes = ndimage.find_objects(mask.view(np.uint8))
    if not boxes:
        return mask, ()
    # Labels take far more memory than the mask: only the box around all that is above the threshold is labelled.
    mask[boxes[0]], components = _in_box(zscore, mask, boxes[0], grid, min_ml)
    return mask, components


def _in_box(
    zscore: FloatArray, mask: BoolArray, box: Box, grid: Grid, min_ml: float
) -> tuple[BoolArray, tuple[Component, ...]]:
    above = mask[box]
    labels, n = ndimage.label(above, structure=_NEIGHBOURS_26)
    sizes = np.bincount(labels[above], minlength=n + 1)
    kept = [label for label in range(1, n + 1) if sizes[label] * grid.voxel_ml >= min_ml - 1e-9]
    kept.sort(key=lambda label: -sizes[label])
    is_kept = np.zeros(n + 1, dtype=bool)
    is_kept[kept] = True
    boxes = ndimage.find_objects(labels)
    components = []
    for index, label in enumerate(kept, start=1):
        inner = boxes[label - 1]
        whole = tuple(slice(b.start + a.start, b.start + a.stop) for a, b in zip(inner, box, strict=True))
        components.append(_describe(index, zscore, labels[inner] == label, whole, grid))
    return is_kept[labels], tuple(components)


def _describe(index: int, zscore: FloatArray, inside: BoolArray, box: Box, grid: Grid) -> Component:
    """The component that fills ``inside`` of ``box``, a part of the volume."""
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

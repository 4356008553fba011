"""One interpolation between two grids."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mri3d.grid import Affine, Grid
from mri3d.volumes.volume import BoolArray, FloatArray

_FWHM = 2 * np.sqrt(2 * np.log(2))


def resample(data: FloatArray, source: Grid, target: Grid, world: Affine | None = None) -> FloatArray:
    """Sample ``data`` at the voxels of another grid by one linear interpolation; 0 beyond its edge.

    Args:
        data: (X, Y, Z) on ``source``.
        source: where the data lies.
        target: where it is wanted.
        world: (4, 4) affine from the target's world to the source's; the identity when left out.

    Returns:
        float32 of ``target.shape``. Where the target is coarser, the data is first blurred to its resolution
        (Gaussian whose FWHM closes the gap between the two spacings), so that no detail is aliased.
    """
    to_source = target.index_affine_to(source, world)
    step = np.linalg.norm(to_source[:3, :3], axis=1)  # source voxels along each source axis a target voxel spans
    sigma = np.sqrt(np.clip(step**2 - 1, 0, None)) / _FWHM
    if sigma.max() > 0.1:
        data = ndimage.gaussian_filter(data, sigma, mode="nearest", truncate=3.0)
    return np.asarray(
        ndimage.affine_transform(
            data, to_source[:3, :3], to_source[:3, 3], output_shape=target.shape, output=np.float32, order=1
        )
    )


def resample_within(
    data: FloatArray, mask: BoolArray, source: Grid, target: Grid, world: Affine | None = None
) -> tuple[FloatArray, BoolArray]:
    """As :func:`resample`, but only what lies in a mask counts, so that a map does not fade over its last voxels.

    Args:
        data: (X, Y, Z) on ``source``.
        mask: (X, Y, Z) where the data is known.
        source: where the data lies.
        target: where it is wanted.
        world: (4, 4) affine from the target's world to the source's; the identity when left out.

    Returns:
        float32 of ``target.shape``, 0 where the mask covers less than half, and where it covers more.
    """
    share = resample(mask.astype(np.float32), source, target, world)
    weighted = resample(np.where(mask, data, 0).astype(np.float32), source, target, world)
    inside = share > 0.5
    return np.where(inside, weighted / np.maximum(share, 0.5), 0).astype(np.float32), inside


def extend(data: FloatArray, mask: BoolArray) -> FloatArray:
    """Give every voxel outside a mask the value of the nearest one inside.

    A map that is 0 outside the brain would otherwise fade over its last voxel when it is interpolated.

    Args:
        data: (X, Y, Z).
        mask: (X, Y, Z) where the data is known; not empty.
    """
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    extended: FloatArray = data[tuple(nearest)]
    return extended


def crop_to(mask: BoolArray, grid: Grid, margin: int = 0) -> tuple[tuple[slice, slice, slice], Grid]:
    """The bounding box of a mask, widened by ``margin`` voxels within the volume, and the grid of that box.

    Raises:
        ValueError: the mask is empty.
    """
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        raise ValueError("an empty mask has no bounding box")
    bounds = zip(boxes[0], mask.shape, strict=True)
    x, y, z = (slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in bounds)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.world((x.start, y.start, z.start))
    return (x, y, z), Grid((x.stop - x.start, y.stop - y.start, z.stop - z.start), affine)

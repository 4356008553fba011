"""A lesion of known place, put into a brain on a grid in template space: that of the demonstration."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.transforms.case import Item
from mri3d.volumes.volume import BoolArray, FloatArray

LESION_CENTRE_MM = (28.0, 18.0, 22.0)
"""In template space: white matter of the right frontal lobe."""

LESION_RADII_MM = (13.0, 16.0, 11.0)
LESION_DARKENING = 0.75
"""How far the lesion's tissue is moved towards the intensity of cerebrospinal fluid."""


def put_lesion(item: Item, grid: Grid) -> tuple[Item, BoolArray]:
    """A preprocessed brain on ``grid`` with the lesion in it, and the brain's voxels that the lesion covers by half."""
    shape = lesion_shape(grid)
    image = with_lesion(item["image"][0].numpy(), shape)
    return {**item, "image": torch.from_numpy(image)[None]}, (shape > 0.5) & item["mask"][0].numpy()


def with_lesion(brain: FloatArray, lesion: FloatArray) -> FloatArray:
    """A brain whose tissue under the lesion (0 to 1) has moved towards cerebrospinal fluid."""
    fluid = float(np.percentile(brain[brain > 0], 2))
    return np.asarray(brain + LESION_DARKENING * lesion * np.minimum(fluid - brain, 0) * (brain > 0), dtype=np.float32)


def lesion_shape(grid: Grid) -> FloatArray:
    """An ellipsoid with a soft edge on a grid in template space, 0 to 1."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm((grid.world(index) - LESION_CENTRE_MM) / LESION_RADII_MM, axis=-1)
    return np.asarray(ndimage.gaussian_filter((distance < 1).astype(np.float32), 0.7))

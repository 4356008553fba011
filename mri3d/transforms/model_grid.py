"""Between the source grid and the model grid: there in one interpolation, back in one."""

from __future__ import annotations

import numpy as np
import torch

from mri3d.grid import Grid
from mri3d.transforms.case import Case, Item, Stage
from mri3d.transforms.resampling import crop_to, extend, resample
from mri3d.volumes.volume import FloatArray

MARGIN = 8
"""Voxels kept around the brain when it is cut out, so that blur and interpolation see its surroundings."""


class ToModelGrid(Stage):
    """Bring volume and brain mask onto the model grid in template space.

    Args:
        grid: the model grid.
    """

    name = "resample"

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def apply(self, item: Item) -> Item:
        """Set ``image`` (float32, the source's intensities inside the brain, else 0) and ``mask`` (bool)."""
        case: Case = item["case"]
        assert case.volume is not None and case.brain is not None and case.alignment is not None
        box, cropped = crop_to(case.brain.mask, case.volume.grid, MARGIN)
        world = case.alignment.template_to_source
        mask = resample(case.brain.mask[box].astype(np.float32), cropped, self.grid, world) > 0.5
        image = np.where(mask, resample(case.volume.data[box], cropped, self.grid, world), 0).astype(np.float32)
        item["image"], item["mask"] = torch.from_numpy(image)[None], torch.from_numpy(mask)[None]
        return item


class ToSourceGrid(Stage):
    """The way back of :class:`ToModelGrid`: maps on the model grid onto the source grid.

    Args:
        grid: the model grid.
        keys: the maps, tensors of shape (1, *grid.shape); they become float32 arrays of the source's shape,
            0 outside the brain.
    """

    name = "resample"

    def __init__(self, grid: Grid, keys: tuple[str, ...] | list[str]) -> None:
        self.grid, self.keys = grid, tuple(keys)

    def apply(self, item: Item) -> Item:
        """Replace each map that the item has."""
        case: Case = item["case"]
        assert case.volume is not None and case.brain is not None and case.alignment is not None
        box, cropped = crop_to(case.brain.mask, case.volume.grid)
        to_template = np.asarray(np.linalg.inv(case.alignment.template_to_source), dtype=np.float64)
        for key in self.keys:
            if item.get(key) is not None:
                known = extend(item[key][0].cpu().numpy(), item["mask"][0].cpu().numpy())
                on_box = resample(known, self.grid, cropped, to_template)
                whole: FloatArray = np.zeros(case.volume.grid.shape, np.float32)
                whole[box] = np.where(case.brain.mask[box], on_box, 0)
                item[key] = whole
        return item

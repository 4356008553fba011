"""Between the source grid and the model grid: there in one interpolation, back in one."""

from __future__ import annotations

import numpy as np
import torch
from nibabel.affines import apply_affine

from mri3d.grid import Affine, Grid
from mri3d.transforms.case import Case, Item, Stage
from mri3d.transforms.resampling import crop_to, extend, resample
from mri3d.volumes.volume import BoolArray, FloatArray, Volume

MARGIN = 8
"""Voxels kept around the brain when it is cut out, so that blur and interpolation see its surroundings."""


class ToModelGrid(Stage):
    """Bring the volumes and the brain mask onto the model grid in template space.

    Each volume takes one interpolation, from its own grid; alignment and co-registration are composed before.

    Args:
        grid: the model grid.
    """

    name = "resample"

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def apply(self, item: Item) -> Item:
        """Set ``image`` (float32, the sources' intensities inside the brain, else 0) and ``mask`` (bool)."""
        case: Case = item["case"]
        assert case.volume is not None and case.brain is not None and case.alignment is not None
        box, cropped = crop_to(case.brain.mask, case.volume.grid, MARGIN)
        world = case.alignment.template_to_source
        brain = resample(case.brain.mask[box].astype(np.float32), cropped, self.grid, world) > 0.5
        images, masks = [resample(case.volume.data[box], cropped, self.grid, world)], [brain]
        for name in case.channels[1:]:
            image, shown = np.zeros_like(images[0]), np.zeros_like(brain)
            if name in case.volumes:
                image, shown = self._other(case.volumes[name], case.coregistrations[name].to_moving @ world)
            images.append(image)
            masks.append(brain & shown)
        item["mask"] = torch.from_numpy(np.stack(masks))
        item["image"] = torch.from_numpy(np.where(masks, images, 0).astype(np.float32))
        return item

    def _other(self, volume: Volume, world: Affine) -> tuple[FloatArray, BoolArray]:
        """Another modality on the model grid, and where it has voxels there."""
        voxels = np.indices(self.grid.shape).reshape(3, -1).T
        index = apply_affine(self.grid.index_affine_to(volume.grid, world), voxels)
        within = ((index >= -0.5) & (index <= np.array(volume.grid.shape) - 0.5)).all(axis=1)
        # edge voxels reach half a voxel beyond their centres, which interpolation would fade
        padded = np.pad(volume.data, 1, mode="edge")
        affine = volume.grid.affine.copy()
        affine[:3, 3] = volume.grid.world((-1, -1, -1))
        data = resample(padded, Grid((padded.shape[0], padded.shape[1], padded.shape[2]), affine), self.grid, world)
        return data, within.reshape(self.grid.shape)


class ToSourceGrid(Stage):
    """The way back of :class:`ToModelGrid`: maps on the model grid onto the source grid.

    Args:
        grid: the model grid.
        keys: the maps, tensors of shape (1, *grid.shape), of the brain of ``mask``'s first channel; they become float32
            arrays of the source's shape, 0 outside the brain.
    """

    name = "resample"

    def __init__(self, grid: Grid, keys: tuple[str, ...] | list[str]) -> None:
        self.grid, self.keys = grid, tuple(keys)

    def apply(self, item: Item) -> Item:
        """Replace each map that the item has."""
        case: Case = item["case"]
        assert case.volume is not None and case.brain is not None and case.alignment is not None
        to_template = np.asarray(np.linalg.inv(case.alignment.template_to_source), dtype=np.float64)
        known = item["mask"][0].cpu().numpy()
        for key in self.keys:
            if item.get(key) is not None:
                data = item[key][0].cpu().numpy()
                item[key] = onto(case.volume.grid, case.brain.mask, data, known, self.grid, to_template)
        return item


def onto(
    target: Grid, inside: BoolArray, data: FloatArray, known: BoolArray, model: Grid, to_template: Affine
) -> FloatArray:
    """A map on the model grid brought to another by one interpolation.

    Args:
        target: where it is wanted.
        inside: of ``target.shape``; the map is 0 outside. Not empty.
        data: the map, of ``model.shape``.
        known: where it is known, likewise; beyond, the nearest known value counts.
        model: the model grid.
        to_template: (4, 4) affine from the target's world to the template's.
    """
    box, cropped = crop_to(inside, target)
    whole: FloatArray = np.zeros(target.shape, np.float32)
    whole[box] = np.where(inside[box], resample(extend(data, known), model, cropped, to_template), 0)
    return whole

"""How large each region of a brain is: the deep ones by a network that knows them, the others by deformation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage

from mri3d.errors import BundleError, UsageError
from mri3d.grid import Grid
from mri3d.models.parcellation import DEEP, Parcellation
from mri3d.models.weights import load_network
from mri3d.transforms.resampling import resample
from mri3d.transforms.warping import log_jacobian
from mri3d.volumes.regions import Atlas, Labels, network_beside, table_of
from mri3d.volumes.volume import BoolArray, FloatArray

BOX = Grid.centred((56, 52, 40), 2.0, (0.0, -3.0, 5.0))
"""Around the deep structures, in template space: where the network looks."""

CUT_OFF = ("Left Lateral Ventricle", "Right Lateral Ventricle")
"""Structures that the network knows by name only so that it tells others from them: they reach beyond its box."""

AROUND_MM = 6.0
"""How far from where the atlas has any of the structures chances count: beyond, the network has not been taught."""

LEAST_ML = 0.01
"""Volume below which a structure counts as this large: of what is all but gone there is no logarithm."""

SURROUNDINGS_MM = 12.0
"""Standard deviation of the Gaussian that makes a region's surroundings. Heads differ in shape, and alignments by a
little, over larger distances than atrophy; on simulated atrophy in validation subjects 12 mm found more than 8 or 20,
and all of them more than the volume as it is (tried with histograms matched)."""

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


@dataclass(frozen=True, eq=False)
class RegionMeasure:
    """Measures the regions of an atlas in aligned brains.

    Args:
        atlas: the regions.
        network: on the CPU; measures the regions named in :data:`mri3d.models.parcellation.DEEP`, less
            :data:`CUT_OFF`. All others, and without it all, are measured by deformation.
    """

    atlas: Atlas
    network: Parcellation | None = None

    @classmethod
    def load(cls, path: Path) -> RegionMeasure:
        """An atlas with the network beside it, if there is one (``NAME_dseg.pt``).

        Raises:
            InputError, UsageError: see :meth:`mri3d.volumes.regions.Atlas.load`; or the atlas has other names than the
                structures of the network beside it.
            BundleError: the file beside it holds no such network.
        """
        atlas, weights = Atlas.load(path), network_beside(path)
        if not weights.exists():
            return cls(atlas)
        without = "take it away to measure all regions by deformation"
        try:
            network = load_network(Parcellation(), weights)
        except BundleError as error:
            raise BundleError(weights, error.expected, error.found, f"Restore it, or {without}") from error
        missing = {*DEEP} - {*CUT_OFF, *atlas.names.values()}
        if missing:
            expected, found = f"every structure that {weights.name} measures", f"no {min(missing)}"
            raise UsageError(table_of(path), expected, found, f"Mend the names, or {without} ({weights.name})")
        return cls(atlas, network)

    def __call__(self, image: FloatArray, grid: Grid) -> dict[int, Size]:
        """How large each region is.

        Args:
            image: (X, Y, Z) normalised T1w intensity of an aligned brain, 0 outside it.
            grid: where it lies, in template space.

        Returns:
            By number, in their order; regions of fewer than ten voxels of the grid are left out.
        """
        sizes = size_of(log_jacobian(image, grid), self.atlas.on(grid), grid)
        if self.network is None:
            return sizes
        volumes = volumes_of(self.network, image, grid, self._around)
        deep = {name: Size(ml, float(np.log(ml))) for name, ml in volumes.items()}
        return {n: deep.get(self.atlas.names[n], size) for n, size in sizes.items()}

    @cached_property
    def _around(self) -> BoolArray:
        """The voxels of the box around the atlas's structures."""
        numbers = [number for number, name in self.atlas.names.items() if name in DEEP]
        away = ndimage.distance_transform_edt(~np.isin(self.atlas.on(BOX), numbers), BOX.spacing)
        return np.asarray(away <= AROUND_MM)

    @property
    def sha256(self) -> str:
        """Hash of the network's weights; of nothing where there is none."""
        digest = hashlib.sha256()
        for name, tensor in sorted(({} if self.network is None else self.network.state_dict()).items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()


@torch.no_grad()
def volumes_of(network: Parcellation, image: FloatArray, grid: Grid, around: BoolArray) -> dict[str, float]:
    """Volume in ml of each structure that lies within the box: the sum of its chances, at least :data:`LEAST_ML`.

    Args:
        network: knows the structures.
        image: (X, Y, Z) normalised T1w intensity of an aligned brain, 0 outside it.
        grid: where it lies, in template space.
        around: (X, Y, Z) voxels of :data:`BOX` that count.
    """
    seen = torch.from_numpy(resample(image, grid, BOX))[None, None]
    chances = network(seen)[0].softmax(dim=0)[1:, torch.from_numpy(around)].double().sum(dim=1) * BOX.voxel_ml
    volumes = dict(zip(DEEP, chances.tolist(), strict=True))
    return {name: max(ml, LEAST_ML) for name, ml in volumes.items() if name not in CUT_OFF}


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

"""How large each region of a brain is: by a network that knows the deep ones, or by warping to the template."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy import ndimage

from mri3d.errors import BundleError
from mri3d.grid import Grid
from mri3d.models.parcellation import Parcellation
from mri3d.models.weights import load_network
from mri3d.transforms.resampling import resample
from mri3d.transforms.warping import log_jacobian
from mri3d.volumes.regions import Atlas, Labels, network_of
from mri3d.volumes.volume import FloatArray

SURROUNDINGS_MM = 12.0
"""Standard deviation of the Gaussian that makes a region's surroundings. Heads differ in shape, and alignments by a
little, over larger distances than atrophy; on simulated atrophy in validation subjects 12 mm found more than 8 or 20,
and all of them more than the volume as it is."""

BOX = Grid.centred((48, 72, 40), 2.0, (0.0, -25.0, 5.0))
"""Around the deep structures, in template space: where the network looks."""

BLUR, LEAST_CHANCE = 1.5, 2e-3
"""Standard deviation in voxels of what the atlas expects, and the chance below which it rules nothing out."""

LEAST_VOXELS = 10
"""Of the model grid, from which on a region is measured."""

LEAST_ML = 0.01
"""Volume below which a region counts as this large: of what is all but gone there is no logarithm."""


class Size(NamedTuple):
    """One region of one brain.

    Args:
        ml: its volume once the whole brain has the template's size.
        value: what is compared with healthy people; larger where the region is larger.
    """

    ml: float
    value: float


class Measure(Protocol):
    """Measures the regions of an aligned brain."""

    name: str
    """What :attr:`Size.value` is."""

    def __call__(self, image: FloatArray, grid: Grid) -> dict[int, Size]:
        """The size of each region by its number.

        Args:
            image: (X, Y, Z) normalised T1w intensity, 0 outside the brain.
            grid: where it lies, in template space.
        """

    def sha256(self) -> str:
        """Hash of what the measure is made of beside the atlas."""


class Segmented:
    """The volume that a network gives each region: the sum of its chances; of regions it does not know, the growth.

    Args:
        atlas: its regions from 1 on, without a gap, are those that the network knows; others follow.
        network: logits of no region and of each that it knows, on :data:`BOX`.
    """

    name = "logarithm of the volume in the size of the template; of outer regions, of the growth"

    def __init__(self, atlas: Atlas, network: Parcellation) -> None:
        self.network, self.others = network, Warped(atlas)

    @torch.no_grad()
    def __call__(self, image: FloatArray, grid: Grid) -> dict[int, Size]:
        """See :class:`Measure`."""
        seen = resample(image, grid, BOX)
        logits = self.network(torch.from_numpy(seen)[None, None])[0]
        chances = torch.softmax(logits[:, torch.from_numpy(seen > 0)].double(), dim=0).sum(dim=1).numpy()
        volumes = dict(enumerate(chances[1:] * BOX.voxel_ml, start=1))
        own = {n: Size(float(ml), float(np.log(max(ml, LEAST_ML)))) for n, ml in volumes.items()}
        return dict(sorted({**self.others(image, grid), **own}.items()))

    def sha256(self) -> str:
        """See :class:`Measure`."""
        digest = hashlib.sha256(self.others.sha256().encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()


def parcellation_of(atlas: Atlas, regions: int) -> Parcellation:
    """A network for the first regions of an atlas, which begins at what the atlas expects; its weights are random."""
    labels = atlas.on(BOX)
    chances = np.stack([ndimage.gaussian_filter((labels == n).astype(np.float32), BLUR) for n in range(1, regions + 1)])
    none = np.clip(1 - chances.sum(axis=0, keepdims=True), LEAST_CHANCE, 1)
    prior = np.log(np.maximum(np.concatenate([none, chances]), LEAST_CHANCE))
    return Parcellation(torch.from_numpy(prior)[None])


class Warped:
    """The growth that brings the template's region into this brain, against that of its surroundings.

    Args:
        atlas: any label map in template space.
    """

    name = "logarithm of the growth against the surroundings"

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas

    def __call__(self, image: FloatArray, grid: Grid) -> dict[int, Size]:
        """See :class:`Measure`; regions of fewer than ten voxels are left out."""
        return size_of(log_jacobian(image, grid), self.atlas.on(grid), grid)

    def sha256(self) -> str:
        """See :class:`Measure`: it is the method alone."""
        return hashlib.sha256(f"demons, {SURROUNDINGS_MM} mm".encode()).hexdigest()


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


def measure_of(atlas: Atlas, path: Path) -> Measure:
    """How the regions of a label map are measured: by the network that lies beside it, else by deformation.

    Args:
        atlas: what the file holds.
        path: ``NAME_dseg.nii.gz``; its network would be ``NAME_dseg.pt``.

    Raises:
        BundleError: the file beside it holds no network for its first regions.
    """
    weights = network_of(path)
    if not weights.exists():
        return Warped(atlas)
    regions = known_regions(weights)
    if not set(range(1, regions + 1)) <= set(atlas.names):
        expected, remedy = f"a network that knows regions of {path.name}", "Restore the two files"
        raise BundleError(weights, expected, f"one of {regions} regions", remedy)
    return Segmented(atlas, load_network(parcellation_of(atlas, regions), weights))


def known_regions(weights: Path) -> int:
    """How many regions the network in a file knows.

    Raises:
        BundleError: it holds none.
    """
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        return int(state["head.2.bias"].shape[0]) - 1
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        remedy = "Restore the file, or take it away to measure by deformation"
        raise BundleError(weights, "weights of a network of regions", repr(error)[:200], remedy) from error

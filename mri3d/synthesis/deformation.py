"""Smooth random fields, and random shapes of heads made with them that never fold."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms.transform import MapTransform, RandomizableTransform
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch.nn import functional

from mri3d.grid import Grid
from mri3d.volumes.volume import FloatArray

Item = dict[Hashable, Any]
STEEPEST = 0.7
"""Largest norm of a displacement's gradient; below 1 the map is one to one."""


def grid_of(tensor: torch.Tensor) -> Grid:
    """Where a channel-first volume lies; at 1 mm from the origin on where it is no ``MetaTensor``."""
    affine = tensor.affine.numpy() if isinstance(tensor, MetaTensor) else np.eye(4)
    x, y, z = tensor.shape[1:]
    return Grid((x, y, z), affine)


def on_grid(volume: torch.Tensor, grid: Grid) -> MetaTensor:
    """A channel-first volume that knows its affine."""
    return MetaTensor(volume, affine=torch.from_numpy(grid.affine.copy()))


def smooth_lattice(grid: Grid, width: float, channels: int, rng: np.random.RandomState) -> FloatArray:
    """Smooth Gaussian noise of unit variance on a lattice over a grid, to be interpolated linearly by :func:`spread`.

    Args:
        grid: what the lattice covers, corner to corner.
        width: standard deviation in mm of the Gaussian that smooths it.
        channels: independent fields.
        rng: source of chance.

    Returns:
        (channels, a, b, c) with about 2.5 points a width.
    """
    extent = np.array(grid.spacing) * (np.array(grid.shape) - 1)
    points = np.ceil(extent / width * 2.5).astype(int).clip(1) + 1
    # drawn with a margin, since at the edge of what is drawn smoothing takes away less of the variance
    noise = rng.standard_normal((channels, *(points + 12)))
    smooth = ndimage.gaussian_filter(noise, (0, 2.5, 2.5, 2.5), truncate=2.4)[:, 6:-6, 6:-6, 6:-6]
    return np.asarray(smooth * (2 * np.sqrt(np.pi) * 2.5) ** 1.5, dtype=np.float32)


def spread(lattice: FloatArray, shape: Sequence[int]) -> torch.Tensor:
    """A lattice (C, a, b, c) interpolated linearly to (C, X, Y, Z), corners on corners."""
    values = torch.from_numpy(lattice)[None]
    return functional.interpolate(values, size=tuple(shape), mode="trilinear", align_corners=True)[0]


def draw_displacement(grid: Grid, amplitude: float, width: float, rng: np.random.RandomState) -> FloatArray:
    """A lattice of displacements whose interpolation is one to one.

    Within a cell of the lattice each derivative is a mean of the differences along parallel edges, so that the largest
    of these bounds the norm of the gradient. Where it exceeds :data:`STEEPEST` the whole displacement is made smaller.

    Args:
        grid: what it covers.
        amplitude: standard deviation of each component in mm, before that.
        width: of the smoothing, in mm.
        rng: source of chance.

    Returns:
        (3, a, b, c) in mm along the grid's axes.
    """
    lattice = amplitude * smooth_lattice(grid, width, 3, rng)
    size = np.array(lattice.shape[1:])
    step = np.array(grid.spacing) * (np.array(grid.shape) - 1) / (size - 1)
    steepness = np.zeros(size - 1)
    for axis in range(3):
        slopes = np.abs(np.diff(lattice, axis=axis + 1)) / step[axis]
        across = [other for other in range(3) if other != axis]
        for other in across:  # the largest of the four edges of a cell
            low, high = (np.take(slopes, range(k, size[other] - 1 + k), axis=other + 1) for k in (0, 1))
            slopes = np.maximum(low, high)
        steepness += (slopes**2).sum(axis=0)
    return np.asarray(lattice * min(1.0, STEEPEST / max(float(np.sqrt(steepness.max())), 1e-9)), dtype=np.float32)


class RandHeadShaped(RandomizableTransform, MapTransform):
    """Give label maps the shape and pose of another head: turned, scaled and smoothly deformed.

    The map from new to old voxels is one to one: no label folds over another. The grid stays as it is.

    Args:
        keys: label maps (1, X, Y, Z) of whole numbers up to 2**24, on one grid; where a key holds a ``MetaTensor`` its
            affine counts, else voxels have 1 mm.
        degrees: largest rotation about each axis.
        scaling: largest relative change of size along each axis.
        amplitude: standard deviation of the displacement in mm, less where it would fold.
        width: its smoothness in mm.
    """

    def __init__(
        self, keys: str | Sequence[str], degrees: float = 8.0, scaling: float = 0.07, amplitude: float = 3.0,
        width: float = 30.0,
    ) -> None:  # fmt: skip
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.degrees, self.scaling, self.amplitude, self.width = degrees, scaling, amplitude, width

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Deform the label maps of an item."""
        item = dict(data)
        self.randomize(None)
        grid = grid_of(item[self.first_key(item)])
        sampling = self._sampling(grid)
        for key in self.key_iterator(item):
            values = torch.as_tensor(item[key]).as_subclass(torch.Tensor).float()[None]
            moved = functional.grid_sample(values, sampling, mode="nearest", padding_mode="zeros", align_corners=True)
            item[key] = on_grid(moved[0].to(torch.as_tensor(item[key]).dtype), grid)
        return item

    def _sampling(self, grid: Grid) -> torch.Tensor:
        """Where each voxel comes from, as ``grid_sample`` wants it: (1, X, Y, Z, 3) in -1..1, last axis first."""
        turn = Rotation.from_euler("xyz", self.R.uniform(-self.degrees, self.degrees, 3), degrees=True).as_matrix()
        linear = turn @ np.diag(np.exp(self.R.uniform(-self.scaling, self.scaling, 3)))
        lattice = draw_displacement(grid, self.amplitude, self.width, self.R)
        half = np.array(grid.spacing) * np.maximum(np.array(grid.shape) - 1, 1) / 2  # mm from the middle to the edge
        # A displaced lattice, transformed as one, is what the displaced and transformed voxels interpolate from.
        axes = [np.linspace(-h, h, n) for h, n in zip(half, lattice.shape[1:], strict=True)]
        at = np.stack(np.meshgrid(*axes, indexing="ij")) + lattice
        source = np.einsum("ij,jabc->iabc", linear, at) / half[:, None, None, None]
        return spread(source[::-1].astype(np.float32), grid.shape).permute(1, 2, 3, 0)[None]

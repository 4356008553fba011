"""An atlas of the deep structures, and a network that knows two of them by their intensity."""

from __future__ import annotations

import numpy as np
import torch

from mri3d.grid import Grid
from mri3d.models.parcellation import DEEP, Parcellation
from mri3d.volumes.regions import Atlas

FIRST = 7
"""The number of the left caudate; the others follow as in DEEP."""


def deep_atlas(grid: Grid) -> Atlas:
    """Every deep structure as a block of 27 voxels amid a grid of 24 or more along each axis, and one more region."""
    labels = np.zeros(grid.shape, np.int32)
    low = np.array(grid.shape) // 2 - np.array([10, 10, 2])
    for index in range(len(DEEP)):
        x, y, z = low + np.array([4 * (index % 5), 4 * (index // 5), 0])
        labels[x : x + 3, y : y + 3, z : z + 3] = FIRST + index
    labels[2:6, 2:6, 20:23] = 1
    return Atlas(labels, grid, {1: "Other", **{FIRST + index: name for index, name in enumerate(DEEP)}})


def by_intensity() -> Parcellation:
    """More than 0.4 is the left caudate and more than 0.7 the right one; all else is nothing."""
    network = Parcellation().eval()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    first, last = network.head[0].conv, network.head[1]
    with torch.no_grad():
        # what the image's channel has in the voxel itself, in steps that begin at 0.4 and 0.7
        first.weight[:2, 0, 1, 1, 1], first.bias[:2] = 1.0, torch.tensor([-0.4, -0.7])
        last.weight[1, :2, 0, 0, 0], last.bias[1] = torch.tensor([4000.0, -4000.0]), 0.0
        last.weight[2, :2, 0, 0, 0], last.bias[2] = torch.tensor([4000.0, 4000.0]), -1000.0
        # LeakyReLU lets a tenth through below 0, which these make up for
        last.bias[0], last.bias[3:] = 300.0, -1000.0
    return network

"""A U-Net that tells which region each voxel of an aligned brain belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import UNet
from torch import nn

from mri3d.models.blocks import LEAKY

BLOCK = 32
"""Channels at half resolution: a value for each voxel of a block of eight, of image and coordinates."""

HIDDEN = 48
"""Width of the layer in which a voxel's intensity meets what the U-Net has found around it."""


class Parcellation(nn.Module):
    """Logits of every region at every voxel.

    The U-Net works at half resolution, where a strided convolution leads without losing detail (as in
    :class:`mri3d.models.restoration.RestorationUNet`), and sees beside the image where in the template's space it
    looks, so that left and right, and lobes without a border between them, can be told apart. It needs the whole grid
    that it was trained on.

    Args:
        regions: how many there are; class 0 is none of them.
        channels: width of each level of the U-Net, finest (at half resolution) first.
        detail: channels of what the U-Net has found, at full resolution.
    """

    def __init__(self, regions: int, channels: Sequence[int] = (24, 48, 72, 96), detail: int = 16) -> None:
        super().__init__()
        self.down = Convolution(3, 4, BLOCK, kernel_size=2, strides=2, padding=0, conv_only=True)
        self.unet = UNet(
            3, BLOCK, channels[0], channels, [1] + [2] * (len(channels) - 2), num_res_units=1, norm="instance",
            act=LEAKY,
        )
        self.up = Convolution(
            3, channels[0], detail, kernel_size=2, strides=2, padding=0, is_transposed=True, output_padding=0,
            conv_only=True,
        )
        self.head = nn.Sequential(nn.Linear(1 + detail, HIDDEN), nn.LeakyReLU(0.1), nn.Linear(HIDDEN, regions + 1))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the head judges each voxel by: (voxels, 1 + detail) of one ``x`` of shape (1, 1, X, Y, Z)."""
        found = self.up(self.unet(self.down(torch.cat([x, coordinates(x)], dim=1))))
        return torch.cat([x, found.to(x.dtype)], dim=1).flatten(2)[0].T

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (1, regions + 1, X, Y, Z) of ``x`` (1, 1, X, Y, Z), normalised intensity, 0 outside the brain."""
        logits: torch.Tensor = self.head(self.features(x)).T.reshape(1, -1, *x.shape[2:])
        return logits


def coordinates(x: torch.Tensor) -> torch.Tensor:
    """Where each voxel of a grid lies, -1 to 1 along each axis: (1, 3, X, Y, Z) for ``x`` (1, 1, X, Y, Z)."""
    axes = [torch.linspace(-1, 1, size, device=x.device, dtype=x.dtype) for size in x.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]

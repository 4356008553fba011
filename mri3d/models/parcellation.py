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
    """Logits of every region at every voxel of a box in the template's space.

    They begin at what the atlas expects and are moved by what the network sees. Its U-Net works at half resolution,
    where a strided convolution leads without losing detail (as in :class:`mri3d.models.restoration.RestorationUNet`),
    and is told beside the image where in the box it looks.

    Args:
        prior: (1, regions + 1, X, Y, Z) logarithm of the chances that the atlas gives no region and each region; no
            part of the weights.
        channels: width of each level of the U-Net, finest (at half resolution) first; X, Y and Z are multiples of
            ``2 ** (len(channels) - 1)``.
        detail: channels of what the U-Net has found, at full resolution.
    """

    prior: torch.Tensor

    def __init__(self, prior: torch.Tensor, channels: Sequence[int] = (32, 64, 96, 128), detail: int = 16) -> None:
        super().__init__()
        self.register_buffer("prior", prior, persistent=False)
        self.down = Convolution(3, 4, BLOCK, kernel_size=2, strides=2, padding=0, conv_only=True)
        self.unet = UNet(
            3, BLOCK, channels[0], channels, [1] + [2] * (len(channels) - 2), num_res_units=1, norm="instance",
            act=LEAKY,
        )
        self.up = Convolution(
            3, channels[0], detail, kernel_size=2, strides=2, padding=0, is_transposed=True, output_padding=0,
            conv_only=True,
        )
        self.head = nn.Sequential(nn.Linear(1 + detail, HIDDEN), nn.LeakyReLU(0.1), nn.Linear(HIDDEN, prior.shape[1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (1, regions + 1, X, Y, Z) of ``x`` (1, 1, X, Y, Z), normalised intensity, 0 outside the brain."""
        found = self.up(self.unet(self.down(torch.cat([x, coordinates(x)], dim=1))))
        seen = torch.cat([x, found.to(x.dtype)], dim=1).flatten(2)[0].T
        logits: torch.Tensor = self.head(seen).T.reshape(1, -1, *x.shape[2:])
        return logits + self.prior.to(logits.dtype)


def coordinates(x: torch.Tensor) -> torch.Tensor:
    """Where each voxel of a box lies, -1 to 1 along each axis: (1, 3, X, Y, Z) for ``x`` (1, 1, X, Y, Z)."""
    axes = [torch.linspace(-1, 1, size, device=x.device, dtype=x.dtype) for size in x.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]

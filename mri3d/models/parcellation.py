"""A U-Net that tells which deep structure each voxel of an aligned brain belongs to."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import UNet
from torch import nn

from mri3d.models.blocks import LEAKY

CHANNELS = (24, 48, 72, 96)
"""Width of each level of the U-Net, finest first."""

WIDTH = 32
"""Channels of what the U-Net has found; the last two convolutions see them beside the image."""

DEEP: tuple[str, ...] = (
    *(
        f"{side} {name}"
        for name in (
            "Caudate", "Putamen", "Accumbens Area", "Pallidum", "Thalamus", "Hippocampus", "Amygdala",
            "Lateral Ventricle",
        )
        for side in ("Left", "Right")
    ),
    "3rd Ventricle",
)  # fmt: skip
"""The structures that the network knows, in the order of its channels after that of all else."""


class Parcellation(nn.Module):
    """Logits of every structure at every voxel of a box in the template's space.

    The network sees beside the image where in the box a voxel lies, since left and right look alike.
    """

    def __init__(self) -> None:
        super().__init__()
        strides = [1] + [2] * (len(CHANNELS) - 2)
        self.unet = UNet(3, 4, WIDTH, CHANNELS, strides, num_res_units=1, norm="instance", act=LEAKY)
        self.head = nn.Sequential(
            Convolution(3, 1 + WIDTH, WIDTH, kernel_size=3, act=LEAKY, norm=None), nn.Conv3d(WIDTH, 1 + len(DEEP), 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, 1 + structures, X, Y, Z) of ``x`` (N, 1, X, Y, Z), normalised intensity, 0 outside the brain.

        X, Y and Z are multiples of 4.
        """
        found = self.unet(torch.cat([x, coordinates(x)], dim=1))
        logits: torch.Tensor = self.head(torch.cat([x, found.to(x.dtype)], dim=1))
        return logits


def coordinates(x: torch.Tensor) -> torch.Tensor:
    """Where each voxel of a box lies, -1 to 1 along each axis: (N, 3, X, Y, Z) for ``x`` (N, 1, X, Y, Z)."""
    axes = [torch.linspace(-1, 1, size, device=x.device, dtype=x.dtype) for size in x.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(x), -1, -1, -1, -1)

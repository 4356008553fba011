"""A U-Net that takes away what does not belong into a healthy brain."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import UNet
from torch import nn

from mri3d.models.atlas import Atlas
from mri3d.models.blocks import LEAKY, Act

DETAIL = 8
"""Channels of what the U-Net has found, at full resolution."""


class RestorationUNet(nn.Module):
    """The reconstruction is the input less what a U-Net predicts to be foreign to it (noise, or an anomaly).

    Trained on corrupted healthy brains to give back the healthy ones. Where nothing is foreign the prediction is 0, so
    unlike an autoencoder it keeps fine anatomy, and its residual is no blur (denoising with the noise as the target:
    Kascenas et al. 2022, PMLR 172:653).

    The U-Net works at half resolution, where a strided convolution leads without losing detail, since it has a channel
    for every value of a block of voxels. Its first level keeps that resolution, so that the finest skip does too. What
    it finds is then weighed voxel by voxel against the image itself, which keeps an anomaly's border sharp.

    Args:
        spatial_dims: 2 or 3.
        in_channels: modalities.
        channels: width of each level of the U-Net, finest (at half resolution) first; each spatial size of the input
            is a multiple of ``2 ** (len(channels) - 1)``.
        residual_units: residual units a level.
        norm: MONAI's name of the normalisation.
        act: MONAI's name of the activation, or its name and arguments.
        atlas_shape: shape of the model grid, to let the network see the healthy atlas beside the image: how a voxel
            departs from healthy ones at its place, and what is usual there. None lets it see the image alone.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        channels: Sequence[int] = (24, 48, 64, 96, 128),
        residual_units: int = 2,
        norm: str = "instance",
        act: Act = LEAKY,
        atlas_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.atlas = Atlas(atlas_shape, in_channels) if atlas_shape is not None else None
        seen = in_channels * (3 if atlas_shape is not None else 1)
        block = seen * 2**spatial_dims
        self.down = Convolution(spatial_dims, seen, block, kernel_size=2, strides=2, padding=0, conv_only=True)
        self.unet = UNet(
            spatial_dims, block, channels[0], channels, [1] + [2] * (len(channels) - 2), num_res_units=residual_units,
            norm=norm, act=act,
        )
        self.up = Convolution(
            spatial_dims, channels[0], DETAIL, kernel_size=2, strides=2, padding=0, is_transposed=True,
            output_padding=0, conv_only=True,
        )
        self.weigh = nn.Sequential(
            Convolution(spatial_dims, seen + DETAIL, 2 * DETAIL, kernel_size=1, act=act, norm=None),
            Convolution(spatial_dims, 2 * DETAIL, in_channels, kernel_size=1, conv_only=True),
        )

    def fit(self, images: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]) -> None:
        """Measure the atlas; see :meth:`mri3d.models.atlas.Atlas.fit`."""
        if self.atlas is not None:
            self.atlas.fit(images, masks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Restore ``x`` of shape (batch, channels, *spatial); the result has the same shape."""
        seen = x
        if self.atlas is not None:
            seen = torch.cat([x, 0.3 * self.atlas.standardise(x), self.atlas(x)], dim=1)
        found = self.up(self.unet(self.down(seen)))
        foreign: torch.Tensor = self.weigh(torch.cat([seen, found.to(seen.dtype)], dim=1))
        return x - foreign

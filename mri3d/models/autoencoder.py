"""A convolutional autoencoder with a bottleneck, in two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from monai.networks.blocks import Convolution, UpSample
from torch import nn


class ConvAutoEncoder(nn.Module):
    """Strided convolutions down to a latent map, up-convolutions back; no skip passes the bottleneck.

    Every level halves the resolution, so each spatial size of the input is a multiple of ``2 ** len(channels)``.
    Fully convolutional: the latent of an 80x96x80 volume under four levels is ``latent_channels`` x 5x6x5.

    Args:
        spatial_dims: 2 or 3.
        in_channels: modalities.
        channels: width of each level, finest first.
        latent_channels: width of the bottleneck.
        norm: MONAI's name of the normalisation.
        act: MONAI's name of the activation, or its name and arguments.
        output: ``linear`` or ``sigmoid`` (intensities in [0, 1]).
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        latent_channels: int = 32,
        norm: str = "batch",
        act: str | tuple[str, dict[str, Any]] = ("leakyrelu", {"negative_slope": 0.1}),
        output: str = "linear",
    ) -> None:
        super().__init__()
        if output not in ("linear", "sigmoid"):
            raise ValueError(f"output is 'linear' or 'sigmoid', not {output!r}")

        def block(n_in: int, n_out: int, **options: Any) -> nn.Module:
            return Convolution(spatial_dims, n_in, n_out, norm=norm, act=act, **options)

        self.encoder = nn.Sequential(
            *[block(n_in, n_out, strides=2) for n_in, n_out in pairwise([in_channels, *channels])],
            Convolution(spatial_dims, channels[-1], latent_channels, kernel_size=1, conv_only=True),
        )
        # the finest level costs more than all others together, so it is the narrowest
        widths_up = [*channels[::-1], max(channels[0] // 2, 4)]
        self.decoder = nn.Sequential(
            block(latent_channels, channels[-1]),
            *[
                nn.Sequential(UpSample(spatial_dims, n, m, scale_factor=2, mode="deconv"), block(m, m))
                for n, m in pairwise(widths_up)
            ],
            Convolution(spatial_dims, widths_up[-1], in_channels, conv_only=True),
            nn.Sigmoid() if output == "sigmoid" else nn.Identity(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct ``x`` of shape (batch, channels, *spatial); the result has the same shape."""
        reconstruction: torch.Tensor = self.decoder(self.encoder(x))
        return reconstruction

"""Parts that several networks are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from monai.networks.blocks import Convolution, UpSample
from torch import nn

Act = str | tuple[str, dict[str, Any]]
LEAKY: Act = ("leakyrelu", {"negative_slope": 0.1})


def strided_encoder(
    spatial_dims: int, in_channels: int, channels: Sequence[int], latent_channels: int, norm: str, act: Act
) -> nn.Sequential:
    """Strided convolutions, each of which halves the resolution, and a linear map to the latent channels."""
    return nn.Sequential(
        *[
            Convolution(spatial_dims, n_in, n_out, strides=2, norm=norm, act=act)
            for n_in, n_out in pairwise([in_channels, *channels])
        ],
        Convolution(spatial_dims, channels[-1], latent_channels, kernel_size=1, conv_only=True),
    )


def upsampling_decoder(
    spatial_dims: int,
    latent_channels: int,
    channels: Sequence[int],
    out_channels: int,
    norm: str,
    act: Act,
    output: str,
) -> nn.Sequential:
    """The way back of :func:`strided_encoder`; ``output`` is ``linear`` or ``sigmoid``.

    Raises:
        ValueError: another output.
    """
    if output not in ("linear", "sigmoid"):
        raise ValueError(f"output is 'linear' or 'sigmoid', not {output!r}")
    # the finest level costs more than all others together, so it is the narrowest
    widths = [*channels[::-1], max(channels[0] // 2, 4)]
    return nn.Sequential(
        Convolution(spatial_dims, latent_channels, channels[-1], norm=norm, act=act),
        *[
            nn.Sequential(
                UpSample(spatial_dims, n, m, scale_factor=2, mode="deconv"),
                Convolution(spatial_dims, m, m, norm=norm, act=act),
            )
            for n, m in pairwise(widths)
        ],
        Convolution(spatial_dims, widths[-1], out_channels, conv_only=True),
        nn.Sigmoid() if output == "sigmoid" else nn.Identity(),
    )

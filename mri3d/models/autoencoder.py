"""Convolutional autoencoders with a bottleneck, plain and variational, in two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import nn

from mri3d.models.blocks import LEAKY, Act, strided_encoder, upsampling_decoder


class ConvAutoEncoder(nn.Module):
    """Strided convolutions down to a latent, up-convolutions back; no skip passes the bottleneck.

    Every level halves the resolution, so each spatial size of the input is a multiple of ``2 ** len(channels)``.
    Without ``latent_size`` it is fully convolutional: the latent of an 80x96x80 volume under four levels is
    ``latent_channels`` x 5x6x5.

    Args:
        spatial_dims: 2 or 3.
        in_channels: modalities.
        channels: width of each level, finest first.
        latent_channels: width of the bottleneck.
        norm: MONAI's name of the normalisation.
        act: MONAI's name of the activation, or its name and arguments.
        output: ``linear`` or ``sigmoid`` (intensities in [0, 1]).
        latent_size: length of a dense latent vector, such as 512 to 2048, in place of a map.
        shape: of the input, which a dense latent needs to know.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        latent_channels: int = 32,
        norm: str = "batch",
        act: Act = LEAKY,
        output: str = "linear",
        latent_size: int | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder_and_decoder(
            spatial_dims, in_channels, channels, latent_channels, norm, act, output, latent_size, shape
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct ``x`` of shape (batch, channels, *spatial); the result has the same shape."""
        reconstruction: torch.Tensor = self.decoder(self.encoder(x))
        return reconstruction


class VariationalAutoEncoder(nn.Module):
    """The autoencoder of Kingma and Welling 2014 (arXiv 1312.6114), whose latent is a Gaussian drawn anew in training.

    ``forward`` decodes the mean; training asks :meth:`sample` for mean and log-variance as well.

    Args:
        spatial_dims: see :class:`ConvAutoEncoder`, as all others.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        latent_channels: int = 8,
        norm: str = "batch",
        act: Act = LEAKY,
        output: str = "linear",
        latent_size: int | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder_and_decoder(
            spatial_dims, in_channels, channels, latent_channels, norm, act, output, latent_size, shape, outputs=2
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct ``x`` of shape (batch, channels, *spatial) from the mean of its latent."""
        reconstruction: torch.Tensor = self.decoder(self.encoder(x).chunk(2, dim=1)[0])
        return reconstruction

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance of the latent, (batch, units, *spatial) or, if it is dense, (batch, units)."""
        mean, log_variance = self.encoder(x).float().chunk(2, dim=1)
        return mean, log_variance

    def sample(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Reconstruction from a drawn latent (reparameterised), and the latent's mean and log-variance."""
        mean, log_variance = self.encode(x)
        latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decoder(latent), mean, log_variance


def encoder_and_decoder(
    spatial_dims: int,
    in_channels: int,
    channels: Sequence[int],
    latent_channels: int,
    norm: str,
    act: Act,
    output: str,
    latent_size: int | None,
    shape: Sequence[int] | None,
    outputs: int = 1,
) -> tuple[nn.Sequential, nn.Sequential]:
    """The two halves of an autoencoder; for the arguments see :class:`ConvAutoEncoder`.

    Args:
        outputs: what the encoder gives for each number of the latent, side by side: 2 for a mean and a log-variance.

    Raises:
        ValueError: a dense latent without a shape.
    """
    width = latent_channels * outputs if latent_size is None else latent_channels
    encoder = strided_encoder(spatial_dims, in_channels, channels, width, norm, act)
    decoder = upsampling_decoder(spatial_dims, latent_channels, channels, in_channels, norm, act, output)
    if latent_size is None:
        return encoder, decoder
    if shape is None:
        raise ValueError("a dense latent needs the shape of the input")
    coarse = (latent_channels, *(n >> len(channels) for n in shape))
    encoder.extend([nn.Flatten(1), nn.Linear(prod(coarse), latent_size * outputs)])
    expansion = [nn.Linear(latent_size, prod(coarse)), nn.Unflatten(1, coarse)]
    return encoder, nn.Sequential(*expansion, *decoder)

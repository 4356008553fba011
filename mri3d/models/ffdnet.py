"""A denoising network that is told how strong the noise is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from mri3d.models.noise import noise_level


class FFDNet(nn.Module):
    """FFDNet (Zhang et al. 2018, arXiv 1710.04026) in three dimensions: convolutions at half resolution on an image and
    its noise level; the result is the image less the noise they predict.

    No layer has a bias or a normalisation (Mohan et al. 2020, arXiv 1906.05478): an image of ``a`` times the
    intensity with ``a`` times the noise gives ``a`` times the result, so that no scale of intensities has to be found
    for a scan, and one training on some ratios of signal to noise serves its unit too. No voxel is changed by more
    than ``limit`` standard deviations of the noise; without noise the image comes back as it is.

    Args:
        channels: width of each hidden layer.
        limit: largest change of a voxel, in standard deviations of the noise.
    """

    def __init__(self, channels: Sequence[int] = (32, 32, 32, 32, 32), limit: float = 4.0) -> None:
        super().__init__()
        self.limit = limit
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([9, *channels]):
            layers += [nn.Conv3d(n_in, n_out, 3, padding=1, bias=False), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv3d(channels[-1], 8, 3, padding=1, bias=False))

    def forward(self, x: torch.Tensor, sigma: torch.Tensor | None = None) -> torch.Tensor:
        """Denoise ``x``, each channel by itself.

        Args:
            x: (batch, channels, *spatial), of any size.
            sigma: standard deviation of the noise in the unit of ``x``: one number, or such that it can be expanded to
                (batch, channels, 1, 1, 1). Where left out, :func:`mri3d.models.noise.noise_level` estimates it.

        Returns:
            The image without its noise, of the shape of ``x``.
        """
        single = x.flatten(0, 1)[:, None]
        if sigma is None:
            level = noise_level(single)
        else:
            level = sigma.to(x).expand(x.shape[0], x.shape[1], 1, 1, 1).reshape(-1, 1, 1, 1, 1)
        odd = [n % 2 for n in x.shape[2:]]
        padded = functional.pad(single, [0, odd[2], 0, odd[1], 0, odd[0]], mode="replicate")
        blocks = space_to_depth(padded)
        seen = torch.cat([blocks, level.expand(-1, -1, blocks.shape[2], blocks.shape[3], blocks.shape[4])], dim=1)
        noise = depth_to_space(self.layers(seen).to(x.dtype))[..., : x.shape[2], : x.shape[3], : x.shape[4]]
        most = self.limit * level
        result: torch.Tensor = single - torch.minimum(torch.maximum(noise, -most), most)
        return result.reshape(x.shape)


def space_to_depth(x: torch.Tensor) -> torch.Tensor:
    """Blocks of 2 x 2 x 2 voxels as channels: (batch, 1, X, Y, Z) to (batch, 8, X/2, Y/2, Z/2)."""
    b, _, i, j, k = x.shape
    blocks = x.reshape(b, i // 2, 2, j // 2, 2, k // 2, 2).permute(0, 2, 4, 6, 1, 3, 5)
    return blocks.reshape(b, 8, i // 2, j // 2, k // 2)


def depth_to_space(x: torch.Tensor) -> torch.Tensor:
    """The way back of :func:`space_to_depth`."""
    b, _, i, j, k = x.shape
    return x.reshape(b, 2, 2, 2, i, j, k).permute(0, 4, 1, 5, 2, 6, 3).reshape(b, 1, 2 * i, 2 * j, 2 * k)

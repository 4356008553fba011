"""A denoising network that is told how strong the noise is."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from mri3d.models.noise import noise_level


class DenoisingCNN(nn.Module):
    """The image less the noise that a few convolutions at half resolution predict from it and from the noise's level.

    That is FFDNet (Zhang et al. 2018, arXiv 1710.04026) in three dimensions, with the Haar wavelets of each block of
    2 x 2 x 2 voxels in place of its values (Liu et al. 2018, arXiv 1805.07071): most of them are hardly more than
    noise. Layers add to a stream that is never rectified; a plain stack of them did not learn within a thousand steps.

    No layer has a bias or a normalisation (Mohan et al. 2020, arXiv 1906.05478): an image of ``a`` times the intensity
    with ``a`` times the noise gives ``a`` times the result, so that nobody has to find a scan's scale. No voxel changes
    by more than ``limit`` standard deviations of the noise; without noise the image comes back as it is.

    Args:
        width: channels of the stream.
        layers: convolutions that add to it.
        limit: largest change of a voxel, in standard deviations of the noise.
    """

    def __init__(self, width: int = 32, layers: int = 4, limit: float = 4.0) -> None:
        super().__init__()
        self.limit = limit
        self.head = nn.Conv3d(10, width, 3, padding=1, bias=False)
        self.body = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1, bias=False) for _ in range(layers))
        self.tail = nn.Conv3d(width, 8, 3, padding=1, bias=False)
        self.haar: torch.Tensor
        self.register_buffer("haar", haar_wavelets(), persistent=False)

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
        noise = self._noise(padded, level)[..., : x.shape[2], : x.shape[3], : x.shape[4]]
        most = self.limit * level
        result: torch.Tensor = single - torch.minimum(torch.maximum(noise, -most), most)
        return result.reshape(x.shape)

    def _noise(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        blocks = functional.conv3d(x, self.haar, stride=2)
        mean = functional.pad(blocks[:, :1], [1, 1, 1, 1, 1, 1], mode="replicate")
        mean = functional.avg_pool3d(mean, 3, stride=1)
        # noise is a small part of a tissue's intensity, which would drown it, and is told apart for Rician noise
        local = torch.cat([blocks[:, :1] - mean, blocks[:, 1:], mean / 8], dim=1)
        everywhere = level.expand(-1, -1, mean.shape[2], mean.shape[3], mean.shape[4])
        stream = self.head(torch.cat([local, everywhere], dim=1))
        for layer in self.body:
            stream = stream + layer(torch.relu(stream))
        return functional.conv_transpose3d(self.tail(stream), self.haar, stride=2).to(x.dtype)


def haar_wavelets() -> torch.Tensor:
    """The eight orthonormal Haar wavelets on 2 x 2 x 2 voxels, the mean first: (8, 1, 2, 2, 2)."""
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5
    return torch.einsum("ai,bj,ck->abcijk", pair, pair, pair).reshape(8, 1, 2, 2, 2)

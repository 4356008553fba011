"""An autoencoder whose encoder is a ResNet, for weights that were learnt on other medical images."""

from collections.abc import Sequence
from typing import Final

import torch
from monai.networks.nets.resnet import ResNetFeatures
from torch import nn
from torch.nn.functional import pad

from mri3d.models.blocks import LEAKY, Act, upsampling_decoder


class ResNetAutoEncoder(nn.Module):
    """A ResNet (He et al. 2016, arXiv 1512.03385) down to 1/32 of the resolution, and up-convolutions back.

    The encoder has the layout of MedicalNet's checkpoints (Chen et al. 2019, arXiv 1904.00625) as MONAI builds it; see
    :mod:`mri3d.models.medicalnet` for their weights. MedicalNet itself keeps the last two stages at 1/8 and dilates
    them, MONAI strides, for which the weights have the same shapes.

    What the encoder sees is what MedicalNet was trained on: brain voxels, those above 0, with mean 0 and standard
    deviation 1 in each volume and modality. The surroundings are 0, the mean, where MedicalNet drew noise. The
    reconstruction is brought back to the input's scale.

    The input may have any size: it is padded with zeros behind its ends to multiples of 32, and the output cropped. The
    latent of an 80x96x80 volume is ``latent_channels`` x 3x3x3.

    Args:
        spatial_dims: 2 or 3.
        in_channels: modalities.
        depth: 50, or 10, which is small; the shortcuts of others in MONAI cannot be exported.
        latent_channels: width of the bottleneck.
        decoder_channels: width of each of the decoder's five levels, finest first.
        norm: MONAI's name of the decoder's normalisation.
        act: MONAI's name of the decoder's activation, or its name and arguments.

    Raises:
        ValueError: another depth, or other than five levels.
    """

    factor: Final[int] = 32

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        depth: int = 50,
        latent_channels: int = 32,
        decoder_channels: Sequence[int] = (16, 32, 64, 128, 256),
        norm: str = "batch",
        act: Act = LEAKY,
    ) -> None:
        super().__init__()
        if depth not in (10, 50):
            raise ValueError(f"depth is 10 or 50, not {depth}")
        if 2 ** len(decoder_channels) != self.factor:
            raise ValueError(f"decoder_channels are five, not {len(decoder_channels)}")
        self.encoder = ResNetFeatures(f"resnet{depth}", False, spatial_dims, in_channels)
        squeeze = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
        self.squeeze = squeeze(self.encoder.in_planes, latent_channels, kernel_size=1)
        self.decoder = upsampling_decoder(
            spatial_dims, latent_channels, decoder_channels, in_channels, norm, act, "linear"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct ``x`` of shape (batch, channels, *spatial); the result has the same shape."""
        seen, mean, std = standardise(x)
        ends: list[int] = []
        for dim in range(x.dim() - 1, 1, -1):  # torch's pad begins with the last dimension
            ends += [0, (self.factor - x.shape[dim] % self.factor) % self.factor]
        result: torch.Tensor = self.decoder(self.squeeze(self.encoder(pad(seen, ends))[-1]))
        for dim in range(2, x.dim()):
            result = result.narrow(dim, 0, x.shape[dim])
        return result * std + mean


def standardise(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Each channel with mean 0 and standard deviation 1 over its voxels above 0; the others become 0.

    Args:
        x: (batch, channels, *spatial).

    Returns:
        The result in the same shape, and mean and standard deviation as (batch, channels, 1, ...).
    """
    dims = list(range(2, x.dim()))
    inside = (x > 0).to(x.dtype)
    count = inside.sum(dims, keepdim=True).clamp(min=1)
    mean = (x * inside).sum(dims, keepdim=True) / count
    centred = (x - mean) * inside
    # a constant brain has no scale of its own
    std = ((centred**2).sum(dims, keepdim=True) / count).sqrt().clamp(min=1e-3)
    return centred / std, mean, std

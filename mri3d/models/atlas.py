"""The healthy atlas: what a voxel usually looks like, without a network."""

from collections.abc import Sequence

import torch
from torch import nn

MIN_STD = 0.04
"""Smallest spread, in normalised intensity: about that of noise on homogeneous tissue."""

PRIOR_SUBJECTS = 2
"""Weight of a mean of zero; it matters only where few healthy brains have a voxel."""


class Atlas(nn.Module):
    """Voxel-wise mean and standard deviation of healthy brains and their mirror images.

    The reconstruction of any brain is the mean, so that the normative z of its residual is the classical voxel-wise
    atlas z. Anatomy is compared place by place: the input is the whole model grid.

    Args:
        shape: of the model grid, which is symmetric about its first axis' middle (left and right).
        in_channels: modalities.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, shape: Sequence[int], in_channels: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, in_channels, *shape))
        self.register_buffer("std", torch.ones(1, in_channels, *shape))

    @torch.no_grad()
    def fit(self, images: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]) -> None:
        """Measure healthy brains.

        Args:
            images: (C, *shape) each, normalised intensity.
            masks: (C, *shape) each, bool, the brain as far as each modality shows it.
        """
        count, total, squares = (torch.zeros_like(self.mean, dtype=torch.float64) for _ in range(3))
        for image, mask in zip(images, masks, strict=True):
            inside = (image * mask).double()
            for mirrored in ((), (1,)):
                count += mask.flip(mirrored)
                total += inside.flip(mirrored)
                squares += inside.flip(mirrored) ** 2
        mean = total / (count + 2 * PRIOR_SUBJECTS)
        around_mean = (squares - 2 * mean * total + count * mean**2).clamp(min=0)
        self.mean.copy_(mean)
        self.std.copy_((around_mean / (count - 1).clamp(min=1)).sqrt().clamp(min=MIN_STD))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The mean healthy brain, as (batch, channels, *shape) like ``x``."""
        return self.mean.expand_as(x).to(x.dtype)

    def standardise(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` in standard deviations from the mean, within ±10; 0 where ``x`` is 0, outside the brain."""
        return torch.where(x > 0, ((x - self.mean) / self.std).clamp(-10.0, 10.0), torch.zeros_like(x))

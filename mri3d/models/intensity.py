"""The plain intensity thresholds that every detector has to beat."""

from typing import Final

import torch
from torch import nn


class MedianIntensity(nn.Module):
    """Every voxel is expected to be the median of its brain: the residual is the plain intensity, recentred.

    With the scorer's ``direction`` this is a threshold on bright, dark, or deviating voxels.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The median of each brain's voxels, those above 0, as (batch, channels, *spatial) like ``x``."""
        result = torch.zeros_like(x)
        for b in range(x.shape[0]):
            for c in range(x.shape[1]):
                inside = x[b, c][x[b, c] > 0]
                if inside.numel() > 0:
                    result[b, c] = inside.median()
        return result


class EqualisedIntensity(nn.Module):
    """The histogram-equalised intensity as the anomaly score, the FLAIR baseline of Meissen et al. 2021
    (doi 10.1007/978-3-031-08999-2_5).

    The residual ``x - forward(x)`` is the share of the brain's voxels that are darker, 0 to 1.
    """

    levels: Final[int] = 1024

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` less its rank within the brain, (batch, channels, *spatial) like ``x``; 0 outside."""
        result = torch.zeros_like(x)
        for b in range(x.shape[0]):
            for c in range(x.shape[1]):
                inside = x[b, c] > 0
                values = x[b, c][inside]
                if values.numel() > 0:
                    ordered = torch.sort(values)[0]
                    pick = torch.linspace(0, float(values.numel() - 1), self.levels, device=x.device).round().long()
                    rank = torch.searchsorted(ordered[pick], values).to(x.dtype) / self.levels
                    result[b, c][inside] = values - rank
        return result

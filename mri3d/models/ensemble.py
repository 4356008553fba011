"""Several detectors as one."""

from collections.abc import Sequence

import torch
from monai.networks.layers import GaussianFilter
from torch import nn

WIDTH = 3.0
"""Standard deviation in voxels of the Gaussian that evens out the members' spread."""

FLOOR = 0.3
"""Smallest spread, as a share of its median over the brain."""


class Ensemble(nn.Module):
    """The mean of its members' signed z-maps, as one reconstruction.

    With residuals ``r_k`` and their spread ``s_k`` over healthy brains the mean z is ``mean(r_k / s_k)``. A weighted
    mean of the reconstructions, with weights proportional to ``1 / s_k`` at each voxel, has the residual
    ``mean(r_k / s_k) / mean(1 / s_k)``: the same but for a scale of each voxel, which the bundle's own statistics take
    out. Members that agree in direction add up, others cancel.

    Args:
        members: networks, each of which gives one tensor of the input's shape.
        shape: of the model grid.
        in_channels: modalities.
    """

    weight: torch.Tensor

    def __init__(self, members: Sequence[nn.Module], shape: Sequence[int], in_channels: int = 1) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        # a member's weight at each voxel; they sum up to 1
        weight = torch.full((len(members), in_channels, *shape), 1 / max(len(members), 1), dtype=torch.float16)
        self.register_buffer("weight", weight)

    @torch.no_grad()
    def fit(self, images: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]) -> None:
        """Weigh the trained members by their residuals on healthy brains.

        Args:
            images: (C, *shape) each, normalised intensity.
            masks: (1, *shape) each, bool.
        """
        self.eval()
        squares = torch.zeros(self.weight.shape, dtype=torch.float32)
        count = torch.zeros(self.weight.shape[1:], dtype=torch.float32)
        for image, mask in zip(images, masks, strict=True):
            x, inside = image[None].float(), mask.float()
            count += inside
            for k, member in enumerate(self.members):
                squares[k] += ((x - member(x))[0] * inside) ** 2
        even = GaussianFilter(squares.dim() - 2, WIDTH)
        spread = (even(squares) / even(count[None]).clamp(min=1e-3)).sqrt()
        brain = count >= count.max() / 2
        for k in range(len(self.members)):
            spread[k] = spread[k].clamp(min=FLOOR * float(spread[k][brain].median()) + 1e-6)
        self.weight.copy_((1 / spread) / (1 / spread).sum(0, keepdim=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The members' weighted mean, (batch, channels, *shape) like ``x``."""
        result = torch.zeros_like(x)
        for k, member in enumerate(self.members):
            result = result + self.weight[k].to(x.dtype) * member(x)
        return result

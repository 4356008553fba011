"""Several detectors as one."""

from collections.abc import Sequence

import torch
from monai.networks.layers import GaussianFilter
from torch import nn
from torch.nn import functional

WIDTH = 3.0
"""Standard deviation in voxels of the Gaussian that evens out the members' spread."""

FLOOR = 0.3
"""Smallest spread, as a share of its median over the brain."""

COARSE = 4
"""Voxels of the model grid, along each axis, to one of the weight maps: they are smooth."""


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
        self.shape = list(shape)
        self.mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
        # a member's weight at each place; they sum up to 1
        coarse = [-(-size // COARSE) for size in shape]
        self.register_buffer("weight", torch.full((len(members), in_channels, *coarse), 1 / max(len(members), 1)))

    @torch.no_grad()
    def fit(self, images: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]) -> None:
        """Weigh the trained members by their residuals on healthy brains.

        Args:
            images: (C, *shape) each, normalised intensity.
            masks: (C, *shape) each, bool, the brain as far as each modality shows it.
        """
        self.eval()
        shape = (len(self.members), self.weight.shape[1], *self.shape)
        squares, count = torch.zeros(shape), torch.zeros(shape[1:])
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
        weight = (1 / spread) / (1 / spread).sum(0, keepdim=True)
        self.weight.copy_(functional.interpolate(weight, size=list(self.weight.shape[2:]), mode=self.mode))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The members' weighted mean, (batch, channels, *shape) like ``x``.

        Raises:
            ValueError: ``x`` is not of the model grid's shape, since the weights are those of its places.
        """
        if x.shape[2:] != torch.Size(self.shape):
            raise ValueError("an ensemble takes the whole model grid")
        weight = functional.interpolate(self.weight, size=self.shape, mode=self.mode).to(x.dtype)
        result = torch.zeros_like(x)
        for k, member in enumerate(self.members):
            result = result + weight[k] * member(x)
        return result

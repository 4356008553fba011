"""Robust principal components of healthy brains: anatomy as a few numbers, without a network."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import nn

from mri3d.errors import UsageError


class RobustPCA(nn.Module):
    """A brain is expected to be the mean plus a few principal components; what does not fit has no say in the fit.

    Components come from healthy brains (and their mirror images) by singular value decomposition. The coefficients of
    a new brain are fitted to its voxels by iteratively reweighted least squares with Tukey's biweight (Black and Jepson
    1998, doi 10.1023/A:1007939232436), so that a large lesion does not drag the expectation with it.

    Args:
        shape: of the model grid, symmetric about its first axis' middle.
        components: how many.
        in_channels: modalities.
    """

    # Reweighted fits until the projection has settled; robust standard deviations beyond which nothing counts.
    iterations: Final[int] = 8
    tuning: Final[float] = 4.685

    mean: torch.Tensor
    components: torch.Tensor

    def __init__(self, shape: Sequence[int], components: int = 20, in_channels: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, in_channels, *shape))
        # half precision holds a component to 1e-3 of its range, and half the size
        self.register_buffer("components", torch.zeros(components, in_channels, *shape, dtype=torch.float16))

    @torch.no_grad()
    def fit(self, images: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]) -> None:
        """Find the components of healthy brains.

        Args:
            images: (C, *shape) each, normalised intensity.
            masks: (C, *shape) each, bool, the brain as far as each modality shows it.

        Raises:
            UsageError: fewer brains than half the components.
        """
        brains = [(image * mask).float() for image, mask in zip(images, masks, strict=True)]
        data = torch.stack([flipped for brain in brains for flipped in (brain, brain.flip(1))])
        n = self.components.shape[0]
        if len(data) <= n:
            expected = f"more than {n // 2} healthy brains for {n} components"
            raise UsageError("network_def.components", expected, str(len(brains)), "Ask for fewer components")
        self.mean.copy_(data.mean(0, keepdim=True))
        centred = (data - self.mean).flatten(1)
        # the eigenvectors of the small matrix of inner products give those of the large covariance
        values, vectors = torch.linalg.eigh(centred.double() @ centred.double().T)
        basis = (vectors[:, -n:].T.float() @ centred) / values[-n:].clamp(min=1e-12).sqrt().float()[:, None]
        # scaled so that half precision has its full range; the fit below does not depend on it
        basis = basis / basis.abs().amax(1, keepdim=True).clamp(min=1e-12)
        self.components.copy_(basis.reshape(self.components.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The expected brain, (batch, channels, *shape) like ``x``."""
        basis = self.components.flatten(1).to(x.dtype)
        result = torch.zeros_like(x)
        for b in range(x.shape[0]):
            inside = (x[b] > 0).flatten()
            target = (x[b] - self.mean[0].to(x.dtype)).flatten()[inside]
            design = basis[:, inside]
            weight = torch.ones_like(target)
            fitted = torch.zeros_like(target)
            coefficients = torch.zeros(basis.shape[0], dtype=x.dtype, device=x.device)
            if target.numel() > basis.shape[0]:
                for _ in range(self.iterations):
                    normal = (design * weight) @ design.T
                    ridge = 1e-4 * normal.diagonal().mean() + 1e-9
                    coefficients = torch.linalg.solve(
                        normal + ridge * torch.eye(basis.shape[0], dtype=x.dtype, device=x.device),
                        (design * weight) @ target,
                    )
                    fitted = coefficients @ design
                    departure = target - fitted
                    scale = (1.4826 * departure.abs().median()).clamp(min=1e-6)
                    weight = (1 - (departure / (self.tuning * scale)) ** 2).clamp(min=0) ** 2
            result[b] = self.mean[0].to(x.dtype) + (coefficients @ basis).reshape(self.mean[0].shape)
        return result

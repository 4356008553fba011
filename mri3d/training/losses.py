"""What the trainer minimises."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import nn

from mri3d.transforms.corruption import CORRUPTED


def prepare_batch(
    batch: dict[str, torch.Tensor],
    device: torch.device,
    non_blocking: bool = False,
    focus: float = 0.0,
    **_: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's input and its target for MONAI's engines.

    Args:
        batch: ``image`` (B, C, *spatial), the possibly corrupted input; ``target``, likewise, what to reconstruct
            (``image`` where the batch has none); ``mask``, likewise, the brain as far as each modality shows it
            (everything where it has none).
        device: where the network is.
        non_blocking: copy without waiting.
        focus: what a corrupted voxel, where image and target differ, counts beyond an untouched one. They are few; by
            their number alone they would hardly be learnt.

    Returns:
        Input (B, C, *spatial), and (B, 2 C, *spatial): the target, then the weight of each of its voxels, 0 outside the
        brain, inside 1, or ``1 + focus`` where any modality is corrupted.
    """
    image, target, mask = (
        _plain(part).to(device, non_blocking=non_blocking).float()
        for part in (batch["image"], batch.get("target", batch["image"]), batch.get("mask", torch.ones(1)))
    )
    corrupted = ((image - target).abs() > CORRUPTED).any(dim=1, keepdim=True)
    weight = mask * (1 + focus * corrupted)
    return image, torch.cat([target, weight.expand_as(target)], dim=1)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


class BrainMSELoss(nn.Module):
    """Mean squared error over brain voxels; what lies outside is never scored, so it is not learnt either."""

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare (B, C, *spatial) with a target of :func:`prepare_batch`."""
        image, weight = target.chunk(2, dim=1)
        return ((pred.float() - image) ** 2 * weight).sum() / weight.sum().clamp(min=1)


class BrainBCELoss(nn.Module):
    """Mean binary cross-entropy over brain voxels, for outputs within [0, 1]; targets are clipped to that range."""

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare (B, C, *spatial) with a target of :func:`prepare_batch`."""
        image, weight = target.chunk(2, dim=1)
        within = pred.float().clamp(1e-6, 1 - 1e-6)
        each = nn.functional.binary_cross_entropy(within, image.clamp(0, 1), reduction="none")
        return (each * weight).sum() / weight.sum().clamp(min=1)


class VariationalLoss(nn.Module):
    """A reconstruction loss and the divergence of the latent from a unit Gaussian (Kingma and Welling 2014).

    Args:
        reconstruction: loss of the reconstruction, such as :class:`BrainMSELoss` or :class:`BrainBCELoss`.
        kl_weight: weight of the divergence, which is summed over the latent and divided by the brain's voxels, so that
            a weight of 1 is the evidence bound of a Gaussian of variance 1/2.
    """

    def __init__(self, reconstruction: nn.Module, kl_weight: float) -> None:
        super().__init__()
        self.reconstruction, self.kl_weight = reconstruction, kl_weight

    def forward(
        self, pred: torch.Tensor | tuple[torch.Tensor, torch.Tensor, torch.Tensor], target: torch.Tensor
    ) -> torch.Tensor:
        """Compare what :class:`mri3d.training.precision.SamplingInferer` gave with a target of :func:`prepare_batch`.

        In validation, where the network gives its reconstruction alone, the divergence is left out.
        """
        if isinstance(pred, torch.Tensor):
            return torch.as_tensor(self.reconstruction(pred, target))
        reconstruction, mean, log_variance = pred
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
        voxels = (target.chunk(2, dim=1)[1][:, 0] > 0).sum().clamp(min=1)
        loss: torch.Tensor = self.reconstruction(reconstruction, target) + self.kl_weight * divergence / voxels
        return loss

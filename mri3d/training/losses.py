"""What the trainer minimises."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import nn


def prepare_batch(
    batch: dict[str, torch.Tensor], device: torch.device, non_blocking: bool = False, **_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's input and its target for MONAI's engines.

    Args:
        batch: ``image`` (B, C, *spatial), the possibly corrupted input; ``target``, likewise, what to reconstruct
            (``image`` where the batch has none); ``mask`` (B, 1, *spatial), the brain.
        device: where the network is.
        non_blocking: copy without waiting.

    Returns:
        Input (B, C, *spatial), and target with the mask as an additional last channel.
    """
    image, target, mask = (
        _plain(batch[key]).to(device, non_blocking=non_blocking).float()
        for key in ("image", "target" if "target" in batch else "image", "mask")
    )
    return image, torch.cat([target, mask], dim=1)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


class BrainMSELoss(nn.Module):
    """Mean squared error over brain voxels; what lies outside is never scored, so it is not learnt either."""

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare (B, C, *spatial) with a target of :func:`prepare_batch`."""
        image, mask = target[:, :-1], target[:, -1:]
        return ((pred.float() - image) ** 2 * mask).sum() / (mask.sum() * image.shape[1]).clamp(min=1)

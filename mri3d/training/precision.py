"""Training in bfloat16 where the device has it; weights and loss stay float32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from monai.inferers import Inferer


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 itself; older GPUs emulate it, slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu"


class AutocastInferer(Inferer):
    """A forward pass under autocast to bfloat16, which needs no loss scaling; in float32 where the device has none.

    MONAI's engines offer autocast for CUDA alone; this one works on the CPU as well.
    """

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """The network's output as float32."""
        device = inputs.device
        with torch.autocast(device.type, dtype=torch.bfloat16) if has_bfloat16(device) else nullcontext():
            return network(inputs, *args, **kwargs).float()


class SamplingInferer(AutocastInferer):
    """The same for a variational network in training: reconstruction, mean and log-variance of its latent."""

    def __call__(  # type: ignore[override]
        self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, ...]:
        """What ``network.sample`` gives, as float32."""
        device = inputs.device
        with torch.autocast(device.type, dtype=torch.bfloat16) if has_bfloat16(device) else nullcontext():
            return tuple(part.float() for part in network.sample(inputs))

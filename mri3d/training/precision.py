"""Training in bfloat16 where the device has it; weights and loss stay float32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from monai.inferers import Inferer


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 itself; others emulate it, several times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # torch 2.10 cannot tell
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(has for name, has in capabilities.items() if name.endswith("bf16"))
    return False


SMALLEST = 80
"""Grids with a shorter axis train in float32 on a CPU.

torch 2.13 computes the bfloat16 weight gradients of a 3x3x3 convolution from foreign memory, up to NaN, where the first
axis of its input is 2 voxels long: a level that four halvings of 32 voxels or five of 64 lead to. From 80 on it takes
more halvings than networks here have; and small grids are quick anyway.
"""


def autocast(inputs: torch.Tensor) -> AbstractContextManager[Any]:
    """The context in which a network computes on ``inputs``: bfloat16 where that is safe and the device has it."""
    device = inputs.device
    unsafe = device.type == "cpu" and inputs.dim() == 5 and min(inputs.shape[2:]) < SMALLEST
    return nullcontext() if unsafe or not has_bfloat16(device) else torch.autocast(device.type, dtype=torch.bfloat16)


class AutocastInferer(Inferer):
    """A forward pass under autocast to bfloat16, which needs no loss scaling; in float32 where the device has none.

    MONAI's engines offer autocast for CUDA alone; this one works on the CPU as well.
    """

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """The network's output as float32."""
        with autocast(inputs):
            return network(inputs, *args, **kwargs).float()


class SamplingInferer(AutocastInferer):
    """The same for a variational network in training: reconstruction, mean and log-variance of its latent."""

    def __call__(  # type: ignore[override]
        self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, ...]:
        """What ``network.sample`` gives, as float32."""
        with autocast(inputs):
            return tuple(part.float() for part in network.sample(inputs))

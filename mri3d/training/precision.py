"""Training in bfloat16 where the device has it; weights and loss stay float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer


class AutocastInferer(Inferer):
    """A forward pass under autocast to bfloat16, which needs no loss scaling.

    MONAI's engines offer autocast for CUDA alone; this one works on the CPU as well.
    """

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """The network's output as float32."""
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16):
            return network(inputs, *args, **kwargs).float()

"""Weights from disk into a network."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from mri3d.errors import BundleError

Network = TypeVar("Network", bound=nn.Module)


def load_network(network: Network, path: Path | str, device: torch.device | str = "cpu") -> Network:
    """Fill a network with a bare state dict and make it ready for inference.

    The file is read with ``weights_only``: it cannot run code.

    Raises:
        BundleError: the file is missing, damaged, or belongs to another network.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BundleError(
            path, f"weights of {type(network).__name__}", reason, "Train the bundle, or restore its models/model.pt"
        ) from error
    return network.to(device).eval()

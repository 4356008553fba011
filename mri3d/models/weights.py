"""Weights from disk into a network."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from mri3d.errors import BundleError

Network = TypeVar("Network", bound=nn.Module)


def bare_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """A network's state for a file: on the CPU, so that it loads without the device it was trained on.

    Large tensors are kept in half precision, which halves the file and changes an output by about 1e-3 of its range;
    what is calibrated is the network as loaded from the file. Vectors, as of a normalisation, stay whole.
    """
    return {
        name: (value.half() if value.dim() > 1 and value.dtype == torch.float32 else value).detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }


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

"""Weights from disk into a network."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TypeVar
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import torch
from torch import nn

from mri3d.errors import BundleError

Network = TypeVar("Network", bound=nn.Module)


def save_network(network: nn.Module, path: Path | str) -> None:
    """Write a network's bare state dict, small enough to be shared.

    Large tensors are kept in half precision, which halves the file and changes an output by about 1e-3 of its range;
    what is calibrated is the network as loaded from the file. Vectors, as of a normalisation, stay whole. The archive
    that torch writes is compressed, which torch reads as it is: an atlas takes half the room.
    """
    state = {
        name: (value.half() if value.dim() > 1 and value.dtype == torch.float32 else value).detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    plain = BytesIO()
    torch.save(state, plain)
    with ZipFile(plain) as source, ZipFile(path, "w", ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(ZipInfo(entry.filename), source.read(entry), ZIP_DEFLATED)


def place(network: Network, device: torch.device | str) -> Network:
    """Bring a network to where it is to be trained, its weights in the order in which convolutions are quickest."""
    ranks = {tensor.dim() for tensor in network.state_dict().values()}
    # torch knows one such order for weights of 2D networks, another for those of 3D ones
    order = torch.channels_last_3d if 5 in ranks else torch.channels_last
    network.to(device, memory_format=order)  # type: ignore[call-overload]  # which torch documents but does not declare
    return network


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
        # torch's first line only says that something follows
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BundleError(
            path, f"weights of {type(network).__name__}", reason, "Train the bundle, or restore its models/model.pt"
        ) from error
    return network.to(device).eval()

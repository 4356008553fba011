"""MedicalNet's weights (Chen et al. 2019, arXiv 1904.00625; MIT licence) into the ResNet encoder of a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from monai.networks.nets.resnet import ResNet
from torch import nn

from mri3d.errors import BundleError, UsageError

KEY = "training.encoder_weights"
RANDOM, HUB = "random", "hub"

# ResNet-50 trained on 23 data sets: https://huggingface.co/TencentMedicalNet/MedicalNet-Resnet50
REPOSITORY = "TencentMedicalNet/MedicalNet-Resnet50"
REVISION = "8d924de10880fc392b71cbf61804e880aeb74e53"
FILE = "resnet_50_23dataset.pth"
SHA256 = "ff48a62219073fb977fd3f4ddfb8dc1367f0ec156c8d6f6c37e205bd683a246e"
URL = f"https://huggingface.co/{REPOSITORY}/resolve/{REVISION}/{FILE}"


def pretrain(network: nn.Module, weights: Path | str) -> None:
    """Give a network's ``encoder`` its first weights.

    Args:
        network: with random weights; its encoder is MONAI's ResNet of any number of input channels.
        weights: ``random``, which leaves them; ``hub``, the pinned file of the Hugging Face hub (185 MB, once); or the
            path of one of MedicalNet's checkpoints.

    Raises:
        UsageError: the network has no such encoder, or the package that reads the hub is missing.
        BundleError: the file is missing or damaged, is not the pinned one, or belongs to another network.
    """
    if weights == RANDOM:
        return
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, ResNet):
        raise UsageError(KEY, "a network with a ResNet encoder", type(network).__name__, f"Leave it at {RANDOM}")
    path = download() if weights == HUB else Path(weights)
    state = spread_over_modalities(read(path), encoder.conv1.in_channels)
    fault = misfit(encoder.state_dict(), state)
    if fault:
        remedy = "Take the checkpoint of the recipe's network_def.depth"
        raise BundleError(path, "MedicalNet's weights of the recipe's encoder", fault, remedy)
    encoder.load_state_dict(state)


def download() -> Path:
    """The pinned file from the hub, or from its cache on this machine.

    Raises:
        UsageError: the package ``huggingface_hub`` is missing.
        BundleError: the hub cannot be reached, or the file is not the pinned one.
    """
    by_hand = f"download {URL} and give its path"
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        remedy = f"pip install 'mri3d[pretrained]', or {by_hand}"
        raise UsageError(f"{KEY}={HUB}", "the package huggingface_hub", "none", remedy) from error
    try:
        path = Path(hf_hub_download(REPOSITORY, FILE, revision=REVISION))
    except Exception as error:  # of the network, the hub or the disk: each has its own kind
        raise BundleError(URL, "MedicalNet's weights", first_line(error), f"Try again, or {by_hand}") from error
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise BundleError(path, f"a file of SHA-256 {SHA256}", found, "Delete the file and try again")
    return path


def read(path: Path) -> dict[str, torch.Tensor]:
    """The encoder's state in a checkpoint of MedicalNet, without the prefix that data-parallel training leaves.

    Raises:
        BundleError: the file is missing, damaged, or no checkpoint.
    """
    expected, remedy = "a checkpoint of MedicalNet", f"{KEY} is {RANDOM}, {HUB}, or a file such as {FILE}"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = content.get("state_dict", content)
        return {name.removeprefix("module."): torch.as_tensor(value) for name, value in state.items()}
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise BundleError(path, expected, first_line(error), remedy) from error


def first_line(error: Exception) -> str:
    """What a library says of its error, for the middle of a sentence."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def spread_over_modalities(state: dict[str, torch.Tensor], modalities: int) -> dict[str, torch.Tensor]:
    """The state with its first convolution, made for one channel, taken to the mean of several."""
    first = state.get("conv1.weight")
    if first is None or first.dim() < 2 or first.shape[1] != 1:
        return state
    return {**state, "conv1.weight": torch.cat([first / modalities] * modalities, dim=1)}


def misfit(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str:
    """What keeps a state from being another's, in short; nothing where it fits."""
    counters = {name for name in own if name.endswith("num_batches_tracked")}  # older checkpoints have none
    faults = {
        "missing": own.keys() - given.keys() - counters,
        "unexpected": given.keys() - own.keys(),
        "of another shape": {name for name in own.keys() & given.keys() if own[name].shape != given[name].shape},
    }
    return ", ".join(f"{len(names)} {fault} (such as {min(names)})" for fault, names in faults.items() if names)

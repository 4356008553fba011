"""What is measured on the training subjects instead of learnt by gradients: atlases, components, weights of members."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from mri3d.errors import UsageError
from mri3d.models.medicalnet import RANDOM, pretrain
from mri3d.models.weights import load_network, save_network
from mri3d.training.prepare import Prepared
from mri3d.training.split import Split
from mri3d.transforms.case import Item
from mri3d.volumes.atomic import atomic_write

Network = TypeVar("Network", bound=nn.Module)


def fit(network: Network, items: Sequence[Item]) -> Network:
    """Let a network that has a ``fit(images, masks)`` measure healthy subjects; others stay as they are.

    Args:
        network: on the CPU.
        items: preprocessed, ``image`` and ``mask`` of shape (1, *grid.shape).
    """
    measure: Any = getattr(network, "fit", None)
    if measure is not None:
        measure([item["image"] for item in items], [item["mask"] for item in items])
    return network


def start(
    network: Network,
    prepared: Prepared,
    split: Split,
    initial: Path | str,
    members: Sequence[Path | str] | None = None,
    encoder_weights: Path | str = RANDOM,
) -> Network:
    """The network that a training starts from: with given weights where there are some, else measured.

    Args:
        network: on the CPU, with random weights.
        prepared: preprocessed subjects.
        split: whose ``train`` part is measured.
        initial: a bare state dict; used if it is there, with all that was measured for it.
        members: the trained bundles of an ensemble, in the order of its ``members``.
        encoder_weights: what a ResNet encoder starts from, see :func:`mri3d.models.medicalnet.pretrain`.

    Raises:
        BundleError: the weights are those of another network.
        UsageError: the members are not as many as the ensemble's, or have seen whom it is to be calibrated on;
            the network has no encoder that ``encoder_weights`` are for.
    """
    if Path(initial).exists():
        return load_network(network, initial).train()
    _fill(getattr(network, "members", ()), members or (), split)
    pretrain(network, encoder_weights)
    return fit(network, prepared.load(split.train)) if hasattr(network, "fit") else network


def _fill(networks: Any, bundles: Sequence[Path | str], split: Split) -> None:
    """The weights of trained bundles into an ensemble's members."""
    if len(networks) != len(bundles):
        remedy = '--set "training.members=[BUNDLE, ...]", in the order of the recipe'
        raise UsageError("training.members", f"{len(networks)} trained bundles", str(len(bundles)), remedy)
    for network, bundle in zip(networks, bundles, strict=True):
        own = Split.load(Path(bundle) / "models" / "split.json")
        known = {*own.train, *own.validation} & {*split.calibration, *split.test}
        if known:
            expected = f"members that have not seen whom the ensemble is calibrated or tested on, such as {min(known)}"
            raise UsageError(bundle, expected, "one that has", "Train all with the same --seed and training.shares")
        load_network(network, Path(bundle) / "models" / "model.pt")


class Fitter:
    """The trainer of a network that has nothing to learn by gradients: it is measured already, and saved.

    Args:
        network: as :func:`fit` left it.
        path: where its state dict goes.
        max_epochs: one look at the training subjects; MONAI asks every trainer for it.

    Raises:
        UsageError: the network has weights to learn, and nothing that measures them.
    """

    def __init__(self, network: nn.Module, path: Path | str, max_epochs: int = 1) -> None:
        if not hasattr(network, "fit") and any(parameter.requires_grad for parameter in network.parameters()):
            expected, remedy = "a network without weights to learn", "Add training.epochs and what belongs to it"
            raise UsageError("the recipe", expected, type(network).__name__, remedy)
        self.network, self.path, self.max_epochs = network, Path(path), max_epochs

    def run(self) -> None:
        """Save the network as a bare state dict."""
        with atomic_write(self.path) as path:
            save_network(self.network, path)

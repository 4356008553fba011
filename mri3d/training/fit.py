"""What is measured on the training subjects instead of learnt by gradients: atlases, components, weights of members."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from mri3d.models.weights import bare_state, load_network
from mri3d.training.prepare import Prepared
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


def start(network: Network, prepared: Prepared, people: Sequence[str], initial: Path | str) -> Network:
    """The network that a training starts from: with given weights where there are some, else measured.

    Args:
        network: on the CPU, with random weights.
        prepared: preprocessed subjects.
        people: whom to measure.
        initial: a bare state dict; used if it is there, with all that was measured for it.

    Raises:
        BundleError: the weights are those of another network.
    """
    if Path(initial).exists():
        return load_network(network, initial).train()
    return fit(network, prepared.load(people)) if hasattr(network, "fit") else network


class Fitter:
    """The trainer of a network that has nothing to learn by gradients: it is measured already, and saved.

    Args:
        network: as :func:`fit` left it.
        path: where its state dict goes.
        max_epochs: one look at the training subjects; MONAI asks every trainer for it.
    """

    def __init__(self, network: nn.Module, path: Path | str, max_epochs: int = 1) -> None:
        self.network, self.path, self.max_epochs = network, Path(path), max_epochs

    def run(self) -> None:
        """Save the network as a bare state dict."""
        with atomic_write(self.path) as path:
            torch.save(bare_state(self.network), path)

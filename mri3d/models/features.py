"""What a network makes of an image on its way: the feature maps of its levels, and what passes its bottleneck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks.layers.simplelayers import SkipConnection
from torch import nn

"""The name of the latent among the features."""


@dataclass(frozen=True, eq=False)
class Level:
    """The feature maps of a level: what a network computes at one resolution before it goes on to another.

    Args:
        name: of the module that made them, as in ``network.named_modules()``.
        maps: (batch, maps, *spatial), the widest at this resolution, and of these the last; float32 on the CPU.
    """

    name: str
    maps: torch.Tensor


@dataclass(frozen=True, eq=False)
class Features:
    """What a network was seen to compute.

    Args:
        levels: in the order of computation; none where the network has no layers.
        latent: (batch, units, *spatial) or (batch, units), all that its ``decoder`` is told; None without a bottleneck.
        bottleneck: how many of the levels come before the latent.
        result: the network's output.
    """

    levels: tuple[Level, ...]
    latent: torch.Tensor | None
    bottleneck: int
    result: torch.Tensor


@dataclass(eq=False)
class _Made:
    """An output of a module, and the modules that handed it on unchanged."""

    value: torch.Tensor
    names: list[str]


def parts_of(network: nn.Module) -> dict[str, nn.Module]:
    """The networks that are to be looked into: an ensemble's members by their number, any other by the name ``""``."""
    members = getattr(network, "members", None)
    return {str(i): part for i, part in enumerate(members, 1)} if isinstance(members, nn.ModuleList) else {"": network}


@torch.no_grad()
def features(network: nn.Module, x: torch.Tensor) -> Features:
    """Let a network reconstruct an image and see what its levels make of it.

    The rule asks nothing of an architecture. A level is a stay at one resolution, and the latent ends one; it is shown
    by its widest output. What is as narrow as the image is an image and no feature, and what a skip connection puts
    together was seen before. Nobody can look into what TorchScript has compiled. The network is left as it was.

    Args:
        network: in eval mode; not an ensemble, see :func:`parts_of`.
        x: (batch, channels, *spatial), on the network's device.
    """
    stays: list[list[_Made]] = [[]]
    latents: list[tuple[int, torch.Tensor]] = []

    def seen(name: str, value: Any) -> None:
        if not isinstance(value, torch.Tensor) or value.dim() != x.dim() or value.shape[0] != x.shape[0]:
            return
        last = stays[-1][-1] if stays[-1] else None
        if last is not None and last.value is value:
            last.names.append(name)
            return
        if last is not None and last.value.shape[2:] != value.shape[2:]:
            stays.append([])
        stays[-1].append(_Made(value, [name]))

    def passed(value: torch.Tensor) -> None:
        # the latent itself, or mean and log-variance side by side of which it is a part, is no level
        if stays[-1] and _memory(stays[-1][-1].value) == _memory(value):
            stays[-1].pop()
        latents.append((len(stays), value))
        stays.append([])

    with _watched(network, seen, passed):
        result = network(x)
    made = [_widest(stay, result.shape[1]) for stay in stays]
    innermost = [stay.names[0] for stay in made if stay is not None]
    count, latent = latents[0] if len(latents) == 1 else (0, None)
    return Features(
        levels=tuple(Level(_name(stay, innermost), _plain(stay.value)) for stay in made if stay is not None),
        latent=None if latent is None else _plain(latent),
        bottleneck=sum(stay is not None for stay in made[:count]),
        result=_plain(result),
    )


@contextmanager
def _watched(network: nn.Module, seen: Any, passed: Any) -> Iterator[None]:
    """Tell of the output of every module within the network, and of the input of its ``decoder``."""
    handles = []
    try:
        for name, module in network.named_modules():
            if name and not isinstance(module, SkipConnection | torch.jit.ScriptModule):
                handles.append(module.register_forward_hook(lambda _, __, value, name=name: seen(name, value)))
        decoder = getattr(network, "decoder", None)
        script = isinstance(decoder, torch.jit.ScriptModule)
        if isinstance(decoder, nn.Module) and hasattr(network, "encoder") and not script:
            handles.append(decoder.register_forward_pre_hook(lambda _, values: passed(values[0])))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _widest(stay: Sequence[_Made], image_channels: int) -> _Made | None:
    """The last of the widest outputs at one resolution; None where all are as narrow as an image."""
    wide = [made for made in stay if made.value.shape[1] > image_channels]
    return max(reversed(wide), key=lambda made: made.value.shape[1]) if wide else None


def _name(made: _Made, innermost: Sequence[str]) -> str:
    """The outermost module whose output this is and that holds no level beside it."""
    others = [name for name in innermost if name != made.names[0]]
    own = [name for name in made.names if not any(other.startswith(f"{name}.") for other in others)]
    return own[-1] if own else made.names[0]


def _memory(value: torch.Tensor) -> int:
    """Where a tensor's numbers lie; the same for a part of it."""
    return value.untyped_storage().data_ptr()


def _plain(value: torch.Tensor) -> torch.Tensor:
    return value.detach().float().cpu()

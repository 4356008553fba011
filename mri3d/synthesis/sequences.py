"""What tissue looks like to a pulse sequence: signal equations, and parameters as scanners have them.

Times are in ms and angles in degrees; ``signal`` takes maps of T1, T2, proton density and, if any moves, the share of
fluid that does, all of one shape, and gives the signal of a 90 degree pulse on water as 1. It keeps its sign, so that
neighbours of opposite sign cancel in a voxel as they do in a scanner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

Tensor = torch.Tensor
CSF_T1 = 4200.0
"""What FLAIR's inversion time is set for, in ms."""

INFLOW = 0.5
"""Of the fluid that moves, the share that has come into a slice since its inversion."""


class Sequence(Protocol):
    """A pulse sequence with its parameters set."""

    def signal(self, t1: Tensor, t2: Tensor, density: Tensor, flow: Tensor | float = 0.0) -> Tensor:
        """Signed signal of tissue."""

    def parameters(self) -> dict[str, Any]:
        """Parameters under their BIDS names, times in seconds."""


@dataclass(frozen=True)
class SpoiledGradientEcho:
    """T1-weighted, without preparation, in its steady state (Ernst and Anderson 1966, doi 10.1063/1.1719961)."""

    repetition: float
    echo: float
    flip: float

    def signal(self, t1: Tensor, t2: Tensor, density: Tensor, flow: Tensor | float = 0.0) -> Tensor:
        """Signed signal of tissue."""
        angle = math.radians(self.flip)
        left = torch.exp(-self.repetition / t1)
        return density * math.sin(angle) * (1 - left) / (1 - math.cos(angle) * left) * torch.exp(-self.echo / t2)

    def parameters(self) -> dict[str, Any]:
        """Parameters under their BIDS names, times in seconds."""
        return {**_seconds(RepetitionTime=self.repetition, EchoTime=self.echo), "FlipAngle": round(self.flip, 2),
                "PulseSequenceType": "spoiled gradient echo"}  # fmt: skip


@dataclass(frozen=True)
class Mprage:
    """T1-weighted: inversion, a train of gradient echoes, recovery, over and over (Mugler and Brookeman 1990).

    The steady state of doi 10.1002/mrm.1910150117's sequence, with the middle of k-space in the middle of the train.
    """

    repetition: float
    inversion: float
    echo: float
    flip: float
    spacing: float
    pulses: int

    def signal(self, t1: Tensor, t2: Tensor, density: Tensor, flow: Tensor | float = 0.0) -> Tensor:
        """Signed signal of tissue."""
        angle, half = math.radians(self.flip), self.pulses // 2
        before = self.inversion - half * self.spacing
        after = self.repetition - before - self.pulses * self.spacing
        rate = -1 / t1
        step = torch.exp(self.spacing * rate)
        kept = math.cos(angle) * step  # share of the magnetisation that a pulse and the time to the next leave
        steady = (1 - step) / (1 - kept)
        to_train, to_end = torch.exp(before * rate), torch.exp(after * rate)
        middle = kept**half
        train = middle * middle if self.pulses % 2 == 0 else middle * middle * kept
        # The magnetisation m before the inversion comes back to itself: m = offset + slope * m.
        slope = -to_train * train * to_end
        offset = ((1 - to_train) * train + steady * (1 - train)) * to_end + 1 - to_end
        start = 1 - to_train * (1 + offset / (1 - slope))
        return density * math.sin(angle) * (steady + (start - steady) * middle) * torch.exp(-self.echo / t2)

    def parameters(self) -> dict[str, Any]:
        """Parameters under their BIDS names, times in seconds."""
        times = _seconds(RepetitionTime=self.repetition, EchoTime=self.echo, InversionTime=self.inversion)
        return {**times, "FlipAngle": round(self.flip, 2), "PulseSequenceType": "MPRAGE"}


@dataclass(frozen=True)
class TurboSpinEcho:
    """T2-weighted: a spin echo of the echo time at which the train passes the middle of k-space.

    What moves gives no echo.
    """

    repetition: float
    echo: float

    def signal(self, t1: Tensor, t2: Tensor, density: Tensor, flow: Tensor | float = 0.0) -> Tensor:
        """Signed signal of tissue."""
        return density * (1 - flow) * (1 - torch.exp(-self.repetition / t1)) * torch.exp(-self.echo / t2)

    def parameters(self) -> dict[str, Any]:
        """Parameters under their BIDS names, times in seconds."""
        return {**_seconds(RepetitionTime=self.repetition, EchoTime=self.echo), "PulseSequenceType": "turbo spin echo"}


@dataclass(frozen=True)
class Flair:
    """A spin echo after an inversion that nulls cerebrospinal fluid (Hajnal et al. 1992, JCAT 16:841).

    Fluid that has flowed in since was not inverted, and is bright.
    """

    repetition: float
    echo: float

    @property
    def inversion(self) -> float:
        """When fluid of :data:`CSF_T1` passes through zero, in ms after the inversion."""
        return CSF_T1 * (math.log(2) - math.log1p(math.exp(-self.repetition / CSF_T1)))

    def signal(self, t1: Tensor, t2: Tensor, density: Tensor, flow: Tensor | float = 0.0) -> Tensor:
        """Signed signal of tissue."""
        inverted = 2 * (1 - INFLOW * flow) * torch.exp(-self.inversion / t1)
        recovered = 1 - inverted + (1 - 2 * INFLOW * flow) * torch.exp(-self.repetition / t1)
        return density * (1 - flow) * recovered * torch.exp(-self.echo / t2)

    def parameters(self) -> dict[str, Any]:
        """Parameters under their BIDS names, times in seconds."""
        times = _seconds(RepetitionTime=self.repetition, EchoTime=self.echo, InversionTime=self.inversion)
        return {**times, "PulseSequenceType": "inversion recovery turbo spin echo"}


def _seconds(**milliseconds: float) -> dict[str, float]:
    return {name: round(value / 1000, 5) for name, value in milliseconds.items()}


def draw_t1w(rng: np.random.RandomState) -> Sequence:
    """MPRAGE two times of three, else a spoiled gradient echo."""
    if rng.rand() < 2 / 3:
        inversion, spacing, pulses = rng.uniform(850, 1050), rng.uniform(6.5, 9), int(rng.randint(150, 190))
        repetition = rng.uniform(1900, 2500)
        return Mprage(repetition, inversion, rng.uniform(2.3, 4.6), rng.uniform(7, 10), spacing, pulses)
    return SpoiledGradientEcho(rng.uniform(14, 25), rng.uniform(3, 6), rng.uniform(20, 30))


def draw_t2w(rng: np.random.RandomState) -> Sequence:
    """A turbo spin echo."""
    return TurboSpinEcho(rng.uniform(3000, 6000), rng.uniform(80, 115))


def draw_flair(rng: np.random.RandomState) -> Sequence:
    """An inversion recovery spin echo that nulls cerebrospinal fluid."""
    return Flair(rng.uniform(8000, 11000), rng.uniform(100, 135))


DRAW = {"T1w": draw_t1w, "T2w": draw_t2w, "FLAIR": draw_flair}
"""Modality to what draws its sequence."""

FAT_SUPPRESSED = {"T1w": 0.1, "T2w": 0.2, "FLAIR": 0.6}
"""How often the signal of fat is suppressed."""

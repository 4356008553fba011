"""How rare a departure is among healthy voxels, told as the z of a normal distribution."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri_exp

from mri3d.errors import BundleError
from mri3d.volumes.atomic import write_json
from mri3d.volumes.volume import FloatArray

KNOTS = 41
"""Levels at most, between the share of all healthy voxels and the rarest."""

RAREST = 1e-4
"""Share of healthy voxels from which on the tail is extrapolated: rarer departures come from one or two people."""

LEAST = 10
"""Voxels at least beyond the last level."""

Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tail:
    """The share of healthy brain voxels that depart as far as a level, or further.

    Args:
        levels: (K,) departures above 0, increasing, two or more.
        shares: (K,) of the voxels, above 0 and below 1, decreasing.
    """

    levels: Array64
    shares: Array64

    @cached_property
    def _z(self) -> Array64:
        return _two_sided(np.log(self.shares))

    @cached_property
    def exponent(self) -> float:
        """Of the power law beyond the last level: the slope, in logarithms, from ten times as many voxels on."""
        first = min(int(np.searchsorted(-self.shares, -10 * self.shares[-1], side="right")), len(self.levels) - 2)
        return float(np.log(self.shares[first] / self.shares[-1]) / np.log(self.levels[-1] / self.levels[first]))

    def normal(self, departure: FloatArray) -> FloatArray:
        """The z whose absolute value a normal variable exceeds as rarely as healthy voxels exceed the departure.

        So 1 % of healthy voxels lie above 2.58 and 0.1 % above 3.29, whatever the residuals' own distribution. Voxels
        keep their order.

        Args:
            departure: of any shape, at least 0.
        """
        z = np.interp(departure, np.concatenate([[0.0], self.levels]), np.concatenate([[0.0], self._z]))
        beyond = departure > self.levels[-1]
        ratio = departure[beyond].astype(np.float64) / self.levels[-1]
        z[beyond] = _two_sided(np.log(self.shares[-1]) - self.exponent * np.log(ratio))
        return np.asarray(z, dtype=np.float32)

    def as_dict(self) -> dict[str, list[float]]:
        """Levels and shares, JSON-ready."""
        return {"levels": self.levels.tolist(), "shares": self.shares.tolist()}

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Tail:
        """What :meth:`as_dict` gave.

        Raises:
            ValueError, KeyError, TypeError: it is no tail.
        """
        levels, shares = (np.array(raw[name], dtype=np.float64) for name in ("levels", "shares"))
        rising = np.diff(levels, prepend=0) > 0
        falling = np.diff(shares, prepend=1, append=0) < 0
        if not (levels.shape == shares.shape and len(levels) >= 2 and rising.all() and falling.all()):
            raise ValueError("levels that do not rise, or shares that do not fall")
        return cls(levels, shares)


@dataclass(frozen=True)
class Tails:
    """The tails of the subjects that have one set of modalities.

    Args:
        together: of the modalities together; None where it is not known.
        alone: of each modality by itself, a channel each, where there are several; None for one that is not in the set.
        partial: those of subjects that lack modalities, by the name of the set they have.
    """

    together: Tail | None = None
    alone: tuple[Tail | None, ...] = ()
    partial: Mapping[str, Tails] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write them as JSON; where nothing is known there is no file."""
        path.unlink(missing_ok=True)
        if self.together is not None:
            write_json(path, self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; of one modality alone the levels and shares of its tail."""
        raw: dict[str, Any] = {} if self.together is None else dict(self.together.as_dict())
        if self.alone:
            raw["modalities"] = [None if tail is None else tail.as_dict() for tail in self.alone]
        if self.partial:
            raw["partial"] = {name: tails.as_dict() for name, tails in self.partial.items()}
        return raw

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Tails:
        """What :meth:`as_dict` gave.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is none.
        """
        alone = tuple(None if one is None else Tail.of(one) for one in raw.get("modalities", ()))
        together = Tail.of(raw) if "levels" in raw or not alone else None
        return cls(together, alone, {name: cls.of(other) for name, other in raw.get("partial", {}).items()})

    @classmethod
    def load(cls, path: Path) -> Tails:
        """Read what :meth:`save` wrote.

        Raises:
            BundleError: the file holds no tails.
        """
        if not path.exists():
            return cls()
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "Calibrate the bundle again, or restore the file"
            raise BundleError(path, "levels and shares of healthy departures", f"{error!r}", remedy) from error


@dataclass(frozen=True, eq=False)
class TailCounts:
    """How many healthy voxels reach each level, from which any one person can be taken out again.

    Args:
        levels: (K,) departures above 0, increasing.
        counts: (K,) voxels that depart as far or further.
        voxels: of all brains.
    """

    levels: Array64
    counts: Array64
    voxels: int

    @classmethod
    def of(cls, departures: Sequence[FloatArray]) -> TailCounts:
        """Counts over all people; each array holds the departures at one person's brain voxels."""
        everyone = np.concatenate(departures)
        rarest = max(RAREST, LEAST / everyone.size)
        quantiles = 1 - np.geomspace(1, min(rarest, 0.5), KNOTS)[1:]
        levels = np.unique(np.quantile(everyone, quantiles).astype(np.float64))
        levels = levels[levels > 0]
        return cls(levels, _reaching(everyone, levels), everyone.size)

    def without(self, departures: FloatArray) -> TailCounts:
        """The counts over all people but this one."""
        return TailCounts(self.levels, self.counts - _reaching(departures, self.levels), self.voxels - departures.size)

    def tail(self) -> Tail | None:
        """The shares; None where the voxels hardly differ, so that there is nothing to tell apart."""
        counts = np.minimum(self.counts, self.voxels - 0.5)  # a share of 1 has a z of 0, which is that of no departure
        # of levels reached by the same voxels the highest says most
        last = np.append(np.diff(counts) < 0, True) & (counts > 0)
        if last.sum() < 2:
            return None
        return Tail(self.levels[last], counts[last] / self.voxels)


def _reaching(values: FloatArray, levels: Array64) -> Array64:
    return (values.size - np.searchsorted(np.sort(values), levels, side="left")).astype(np.float64)


def _two_sided(log_share: Array64) -> Array64:
    """The z that a normal variable exceeds in either direction with this probability; exact far out in the tail."""
    return np.asarray(-ndtri_exp(log_share - np.log(2)))

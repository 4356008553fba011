"""What a latent holds: which of its units carry something, and how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DEAD = 0.01
"""Of the liveliest unit's spread: a unit that varies less tells the decoder nothing."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LatentStatistics:
    """The numbers of a latent, over some inputs.

    Args:
        mean: of all numbers.
        std: of all numbers.
        unit_mean: (units,) mean of each unit over inputs and places.
        unit_std: (units,) its standard deviation over inputs and places.
        dead: (units,) True where a unit hardly varies.
    """

    mean: float
    std: float
    unit_mean: FloatArray
    unit_std: FloatArray
    dead: npt.NDArray[np.bool_]

    @property
    def dead_share(self) -> float:
        """Share of the units that are dead."""
        return float(self.dead.mean())

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "mean": self.mean,
            "std": self.std,
            "dead_units": np.flatnonzero(self.dead).tolist(),
            "dead_share": self.dead_share,
            "unit_mean": self.unit_mean.tolist(),
            "unit_std": self.unit_std.tolist(),
        }


def latent_statistics(values: npt.ArrayLike) -> LatentStatistics:
    """Statistics of a latent and its units.

    Args:
        values: (inputs, units, *places): a unit is a channel of a latent map, and a number of a latent vector, which
            has no places. Two inputs at least, where there are no places.

    Raises:
        ValueError: there is nothing to take a spread of.
    """
    latent = np.asarray(values, dtype=np.float64)
    units = np.moveaxis(latent, 1, 0).reshape(latent.shape[1], -1)
    if units.shape[1] < 2:
        raise ValueError(f"a spread takes two values a unit at least, not {units.shape[1]}")
    spread = units.std(axis=1)
    dead = spread <= DEAD * spread.max()
    return LatentStatistics(float(latent.mean()), float(latent.std()), units.mean(axis=1), spread, dead)


def divergence(mean: npt.ArrayLike, log_variance: npt.ArrayLike) -> FloatArray:
    """Kullback-Leibler divergence of the latent's Gaussians from the standard normal prior, in nats.

    Args:
        mean: any shape.
        log_variance: the same shape.

    Returns:
        The same shape, 0 and up: what each number tells beyond the prior.
    """
    mu, log_var = np.asarray(mean, dtype=np.float64), np.asarray(log_variance, dtype=np.float64)
    return np.asarray(0.5 * (mu**2 + np.exp(log_var) - log_var - 1))

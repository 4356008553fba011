"""How sure one can be of a number measured on some subjects.

Subjects are the unit of chance: intervals come from the percentile bootstrap over subjects (Efron and Tibshirani 1993,
chapter 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A measured value and its uncertainty.

    Args:
        value: the metric on the data as given.
        ci95: bounds of the 95 % interval over subjects, which for two or three is no more than their range; None where
            fewer than two leave nothing to resample.
        replicates: (R,) the value in each bootstrap replicate, NaN where its subjects cannot give it; what a paired
            difference is made from.
    """

    value: float
    ci95: tuple[float, float] | None
    replicates: FloatArray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: ``{"value": ..., "ci95": [low, high]}``, with null for an interval that cannot be given."""
        return {"value": self.value, "ci95": None if self.ci95 is None else list(self.ci95)}

    @classmethod
    def from_replicates(cls, value: float, replicates: FloatArray) -> Estimate:
        """An estimate whose interval spans the central 95 % of ``replicates`` (R,).

        Replicates that are NaN, because the drawn subjects could not give the metric, are left out.
        """
        known = replicates[np.isfinite(replicates)]
        if not known.size:
            return cls(float(value), None, replicates)
        low, high = np.percentile(known, (2.5, 97.5))
        return cls(float(value), (float(low), float(high)), replicates)

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference: what both share, such as a draw of hard subjects, cancels out.

        Args:
            other: the same metric of another method on the same cases in the same order, with as many replicates of
                the same seed.

        Raises:
            ValueError: there are not as many replicates.
        """
        if self.replicates.shape != other.replicates.shape:
            raise ValueError(f"{self.replicates.size} and {other.replicates.size} replicates make no pairs")
        return Estimate.from_replicates(self.value - other.value, self.replicates - other.replicates)


def draw_subjects(subjects: Sequence[str], replicates: int, seed: int) -> FloatArray:
    """How often each case counts in each bootstrap replicate.

    Args:
        subjects: the subject of each of C cases; cases of one subject are drawn together.
        replicates: how many replicates R to draw.
        seed: of the random numbers; the same seed gives methods tested on the same cases the same draws.

    Returns:
        (R, C) whole numbers; (0, C) for fewer than two subjects.
    """
    names, subject_of_case = np.unique(np.asarray(subjects), return_inverse=True)
    n = len(names)
    if n < 2:
        return np.zeros((0, len(subjects)))
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=replicates)
    return draws[:, subject_of_case].astype(np.float64)


def average(
    values: Sequence[float], subjects: Sequence[str] | None = None, *, replicates: int = 2000, seed: int = 0
) -> Estimate:
    """The mean of one value a case, with its interval.

    Args:
        values: (C,) finite values.
        subjects: the subject of each case; each case is a subject of its own when left out.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Raises:
        ValueError: no values.
    """
    if not len(values):
        raise ValueError("a mean needs at least one value")
    each = np.asarray(values, dtype=np.float64)
    draws = draw_subjects([str(i) for i in range(len(each))] if subjects is None else subjects, replicates, seed)
    return Estimate.from_replicates(float(each.mean()), draws @ each / draws.sum(axis=1))

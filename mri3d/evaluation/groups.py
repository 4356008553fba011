"""How groups of people differ: differences, effect sizes with intervals, and what is left after many tests.

A person is a row, once. Groups are numbers: 0 is the reference, with which each other group is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special, stats

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEAST = 3
"""People with a value that either side of a comparison must have."""

NOTHING = 1e-20
"""Share of the sum of squares below which nothing but rounding is left."""


@dataclass(frozen=True)
class Difference:
    """How a measure differs between a group and the reference.

    Args:
        n: people of the group who have a value.
        n_reference: likewise of the reference.
        mean: of the group's values as they are; None without any.
        mean_reference: likewise.
        sd: standard deviation of the group's values as they are; None with fewer than two.
        sd_reference: likewise.
        difference: group minus reference, adjusted for covariates where there are some; None where too few people have
            a value, as are all that follow.
        difference_low: lower end of its 95 % interval. None where nothing varies, as are all that follow.
        difference_high: its upper end.
        g: Hedges' g, the difference in standard deviations within the groups; of what the covariates leave, where there
            are some.
        g_low: lower end of the 95 % interval of the true standardised difference.
        g_high: its upper end.
        p: two-sided.
    """

    n: int
    n_reference: int
    mean: float | None = None
    mean_reference: float | None = None
    sd: float | None = None
    sd_reference: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    g: float | None = None
    g_low: float | None = None
    g_high: float | None = None
    p: float | None = None

    @classmethod
    def counted(cls, own: FloatArray, other: FloatArray) -> Difference:
        """What is known of a group's values and the reference's before they are compared."""
        return cls(len(own), len(other), _mean(own), _mean(other), _sd(own), _sd(other))

    def of(self, difference: float, spread: float, df: float, effect: tuple[float, float, float]) -> Difference:
        """The same, compared.

        Args:
            difference: of the two.
            spread: its standard error.
            df: degrees of freedom of that.
            effect: see :func:`hedges`.
        """
        half = float(stats.t.ppf(0.975, df)) * spread
        p = float(2 * stats.t.sf(abs(difference) / spread, df))
        g, g_low, g_high = effect
        return replace(
            self, difference=difference, difference_low=difference - half, difference_high=difference + half,
            g=g, g_low=g_low, g_high=g_high, p=p,
        )  # fmt: skip


def welch(group: npt.ArrayLike, reference: npt.ArrayLike) -> Difference:
    """Welch's t-test (1947, doi 10.1093/biomet/34.1-2.28), which lets the two vary differently.

    The effect size is in pooled standard deviations, its interval that of equal ones.

    Args:
        group: (N,) values; NaN where there is none.
        reference: (M,) likewise.
    """
    own, other = (_known(np.asarray(values, dtype=np.float64)) for values in (group, reference))
    n, m = len(own), len(other)
    counted = Difference.counted(own, other)
    if min(n, m) < LEAST:
        return counted
    difference = float(own.mean() - other.mean())
    left = float(((own - own.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum())
    if left <= NOTHING * float((own**2).sum() + (other**2).sum()):
        return replace(counted, difference=difference)
    a, b = own.var(ddof=1) / n, other.var(ddof=1) / m
    df = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
    effect = hedges(difference / np.sqrt(left / (n + m - 2)), n + m - 2, np.sqrt(1 / n + 1 / m))
    return counted.of(difference, float(np.sqrt(a + b)), float(df), effect)


def adjusted(values: FloatArray, groups: IntArray, covariates: FloatArray) -> tuple[Difference, ...]:
    """Differences at equal covariates, by ordinary least squares with all groups in one model (analysis of covariance).

    The measure may depend on the covariates linearly, in all groups alike, and varies in all of them equally.

    Args:
        values: (N,) measure; NaN where a person has none.
        groups: (N,) group of each; each number up to the largest has someone.
        covariates: (N, K) regressors, finite.

    Returns:
        That of each group from 1 on to the reference.
    """
    known = np.isfinite(values)
    y, own, others = values[known], groups[known], covariates[known]
    counts = np.bincount(own, minlength=int(groups.max()) + 1)
    others_of = range(1, len(counts))
    found = [Difference.counted(y[own == g], y[own == 0]) for g in others_of]
    held = [g for g in others_of if counts[g] >= LEAST]
    if counts[0] < LEAST or not held:
        return tuple(found)
    kept = np.isin(own, [0, *held])
    y, own, others = y[kept], own[kept], others[kept]
    design = np.column_stack([np.ones(len(y)), own[:, None] == held, others])
    df = len(y) - design.shape[1]
    if df < 2 or rank(design) < design.shape[1]:
        return tuple(found)
    weights = np.linalg.pinv(design)
    fitted = weights @ y
    left, spread = float(((y - design @ fitted) ** 2).sum()), np.sqrt((weights**2).sum(axis=1))
    for place, g in enumerate(held, start=1):
        difference, told = float(fitted[place]), found[g - 1]
        if left <= NOTHING * float((y**2).sum()):
            found[g - 1] = replace(told, difference=difference)
            continue
        sd, unit = float(np.sqrt(left / df)), float(spread[place])
        found[g - 1] = told.of(difference, sd * unit, df, hedges(difference / sd, df, unit))
    return tuple(found)


def hedges(standardised: float, df: float, spread: float) -> tuple[float, float, float]:
    """Hedges' g and the 95 % interval of the true standardised difference.

    g is the unbiased estimate (Hedges 1981, doi 10.3102/10769986006002107); the interval holds the differences under
    which a noncentral t as far out as the one seen has a chance of 2.5 % on either side (Steiger and Fouladi 1997).

    Args:
        standardised: the difference in estimated standard deviations.
        df: degrees of freedom of that standard deviation; 2 or more.
        spread: standard error of the difference, in standard deviations: sqrt(1/n + 1/m) for two plain groups.
    """
    unbiased = np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)
    # the mirror image of a negative difference, since the tail of a noncentral t is found for positive ones
    t = abs(standardised) / spread
    low, high = (spread * _noncentrality(df, share, t) for share in (0.975, 0.025))
    if standardised < 0:
        low, high = -high, -low
    return float(unbiased * standardised), low, high


def _noncentrality(df: float, share: float, t: float) -> float:
    """The noncentrality under which ``share`` of a noncentral t lies below ``t``."""
    found = float(special.nctdtrinc(df, share, t))
    if np.isfinite(found) and abs(float(special.nctdtr(df, found, t)) - share) < 1e-4:
        return found
    # far out, where that search fails: t is then all but normal around it (Hedges and Olkin 1985, chapter 5)
    return float(t - stats.norm.ppf(share) * np.sqrt(1 + t**2 / (2 * df)))


def benjamini_hochberg(p: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number (Benjamini and Hochberg 1995); None stays None and does not count."""
    known = [value for value in p if value is not None]
    corrected = iter(stats.false_discovery_control(known)) if known else iter(())
    return [None if value is None else float(next(corrected)) for value in p]


@dataclass(frozen=True, eq=False)
class Measure:
    """What is compared.

    Args:
        name: such as ``Left Caudate``.
        unit: such as ``z``.
        values: (N,) of each person; NaN where there is none.
        volumes: (N,) volume in ml of the same, for a difference in percent; None where it is no region.
        corrected: whether it belongs to the family of tests that is corrected for their number.
    """

    name: str
    unit: str
    values: FloatArray
    volumes: FloatArray | None = None
    corrected: bool = True


@dataclass(frozen=True)
class Line:
    """One measure in one group against the reference.

    Args:
        name: the measure's.
        unit: likewise.
        group: the group's number, from 1.
        found: how it differs.
        volume_percent: how much larger (below 0, smaller) the volume is, from logarithms by the same model; None where
            there is no volume, or too few people have one.
        q: p corrected for the number of measures of the family in this group; None outside of it.
    """

    name: str
    unit: str
    group: int
    found: Difference
    volume_percent: float | None
    q: float | None


def compare(measures: Sequence[Measure], groups: IntArray, covariates: FloatArray | None = None) -> list[Line]:
    """Compare each group with the reference in every measure, group by group.

    Args:
        measures: of the same N people.
        groups: (N,) group of each, 0 the reference; each number up to the largest has someone.
        covariates: (N, K) regressors to adjust for; None for Welch's test of each group with the reference.
    """
    found = [_differences(measure.values, groups, covariates) for measure in measures]
    percents = [_percents(measure.volumes, groups, covariates) for measure in measures]
    lines = []
    for group in range(1, int(groups.max()) + 1):
        own = [each[group - 1] for each in found]
        q = benjamini_hochberg([of.p if measure.corrected else None for measure, of in zip(measures, own, strict=True)])
        lines += [
            Line(measure.name, measure.unit, group, of, None if percent is None else percent[group - 1], each_q)
            for measure, of, percent, each_q in zip(measures, own, percents, q, strict=True)
        ]
    return lines


def _differences(values: FloatArray, groups: IntArray, covariates: FloatArray | None) -> tuple[Difference, ...]:
    if covariates is not None:
        return adjusted(values, groups, covariates)
    return tuple(welch(values[groups == g], values[groups == 0]) for g in range(1, int(groups.max()) + 1))


def _percents(
    volumes: FloatArray | None, groups: IntArray, covariates: FloatArray | None
) -> tuple[float | None, ...] | None:
    if volumes is None:
        return None
    logarithms = np.log(np.where(volumes > 0, volumes, np.nan))
    differences = (of.difference for of in _differences(logarithms, groups, covariates))
    return tuple(None if of is None else float(100 * np.expm1(of)) for of in differences)


def rank(design: FloatArray) -> int:
    """How many columns of a design say something that the others do not, whatever their units."""
    lengths = np.linalg.norm(design, axis=0)
    return int(np.linalg.matrix_rank(design / np.where(lengths > 0, lengths, 1), tol=1e-8))


def _known(values: FloatArray) -> FloatArray:
    return values[np.isfinite(values)]


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if values.size else None


def _sd(values: FloatArray) -> float | None:
    return float(values.std(ddof=1)) if values.size > 1 else None

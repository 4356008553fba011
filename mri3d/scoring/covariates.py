"""What age, sex, head size and site make of healthy values: a regression, and one new person's place in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from mri3d.volumes.alignment import load_template
from mri3d.volumes.participants import age_in, sex_in

Array = npt.NDArray[np.float64]

Person = Mapping[str, float | str]
"""Covariate to what is known of somebody; what is not known is left out."""

CATEGORICAL = ("sex", "site")
COVARIATES = ("age", "sex", "tiv", "site")
"""``age`` in years, ``sex``, ``tiv`` (how large the whole brain is, ml) and ``site``."""

BENDS = (0.1, 0.5, 0.9)
"""Quantiles of healthy values between which a spline bends (Harrell 2015, doi 10.1007/978-3-319-19425-7, 2.4.6)."""

LEAST_FREEDOM = 3
"""Degrees of freedom that a regression has to leave."""


class UnknownCovariateError(ValueError):
    """A covariate cannot be taken into account; the message says why, as the end of a sentence."""


def person_of(columns: Mapping[str, str | None], tiv_ml: float) -> Person:
    """What ``participants.tsv`` (BIDS) says of somebody, and the size of the head.

    Args:
        columns: of the table, by name; ``age`` in years, ``sex`` as M or F, male or female, and ``site``.
        tiv_ml: see :func:`head_of`.
    """
    site = (columns.get("site") or "").strip() or None
    known = {"age": age_in(columns.get("age")), "sex": sex_in(columns.get("sex")), "tiv": tiv_ml, "site": site}
    return {name: value for name, value in known.items() if value is not None}


def head_of(template_to_source: npt.ArrayLike) -> float:
    """Size in ml that a whole brain has: the template's brain times the growth of the affine between the two.

    It follows the brain's outline and not what is lost within (as the atlas scaling factor of Buckner et al. 2004,
    doi 10.1016/j.neuroimage.2004.06.018, which aligns whole heads; this affine aligns brains).

    Args:
        template_to_source: (4, 4) affine between the worlds.
    """
    template = load_template()
    template_ml = float(template.brain.sum()) * template.grid.voxel_ml
    return float(abs(np.linalg.det(np.asarray(template_to_source, dtype=np.float64)[:3, :3]))) * template_ml


@dataclass(frozen=True)
class Linear:
    """A numeric covariate as it is, centred."""

    name: str
    centre: float
    width: float

    def columns(self, who: Person) -> list[float]:
        """The covariate's part of a row of the design."""
        return [(_number(who, self.name) - self.centre) / self.width]


@dataclass(frozen=True)
class Spline:
    """A numeric covariate as a natural cubic spline: bent between its knots, straight beyond them."""

    name: str
    knots: tuple[float, ...]

    def columns(self, who: Person) -> list[float]:
        """The covariate's part of a row: the line and the bend (restricted cubic spline of three knots)."""
        first, middle, last = self.knots
        at, span = _number(who, self.name), last - first
        cube = [max(at - knot, 0.0) ** 3 for knot in self.knots]
        bend = cube[0] - cube[1] * (last - first) / (last - middle) + cube[2] * (middle - first) / (last - middle)
        return [(at - middle) / span, bend / span**3]


@dataclass(frozen=True)
class Levels:
    """A covariate of words: a column for each but the first."""

    name: str
    levels: tuple[str, ...]

    def columns(self, who: Person) -> list[float]:
        """The covariate's part of a row."""
        level = who.get(self.name)
        if level is None:
            raise UnknownCovariateError(f"{self.name} is not known")
        if level not in self.levels:
            raise UnknownCovariateError(f"none of the healthy people has the {self.name} {level}")
        return [float(level == each) for each in self.levels[1:]]


Term = Linear | Spline | Levels


def _number(who: Person, name: str) -> float:
    if name not in who:
        raise UnknownCovariateError(f"{name} is not known")
    return float(who[name])


@dataclass(frozen=True, eq=False)
class Regression:
    """Least squares of several values on the covariates of n healthy people.

    Args:
        terms: the covariates.
        coefficients: (k, values) of the intercept and the columns of the terms.
        inverse: (k, k) inverse of the design's normal matrix.
        spread: (values,) residual standard deviation with ``freedom`` degrees of freedom.
        freedom: n - k.
        ranges: of the numeric covariates among the healthy, by name.
    """

    terms: tuple[Term, ...]
    coefficients: Array
    inverse: Array
    spread: Array
    freedom: int
    ranges: Mapping[str, tuple[float, float]]

    def judge(self, values: Array, who: Person) -> tuple[Array, Array]:
        """z and two-sided p of each value of one new person.

        p is that of Student's t with the variance of a prediction, s^2 (1 + x' (X'X)^-1 x); without covariates this is
        s^2 (1 + 1 / n) with n - 1 degrees of freedom (Crawford and Howell 1998, doi 10.1076/clin.12.4.482.7241; with
        covariates Crawford et al. 2011, doi 10.1016/j.cortex.2011.02.017).

        Raises:
            UnknownCovariateError: something of the person is not known, or no healthy person is like that.
        """
        row = _row(self.terms, who)
        z = (values - row @ self.coefficients) / np.maximum(self.spread, 1e-6)
        leverage = float(row @ self.inverse @ row)
        return z, np.asarray(2 * stats.t.sf(np.abs(z) / math.sqrt(1 + leverage), self.freedom))

    def beyond(self, who: Person) -> list[str]:
        """Numeric covariates in which the person lies beyond the healthy, as words."""
        found = []
        for name, (low, high) in self.ranges.items():
            value = _number(who, name)
            if not low <= value <= high:
                found.append(f"{name} {value:g} is beyond the healthy people's {low:g} to {high:g}")
        return found


def regress(values: Array, people: Sequence[Person], names: Sequence[str]) -> Regression:
    """Fit healthy values; those of whom a covariate is not known are left out.

    Age counts as a line, or as a spline where that predicts healthy people better who are left out one by one
    (PRESS, Allen 1974, doi 10.1080/00401706.1974.10489157, summed over the values in units of their variance).

    Args:
        values: (people, values).
        people: who they are.
        names: covariates to be taken into account, of :data:`COVARIATES`; none gives mean and standard deviation.

    Raises:
        UnknownCovariateError: too few are known to be fitted, or they do not differ.
    """
    known = [i for i, who in enumerate(people) if all(name in who for name in names)]
    if len(known) < LEAST_FREEDOM + 1 + len(names):
        raise UnknownCovariateError(f"{len(known)} healthy people with a known {' and '.join(names)}, which is too few")
    healthy, mine = [people[i] for i in known], values[known]
    candidates = [tuple(_term(name, healthy, spline) for name in names) for spline in (False, True)]
    fits = [fit for terms in dict.fromkeys(candidates) if (fit := _fit(mine, healthy, terms)) is not None]
    if not fits:
        raise UnknownCovariateError(f"{' and '.join(names)} cannot be told apart among {len(known)} healthy people")
    return min(fits, key=lambda fit: fit[1])[0]


def _term(name: str, people: Sequence[Person], spline: bool) -> Term:
    if name in CATEGORICAL:
        return Levels(name, tuple(sorted({str(who[name]) for who in people})))
    values = np.array([float(who[name]) for who in people])
    knots = tuple(map(float, np.quantile(values, BENDS)))
    if name == "age" and spline and knots[0] < knots[1] < knots[2]:
        return Spline(name, knots)
    return Linear(name, float(values.mean()), float(values.std()) or 1.0)


def _row(terms: Sequence[Term], who: Person) -> Array:
    return np.array([1.0, *(column for term in terms for column in term.columns(who))])


def _fit(values: Array, people: Sequence[Person], terms: tuple[Term, ...]) -> tuple[Regression, float] | None:
    """The regression and its PRESS; None where the columns do not determine it."""
    design = np.stack([_row(terms, who) for who in people])
    freedom = len(design) - design.shape[1]
    if freedom < LEAST_FREEDOM or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    inverse = np.asarray(np.linalg.inv(design.T @ design), dtype=np.float64)
    coefficients = inverse @ design.T @ values
    residual = values - design @ coefficients
    spread = np.sqrt((residual**2).sum(axis=0) / freedom)
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    left_out = residual / np.maximum(1 - leverage, 1e-6)[:, None]
    press = float((left_out**2).mean(axis=0) @ (1 / np.maximum(values.var(axis=0), 1e-12)))
    numeric = [term.name for term in terms if not isinstance(term, Levels)]
    ranges = {name: _range([float(who[name]) for who in people]) for name in numeric}
    return Regression(terms, coefficients, inverse, spread, freedom, ranges), press


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)

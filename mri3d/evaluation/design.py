"""Covariates of people, as a table's words or numbers, and the regressors that they become."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mri3d.errors import UsageError
from mri3d.evaluation.groups import LEAST, FloatArray, IntArray, rank

WORDS = frozenset({"sex", "site"})
"""Covariates that are kinds, even where their codes are numbers."""

NUMBERS = frozenset({"age"})
"""Covariates that are numbers, so that a word among them is a mistake."""

DECIMAL_COMMA = re.compile(r"-?\d+,\d+")

LARGEST = 1e12
"""Number from which on a cell is a mistake, and least squares come to their end."""

MOST_TOLD = 0.6
"""Share of a covariate's variance that groups may explain before a user is told."""


@dataclass(frozen=True, eq=False)
class Covariate:
    """One covariate of N people.

    Args:
        name: of its column.
        columns: (N, K) regressors with mean 0: the number itself, or for kinds one a kind but the first.
        words: what it was taken for.
    """

    name: str
    columns: FloatArray
    words: str


def described(name: str, cells: Sequence[str | None]) -> dict[str, Any]:
    """What people are like, by a column of a table.

    Args:
        name: of the column.
        cells: of each; None where nothing is known.

    Returns:
        ``mean``, ``sd``, ``min`` and ``max`` where all that is known are numbers, else ``counts`` of the kinds; and how
        many are ``unknown``.
    """
    known = [cell for cell in cells if cell is not None]
    unknown = {"unknown": len(cells) - len(known)}
    numbers = [number for number in map(number_in, known) if number is not None]
    if name in WORDS or len(numbers) < max(1, len(known)):
        return {"counts": dict(sorted(Counter(known).items()))} | unknown
    return extent(numbers) | unknown


def extent(numbers: Sequence[float]) -> dict[str, float | None]:
    """``mean``, ``sd`` (None of one), ``min`` and ``max`` of one number or more."""
    spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return {"mean": float(np.mean(numbers)), "sd": spread, "min": min(numbers), "max": max(numbers)}


def refuse_commas(name: str, cells: Mapping[str, str | None]) -> None:
    """Refuse a column with decimal commas, which would pass for words.

    Args:
        name: of the column.
        cells: person to cell.

    Raises:
        UsageError: there is one.
    """
    odd = [person for person, cell in cells.items() if DECIMAL_COMMA.fullmatch(cell or "")]
    if odd:
        found = f"{cells[odd[0]]!r} of {odd[0]}" + (f" and {len(odd) - 1} more" if len(odd) > 1 else "")
        raise UsageError(f"--covariates {name}", "numbers with a decimal point", found, "Write points for commas")


def as_covariate(name: str, cells: Mapping[str, str]) -> Covariate:
    """A column of a table as a covariate: linear where it holds numbers, else a regressor a kind but the first.

    Args:
        name: of the column.
        cells: person to cell; nobody is without one.

    Raises:
        UsageError: numbers with something else among them, or one value in all.
    """
    numbers = {person: number_in(cell) for person, cell in cells.items()}
    odd = [person for person, value in numbers.items() if value is None]
    numeric = name in NUMBERS or (name not in WORDS and 2 * len(odd) < len(cells))
    if numeric and odd:
        found = f"{cells[odd[0]]!r} of {odd[0]}" + (f" and {len(odd) - 1} more" if len(odd) > 1 else "")
        remedy = "Mend it, or write n/a where it is unknown"
        raise UsageError(f"--covariates {name}", "a column of numbers", found, remedy)
    kinds = sorted(set(cells.values()))
    values = [value for value in numbers.values() if value is not None]
    if (len(set(values)) if numeric else len(kinds)) < 2:
        found = f"{kinds[0]} in all {len(cells)} people who are compared"
        raise UsageError(f"--covariates {name}", "a covariate that varies", found, "Leave it out")
    if numeric:
        columns, words = np.array(values)[:, None], "linear"
    else:
        columns = np.array([[float(cell == kind) for kind in kinds[1:]] for cell in cells.values()])
        words = f"{', '.join(kinds[1:])} against {kinds[0]}"
    return Covariate(name, columns - columns.mean(axis=0), words)


def entangled(covariates: Sequence[Covariate], groups: IntArray) -> list[str]:
    """Covariates of which the groups explain most, so that what they do can hardly be parted from the groups.

    Args:
        covariates: of the same N people.
        groups: (N,) group of each.
    """
    kinds = (groups[:, None] == np.unique(groups)).astype(np.float64)
    means = kinds @ (kinds.T / kinds.sum(axis=0)[:, None])
    shares = {of.name: float(((means @ of.columns) ** 2).sum() / (of.columns**2).sum()) for of in covariates}
    return [name for name, share in shares.items() if share > MOST_TOLD]


def one_sided(covariates: Sequence[Covariate], groups: IntArray, names: Sequence[str]) -> list[str]:
    """What of a covariate a group cannot tell, since it is alike in all of it: ``sex in patients``.

    Args:
        covariates: of the same N people.
        groups: (N,) group of each.
        names: of the groups.
    """
    return [
        f"{of.name} in {name}"
        for of in covariates
        for number, name in enumerate(names)
        if np.ptp(of.columns[groups == number], axis=0).max() < 1e-9 * np.abs(of.columns).max()
    ]


def number_in(cell: str) -> float | None:
    """The number that a cell holds; None where it holds none, or one beyond all measure."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < LARGEST else None


def regressors(covariates: Sequence[Covariate], groups: IntArray, names: Sequence[str]) -> FloatArray:
    """All covariates side by side, once they are found to tell apart what they should.

    Args:
        covariates: of the same N people.
        groups: (N,) group of each, 0 the reference.
        names: of the groups.

    Returns:
        (N, K).

    Raises:
        UsageError: a covariate is told by the groups and the covariates before it, or there are too few people.
    """
    design = np.column_stack([np.ones(len(groups)), groups[:, None] == np.arange(1, len(names))]).astype(np.float64)
    columns = design.shape[1] + sum(covariate.columns.shape[1] for covariate in covariates)
    if len(groups) < columns + LEAST:
        found = f"{len(groups)}, for " + ", ".join(f"{of.name} ({of.words})" for of in covariates)
        remedy = "Leave covariates out, or join rare kinds"
        raise UsageError("--covariates", f"at least {columns + LEAST} people", found, remedy)
    for covariate in covariates:
        wider = np.column_stack([design, covariate.columns])
        if rank(wider) < wider.shape[1]:
            others = [other.name for other in covariates[: [of.name for of in covariates].index(covariate.name)]]
            told = f"the group and {' and '.join(others)} do" if others else "the group does"
            raise UsageError(
                f"--covariates {covariate.name}", f"a covariate that {told} not tell already",
                f"one that they tell ({covariate.words})", "Leave it out: what it does cannot be parted from them",
            )  # fmt: skip
        design = wider
    return design[:, len(names) :]

"""What people look at of a study: its table and its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mri3d.reporting.panels import save_png
from mri3d.reporting.table import write_table

BLUE, VERMILION, GREY = "#0072b2", "#d55e00", "#777777"
LEAST_SPAN = 0.05
"""Of the axis of values, as a share of them."""


@dataclass(frozen=True)
class Outcome:
    """A trial that is over.

    Args:
        number: which one, from 1 on.
        state: ``complete``, ``pruned`` (ended early, its value that of its last epoch) or ``failed``.
        value: of the objective; NaN where there is none.
        values: config keys to what was tried.
        epochs: that were measured.
        seconds: that it took, of its last attempt.
        cause: why it failed.
    """

    number: int
    state: str
    value: float
    values: Mapping[str, Any]
    epochs: int
    seconds: float
    cause: str = ""


def write_trials(outcomes: Sequence[Outcome], keys: Sequence[str], path: Path) -> None:
    """Write a line a trial as CSV; values that are lists are JSON.

    Args:
        outcomes: by number.
        keys: that were searched, a column each.
        path: where the table goes.
    """
    rows = [
        {"trial": one.number, "state": one.state, "value": one.value if np.isfinite(one.value) else None,
         **{key: _word(one.values.get(key)) for key in keys},
         "epochs": one.epochs, "seconds": one.seconds, "cause": one.cause}
        for one in outcomes
    ]  # fmt: skip
    write_table(path, rows, ["trial", "state", "value", *keys, "epochs", "seconds", "cause"])


def _word(value: Any) -> Any:
    plain = value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))
    return value if plain else json.dumps(value)


def draw_history(outcomes: Sequence[Outcome], objective: str, smallest: bool, path: Path) -> None:
    """Write the PNG of every trial's value and of the best so far.

    Args:
        outcomes: by number.
        objective: what the values are.
        smallest: whether the smallest value is the best.
        path: where the PNG goes.
    """
    figure = Figure(figsize=(7.0, 4.2), dpi=120, facecolor="white", layout="constrained")
    axes = figure.add_subplot(xlabel="trial", ylabel="value")
    better = "lower is better" if smallest else "higher is better"
    axes.set_title(f"{objective[:1].upper()}{objective[1:]}; {better}", fontsize=10, loc="left")
    for state, mark, colour, label in (
        ("complete", "o", BLUE, "complete"), ("pruned", "x", VERMILION, "pruned: value of its last epoch"),
    ):  # fmt: skip
        points = [(one.number, one.value) for one in outcomes if one.state == state and np.isfinite(one.value)]
        if points:
            axes.plot(*zip(*points, strict=True), mark, color=colour, markersize=6, label=label)
    _draw_best(axes, outcomes, smallest)
    failed = [one.number for one in outcomes if one.state == "failed"]
    if failed:
        low = [0.0] * len(failed)  # on the axis itself, since they have no value
        axes.plot(failed, low, "|", color=GREY, markersize=14, label="failed", transform=axes.get_xaxis_transform())
    _tidy(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(axis="y", useOffset=False)
    widen(axes)
    if outcomes:
        axes.set_xlim(0.5, max(one.number for one in outcomes) + 0.5)
        axes.legend(frameon=False)
    save_png(figure, path)


def widen(axes: Axes) -> None:
    """Let the axis of values span a twentieth of them at least, so that trials which came out alike look alike."""
    low, high = axes.get_ylim()
    middle, least = (low + high) / 2, LEAST_SPAN * abs(low + high) / 2
    if high - low < least:
        axes.set_ylim(middle - least / 2, middle + least / 2)


def _draw_best(axes: Axes, outcomes: Sequence[Outcome], smallest: bool) -> None:
    complete = [one for one in outcomes if one.state == "complete"]
    if not complete:
        return
    choose = min if smallest else max
    best = list(accumulate((one.value for one in complete), choose))
    numbers, last = [one.number for one in complete], outcomes[-1].number
    steps = [*numbers, last], [*best, best[-1]]
    axes.step(*steps, where="post", color=BLUE, linewidth=1.2, label="best so far")
    winner = choose(complete, key=lambda one: one.value)
    label = f"best: trial {winner.number}, {winner.value:.4g}"
    axes.plot(winner.number, winner.value, "*", color="black", markersize=13, label=label, zorder=3)


def draw_importance(importance: Mapping[str, float], objective: str, trials: int, path: Path) -> None:
    """Write the PNG of how much each searched key matters.

    Args:
        importance: key to its share of the objective's variance, 0 to 1.
        objective: what the values are.
        trials: how many complete ones the shares come from.
        path: where the PNG goes.
    """
    height = 1.6 + 0.42 * len(importance)
    figure = Figure(figsize=(7.0, height), dpi=120, facecolor="white", layout="constrained")
    axes = figure.add_subplot(xlabel=f"share of the variance of: {objective}")
    ranked = sorted(importance.items(), key=lambda pair: pair[1])
    axes.barh([key for key, _ in ranked], [share for _, share in ranked], color=BLUE, height=0.6)
    for row, (_, share) in enumerate(ranked):
        axes.text(share + 0.01, row, f"{share:.2f}", va="center")
    axes.set_xlim(0.0, 1.08)
    axes.set_title(f"From {trials} complete trials; the fewer, the rougher", fontsize=10, loc="left")
    _tidy(axes)
    axes.grid(False, axis="y")
    save_png(figure, path)


def _tidy(axes: Axes) -> None:
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)

"""Where scores lie among healthy ones, as a drawing within a page that follows its light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, MARGIN, RADIUS = 960.0, 40.0, 6.0
BEHIND = 3.0
"""Standard deviations that are drawn on a linear scale; beyond, on a logarithmic one."""

TICKS = (-3, -2, -1, 0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
THRESHOLDS = {1: "mean + 1 std", 3: "mean + 3 std: anomalous"}

SCORE_STYLE = """
.scores svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--soft); }
.scores .axis, .scores .tick { stroke: var(--line); } .scores .threshold { stroke: var(--ink); stroke-dasharray: 5 4; }
.scores .healthy { fill: var(--tint); stroke: var(--line); } .scores circle, .scores path { stroke: var(--paper); }
.scores a .anomalous { fill: var(--anomalous); } .scores a .normal { fill: var(--normal); }
.scores a:focus-visible circle, .scores a:focus-visible path { stroke: var(--ink); stroke-width: 3; outline: none; }
"""
"""CSS for pages that hold what :func:`score_figure` gives."""


@dataclass(frozen=True)
class Placed:
    """A subject in the drawing.

    Args:
        name: plain text.
        deviations: its score, in standard deviations of healthy scores above their mean.
        state: ``anomalous`` or ``normal``.
        link: where its page is, as a URL.
    """

    name: str
    deviations: float
    state: str
    link: str


def score_figure(placed: Sequence[Placed]) -> str:
    """HTML of the drawing: a dot a subject along an axis of standard deviations, thresholds as lines.

    Dots that would lie on each other are stacked; the shape behind is the normal distribution that the thresholds
    stand for.
    """
    low = min(-3.0, *(each.deviations for each in placed))
    high = max(5.0, *(each.deviations for each in placed))
    at = _Axis(low, high)
    dots, height = _stack(placed, at)
    ground = height + 34
    ticks = [tick for tick in TICKS if low <= tick <= high]
    lines = [f'<line class="axis" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{ground}" y2="{ground}"/>']
    lines += [_tick(at(tick), ground, f"{tick}") for tick in _spaced(ticks, at)]
    lines += [_threshold(at(where), words, ground) for where, words in THRESHOLDS.items()]
    marks = [_mark(each, at(each.deviations), ground - 6 - RADIUS - up) for each, up in dots]
    caption = "Standard deviations of healthy scores above their mean, logarithmic beyond 3; a mark is a subject."
    return (
        f'<figure class="scores"><svg viewBox="0 0 {WIDTH:g} {ground + 40:g}" role="img" '
        f'aria-label="Scores of {len(placed)} subjects among those of healthy people">{_bell(at, ground)}'
        f'{"".join(lines)}{"".join(marks)}</svg><figcaption class="soft">{caption}</figcaption></figure>'
    )


class _Axis:
    """Standard deviations to places across the drawing."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = self._scaled(low), self._scaled(high)

    def __call__(self, deviations: float) -> float:
        share = (self._scaled(deviations) - self._low) / (self._high - self._low)
        return MARGIN + share * (WIDTH - 2 * MARGIN)

    @staticmethod
    def _scaled(deviations: float) -> float:
        size = abs(deviations)
        beyond = BEHIND * (1 + math.log(size / BEHIND)) if size > BEHIND else size
        return math.copysign(beyond, deviations)


def _stack(placed: Sequence[Placed], at: _Axis) -> tuple[list[tuple[Placed, float]], float]:
    """Each subject with how far above the axis it stands, and the height of them all."""
    taken: dict[int, int] = {}
    dots = []
    for each in sorted(placed, key=lambda one: one.deviations):
        column = round(at(each.deviations) / (2 * RADIUS))
        level = taken.get(column, 0)
        taken[column] = level + 1
        dots.append((each, level))
    step = min(2 * RADIUS, 240.0 / max(taken.values()))
    return [(each, level * step) for each, level in dots], max(70.0, step * max(taken.values()) + 10)


def _spaced(ticks: Sequence[int], at: _Axis) -> list[int]:
    """Ticks whose numbers do not run into each other; those of the thresholds stay."""
    kept: list[int] = []
    for tick in ticks:
        if kept and at(tick) - at(kept[-1]) < 26:
            if tick not in THRESHOLDS:
                continue
            kept.pop()
        kept.append(tick)
    return kept


def _tick(x: float, ground: float, words: str) -> str:
    line = f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{ground}" y2="{ground + 5}"/>'
    return f'{line}<text x="{x:.1f}" y="{ground + 20}" text-anchor="middle">{words}</text>'


def _threshold(x: float, words: str, ground: float) -> str:
    line = f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{ground}"/>'
    return f'{line}<text x="{x + 5:.1f}" y="{24 if words.endswith("s") else 12}">{words}</text>'


def _bell(at: _Axis, ground: float) -> str:
    """The normal distribution of healthy scores, as a shape behind the dots."""
    xs = [step / 10 for step in range(-30, 31)]
    points = " ".join(f"{at(x):.1f},{ground - 60 * math.exp(-x * x / 2):.1f}" for x in xs)
    return f'<polygon class="healthy" points="{at(-3):.1f},{ground} {points} {at(3):.1f},{ground}"/>'


def _mark(each: Placed, x: float, y: float) -> str:
    """A dot, or a triangle for an anomalous subject, that leads to the subject's page."""
    r = RADIUS
    shape = (
        f'<path class="anomalous" d="M{x:.1f} {y - r:.1f}l{r} {2 * r - 1}h{-2 * r}z"/>'
        if each.state == "anomalous"
        else f'<circle class="normal" cx="{x:.1f}" cy="{y:.1f}" r="{r - 0.5}"/>'
    )
    return f'<a href="{each.link}"><title>{escape(each.name)}: {each.deviations:.1f} std</title>{shape}</a>'

"""The picture of a group comparison: effect sizes with intervals of the regions that differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mri3d.reporting.panels import printable, save_png
from mri3d.reporting.region_files import INK, LARGER, SMALLER
from mri3d.scoring.detection import SIGNIFICANT

SHOWN = 15
"""Regions a group in the picture."""

PLAIN = "#7d8891"
ROW = 0.27  # inches


def draw_groups(lines: Mapping[str, Sequence[Mapping[str, Any]]], reference: str, words: str, path: Path) -> None:
    """Draw Hedges' g with its 95 % interval, a panel a group.

    Args:
        lines: group to the lines of its regions, as in ``groups.csv``.
        reference: the group the others are compared with.
        words: what g is of, for the axis.
        path: PNG to write.
    """
    shown = {group: most_different(each)[:SHOWN] for group, each in lines.items()}
    heights = [max(1, len(each)) for each in shown.values()]
    size = (9.0, 1.0 * len(heights) + ROW * sum(heights))
    figure = Figure(figsize=size, dpi=110, facecolor="white", layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    ends = [abs(line[end]) for each in shown.values() for line in each for end in ("g_low", "g_high")]
    for axes, (group, each) in zip(panels, shown.items(), strict=True):
        _panel(axes, each, max([1.0, *ends]))
        counts = f"n = {each[0]['n']} and {each[0]['n_reference']}" if each else "no region could be compared"
        title = f"{printable(group, 40)} against {printable(reference, 40)} ({counts})"
        axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    said = f"{words}: Hedges' g with 95 % interval (left smaller, right larger; filled, q < {SIGNIFICANT})"
    panels[-1].set_xlabel(said, color=INK)
    save_png(figure, path)


def most_different(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those with an effect size, the largest first."""
    return sorted((line for line in lines if line["g"] is not None), key=lambda line: -abs(line["g"]))


def _panel(axes: Axes, lines: Sequence[Mapping[str, Any]], widest: float) -> None:
    for row, line in enumerate(lines):
        found = line["q"] is not None and line["q"] < SIGNIFICANT
        colour = (SMALLER if line["g"] < 0 else LARGER) if found else PLAIN
        axes.plot([line["g_low"], line["g_high"]], [row, row], color=colour, linewidth=1.8, solid_capstyle="butt")
        axes.plot(line["g"], row, "o", markersize=6.5, color=colour, markerfacecolor=colour if found else "white")
        axes.annotate(_told(line), (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(lines)), [str(line["region"]) for line in lines])
    axes.set_ylim(max(len(lines), 1) - 0.4, -0.6)
    axes.set_xlim(-1.05 * widest, 1.05 * widest)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.grid(True, axis="x", color="#e3e7ea", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, colors=INK)


def _told(line: Mapping[str, Any]) -> str:
    q, percent = line["q"], line["volume_percent"]
    words = "" if q is None else "q < 0.001" if q < 0.001 else f"q = {q:.2g}"
    return words if percent is None else f"{percent:+.1f} %, {words}".replace("-", "\N{MINUS SIGN}")

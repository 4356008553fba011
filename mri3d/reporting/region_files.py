"""What is written of each subject's regions: a table and a picture of those that depart most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mri3d.reporting.names import REGIONS, REGIONS_PICTURE, path_of
from mri3d.reporting.panels import save_png
from mri3d.reporting.table import write_table
from mri3d.scoring.detection import SIGNIFICANT, Detection, RegionScore, by_departure

COLUMNS = tuple(field.name for field in fields(RegionScore))
SHOWN = 10
"""Regions in the picture."""

SMALLER, LARGER, FAINT, INK = "#0072b2", "#d55e00", "#c9d1d8", "#1b2126"
"""Okabe and Ito's blue and vermilion, which colour-blind readers tell apart too."""


def write_regions(detection: Detection, root: Path, key: str) -> None:
    """Write ``NAME_regions.csv`` and ``NAME_regions.png``, where regions were measured.

    Args:
        detection: the scored subject.
        root: the output folder.
        key: the subject's place below it.
    """
    if not detection.regions:
        return
    write_table(path_of(root, key, REGIONS), map(asdict, detection.regions), COLUMNS)
    draw_regions(detection.regions, detection.subject.name, path_of(root, key, REGIONS_PICTURE))


def draw_regions(regions: Sequence[RegionScore], name: str, path: Path) -> None:
    """Draw the regions that depart most as bars.

    Args:
        regions: of one subject.
        name: the subject's.
        path: PNG to write.
    """
    shown = by_departure(regions)[:SHOWN]
    judged = shown[0].z is not None
    figure = Figure(figsize=(8.0, 0.9 + 0.34 * len(shown)), dpi=110, facecolor="white", layout="constrained")
    axes = figure.subplots()
    values = [(each.z if judged else each.mean_z) or 0.0 for each in shown]
    axes.barh(range(len(shown)), values, color=[_colour(each) for each in shown], height=0.72)
    axes.set_yticks(range(len(shown)), [each.name for each in shown])
    axes.invert_yaxis()
    _style(axes, values)
    for row, (each, value) in enumerate(zip(shown, values, strict=True)):
        words = f"{value:+.1f}, {_told(each.q)}" if each.q is not None else f"{value:.1f}"
        axes.annotate(words, (value, row), (4 if value >= 0 else -4, 0), textcoords="offset points",
                      ha="left" if value >= 0 else "right", va="center", fontsize=9, color=INK)  # fmt: skip
    said = "size, z among healthy people (left smaller, right larger)"
    said = said if judged else "mean of the z-map"
    axes.set_xlabel(said, color=INK)
    axes.set_title(f"{name}: the regions that depart most", loc="left", fontsize=11, color=INK)
    save_png(figure, path)


def _colour(region: RegionScore) -> str:
    if region.q is None or region.q >= SIGNIFICANT:
        return FAINT
    return SMALLER if (region.z or 0.0) < 0 else LARGER


def _told(q: float | None) -> str:
    if q is None:
        return ""
    return "q < 0.001" if q < 0.001 else f"q = {q:.3f}" if q < SIGNIFICANT else f"q = {q:.2f}"


def _style(axes: Axes, values: Sequence[float]) -> None:
    widest = max(3.0, *(abs(value) for value in values))
    low = min(values) < 0
    # room for the words at the ends of the bars
    axes.set_xlim(-1.7 * widest if low else 0.0, 1.7 * widest if max(values) > 0 else 0.0)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, colors=INK)

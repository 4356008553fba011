"""The picture of one subject: the map over the scan, then brain mask and alignment for checking."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mri3d.reporting.panels import (
    BACKGROUND,
    DPI,
    HEIGHT,
    MUTED,
    ORANGE,
    SKY,
    WHITE,
    WIDTH,
    YELLOW,
    Overlay,
    draw_scale,
    label_panel,
    lay_panels,
    outline_plane,
    printable,
    save_png,
    show_plane,
    signed,
    size_mm,
    widened,
    write_at,
)
from mri3d.reporting.planes import PLANES, Canonical, Index, bounds_and_centre
from mri3d.scoring.detection import Detection
from mri3d.volumes.volume import FloatArray

DECISIONS = {
    "anomalous": ("\N{BLACK UP-POINTING TRIANGLE} ANOMALOUS", "#f2855b"),
    "normal": ("\N{BLACK CIRCLE} NORMAL", SKY),
    "uncalibrated": ("\N{WHITE CIRCLE} NOT CALIBRATED", MUTED),
}


def draw_subject(detection: Detection, path: Path, template: FloatArray) -> None:
    """Write the PNG of one subject: the map over the scan, then brain mask and alignment for checking.

    Args:
        detection: the scored subject.
        path: where the PNG goes.
        template: brain image the subject was aligned to, of the shape of ``detection.model.image``.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor=BACKGROUND)
    canonical = Canonical.of(detection.volume.grid)
    box, centre = bounds_and_centre(canonical.view(detection.brain))
    focus = canonical.index(detection.components[0].peak_mm) if detection.components else centre
    window = _window(detection)
    _draw_title(figure, detection)
    _draw_overlay(figure, detection, canonical, box, focus, window)
    _draw_warnings(figure, detection)
    _draw_mask(figure, detection, canonical, focus, window)
    _draw_alignment(figure, detection, template)
    note = "Radiological convention: the subject's right (R) is on the left of the picture."
    if canonical.tilt_degrees >= 1.0:
        note += f" Oblique scan: its planes are tilted by up to {canonical.tilt_degrees:.0f}\N{DEGREE SIGN}."
    write_at(figure, 0.25, 0.16, note + " Research software, not a medical device.", size=8, color=MUTED)
    save_png(figure, path)


def _draw_title(figure: Figure, detection: Detection) -> None:
    score = detection.score
    words, colour = DECISIONS[score.decision]
    write_at(figure, 0.25, HEIGHT - 0.36, printable(detection.subject.name), size=15, weight="bold")
    title = write_at(figure, 0.25, HEIGHT - 0.68, words, size=12, weight="bold", color=colour)
    facts = [f"score {score.value:.4g}"]
    if score.threshold is None:
        facts.append("no threshold: this bundle has no calibration")
    else:
        relation = ">" if score.value > score.threshold else "\N{LESS-THAN OR EQUAL TO}"
        facts[0] += f" {relation} threshold {score.threshold:.4g}"
    if score.p_value is not None:
        facts.append(f"p = {score.p_value:.3g}")
        if score.p_resolution is not None and score.p_value <= score.p_resolution:
            facts[-1] += f" (lowest that {round(1 / score.p_resolution) - 1} healthy subjects allow)"
    if detection.anomalous_ml is not None:
        regions = len(detection.components)
        facts.append(f"{detection.anomalous_ml:.1f} ml in {regions} anomalous region{'' if regions == 1 else 's'}")
    canvas: Any = FigureCanvasAgg(figure)
    right = title.get_window_extent(canvas.get_renderer()).x1 / DPI
    write_at(figure, right + 0.2, HEIGHT - 0.68, "  \N{MIDDLE DOT}  ".join(facts), size=10)


def _draw_overlay(
    figure: Figure,
    detection: Detection,
    canonical: Canonical,
    box: tuple[slice, slice, slice],
    focus: Index,
    window: tuple[float, float],
) -> None:
    overlay = Overlay.of(detection)
    crop, inner = widened(box, canonical, focus, margin_mm=10.0)
    scan = canonical.view(detection.volume.data)[crop]
    values = canonical.view(overlay.values)[crop]
    anomaly = None if detection.anomaly is None else canonical.view(detection.anomaly)[crop]
    sizes = [size_mm(plane, canonical, scan.shape) for plane in PLANES]
    row = lay_panels(figure, (0.25, 2.9, WIDTH - 1.5, HEIGHT - 4.2), sizes, gap=0.12)
    place = canonical.grid.world(focus)
    for plane, panel, size in zip(PLANES, row, sizes, strict=True):
        show_plane(panel, plane.cut(scan, inner), size, cmap="gray", norm=Normalize(*window))
        show_plane(panel, plane.cut(values, inner), size, cmap=overlay.colours(), norm=overlay.norm())
        if anomaly is not None:
            outline_plane(panel, plane.cut(anomaly, inner), 0.5, size, WHITE, 1.3, halo=True)
        label_panel(panel, plane, f"{plane.name}  {'xyz'[plane.axis]} = {signed(place[plane.axis])} mm", size=10)
    what = "z-map" if detection.zscore is not None else "error map (not calibrated)"
    where = "planes through the middle of the brain"
    if detection.components:
        largest = detection.components[0]
        where = (
            f"planes through the peak of the largest region (z {largest.peak_z:.1f}, {largest.volume_ml:.1f} ml, "
            f"at {', '.join(signed(v) for v in largest.peak_mm)} mm RAS)"
        )
    outlined = ", anomalous regions outlined in white" if anomaly is not None and anomaly.any() else ""
    write_at(figure, 0.25, HEIGHT - 0.98, f"{what} over the scan{outlined}; {where}", size=9, color=MUTED)
    draw_scale(figure, overlay, (WIDTH - 1.05, 3.0, 0.16, HEIGHT - 4.6))


def _draw_warnings(figure: Figure, detection: Detection) -> None:
    """What limits the map stands below it, for the picture may travel without the table."""
    words = "  ".join(f"\N{WARNING SIGN} {warning}" for warning in detection.warnings)
    lines = textwrap.wrap(words, 175, max_lines=2, placeholder=" ... (all in the table)")
    write_at(figure, 0.25, 2.91, "\n".join(lines), size=8, color=YELLOW, va="top")


def _draw_mask(
    figure: Figure, detection: Detection, canonical: Canonical, focus: Index, window: tuple[float, float]
) -> None:
    # The whole field of view: a crop to the mask would hide the brain that the mask has missed.
    scan, brain = canonical.view(detection.volume.data), canonical.view(detection.brain)
    sizes = [size_mm(plane, canonical, scan.shape) for plane in PLANES]
    row = lay_panels(figure, (0.25, 0.42, WIDTH / 2 - 0.4, 1.98), sizes, gap=0.06)
    for plane, panel, size in zip(PLANES, row, sizes, strict=True):
        show_plane(panel, plane.cut(scan, focus), size, cmap="gray", norm=Normalize(*window))
        outline_plane(panel, plane.cut(brain, focus), 0.5, size, SKY, 1.1)
        label_panel(panel, plane, "", size=7.5)
    volume = np.count_nonzero(brain) * canonical.grid.voxel_ml
    caption = f"check 1: brain mask ({detection.brain_source}), {volume:.0f} ml"
    write_at(figure, 0.25, 2.5, caption, size=9, color=SKY)


def _draw_alignment(figure: Figure, detection: Detection, template: FloatArray) -> None:
    canonical = Canonical.of(detection.model.grid)
    image, model = canonical.view(detection.model.image), canonical.view(template)
    # Half the usual brain intensity draws the brain's edge and, on T1w, the ventricles.
    level = 0.5 * float(np.median(model[model > 0]))
    _, centre = bounds_and_centre(model > level)
    sizes = [size_mm(plane, canonical, image.shape) for plane in PLANES]
    row = lay_panels(figure, (WIDTH / 2 + 0.15, 0.42, WIDTH / 2 - 0.4, 1.98), sizes, gap=0.06)
    for plane, panel, size in zip(PLANES, row, sizes, strict=True):
        show_plane(panel, plane.cut(image, centre), size, cmap="gray", norm=Normalize(0.0, 1.0))
        outline_plane(panel, plane.cut(model, centre), level, size, ORANGE, 0.9)
        label_panel(panel, plane, "", size=7.5)
    fit = f"Dice {detection.alignment_dice:.2f}, correlation {detection.alignment_correlation:.2f}"
    caption = f"check 2: aligned brain, contour of the template, {fit}"
    write_at(figure, WIDTH / 2 + 0.15, 2.5, caption, size=9, color=ORANGE)


def _window(detection: Detection) -> tuple[float, float]:
    """Black and white point of the scan: those of its brain, since scalp and neck are often brighter."""
    data, brain = (array[::2, ::2, :] for array in (detection.volume.data, detection.brain))
    low, high = np.percentile(data[brain] if brain.any() else data, (0.5, 99.7))
    return float(low), float(high)

"""The picture of a scan against its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.reporting.panels import (
    BACKGROUND,
    DPI,
    HEIGHT,
    MUTED,
    TRUTH,
    WHITE,
    WIDTH,
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
from mri3d.volumes.volume import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class Compared:
    """A scored scan and its truth; arrays are (X, Y, Z) in source order.

    Args:
        name: the subject's.
        grid: where the arrays lie.
        scan: what lies under the map.
        scan_name: what that is.
        brain: the brain mask.
        overlay: the map.
        found: what the detector marks; None where it has no threshold.
        truth: True in lesions; not empty.
        words: what is to be said of it, in one line.
    """

    name: str
    grid: Grid
    scan: FloatArray
    scan_name: str
    brain: BoolArray
    overlay: Overlay
    found: BoolArray | None
    truth: BoolArray
    words: str


def draw_compared(case: Compared, path: Path) -> None:
    """Write the PNG of a scan against its truth: above the map and what it marks, below the scan and the truth.

    Args:
        case: the scan.
        path: where the PNG goes.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor=BACKGROUND)
    canonical = Canonical.of(case.grid)
    focus = _largest_lesion(canonical.view(case.truth))
    box, _ = bounds_and_centre(canonical.view(case.brain | case.truth))
    crop, inner = widened(box, canonical, focus, 6.0)
    for bottom, with_map in ((3.6, True), (0.42, False)):
        _draw_row(figure, case, canonical, crop, inner, focus, bottom, with_map)
    write_at(figure, 0.25, HEIGHT - 0.36, printable(case.name), size=15, weight="bold")
    write_at(figure, 0.25, HEIGHT - 0.66, case.words, size=10)
    marked = "; white, what the detector marks" if case.found is not None else ""
    said = f"green, the truth{marked}; planes through the middle of the largest lesion; below, {case.scan_name} alone"
    write_at(figure, 0.25, HEIGHT - 0.92, said, size=9, color=MUTED)
    draw_scale(figure, case.overlay, (WIDTH - 1.05, 3.9, 0.16, 2.6))
    note = "Radiological convention: the subject's right (R) is on the left of the picture."
    write_at(figure, 0.25, 0.16, f"{note} Research software, not a medical device.", size=8, color=MUTED)
    save_png(figure, path)


def _largest_lesion(truth: BoolArray) -> Index:
    """The middle of the largest connected lesion."""
    labels, _ = ndimage.label(truth, structure=np.ones((3, 3, 3)))
    _, centre = bounds_and_centre(labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1)
    return centre


def _draw_row(
    figure: Figure,
    case: Compared,
    canonical: Canonical,
    crop: tuple[slice, slice, slice],
    inner: Index,
    focus: Index,
    bottom: float,
    with_map: bool,
) -> None:
    """Three planes of the scan with the outline of the truth, with or without the map and what it marks."""
    scan, values, truth = (canonical.view(array)[crop] for array in (case.scan, case.overlay.values, case.truth))
    low, high = np.percentile(case.scan[case.brain], (0.5, 99.7)) if case.brain.any() else (0.0, 1.0)
    sizes = [size_mm(plane, canonical, scan.shape) for plane in PLANES]
    place = canonical.grid.world(focus)
    row = lay_panels(figure, (0.25, bottom, WIDTH - 1.5, 3.05), sizes, gap=0.12)
    for plane, panel, size in zip(PLANES, row, sizes, strict=True):
        show_plane(panel, plane.cut(scan, inner), size, cmap="gray", norm=Normalize(float(low), float(high)))
        title = f"{plane.name}  {'xyz'[plane.axis]} = {signed(place[plane.axis])} mm" if with_map else ""
        if with_map:
            show_plane(panel, plane.cut(values, inner), size, cmap=case.overlay.colours(), norm=case.overlay.norm())
        if with_map and case.found is not None:
            outline_plane(panel, plane.cut(canonical.view(case.found)[crop], inner), 0.5, size, WHITE, 1.2, halo=True)
        outline_plane(panel, plane.cut(truth, inner), 0.5, size, TRUTH, 1.4, halo=True)
        label_panel(panel, plane, title, size=9)

"""The picture of a subject with several modalities: each of them, with what was found outlined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mri3d.reporting.panels import (
    BACKGROUND,
    DPI,
    MUTED,
    WIDTH,
    YELLOW,
    label_panel,
    lay_panels,
    outline_plane,
    printable,
    save_png,
    show_plane,
    size_mm,
    widened,
    write_at,
)
from mri3d.reporting.planes import PLANES, Canonical, bounds_and_centre
from mri3d.scoring.detection import Detection

ROW, TOP, BOTTOM = 3.7, 0.9, 0.4
"""Height in inches of a modality's row, and of what stands above and below all of them."""


def draw_modalities(detection: Detection, path: Path) -> None:
    """Write the PNG of a subject's modalities on the model grid, as the network is given them.

    What the reference hardly shows may be plain in another. The planes go through the voxel that departs most.

    Args:
        detection: the scored subject, with ``model.images``.
        path: where the PNG goes.
    """
    model, level = detection.model, detection.voxel_threshold
    canonical = Canonical.of(model.grid)
    box, focus = bounds_and_centre(canonical.view(model.mask))
    zscore = np.zeros(model.mask.shape, np.float32) if model.zscore is None else model.zscore
    if zscore.any():
        i, j, k = np.unravel_index(int(canonical.view(zscore).argmax()), canonical.grid.shape)
        focus = (int(i), int(j), int(k))
    crop, inner = widened(box, canonical, focus, margin_mm=4.0)
    found = canonical.view(zscore)[crop]
    sizes = [size_mm(plane, canonical, found.shape) for plane in PLANES]
    height = TOP + ROW * len(model.images) + BOTTOM
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=BACKGROUND)
    write_at(figure, 0.25, height - 0.36, printable(detection.subject.name), size=15, weight="bold")
    outlined = "" if level is None else f", z above {level:.2f} of all together outlined"
    words = f"each modality in template space{outlined}; planes through the voxel that departs most"
    write_at(figure, 0.25, height - 0.65, words, size=9, color=MUTED)
    for number, (name, image) in enumerate(model.images.items(), start=1):
        scan, bottom = canonical.view(image)[crop], height - TOP - ROW * number
        bright = float(np.percentile(scan[scan > 0], 99.7)) if (scan > 0).any() else 1.0
        write_at(figure, 0.25, bottom + ROW / 2, name, size=12, weight="bold")
        row = lay_panels(figure, (1.2, bottom + 0.1, WIDTH - 1.4, ROW - 0.2), sizes, gap=0.12)
        for plane, panel, size in zip(PLANES, row, sizes, strict=True):
            show_plane(panel, plane.cut(scan, inner), size, cmap="gray", norm=Normalize(0.0, bright))
            if level is not None:
                outline_plane(panel, plane.cut(found, inner), level, size, YELLOW, 1.0, halo=True)
            label_panel(panel, plane, "", size=8)
    write_at(figure, 0.25, 0.14, "Research software, not a medical device.", size=8, color=MUTED)
    save_png(figure, path)

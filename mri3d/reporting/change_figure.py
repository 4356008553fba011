"""The picture of a change between two visits: both z-maps and their difference, on the first visit's grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.reporting.montage import SIGNED, Montage, Tile, draw_montage
from mri3d.reporting.panels import Overlay
from mri3d.reporting.planes import Canonical, bounds_and_centre
from mri3d.volumes.volume import BoolArray, FloatArray

SMOOTHING_MM = 3.0
"""Standard deviation of the smoothing by which the planes are chosen, so that a single voxel does not choose them."""

MARGIN_MM = 6.0


@dataclass(frozen=True, eq=False)
class Change:
    """Two visits of a person; arrays are (X, Y, Z) on the first visit's grid.

    Args:
        participant: whose they are.
        first: the first visit, such as ``ses-1``.
        later: the later one.
        grid: the first visit's.
        scan: the first visit's image.
        brain: where both have brain.
        before: the first visit's z-map.
        after: the later one's, brought to this grid.
        change: after minus before, 0 outside of ``brain``.
        threshold: z of a voxel above which it counts as anomalous; None if uncalibrated.
    """

    participant: str
    first: str
    later: str
    grid: Grid
    scan: FloatArray
    brain: BoolArray
    before: FloatArray
    after: FloatArray
    change: FloatArray
    threshold: float | None


def draw_change(case: Change, path: Path) -> None:
    """Write the PNG, its planes through the largest change."""
    view = Canonical.of(case.grid)
    brain = view.view(case.brain)
    if not brain.any():
        brain = np.ones_like(brain)
    crop, grid = _around(brain, view.grid)
    scan, before, after, change = (
        np.ascontiguousarray(view.view(of)[crop]) for of in (case.scan, case.before, case.after, case.change)
    )
    smooth = ndimage.gaussian_filter(np.abs(change), SMOOTHING_MM / np.array(grid.spacing))
    x, y, z = (float(mm) for mm in grid.world(np.unravel_index(int(smooth.argmax()), smooth.shape)))
    inside = view.view(case.brain)[crop]
    low, high = (float(of) for of in np.percentile(scan[inside] if inside.any() else scan, (0.5, 99.7)))
    furthest = max(2.0, round(float(np.percentile(np.abs(change[inside]), 99.9)) if inside.any() else 0.0, 1))
    tiles = [
        Tile(
            f"z-map of {name} over {case.first}",
            scan,
            grid,
            (low, high),
            overlay=Overlay.of_zscore(of, case.threshold),
            scale="z",
        )
        for name, of in ((case.first, before), (case.later, after))
    ]
    change_words = f"change: {case.later} minus {case.first}, outlined where both have brain"
    tiles.append(
        Tile(change_words, change, grid, (-furthest, furthest), SIGNED, outline=np.asarray(inside), scale="change of z")
    )
    words = "Orange is more abnormal than at the first visit, blue less. The planes go through the largest change."
    title = f"{case.participant}: {case.later} against {case.first}"
    draw_montage(Montage(title, words, tiles, 1, (x, y, z), row_inches=2.9), path)


def _around(brain: BoolArray, grid: Grid) -> tuple[tuple[slice, ...], Grid]:
    """The brain's box with a margin, and the grid of that box."""
    box, _ = bounds_and_centre(brain)
    margins = (int(np.ceil(MARGIN_MM / spacing)) for spacing in grid.spacing)
    crop = tuple(
        slice(max(0, span.start - margin), min(n, span.stop + margin))
        for span, margin, n in zip(box, margins, brain.shape, strict=True)
    )
    affine = grid.affine.copy()
    affine[:3, 3] = grid.world([span.start for span in crop])
    x, y, z = (span.stop - span.start for span in crop)
    return crop, Grid((x, y, z), affine)

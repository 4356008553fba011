"""Many small volumes on one picture, all cut at one place and at one scale."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from mri3d.grid import Grid
from mri3d.reporting.panels import (
    BACKGROUND,
    DPI,
    MUTED,
    ORANGE,
    SKY,
    TEXT,
    TRUTH,
    WIDTH,
    Overlay,
    draw_scale,
    label_panel,
    lay_panels,
    outline_plane,
    printable,
    save_png,
    show_plane,
    size_mm,
    write_at,
)
from mri3d.reporting.planes import PLANES, Canonical, Plane
from mri3d.volumes.volume import BoolArray, FloatArray

SIGNED = LinearSegmentedColormap.from_list("signed", ["#d3ecfb", SKY, "black", ORANGE, "#fbe3b0"])
"""Blue below 0, black at 0, orange above."""

MARGIN, GAP, SCALES = 0.25, 0.06, 1.15  # inches: around, between panels, and for scales on the right
HEADER, LINE, TITLE, FOOTER = 0.6, 0.16, 0.26, 0.38  # inches: of the title, a line of words, a row's titles, the note


@dataclass(frozen=True, eq=False)
class Tile:
    """One volume of a montage.

    Args:
        title: what it is, in a few words.
        values: (X, Y, Z) on ``grid``.
        grid: where they lie.
        limits: what is drawn as the lowest and the highest colour; those of the values themselves when left out.
        colours: of matplotlib, by name or itself.
        overlay: a map on the same grid to be laid over.
        outline: a region on the same grid to be outlined in green.
        scale: what the colours mean, for a scale to the right of its row.
    """

    title: str
    values: FloatArray
    grid: Grid
    limits: tuple[float, float] | None = None
    colours: str | Colormap = "gray"
    overlay: Overlay | None = None
    outline: BoolArray | None = None
    scale: str = ""

    @property
    def norm(self) -> Normalize:
        """The range of the colours."""
        low, high = self.limits or (float(v) for v in np.percentile(self.values, (0.5, 99.5)))
        return Normalize(low, max(high, low + 1e-6))


@dataclass(frozen=True, eq=False)
class Montage:
    """A picture of tiles, row by row.

    Args:
        title: of the picture.
        words: what is to be seen, below the title.
        tiles: the volumes.
        columns: how many stand side by side.
        place_mm: the point that all planes go through, in the world of the tiles' grids.
        planes: of each tile.
        row_inches: height of a row's panels.
    """

    title: str
    words: str
    tiles: Sequence[Tile]
    columns: int
    place_mm: tuple[float, float, float]
    planes: Sequence[Plane] = PLANES
    row_inches: float = 1.4


def draw_montage(montage: Montage, path: Path) -> None:
    """Write the PNG of a montage.

    Args:
        montage: what is on it.
        path: where the PNG goes.
    """
    rows = [montage.tiles[i : i + montage.columns] for i in range(0, len(montage.tiles), montage.columns)]
    lines = textwrap.wrap(montage.words, 150)
    # whole pixels, or a line of the picture would stay uncovered
    height = round(HEADER + LINE * len(lines) + len(rows) * (TITLE + montage.row_inches + GAP) + FOOTER, 2)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=BACKGROUND)
    write_at(figure, MARGIN, height - 0.36, printable(montage.title), size=14, weight="bold")
    write_at(figure, MARGIN, height - 0.48, "\n".join(lines), size=9, color=MUTED, va="top")
    with_scales = any(tile.scale for tile in montage.tiles)
    width = WIDTH - 2 * MARGIN - (SCALES if with_scales else 0)
    across = (width + 3 * GAP) / montage.columns  # of a tile, with what parts it from the next
    for number, row in enumerate(rows):
        bottom = FOOTER + (len(rows) - 1 - number) * (TITLE + montage.row_inches + GAP)
        for column, tile in enumerate(row):
            box = (MARGIN + column * across, bottom, across - 3 * GAP, montage.row_inches)
            _draw_tile(figure, tile, montage, box, labelled=number == column == 0)
        if row[-1].scale:
            _draw_scale(figure, row[-1], (WIDTH - MARGIN - SCALES + 0.2, bottom + 0.1, 0.14, montage.row_inches - 0.2))
    note = "Radiological convention: the subject's right (R) is on the left of the picture."
    write_at(figure, MARGIN, 0.13, f"{note} Research software, not a medical device.", size=8, color=MUTED)
    save_png(figure, path)


def _draw_tile(
    figure: Figure, tile: Tile, montage: Montage, box: tuple[float, float, float, float], labelled: bool
) -> None:
    canonical = Canonical.of(tile.grid)
    index = canonical.index(montage.place_mm)
    sizes = [size_mm(plane, canonical, canonical.grid.shape) for plane in montage.planes]
    panels = lay_panels(figure, box, sizes, GAP)
    write_at(figure, box[0], box[1] + box[3] + 0.06, tile.title, size=9)
    for plane, panel, size in zip(montage.planes, panels, sizes, strict=True):
        panel.set_facecolor(BACKGROUND)
        cut = plane.cut(canonical.view(tile.values), index)
        show_plane(panel, cut, size, cmap=tile.colours, norm=tile.norm, interpolation="nearest")
        if tile.overlay is not None:
            over = plane.cut(canonical.view(tile.overlay.values), index)
            show_plane(panel, over, size, cmap=tile.overlay.colours(), norm=tile.overlay.norm())
        if tile.outline is not None:
            outline_plane(panel, plane.cut(canonical.view(tile.outline), index), 0.5, size, TRUTH, 1.1, halo=True)
        if labelled:
            label_panel(panel, plane, "", size=7)


def _draw_scale(figure: Figure, tile: Tile, box: tuple[float, float, float, float]) -> None:
    """The scale of a tile's overlay, or of its own colours."""
    left, bottom, width, height = box
    if tile.overlay is not None:
        draw_scale(figure, tile.overlay, (left, bottom, width, height - 0.45))
        return
    across, up = figure.get_size_inches()
    axes: Axes = figure.add_axes((left / across, bottom / up, width / across, (height - 0.3) / up), xticks=[])
    low, high = tile.norm.vmin, tile.norm.vmax
    assert low is not None and high is not None
    ramp = np.linspace(low, high, 256)[:, None]
    axes.imshow(ramp, extent=(0.0, 1.0, low, high), aspect="auto", origin="lower", cmap=tile.colours)
    axes.yaxis.tick_right()
    ticks = (low, (low + high) / 2, high)
    axes.set_yticks(ticks, [f"{value:.2g}".replace("-", "\N{MINUS SIGN}") for value in ticks])
    axes.tick_params(colors=TEXT, labelsize=8.5)
    axes.set_title(tile.scale, color=TEXT, fontsize=9, pad=6, loc="left")
    axes.spines[:].set_color(MUTED)

"""What the pictures of scans are made of: panels in millimetres, maps laid over them, outlines, scales and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patheffects import withStroke
from PIL import Image

from mri3d.interrupts import held
from mri3d.reporting.planes import Canonical, Index, Plane
from mri3d.scoring.detection import Detection
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.volume import BoolArray, FloatArray

# Okabe and Ito's colours, told apart by colour-blind readers too; every one is paired with a word, sign or line style.
BACKGROUND, TEXT, MUTED = "#101418", "#eceff1", "#a3adb6"
SKY, ORANGE, YELLOW, WHITE = "#56b4e9", "#e69f00", "#f0e442", "#ffffff"
TISSUE = "#707070"  # about that of a brain, for what the colours of a map look like over it
TRUTH = "#2ee6a0"  # found nowhere on the colour scale of the maps
WIDTH, HEIGHT, DPI = 11.0, 7.9, 100  # inches, and pixels an inch
Box = tuple[float, float, float, float]  # left, bottom, width and height in inches


@dataclass(frozen=True, eq=False)
class Overlay:
    """What is laid over the scan: nothing below ``low``, full strength from ``solid``, one colour past ``high``.

    Args:
        values: (X, Y, Z) map in source order.
        low: smallest value shown.
        solid: the voxel threshold where there is one.
        high: end of the colour scale.
        label: what the values are.
        marked: whether ``solid`` is a threshold, to be marked on the scale.
    """

    values: FloatArray
    low: float
    solid: float
    high: float
    label: str
    marked: bool

    @classmethod
    def of(cls, detection: Detection) -> Overlay:
        """The z-map where there is one, else the error map."""
        if detection.zscore is not None:
            return cls.of_zscore(detection.zscore, detection.voxel_threshold)
        return cls.of_error(detection.error, detection.brain)

    @classmethod
    def of_zscore(cls, zscore: FloatArray, threshold: float | None) -> Overlay:
        """A z-map; its scale depends on the bundle alone, so that the pictures of a study can be compared.

        With the usual threshold of 3.3, which one healthy voxel in 1000 passes, colours begin where one in 100 does.
        """
        solid = 3.0 if threshold is None else threshold
        low, high = 0.78 * solid, 1.6 * solid
        return cls(zscore, low, solid, high, "z against\nhealthy\nsubjects", threshold is not None)

    @classmethod
    def of_error(cls, error: FloatArray, brain: BoolArray) -> Overlay:
        """An error map, its scale from its own values inside the brain."""
        low, solid, high = (float(v) for v in np.percentile(error[brain], (90, 98, 99.9)))
        high = max(high, np.finfo(np.float32).eps.item())
        return cls(error, low, solid, high, "error\n|x \N{MINUS SIGN} x\u0302|, not\ncalibrated", False)

    def colours(self) -> Colormap:
        """Perceptually uniform, its opacity growing from ``low`` to ``solid``: weak findings are faint, not hidden."""
        values = np.linspace(self.low, self.high, 256)
        rgba = matplotlib.colormaps["plasma"](np.linspace(0.05, 1.0, 256))
        rgba[:, 3] = np.interp(values, (self.low, max(self.solid, self.low + 1e-9)), (0.2, 0.9))
        return ListedColormap(rgba).with_extremes(under=(0.0, 0.0, 0.0, 0.0), over=rgba[-1])

    def norm(self) -> Normalize:
        """The scale of the colours."""
        return Normalize(self.low, self.high)


def widened(
    box: tuple[slice, slice, slice], canonical: Canonical, focus: Index, margin_mm: float
) -> tuple[tuple[slice, slice, slice], Index]:
    """The box with a margin, grown to hold the focus, and the focus counted from its corner."""
    first, last = [], []
    for span, spacing, place, length in zip(box, canonical.grid.spacing, focus, canonical.grid.shape, strict=True):
        margin = int(np.ceil(margin_mm / spacing))
        first.append(max(0, min(span.start - margin, place)))
        last.append(min(length, max(span.stop + margin, place + 1)))
    crop = (slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2]))
    return crop, (focus[0] - first[0], focus[1] - first[1], focus[2] - first[2])


def size_mm(plane: Plane, canonical: Canonical, shape: tuple[int, ...]) -> tuple[float, float]:
    """Width and height of a plane's picture in mm."""
    up, across = plane.spacing(canonical.grid)
    columns, rows = (n for axis, n in enumerate(shape) if axis != plane.axis)
    return columns * across, rows * up


def lay_panels(figure: Figure, box: Box, sizes: Sequence[tuple[float, float]], gap: float) -> list[Axes]:
    """Axes side by side at the top of a box, equally high and all at one scale in mm, so that lengths compare."""
    left, bottom, width, height = box
    across, up = figure.get_size_inches()
    highest = max(h for _, h in sizes)
    scale = min((width - gap * (len(sizes) - 1)) / sum(w for w, _ in sizes), height / highest)
    made = []
    for w, h in sizes:
        top = (bottom + height) / up
        rect = (left / across, top - highest * scale / up, w * scale / across, highest * scale / up)
        spare = (highest - h) / 2
        panel = figure.add_axes(rect, facecolor="black", xticks=[], yticks=[])
        panel.set(xlim=(0.0, w), ylim=(h + spare, -spare), autoscale_on=False)
        panel.spines[:].set_visible(False)
        made.append(panel)
        left += w * scale + gap
    return made


def show_plane(panel: Axes, picture: npt.NDArray[Any], size: tuple[float, float], **style: Any) -> None:
    """A plane's picture, of a size in mm, in its panel."""
    panel.imshow(picture, extent=(0.0, size[0], size[1], 0.0), aspect="auto", **style)


def outline_plane(
    panel: Axes,
    picture: npt.NDArray[Any],
    level: float,
    size: tuple[float, float],
    colour: str,
    width: float,
    halo: bool = False,
) -> None:
    """The line at which a plane's picture passes a level."""
    if not picture.min() < level < picture.max():
        return  # matplotlib warns of a contour that is not in the plane
    rows, columns = picture.shape
    x, y = (np.arange(columns) + 0.5) * size[0] / columns, (np.arange(rows) + 0.5) * size[1] / rows
    lines = panel.contour(x, y, picture.astype(np.float32), levels=[level], colors=colour, linewidths=width)
    if halo:
        lines.set_path_effects([withStroke(linewidth=width + 1.4, foreground="black")])


def label_panel(panel: Axes, plane: Plane, title: str, size: float) -> None:
    """A panel's title, and the directions at its edges."""
    panel.set_title(title, color=TEXT, fontsize=size, pad=4)
    halo = [withStroke(linewidth=2.0, foreground="black")]
    style: dict[str, Any] = {"transform": panel.transAxes, "color": TEXT, "fontsize": size, "path_effects": halo}
    left, right, top, bottom = plane.edges
    panel.text(0.01, 0.5, left, ha="left", va="center", **style)
    panel.text(0.99, 0.5, right, ha="right", va="center", **style)
    panel.text(0.5, 0.99, top, ha="center", va="top", **style)
    panel.text(0.5, 0.01, bottom, ha="center", va="bottom", **style)


def draw_scale(figure: Figure, overlay: Overlay, box: Box) -> None:
    """The colour scale on mid-grey, as over brain tissue, with the voxel threshold marked."""
    left, bottom, width, height = box
    across, up = figure.get_size_inches()
    rect = (left / across, bottom / up, width / across, height / up)
    axes = figure.add_axes(rect, facecolor=TISSUE, xticks=[])
    ramp = np.linspace(overlay.low, overlay.high, 256)[:, None]
    extent = (0.0, 1.0, overlay.low, overlay.high)
    axes.imshow(ramp, extent=extent, aspect="auto", origin="lower", cmap=overlay.colours(), norm=overlay.norm())
    middle = f"{overlay.solid:.2f}\nvoxel\nthreshold" if overlay.marked else f"{overlay.solid:.2g}"
    top = f"\N{GREATER-THAN OR EQUAL TO} {overlay.high:.2g}"
    axes.yaxis.tick_right()
    axes.set_yticks([overlay.low, overlay.solid, overlay.high], [f"{overlay.low:.2g}", middle, top])
    axes.tick_params(colors=TEXT, labelsize=8.5)
    axes.set_title(overlay.label, color=TEXT, fontsize=9, pad=9, loc="left")
    axes.spines[:].set_color(MUTED)
    if overlay.marked:
        axes.axhline(overlay.solid, color=WHITE, linewidth=2.0)


def write_at(figure: Figure, left: float, bottom: float, words: str, **style: Any) -> Any:
    """Text at a place in inches."""
    # Subjects are named by files, and a file name may hold dollar signs.
    across, up = figure.get_size_inches()
    return figure.text(left / across, bottom / up, words, parse_math=False, **{"color": TEXT, **style})


def signed(millimetres: float) -> str:
    """A coordinate in whole millimetres."""
    whole = round(millimetres)
    return f"{whole:+d}".replace("-", "\N{MINUS SIGN}") if whole else "0"


def printable(name: str, longest: int = 80) -> str:
    """A file's name with what the font cannot draw replaced, and its middle left out where it is too long."""
    font = get_font(findfont(FontProperties()))
    name = "".join(c if c.isprintable() and font.get_char_index(ord(c)) else "\N{REPLACEMENT CHARACTER}" for c in name)
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure without metadata, whole or not at all."""
    canvas: Any = FigureCanvasAgg(figure)
    with held():
        canvas.draw()
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])  # nothing is transparent
    with atomic_write(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")

"""The picture of one subject, alone or against its truth, and the picture of one training run."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
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
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.reporting.planes import PLANES, Canonical, Index, Plane, bounds_and_centre
from mri3d.scoring.detection import Detection
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.volume import BoolArray, FloatArray

# Okabe and Ito's colours, told apart by colour-blind readers too; every one is paired with a word, sign or line style.
BACKGROUND, TEXT, MUTED = "#101418", "#eceff1", "#a3adb6"
SKY, ORANGE, YELLOW, WHITE = "#56b4e9", "#e69f00", "#f0e442", "#ffffff"
TRUTH = "#2ee6a0"  # found nowhere on the colour scale of the maps
DECISIONS = {
    "anomalous": ("\N{BLACK UP-POINTING TRIANGLE} ANOMALOUS", "#f2855b"),
    "normal": ("\N{BLACK CIRCLE} NORMAL", SKY),
    "uncalibrated": ("\N{WHITE CIRCLE} NOT CALIBRATED", MUTED),
}
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
        """A z-map; its scale depends on the bundle alone, so that the pictures of a study can be compared."""
        solid = 3.0 if threshold is None else threshold
        return cls(zscore, min(2.0, solid / 2), solid, 2 * solid, "z against\nhealthy\nsubjects", threshold is not None)

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
    _write(figure, 0.25, 0.16, note + " Research software, not a medical device.", size=8, color=MUTED)
    save_png(figure, path)


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
    labels, _ = ndimage.label(truth := canonical.view(case.truth), structure=np.ones((3, 3, 3)))
    _, focus = bounds_and_centre(labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1)
    crop, inner = _widened(bounds_and_centre(canonical.view(case.brain | case.truth))[0], canonical, focus, 6.0)
    scan, values, truth = (canonical.view(array)[crop] for array in (case.scan, case.overlay.values, case.truth))
    found = None if case.found is None else canonical.view(case.found)[crop]
    low, high = np.percentile(case.scan[case.brain], (0.5, 99.7)) if case.brain.any() else (0.0, 1.0)
    sizes = [_size_mm(plane, canonical, scan.shape) for plane in PLANES]
    place = canonical.grid.world(focus)
    for bottom in (3.6, 0.42):
        panels = _panels(figure, (0.25, bottom, WIDTH - 1.5, 3.05), sizes, gap=0.12)
        for plane, panel, size in zip(PLANES, panels, sizes, strict=True):
            _show(panel, plane.cut(scan, inner), size, cmap="gray", norm=Normalize(float(low), float(high)))
            title = ""
            if bottom > 1:
                _show(panel, plane.cut(values, inner), size, cmap=case.overlay.colours(), norm=case.overlay.norm())
                title = f"{plane.name}  {'xyz'[plane.axis]} = {_signed(place[plane.axis])} mm"
                if found is not None:
                    _outline(panel, plane.cut(found, inner), 0.5, size, WHITE, 1.2, halo=True)
            _outline(panel, plane.cut(truth, inner), 0.5, size, TRUTH, 1.4, halo=True)
            _label(panel, plane, title, size=9)
    _write(figure, 0.25, HEIGHT - 0.36, _printable(case.name), size=15, weight="bold")
    _write(figure, 0.25, HEIGHT - 0.66, case.words, size=10)
    marked = "; white, what the detector marks" if found is not None else ""
    said = f"green, the truth{marked}; planes through the middle of the largest lesion; below, {case.scan_name} alone"
    _write(figure, 0.25, HEIGHT - 0.92, said, size=9, color=MUTED)
    _scale(figure, case.overlay, (WIDTH - 1.05, 3.9, 0.16, 2.6))
    note = "Radiological convention: the subject's right (R) is on the left of the picture."
    _write(figure, 0.25, 0.16, f"{note} Research software, not a medical device.", size=8, color=MUTED)
    save_png(figure, path)


def draw_training_curve(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Write the PNG of the losses by epoch, the best epoch marked.

    Args:
        history: one mapping an epoch with ``epoch``, ``train_loss`` and, where it was validated, ``val_loss``; losses
            are positive.
        path: where the PNG goes.
    """
    figure = Figure(figsize=(7.0, 4.2), dpi=120, facecolor="white", layout="constrained")
    axes = figure.add_subplot(yscale="log", xlabel="epoch", ylabel="loss (log scale)")
    for key, name, colour, style in (
        ("train_loss", "training", "#0072b2", "-"),
        ("val_loss", "validation", "#d55e00", "--"),
    ):
        points = [(row["epoch"], row[key]) for row in history if np.isfinite(row.get(key, np.nan))]
        if not points:
            continue
        epochs, losses = zip(*points, strict=True)
        axes.plot(epochs, losses, style, color=colour, label=name, marker="." if len(points) < 40 else "")
        if key == "val_loss":
            best = int(np.argmin(losses))
            label = f"best: epoch {epochs[best]:g}, {losses[best]:.4g}"
            axes.plot(epochs[best], losses[best], "*", color="black", markersize=13, label=label, zorder=3)
    axes.grid(True, which="both", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if history:
        axes.legend(frameon=False)
    save_png(figure, path)


def _draw_title(figure: Figure, detection: Detection) -> None:
    score = detection.score
    words, colour = DECISIONS[score.decision]
    _write(figure, 0.25, HEIGHT - 0.36, _printable(detection.subject.name), size=15, weight="bold")
    title = _write(figure, 0.25, HEIGHT - 0.68, words, size=12, weight="bold", color=colour)
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
    _write(figure, right + 0.2, HEIGHT - 0.68, "  \N{MIDDLE DOT}  ".join(facts), size=10)


def _draw_overlay(
    figure: Figure,
    detection: Detection,
    canonical: Canonical,
    box: tuple[slice, slice, slice],
    focus: Index,
    window: tuple[float, float],
) -> None:
    overlay = Overlay.of(detection)
    crop, inner = _widened(box, canonical, focus, margin_mm=10.0)
    scan = canonical.view(detection.volume.data)[crop]
    values = canonical.view(overlay.values)[crop]
    anomaly = None if detection.anomaly is None else canonical.view(detection.anomaly)[crop]
    sizes = [_size_mm(plane, canonical, scan.shape) for plane in PLANES]
    panels = _panels(figure, (0.25, 2.9, WIDTH - 1.5, HEIGHT - 4.2), sizes, gap=0.12)
    place = canonical.grid.world(focus)
    for plane, panel, size in zip(PLANES, panels, sizes, strict=True):
        _show(panel, plane.cut(scan, inner), size, cmap="gray", norm=Normalize(*window))
        _show(panel, plane.cut(values, inner), size, cmap=overlay.colours(), norm=overlay.norm())
        if anomaly is not None:
            _outline(panel, plane.cut(anomaly, inner), 0.5, size, WHITE, 1.3, halo=True)
        _label(panel, plane, f"{plane.name}  {'xyz'[plane.axis]} = {_signed(place[plane.axis])} mm", size=10)
    what = "z-map" if detection.zscore is not None else "error map (not calibrated)"
    where = "planes through the middle of the brain"
    if detection.components:
        largest = detection.components[0]
        where = (
            f"planes through the peak of the largest region (z {largest.peak_z:.1f}, {largest.volume_ml:.1f} ml, "
            f"at {', '.join(_signed(v) for v in largest.peak_mm)} mm RAS)"
        )
    outlined = ", anomalous regions outlined in white" if anomaly is not None and anomaly.any() else ""
    _write(figure, 0.25, HEIGHT - 0.98, f"{what} over the scan{outlined}; {where}", size=9, color=MUTED)
    _scale(figure, overlay, (WIDTH - 1.05, 3.0, 0.16, HEIGHT - 4.6))


def _draw_warnings(figure: Figure, detection: Detection) -> None:
    """What limits the map stands below it, for the picture may travel without the table."""
    words = "  ".join(f"\N{WARNING SIGN} {warning}" for warning in detection.warnings)
    lines = textwrap.wrap(words, 175, max_lines=2, placeholder=" ... (all in the table)")
    _write(figure, 0.25, 2.91, "\n".join(lines), size=8, color=YELLOW, va="top")


def _draw_mask(
    figure: Figure, detection: Detection, canonical: Canonical, focus: Index, window: tuple[float, float]
) -> None:
    # The whole field of view: a crop to the mask would hide the brain that the mask has missed.
    scan, brain = canonical.view(detection.volume.data), canonical.view(detection.brain)
    sizes = [_size_mm(plane, canonical, scan.shape) for plane in PLANES]
    panels = _panels(figure, (0.25, 0.42, WIDTH / 2 - 0.4, 1.98), sizes, gap=0.06)
    for plane, panel, size in zip(PLANES, panels, sizes, strict=True):
        _show(panel, plane.cut(scan, focus), size, cmap="gray", norm=Normalize(*window))
        _outline(panel, plane.cut(brain, focus), 0.5, size, SKY, 1.1)
        _label(panel, plane, "", size=7.5)
    volume = np.count_nonzero(brain) * canonical.grid.voxel_ml
    caption = f"check 1: brain mask ({detection.brain_source}), {volume:.0f} ml"
    _write(figure, 0.25, 2.5, caption, size=9, color=SKY)


def _draw_alignment(figure: Figure, detection: Detection, template: FloatArray) -> None:
    canonical = Canonical.of(detection.model.grid)
    image, model = canonical.view(detection.model.image), canonical.view(template)
    # Half the usual brain intensity draws the brain's edge and, on T1w, the ventricles.
    level = 0.5 * float(np.median(model[model > 0]))
    _, centre = bounds_and_centre(model > level)
    sizes = [_size_mm(plane, canonical, image.shape) for plane in PLANES]
    panels = _panels(figure, (WIDTH / 2 + 0.15, 0.42, WIDTH / 2 - 0.4, 1.98), sizes, gap=0.06)
    for plane, panel, size in zip(PLANES, panels, sizes, strict=True):
        _show(panel, plane.cut(image, centre), size, cmap="gray", norm=Normalize(0.0, 1.0))
        _outline(panel, plane.cut(model, centre), level, size, ORANGE, 0.9)
        _label(panel, plane, "", size=7.5)
    fit = f"Dice {detection.alignment_dice:.2f}, correlation {detection.alignment_correlation:.2f}"
    caption = f"check 2: aligned brain, contour of the template, {fit}"
    _write(figure, WIDTH / 2 + 0.15, 2.5, caption, size=9, color=ORANGE)


def _window(detection: Detection) -> tuple[float, float]:
    """Black and white point of the scan: those of its brain, since scalp and neck are often brighter."""
    data, brain = (array[::2, ::2, :] for array in (detection.volume.data, detection.brain))
    low, high = np.percentile(data[brain] if brain.any() else data, (0.5, 99.7))
    return float(low), float(high)


def _widened(
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


def _size_mm(plane: Plane, canonical: Canonical, shape: tuple[int, ...]) -> tuple[float, float]:
    """Width and height of a plane's picture in mm."""
    up, across = plane.spacing(canonical.grid)
    columns, rows = (n for axis, n in enumerate(shape) if axis != plane.axis)
    return columns * across, rows * up


def _panels(figure: Figure, box: Box, sizes: Sequence[tuple[float, float]], gap: float) -> list[Axes]:
    """Axes side by side at the top of a box, equally high and all at one scale in mm, so that lengths compare."""
    left, bottom, width, height = box
    highest = max(h for _, h in sizes)
    scale = min((width - gap * (len(sizes) - 1)) / sum(w for w, _ in sizes), height / highest)
    panels = []
    for w, h in sizes:
        top = (bottom + height) / HEIGHT
        rect = (left / WIDTH, top - highest * scale / HEIGHT, w * scale / WIDTH, highest * scale / HEIGHT)
        spare = (highest - h) / 2
        panel = figure.add_axes(rect, facecolor="black", xticks=[], yticks=[])
        panel.set(xlim=(0.0, w), ylim=(h + spare, -spare), autoscale_on=False)
        panel.spines[:].set_visible(False)
        panels.append(panel)
        left += w * scale + gap
    return panels


def _show(panel: Axes, picture: npt.NDArray[Any], size: tuple[float, float], **style: Any) -> None:
    panel.imshow(picture, extent=(0.0, size[0], size[1], 0.0), aspect="auto", **style)


def _outline(
    panel: Axes,
    picture: npt.NDArray[Any],
    level: float,
    size: tuple[float, float],
    colour: str,
    width: float,
    halo: bool = False,
) -> None:
    if not picture.min() < level < picture.max():
        return  # matplotlib warns of a contour that is not in the plane
    rows, columns = picture.shape
    x, y = (np.arange(columns) + 0.5) * size[0] / columns, (np.arange(rows) + 0.5) * size[1] / rows
    lines = panel.contour(x, y, picture.astype(np.float32), levels=[level], colors=colour, linewidths=width)
    if halo:
        lines.set_path_effects([withStroke(linewidth=width + 1.4, foreground="black")])


def _label(panel: Axes, plane: Plane, title: str, size: float) -> None:
    panel.set_title(title, color=TEXT, fontsize=size, pad=4)
    halo = [withStroke(linewidth=2.0, foreground="black")]
    style: dict[str, Any] = {"transform": panel.transAxes, "color": TEXT, "fontsize": size, "path_effects": halo}
    left, right, top, bottom = plane.edges
    panel.text(0.01, 0.5, left, ha="left", va="center", **style)
    panel.text(0.99, 0.5, right, ha="right", va="center", **style)
    panel.text(0.5, 0.99, top, ha="center", va="top", **style)
    panel.text(0.5, 0.01, bottom, ha="center", va="bottom", **style)


def _scale(figure: Figure, overlay: Overlay, box: Box) -> None:
    """The colour scale on mid-grey, as over brain tissue, with the voxel threshold marked."""
    left, bottom, width, height = box
    rect = (left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT)
    axes = figure.add_axes(rect, facecolor="#707070", xticks=[])
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


def _write(figure: Figure, left: float, bottom: float, words: str, **style: Any) -> Any:
    """Text at a place in inches."""
    # Subjects are named by files, and a file name may hold dollar signs.
    return figure.text(left / WIDTH, bottom / HEIGHT, words, parse_math=False, **{"color": TEXT, **style})


def _signed(millimetres: float) -> str:
    whole = round(millimetres)
    return f"{whole:+d}".replace("-", "\N{MINUS SIGN}") if whole else "0"


def _printable(name: str, longest: int = 80) -> str:
    """A file's name with what the font cannot draw replaced, and its middle left out where it is too long."""
    font = get_font(findfont(FontProperties()))
    name = "".join(c if c.isprintable() and font.get_char_index(ord(c)) else "\N{REPLACEMENT CHARACTER}" for c in name)
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure without metadata, whole or not at all."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])  # nothing is transparent
    with atomic_write(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=9)

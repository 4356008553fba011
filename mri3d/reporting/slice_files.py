"""What is written of each axial slice of the model grid: a line of a table and a heat map."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont

from mri3d.reporting.names import SLICES, path_of, slice_picture
from mri3d.reporting.panels import TISSUE, Overlay
from mri3d.reporting.planes import AXIAL
from mri3d.reporting.table import write_table
from mri3d.scoring.detection import Detection, SliceScore
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.volume import FloatArray

MAGNIFIED = 5
"""Pixels of a picture to a voxel."""

BAR = 26
"""Pixels for the words above the picture."""

SCALE = 104
"""Pixels for the colours' scale on its right."""


def write_slices(detection: Detection, root: Path, key: str) -> None:
    """Write ``NAME_slices.csv`` and a picture for each judged slice, if there are any.

    Args:
        detection: the scored subject.
        root: the output folder.
        key: the subject's place below it.
    """
    if not detection.slices or detection.model.zscore is None:
        return
    overlay = Overlay.of_zscore(detection.model.zscore, detection.voxel_threshold)
    for score in detection.slices:
        with atomic_write(slice_picture(root, key, score.index)) as path:
            _draw(score, detection.model.image, overlay).save(path, format="png")
    columns = [field.name for field in fields(SliceScore)]
    write_table(path_of(root, key, SLICES), map(asdict, detection.slices), columns)


def _draw(score: SliceScore, image: FloatArray, overlay: Overlay) -> Image.Image:
    """The slice with its z-map laid over, seen from the feet, and its numbers above."""
    place = (0, 0, score.index)
    grey = np.clip(AXIAL.cut(image, place), 0, 1)[..., None].repeat(3, axis=-1)
    colour = overlay.colours()(overlay.norm()(AXIAL.cut(overlay.values, place)))
    small = Image.fromarray(_over(grey, colour))
    size = (small.width * MAGNIFIED, small.height * MAGNIFIED)
    picture = Image.new("RGB", (size[0] + SCALE, size[1] + BAR))
    picture.paste(small.resize(size, Image.Resampling.BICUBIC), (0, BAR))
    against = "" if score.threshold is None else f" (threshold {score.threshold:.1f})"
    words = f"slice {score.index}, {score.position_mm:+.0f} mm: score {score.score:.1f}{against}, {score.decision}"
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    draw.text((6, 4), words, fill="white", font=font)
    draw.text((6, BAR + size[1] // 2), "R", fill="white", font=font)
    _draw_scale(picture, overlay)
    return picture


def _draw_scale(picture: Image.Image, overlay: Overlay) -> None:
    """What the colours mean, in the middle of the right margin: as over brain tissue, with the voxel threshold."""
    left, height = picture.width - SCALE + 10, (picture.height - BAR) // 2
    top, right = BAR + height // 2, left + 12
    ramp = np.linspace(overlay.high, overlay.low, height)[:, None].repeat(12, axis=1)
    strip = _over(np.broadcast_to(to_rgb(TISSUE), (height, 12, 3)), overlay.colours()(overlay.norm()(ramp)))
    picture.paste(Image.fromarray(strip), (left, top))
    # Pillow's own font has no sign for "at least"
    labels = {overlay.high: f"> {overlay.high:.3g}", overlay.low: f"{overlay.low:.3g}"}
    if overlay.marked:
        labels[overlay.solid] = f"{overlay.solid:.3g} a voxel"
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for value, words in labels.items():
        y = top + round(float((height - 1) * (1 - overlay.norm()(value))))
        draw.line((right, y, right + 4, y), fill="white")
        draw.text((right + 7, y), words, fill="white", font=font, anchor="lm")
    draw.text((left, top - 10), "z", fill="white", font=font, anchor="ld")


def _over(grey: FloatArray, colour: FloatArray) -> npt.NDArray[np.uint8]:
    """Colours (rows, columns, 4) laid over a picture (rows, columns, 3) in [0, 1], in 255 steps."""
    share = colour[..., 3:]
    return np.round(255 * (grey * (1 - share) + colour[..., :3] * share)).astype(np.uint8)

"""A data set at a glance: three planes of every volume with the brain's outline, its name and what was found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from mri3d.reporting.panels import BACKGROUND, MUTED, ORANGE, SKY, TEXT, YELLOW, printable
from mri3d.reporting.planes import PLANES, Canonical, bounds_and_centre
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.volume import BoolArray, Volume

EDGE = 160
"""Width and height of a plane in pixels."""

ACROSS_MM = 220.0
"""The same in mm, one scale for all, so that heads can be compared; what lies beyond is cut off."""

COLUMNS, ROWS = 5, 8
PER_PAGE = COLUMNS * ROWS
GAP, LINE, MARGIN, HEADER = 14, 21, 24, 62
CELL_WIDTH, CELL_HEIGHT = 3 * EDGE, EDGE + 2 * LINE + 4
COLOURS = {"error": ORANGE, "note": YELLOW, "": SKY}
SIGNS = {"error": "\N{MULTIPLICATION SIGN}", "note": "\N{WHITE CIRCLE}", "": "\N{BLACK CIRCLE}"}
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Cell:
    """What the sheet shows of a volume.

    Args:
        name: the subject's.
        severity: ``error``, ``note`` or empty.
        flags: what was found, a word or two each.
        facts: what is said of it where nothing was found, or in place of the picture.
        picture: (EDGE, 3 * EDGE, 3) from :func:`thumbnail`; None where the file could not be read.
    """

    name: str
    severity: str
    flags: tuple[str, ...]
    facts: str
    picture: Pixels | None


def thumbnail(volume: Volume, brain: BoolArray | None) -> Pixels:
    """Axial, coronal and sagittal plane through the middle of the brain, or of the volume, side by side.

    Args:
        volume: the head, in any orientation.
        brain: (X, Y, Z) mask in the order of ``volume.data``, drawn as an outline.

    Returns:
        (EDGE, 3 * EDGE, 3) RGB.
    """
    canonical = Canonical.of(volume.grid)
    scan = canonical.view(volume.data)
    mask = canonical.view(np.zeros(volume.grid.shape, bool) if brain is None else brain)
    i, j, k = (n // 2 for n in scan.shape)
    _, focus = bounds_and_centre(mask) if mask.any() else (None, (i, j, k))
    low, high = _window(scan, mask)
    planes = []
    for plane in PLANES:
        size = tuple(
            max(1, round(n * mm * EDGE / ACROSS_MM))
            for n, mm in zip(plane.cut(scan, focus).shape, plane.spacing(canonical.grid), strict=True)
        )
        grey = np.clip((plane.cut(scan, focus) - low) / max(high - low, 1e-9), 0, 1) * 255
        picture = _fitted(grey, size)
        outlined = _fitted(plane.cut(mask, focus) * 255.0, size) > 127
        edge = outlined & ~ndimage.binary_erosion(outlined)
        rgb = np.repeat(picture[..., None], 3, axis=2)
        rgb[edge] = _rgb(SKY)
        planes.append(rgb)
    return np.concatenate(planes, axis=1)


def write_sheets(folder: Path, title: str, cells: Sequence[Cell]) -> tuple[Path, ...]:
    """Write ``contact_sheet.png``, and ``contact_sheet-2.png`` and so on where there are more than 40 volumes."""
    pages = [cells[first : first + PER_PAGE] for first in range(0, len(cells), PER_PAGE)]
    paths = []
    for number, page in enumerate(pages, 1):
        path = folder / sheet_name(number)
        words = title if len(pages) == 1 else f"{title}, page {number} of {len(pages)}"
        with atomic_write(path) as temporary:
            _draw_page(words, page).save(temporary, format="PNG")
        paths.append(path)
    return tuple(paths)


def sheet_name(number: int) -> str:
    """What a page of the sheet is called; the first is 1."""
    return "contact_sheet.png" if number == 1 else f"contact_sheet-{number}.png"


def _draw_page(title: str, cells: Sequence[Cell]) -> Image.Image:
    columns = min(COLUMNS, max(len(cells), 3))  # a title needs some room
    rows = -(-len(cells) // columns)
    width = 2 * MARGIN + columns * (CELL_WIDTH + GAP) - GAP
    page = Image.new("RGB", (width, HEADER + rows * (CELL_HEIGHT + GAP) + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, 14), printable(title, 150), fill=TEXT, font=_font(20))
    words = "Axial, coronal, sagittal; the subject's right is on the left of the picture. Blue: the brain's outline."
    draw.text((MARGIN, 40), words, fill=MUTED, font=_font(13))
    for position, cell in enumerate(cells):
        row, column = divmod(position, columns)
        _draw_cell(page, draw, cell, (MARGIN + column * (CELL_WIDTH + GAP), HEADER + 8 + row * (CELL_HEIGHT + GAP)))
    return page


def _draw_cell(page: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, corner: tuple[int, int]) -> None:
    left, top = corner
    colour = COLOURS[cell.severity]
    draw.text((left, top), f"{SIGNS[cell.severity]} {printable(cell.name, 48)}", fill=TEXT, font=_font(15))
    words = f"{cell.severity}: {', '.join(cell.flags)}" if cell.flags or cell.picture is None else cell.facts
    draw.text((left, top + LINE), printable(words, 60), fill=colour if cell.flags else MUTED, font=_font(14))
    below = top + 2 * LINE + 2
    if cell.picture is not None:
        page.paste(Image.fromarray(cell.picture), (left, below))
    else:
        draw.rectangle((left, below, left + CELL_WIDTH - 1, below + EDGE - 1), fill="black")
        why = textwrap.wrap(cell.facts, 56, max_lines=4, placeholder=" ...")
        draw.text((left + 12, below + 12), "\n".join(map(printable, why)), fill=MUTED, font=_font(14))
    if cell.severity:
        draw.rectangle((left - 2, below - 2, left + CELL_WIDTH + 1, below + EDGE + 1), outline=colour, width=2)


def _window(scan: npt.NDArray[Any], mask: BoolArray) -> tuple[float, float]:
    """Black and white point: of the brain, since scalp and neck are often brighter, or of all but the background."""
    darkest = float(scan.min())
    if mask.any():
        low, high = np.percentile(scan[mask], (0.5, 99.7))
    else:
        low, high = darkest, np.percentile(scan[scan > darkest], 99.7)  # the gate lets no constant volume pass
    return float(low), float(high)


def _fitted(values: npt.NDArray[np.float64], size: tuple[int, ...]) -> Pixels:
    """A plane with values from 0 to 255 at (height, width) pixels, in the middle of a black square."""
    canvas = Image.new("L", (EDGE, EDGE))
    plane = Image.fromarray(np.asarray(values, dtype=np.float32)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    canvas.paste(plane.convert("L"), ((EDGE - size[1]) // 2, (EDGE - size[0]) // 2))
    return np.array(canvas)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(findfont(FontProperties()), size)

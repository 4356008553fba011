"""What a detector makes of two brains side by side: input, reconstruction, residual, z-map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mri3d.reporting.feature_figures import BRAIN
from mri3d.reporting.montage import SIGNED, Montage, Tile, draw_montage
from mri3d.reporting.panels import Overlay
from mri3d.scoring.detection import Detection
from mri3d.volumes.volume import BoolArray


@dataclass(frozen=True, eq=False)
class Side:
    """One of the brains.

    Args:
        name: what it is called on the picture.
        detection: what the detector found.
        lesion: where the lesion is known to be, on the model grid.
    """

    name: str
    detection: Detection
    lesion: BoolArray | None = None


def draw_reconstructions(sides: Sequence[Side], place_mm: tuple[float, float, float], path: Path) -> None:
    """Write the PNG, a column a brain.

    Args:
        sides: the brains, scored by one bundle.
        place_mm: in template space, what all planes go through.
        path: where the PNG goes.
    """
    largest = max(float(np.percentile(np.abs(_residual(side)), 99.7)) for side in sides)
    tiles = [
        *[_tile(side, "input", side.detection.model.image, outline=True) for side in sides],
        *[_tile(side, "reconstruction", side.detection.model.reconstruction) for side in sides],
        *[
            Tile(
                f"{side.name}: residual, input \N{MINUS SIGN} reconstruction", _residual(side),
                side.detection.model.grid, (-largest, largest), SIGNED, scale="residual",
            )
            for side in sides
        ],
        *[_scored(side) for side in sides],
    ]  # fmt: skip
    outlined = "; outlined in green, the lesion" if any(side.lesion is not None for side in sides) else ""
    words = "All on the model grid, as the network sees it. Residual: orange, brighter than expected; blue, darker"
    title = "Input, reconstruction, residual and z-map"
    montage = Montage(title, f"{words}{outlined}.", tiles, len(sides), place_mm, row_inches=1.7)
    draw_montage(montage, path)


def _residual(side: Side) -> np.ndarray:
    model = side.detection.model
    return np.where(model.mask, model.image - model.reconstruction, 0).astype(np.float32)


def _tile(side: Side, what: str, values: np.ndarray, outline: bool = False) -> Tile:
    lesion = side.lesion if outline else None
    return Tile(f"{side.name}: {what}", values, side.detection.model.grid, BRAIN, outline=lesion)


def _scored(side: Side) -> Tile:
    """The z-map over the input; where the bundle has no statistics, the error."""
    model = side.detection.model
    if model.zscore is None:
        overlay, what = Overlay.of_error(np.abs(_residual(side)), model.mask), "error (the bundle has no statistics)"
    else:
        overlay, what = Overlay.of_zscore(model.zscore, side.detection.voxel_threshold), "z-map over the input"
    score = f", score {side.detection.score.value:.3g}: {side.detection.score.decision}"
    return Tile(
        f"{side.name}: {what}{score}", model.image, model.grid, BRAIN, overlay=overlay, outline=side.lesion, scale="z"
    )

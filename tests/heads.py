"""Label maps of a head that a few balls make, in FreeSurfer's numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mri3d.grid import Grid
from tests.helpers import head_grid

CENTRE = (3.0, -17.0, 12.0)
LANDMARK_MM = (30.0, 5.0, 36.0)
"""Where white matter holds a ball of bone, which is dark in every modality."""


def labels_of_head(grid: Grid | None = None, landmark: bool = False) -> tuple[npt.NDArray[np.int16], Grid]:
    """Skin, muscle, skull, fluid, cortex, white matter, brain stem, two ventricles that are long from front to back."""
    grid = grid or head_grid(spacing=(3.0, 3.0, 3.0))
    at = grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    size = np.linalg.norm((at - CENTRE) / (62.0, 78.0, 66.0), axis=-1)
    shells = [(1.28, 511), (1.22, 507), (1.14, 515), (1.06, 24), (1.0, 3), (0.86, 2)]
    labels = np.zeros(grid.shape, dtype=np.int16)
    for edge, number in shells:
        labels[size < edge] = number
    for side, number in ((-1, 4), (1, 43)):
        middle = np.add(CENTRE, (12.0 * side, 0.0, 4.0))
        labels[np.linalg.norm((at - middle) / (8.0, 36.0, 9.0), axis=-1) < 1] = number
    labels[np.linalg.norm((at - np.add(CENTRE, (0.0, 0.0, -34.0))) / (12.0, 12.0, 14.0), axis=-1) < 1] = 16
    if landmark:
        labels[np.linalg.norm(at - LANDMARK_MM, axis=-1) < 10] = 515
    return labels, grid

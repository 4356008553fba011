"""Arrays as ITK sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from mri3d.grid import Affine, Grid

WORK_UNITS = 2
"""ITK's threads; fixed, because the order of its sums, and with it the last digits, depends on their number."""

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From NIfTI's world to ITK's, and back."""


def as_sitk(array: npt.NDArray[Any], grid: Grid | None = None) -> sitk.Image:
    """An (X, Y, Z) array as an image that lies where the grid says; voxels of 1 mm without one."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    if grid is not None:
        lps = RAS_TO_LPS @ grid.affine
        image.SetSpacing(grid.spacing)
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / np.array(grid.spacing)).ravel().tolist())
    return image


def world_matrix(transform: sitk.Transform) -> Affine:
    """The (4, 4) matrix, RAS and mm, of a linear ITK transform."""
    corners = np.vstack([np.zeros(3), np.eye(3)]).tolist()
    origin, *ends = (np.array(transform.TransformPoint(corner)) for corner in corners)
    lps = np.eye(4)
    lps[:3, :3] = np.stack([end - origin for end in ends], axis=1)
    lps[:3, 3] = origin
    return np.asarray(RAS_TO_LPS @ lps @ RAS_TO_LPS)

"""What a volume file holds once it has passed the gate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from mri3d.grid import Grid

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Volume:
    """A checked 3D volume in the order it is stored in.

    Args:
        data: (X, Y, Z) float32 voxels with the file's scale slope applied; finite.
        grid: where the voxels lie.
        header: the file's own header, from which every map on this grid is written.
        path: the file it came from.
        warnings: what the gate let pass but a user should know.
    """

    data: FloatArray
    grid: Grid
    header: nib.Nifti1Header
    path: Path
    warnings: tuple[str, ...] = ()

    def canonical(self, array: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Grid]:
        """An array of this volume's voxels in closest-canonical (RAS) order, and the grid it then lies on.

        Axes are only permuted and flipped, so that the same head gives the same array however it was stored.
        """
        to_ras = nib.orientations.io_orientation(self.grid.affine)
        flipped = nib.orientations.apply_orientation(array, to_ras)
        affine = self.grid.affine @ nib.orientations.inv_ornt_aff(to_ras, array.shape)
        return np.ascontiguousarray(flipped), Grid(flipped.shape, affine)

    def as_stored(self, canonical: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The way back from :meth:`canonical`: an array in RAS order in the order of this volume's data."""
        to_ras = nib.orientations.io_orientation(self.grid.affine)
        back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), to_ras)
        return np.ascontiguousarray(nib.orientations.apply_orientation(canonical, back))

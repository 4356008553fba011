"""Anatomical planes of a volume, whatever order its file stores it in.

Pictures follow the radiological convention, as ITK-SNAP and 3D Slicer do by default: axial and coronal planes are seen
from the feet and from the front, so the subject's right is on the left of the picture; sagittal planes face left.
Planes are those of the grid, never resampled: on an oblique grid they are as oblique as the scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from mri3d.grid import Grid
from mri3d.volumes.volume import BoolArray

Index = tuple[int, int, int]
_orientations: Any = nib.orientations  # nibabel has no types


@dataclass(frozen=True)
class Plane:
    """One of the three anatomical planes.

    Args:
        name: what it is called.
        axis: the canonical axis it is perpendicular to (0 right, 1 anterior, 2 superior).
        edges: letters of the picture's left, right, top and bottom edge.
    """

    name: str
    axis: int
    edges: tuple[str, str, str, str]

    def cut(self, array: npt.NDArray[Any], index: Index) -> npt.NDArray[Any]:
        """The plane through a voxel of a canonical array as a picture: row 0 is its top, column 0 its left."""
        # Right, anterior and superior grow with the index, and all three belong at the left or top of the picture.
        return np.asarray(array.take(index[self.axis], axis=self.axis).T[::-1, ::-1])

    def spacing(self, grid: Grid) -> tuple[float, float]:
        """Height and width of the picture's pixels in mm, for a canonical grid."""
        across, up = (grid.spacing[axis] for axis in range(3) if axis != self.axis)
        return up, across


AXIAL = Plane("axial", 2, ("R", "L", "A", "P"))
CORONAL = Plane("coronal", 1, ("R", "L", "S", "I"))
SAGITTAL = Plane("sagittal", 0, ("A", "P", "S", "I"))
PLANES = (AXIAL, CORONAL, SAGITTAL)


@dataclass(frozen=True, eq=False)
class Canonical:
    """A grid with its axes permuted and flipped to run as closely as they can to right, anterior and superior.

    Args:
        grid: the canonical grid; every voxel keeps its place in the world.
        orientation: (3, 2) how the source's axes become the canonical ones, as nibabel has it.
    """

    grid: Grid
    orientation: npt.NDArray[np.float64]

    @classmethod
    def of(cls, source: Grid) -> Canonical:
        """The canonical view of a source grid."""
        orientation = _orientations.io_orientation(source.affine)
        shape = [0, 0, 0]
        for axis, (canonical_axis, _) in enumerate(orientation):
            shape[int(canonical_axis)] = source.shape[axis]
        affine = source.affine @ _orientations.inv_ornt_aff(orientation, source.shape)
        return cls(Grid((shape[0], shape[1], shape[2]), affine), orientation)

    def view(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array on the source grid in canonical order; a view, nothing is copied."""
        return np.asarray(_orientations.apply_orientation(array, self.orientation))

    def index(self, point_mm: npt.ArrayLike) -> Index:
        """The canonical voxel nearest to a world point in mm; points outside go to the nearest border."""
        inverse = np.linalg.inv(self.grid.affine)
        nearest = np.rint(inverse[:3, :3] @ np.asarray(point_mm, dtype=np.float64) + inverse[:3, 3])
        i, j, k = np.clip(nearest, 0, np.asarray(self.grid.shape) - 1).astype(int)
        return int(i), int(j), int(k)

    @property
    def tilt_degrees(self) -> float:
        """The largest angle between a grid axis and the anatomical axis it stands for; 0 for a straight scan."""
        directions = self.grid.affine[:3, :3] / np.asarray(self.grid.spacing)
        return float(np.degrees(np.arccos(np.clip(np.diag(directions), -1.0, 1.0))).max())


def bounds_and_centre(mask: BoolArray) -> tuple[tuple[slice, slice, slice], Index]:
    """The bounding box of a non-empty mask and the voxel nearest to its centre of mass."""
    # Counts along the axes give both without a list of all voxels, which is slow for whole heads.
    counts = [np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    box = [slice(int(np.flatnonzero(n)[0]), int(np.flatnonzero(n)[-1]) + 1) for n in counts]
    i, j, k = (round(float(np.average(np.arange(len(n)), weights=n))) for n in counts)
    return (box[0], box[1], box[2]), (i, j, k)

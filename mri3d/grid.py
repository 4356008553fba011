"""Where voxels lie: the sampling grid of a volume, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Affine = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid of voxels in world space (NIfTI: RAS+, millimetres).

    Args:
        shape: voxels along the three axes.
        affine: (4, 4) matrix from voxel indices to world coordinates in mm; stored as a read-only float64 copy.

    Raises:
        ValueError: the shape is not three positive integers, or the affine is not finite and invertible.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"a grid has three positive dimensions, not {self.shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError(f"an affine is a finite (4, 4) matrix, not {affine!r}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError("the affine is not invertible: a voxel has no volume")
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def centred(cls, shape: tuple[int, int, int], spacing: float, centre: tuple[float, float, float]) -> Grid:
        """An axis-aligned RAS grid of isotropic ``spacing`` (mm) whose middle lies at ``centre`` (mm)."""
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = np.asarray(centre) - spacing * (np.asarray(shape) - 1) / 2
        return cls(shape, affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along the three axes, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def world(self, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """World coordinates in mm of voxel indices; shape (..., 3) to (..., 3)."""
        index = np.asarray(index, dtype=np.float64)
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def index_affine_to(self, other: Grid, world: npt.ArrayLike | None = None) -> Affine:
        """The (4, 4) matrix from this grid's voxel indices to the other's.

        Args:
            other: the grid to be sampled.
            world: (4, 4) affine from this grid's world to the other's; the identity when left out.
        """
        between = np.eye(4) if world is None else np.asarray(world, dtype=np.float64)
        return np.asarray(np.linalg.inv(other.affine) @ between @ self.affine)

    def as_dict(self) -> dict[str, Any]:
        """The grid as JSON-ready lists."""
        return {"shape": list(self.shape), "affine": self.affine.tolist()}

    def matches(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have one shape and every voxel lies within ``tolerance_mm`` of its counterpart."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return float(np.abs(self.world(corners) - other.world(corners)).max()) <= tolerance_mm

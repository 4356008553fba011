"""A statistical model of healthy anatomy, small enough to ship: mean and principal modes of aligned brains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from mri3d.errors import BundleError
from mri3d.grid import Grid
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.volume import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Mean and modes of normalised intensity on the model grid.

    Args:
        mean: (X, Y, Z), about 0 to 1, 0 outside ``brain``.
        modes: (X, Y, Z, K), each scaled to one standard deviation among healthy brains.
        grid: the model grid, in template space.
    """

    mean: FloatArray
    modes: FloatArray
    grid: Grid

    @property
    def brain(self) -> BoolArray:
        """Where at least half of the healthy brains have tissue."""
        return self.mean > 0

    @classmethod
    def fit(cls, images: FloatArray, masks: BoolArray, grid: Grid, modes: int) -> Anatomy:
        """Principal components of aligned brains (N, X, Y, Z) with their masks, over voxels half of them have."""
        count = masks.sum(axis=0)
        brain = count >= len(masks) / 2
        mean = np.where(brain, (images * masks).sum(axis=0) / np.maximum(count, 1), 0)
        rows = np.where(masks, images - mean, 0)[:, brain]
        _, scale, components = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        shapes = np.zeros((*brain.shape, modes))
        shapes[brain] = (components[:modes] * scale[:modes, None] / np.sqrt(len(images) - 1)).T
        return cls(mean.astype(np.float32), shapes.astype(np.float32), grid)

    def draw(self, rng: np.random.Generator, spread: float = 1.0) -> FloatArray:
        """A brain that does not exist: the mean plus each mode at a random size.

        Args:
            rng: source of chance.
            spread: standard deviation of the modes' sizes; 1 is that of healthy brains.
        """
        sizes = np.clip(rng.normal(0, spread, self.modes.shape[-1]), -2, 2)
        return np.where(self.brain, np.clip(self.mean + self.modes @ sizes, 0.02, None), 0).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write mean and modes as one 4D NIfTI of 8 bits a value."""
        stack = np.concatenate([self.mean[..., None], self.modes], axis=-1)
        peak = float(np.abs(stack).max())
        with atomic_write(path) as temporary:
            image = nib.Nifti1Image(np.round(stack / peak * 127).astype(np.int8), self.grid.affine)
            image.header.set_slope_inter(peak / 127, 0)
            image.header.set_xyzt_units("mm")
            nib.save(image, temporary)

    @classmethod
    def load(cls, path: Path) -> Anatomy:
        """Read what :meth:`save` wrote.

        Raises:
            BundleError: the file is missing or unreadable.
        """
        try:
            image = nib.Nifti1Image.from_filename(path)
            stack = np.asarray(image.dataobj, dtype=np.float32)
        except Exception as error:  # nibabel raises half a dozen kinds for a damaged file
            raise BundleError(path, "mean and modes of healthy anatomy", str(error), "Use a shipped bundle") from error
        return cls(stack[..., 0], stack[..., 1:], Grid(stack.shape[:3], image.affine))

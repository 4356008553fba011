"""Voxel-wise statistics of healthy residuals: what a departure is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mri3d.errors import BundleError
from mri3d.grid import Grid
from mri3d.scoring.modality_sets import set_name
from mri3d.scoring.tail import Tail, Tails
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.volume import BoolArray, FloatArray

PRIOR_SUBJECTS = 20
"""Weight of the neighbourhood's variance against a voxel's own, in subjects."""

PRIOR_WIDTH = 3.0
"""Standard deviation in voxels of the Gaussian that makes the neighbourhood."""

MEAN_PRIOR_SUBJECTS = 2
"""Weight of a mean of zero; it matters only where few healthy brains have a voxel."""

FLOOR = 0.3
"""Smallest standard deviation, as a share of the brain's median."""

TAIL_FILE = "residual_tail.json"

Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Normative:
    """Mean and standard deviation of healthy residuals at every voxel of the model grid.

    Args:
        mean: (C, X, Y, Z) float32, a channel a modality.
        std: likewise, positive everywhere.
        grid: the model grid.
        tails: how far healthy voxels depart in these units.
    """

    mean: FloatArray
    std: FloatArray
    grid: Grid
    tails: Tails = field(default_factory=Tails)

    @property
    def tail(self) -> Tail | None:
        """How far healthy voxels depart, all modalities together; None where that is not known."""
        return self.tails.together

    def of_partial(self, modalities: Sequence[str]) -> Normative:
        """The statistics for a subject that has these modalities and lacks others."""
        return replace(self, tails=self.tails.partial.get(set_name(modalities), Tails()))

    def alone(self, channel: int) -> Normative:
        """The statistics of one modality, as if there were no other."""
        own = slice(channel, channel + 1)
        tails = Tails(self.tails.alone[channel]) if self.tails.alone else self.tails
        return Normative(self.mean[own], self.std[own], self.grid, tails)

    def standardise(self, residual: FloatArray, mask: BoolArray) -> FloatArray:
        """A residual in standard deviations, positive where brighter than in healthy subjects; 0 outside the brain."""
        return np.where(mask, (residual - self.mean) / self.std, 0).astype(np.float32)

    def zscore(self, departure: FloatArray) -> FloatArray:
        """z of an unsigned departure of :meth:`standardise`.

        Residuals of healthy brains have far heavier tails than a normal distribution; with the ``tail`` known, a z is
        as rare among healthy voxels as in a normal distribution.
        """
        return departure if self.tail is None else self.tail.normal(departure)

    def save(self, folder: Path) -> None:
        """Write ``residual_mean.nii.gz`` and ``residual_std.nii.gz``, which lie on the template in any viewer.

        And ``residual_tail.json``, if it is known.
        """
        for name, data in (("mean", self.mean), ("std", self.std)):
            with atomic_write(folder / f"residual_{name}.nii.gz") as path:
                volumes = np.moveaxis(data.astype(np.float32), 0, -1)
                image = nib.Nifti1Image(volumes[..., 0] if len(data) == 1 else volumes, self.grid.affine)
                image.header.set_xyzt_units("mm")
                # 16 bits hold a residual to 1e-4 of its range, and half the size
                image.set_data_dtype(np.int16)
                nib.save(image, path)
        self.tails.save(folder / TAIL_FILE)

    @classmethod
    def load(cls, folder: Path) -> Normative:
        """Read what :meth:`save` wrote.

        Raises:
            BundleError: a file is unreadable, or one of the two volumes missing.
        """
        try:
            mean, std = (nib.Nifti1Image.from_filename(folder / f"residual_{name}.nii.gz") for name in ("mean", "std"))
            arrays = [np.asarray(image.dataobj, dtype=np.float32) for image in (mean, std)]
            arrays = [np.moveaxis(array.reshape(*array.shape[:3], -1), -1, 0).copy() for array in arrays]
        except Exception as error:  # nibabel raises half a dozen kinds for a damaged file
            raise BundleError(
                folder,
                "the residual statistics residual_mean.nii.gz and residual_std.nii.gz",
                str(error),
                "Train the bundle again, or restore the file",
            ) from error
        return cls(arrays[0], arrays[1], Grid(arrays[0].shape[1:], mean.affine), Tails.load(folder / TAIL_FILE))


@dataclass(frozen=True, eq=False)
class ResidualSums:
    """Running sums over subjects, from which any one subject can be taken out again.

    In float64 rounding is negligible, so that leaving a subject out needs no second pass over the others.

    Args:
        count: (C, X, Y, Z) brains that have the voxel.
        total: sum of their residuals.
        squares: sum of the residuals' squares.
    """

    count: Array64
    total: Array64
    squares: Array64

    @classmethod
    def of(cls, residuals: Sequence[FloatArray], masks: Sequence[BoolArray]) -> ResidualSums:
        """Sums over all subjects; each residual is 0 outside its mask.

        Raises:
            ValueError: no subjects.
        """
        if not residuals:
            raise ValueError("statistics need at least one subject")
        sums = cls(*(np.zeros(residuals[0].shape) for _ in range(3)))
        for residual, mask in zip(residuals, masks, strict=True):
            values = residual.astype(np.float64)
            sums.count[...] += mask
            sums.total[...] += values
            sums.squares[...] += values**2
        return sums

    def without(self, residual: FloatArray, mask: BoolArray) -> ResidualSums:
        """The sums over all subjects but this one."""
        values = residual.astype(np.float64)
        return ResidualSums(self.count - mask, self.total - values, self.squares - values**2)

    def normative(self, grid: Grid, standardise: str = "voxel") -> Normative:
        """The statistics for :attr:`mri3d.scoring.scorer.Scorer.standardise`."""
        return self._over_brain(grid) if standardise == "brain" else self._by_voxel(grid)

    def _over_brain(self, grid: Grid) -> Normative:
        """A mean of 0 and one standard deviation for all voxels of a modality."""
        squares, count = (sums.sum(axis=(1, 2, 3), keepdims=True) for sums in (self.squares, self.count))
        variance = squares / np.maximum(count, 1)
        std = np.broadcast_to(np.maximum(np.sqrt(variance), 1e-6), self.total.shape)
        return Normative(np.zeros(self.total.shape, np.float32), std.astype(np.float32), grid)

    def _by_voxel(self, grid: Grid) -> Normative:
        """Mean and standard deviation at each voxel, the latter moderated by its neighbourhood.

        A voxel's variance from some dozens of subjects is itself uncertain: too small by chance, it makes false
        alarms. It is pooled with the variance around it, as limma does over genes (Smyth 2004).
        """
        mean = self.total / (self.count + MEAN_PRIOR_SUBJECTS)
        around_mean = np.maximum(self.squares - 2 * mean * self.total + self.count * mean**2, 0)
        freedom = np.maximum(self.count - 1, 0)
        neighbourhood = _blur(around_mean) / np.maximum(_blur(freedom), 0.1)
        variance = (around_mean + PRIOR_SUBJECTS * neighbourhood) / (freedom + PRIOR_SUBJECTS)
        floors = [
            FLOOR * np.sqrt(np.median(own[count >= count.max() / 2]))
            for own, count in zip(variance, self.count, strict=True)
        ]
        std = np.maximum(np.sqrt(variance), np.maximum(floors, 1e-6)[:, None, None, None])
        return Normative(mean.astype(np.float32), std.astype(np.float32), grid)


def _blur(array: Array64) -> Array64:
    return np.asarray(ndimage.gaussian_filter(array, PRIOR_WIDTH, axes=(1, 2, 3)))

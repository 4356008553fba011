"""Voxel-wise statistics of healthy residuals: what a departure is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

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

SHRINKAGE = 0.05
"""Share by which correlations are drawn towards 0, so that no direction has next to no spread."""

TAIL_FILE = "residual_tail.json"
CORRELATION_FILE = "residual_correlation.nii.gz"

Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Normative:
    """Mean and standard deviation of healthy residuals at every voxel of the model grid.

    Args:
        mean: (C, X, Y, Z) float32, a channel a modality.
        std: likewise, positive everywhere.
        grid: the model grid.
        tails: how far healthy voxels depart in these units.
        correlation: (C, C, X, Y, Z) float32 of the residuals of different modalities, 1 on the diagonal, positive
            definite at every voxel; None for one modality.
    """

    mean: FloatArray
    std: FloatArray
    grid: Grid
    tails: Tails = field(default_factory=Tails)
    correlation: FloatArray | None = None

    @property
    def tail(self) -> Tail | None:
        """How far the voxels of a healthy subject depart that has all modalities; None where that is not known."""
        return self.tails.complete

    def of_partial(self, modalities: Sequence[str]) -> Normative:
        """The statistics for a subject that has these modalities and lacks others."""
        tail = self.tails.partial.get(set_name(modalities))
        return replace(self, tails=Tails(tail, self.tails.alone if len(modalities) > 1 else (tail,) * len(self.mean)))

    def alone(self, channel: int) -> Normative:
        """The statistics of one modality, as if there were no other."""
        own = slice(channel, channel + 1)
        tail = self.tails.alone[channel] if self.tails.alone else self.tail
        return Normative(self.mean[own], self.std[own], self.grid, Tails(tail))

    def standardise(self, residual: FloatArray, mask: BoolArray) -> FloatArray:
        """A residual in standard deviations, positive where brighter than in healthy subjects; 0 outside the brain."""
        return np.where(mask, (residual - self.mean) / self.std, 0).astype(np.float32)

    def distance(self, signed: FloatArray, mask: BoolArray) -> FloatArray:
        """How unusual the modalities are together, of a residual of :meth:`standardise`.

        The Mahalanobis distance from healthy subjects, over the square root of the number of modalities: where these
        are not correlated, the root mean square. What healthy brains often show, such as fluid in place of tissue in
        all modalities at once, departs less than what they never show.

        Args:
            signed: (C, X, Y, Z) in healthy standard deviations.
            mask: likewise, where each modality shows the brain; a voxel counts those that show it.

        Returns:
            (X, Y, Z), at least 0.
        """
        squares = (signed**2).sum(axis=0)
        whole = self.correlation
        for shown in np.unique(mask[:, mask.any(axis=0)], axis=1).T:
            kept, here = np.flatnonzero(shown), (mask == shown[:, None, None, None]).all(axis=0)
            if whole is not None and len(kept) > 1:
                z = signed[kept][:, here].T[..., None]
                correlation = np.moveaxis(whole[np.ix_(kept, kept)][..., here], -1, 0)
                squares[here] = (z * np.linalg.solve(correlation, z)).sum(axis=(1, 2))
        return np.asarray(np.sqrt(squares / np.maximum(mask.sum(axis=0), 1)), dtype=np.float32)

    def zscore(self, departure: FloatArray) -> FloatArray:
        """z of an unsigned departure of :meth:`standardise`.

        Residuals of healthy brains have far heavier tails than a normal distribution; with the ``tail`` known, a z is
        as rare among healthy voxels as in a normal distribution.
        """
        return departure if self.tail is None else self.tail.normal(departure)

    def save(self, folder: Path) -> None:
        """Write ``residual_mean.nii.gz`` and ``residual_std.nii.gz``, which lie on the template in any viewer.

        And ``residual_tail.json`` and, of several modalities, ``residual_correlation.nii.gz``, a volume a pair in the
        order of ``numpy.triu_indices``.
        """
        # 16 bits hold a residual to 1e-4 of its range, and 8 a correlation to 0.01
        self._write(folder / "residual_mean.nii.gz", self.mean, np.int16)
        self._write(folder / "residual_std.nii.gz", self.std, np.int16)
        (folder / CORRELATION_FILE).unlink(missing_ok=True)
        if self.correlation is not None:
            pairs = np.triu_indices(len(self.mean), 1)
            rounded = (self.correlation[pairs] * 127).round() / 127
            self._write(folder / CORRELATION_FILE, rounded.astype(np.float32), np.int8)
        self.tails.save(folder / TAIL_FILE)

    def _write(self, path: Path, data: FloatArray, dtype: npt.DTypeLike) -> None:
        with atomic_write(path) as temporary:
            volumes = np.moveaxis(data.astype(np.float32), 0, -1)
            image = nib.Nifti1Image(volumes[..., 0] if len(data) == 1 else volumes, self.grid.affine)
            image.header.set_xyzt_units("mm")
            image.set_data_dtype(dtype)
            nib.save(image, temporary)

    @classmethod
    def load(cls, folder: Path) -> Normative:
        """Read what :meth:`save` wrote.

        Raises:
            BundleError: a file is unreadable, or one of the volumes missing.
        """
        try:
            mean, grid = _read(folder / "residual_mean.nii.gz")
            std, _ = _read(folder / "residual_std.nii.gz")
            correlation = _correlation(_read(folder / CORRELATION_FILE)[0], len(mean)) if len(mean) > 1 else None
        except Exception as error:  # nibabel raises half a dozen kinds for a damaged file
            raise BundleError(
                folder,
                f"the residual statistics residual_mean.nii.gz, residual_std.nii.gz and, of several modalities, "
                f"{CORRELATION_FILE}",
                str(error),
                "Train the bundle again, or restore the file",
            ) from error
        return cls(mean, std, grid, Tails.load(folder / TAIL_FILE), correlation)


def _read(path: Path) -> tuple[FloatArray, Grid]:
    """Volumes (N, X, Y, Z) of a file, and their grid."""
    image = nib.Nifti1Image.from_filename(path)
    data = np.asarray(image.dataobj, dtype=np.float32)
    return np.moveaxis(data.reshape(*data.shape[:3], -1), -1, 0).copy(), Grid(data.shape[:3], image.affine)


def _correlation(pairs: FloatArray, modalities: int) -> FloatArray:
    """Matrices (C, C, X, Y, Z) of their pairs above the diagonal."""
    rows, columns = np.triu_indices(modalities, 1)
    whole = np.ones((modalities, modalities, *pairs.shape[1:]), np.float32)
    whole[rows, columns] = whole[columns, rows] = pairs
    return whole


@dataclass(frozen=True, eq=False)
class ResidualSums:
    """Running sums over subjects, from which any one subject can be taken out again.

    In float64 rounding is negligible, so that leaving a subject out needs no second pass over the others.

    Args:
        count: (C, C, X, Y, Z) brains that have the voxel in both of two modalities, here as for the others.
        total: sum of their residuals of the first.
        squares: sum of the residuals' products; on the diagonal, squares.
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
        sums = cls(*(np.zeros((len(residuals[0]), *residuals[0].shape)) for _ in range(3)))
        for residual, mask in zip(residuals, masks, strict=True):
            values = residual.astype(np.float64)
            sums.count[...] += mask[:, None] * mask
            sums.total[...] += values[:, None] * mask
            sums.squares[...] += values[:, None] * values
        return sums

    def without(self, residual: FloatArray, mask: BoolArray) -> ResidualSums:
        """The sums over all subjects but this one."""
        values = residual.astype(np.float64)
        return ResidualSums(
            self.count - mask[:, None] * mask,
            self.total - values[:, None] * mask,
            self.squares - values[:, None] * values,
        )

    def normative(self, grid: Grid, standardise: str = "voxel") -> Normative:
        """The statistics for :attr:`mri3d.scoring.scorer.Scorer.standardise`."""
        return self._over_brain(grid) if standardise == "brain" else self._by_voxel(grid)

    def _over_brain(self, grid: Grid) -> Normative:
        """A mean of 0 and one standard deviation for all voxels of a modality."""
        squares, count = (sums.sum(axis=(2, 3, 4), keepdims=True) for sums in (self.squares, self.count))
        covariance = np.broadcast_to(squares / _pairs(np.maximum(_diagonal(count), 1)), self.squares.shape)
        std = np.maximum(np.sqrt(_diagonal(covariance)), 1e-6)
        return Normative(
            np.zeros(std.shape, np.float32), std.astype(np.float32), grid, correlation=_correlations(covariance)
        )

    def _by_voxel(self, grid: Grid) -> Normative:
        """Mean and standard deviation at each voxel, the latter moderated by its neighbourhood.

        A voxel's variance from some dozens of subjects is itself uncertain: too small by chance, it makes false
        alarms. It is pooled with the variance around it, as limma does over genes (Smyth 2004).
        """
        count = _diagonal(self.count)
        mean = _diagonal(self.total) / (count + MEAN_PRIOR_SUBJECTS)
        first, second = mean[:, None], mean[None]
        transposed = np.swapaxes(self.total, 0, 1)
        around_mean = self.squares - first * transposed - second * self.total + self.count * first * second
        _diagonal(around_mean)[...] = np.maximum(_diagonal(around_mean), 0)
        freedom = np.maximum(count - 1, 0)
        neighbourhood = _blur(around_mean) / _pairs(np.maximum(_blur(freedom), 0.1))
        covariance = (around_mean + PRIOR_SUBJECTS * neighbourhood) / _pairs(freedom + PRIOR_SUBJECTS)
        variance = _diagonal(covariance)
        floors = [
            FLOOR * np.sqrt(np.median(own[brains >= brains.max() / 2]))
            for own, brains in zip(variance, count, strict=True)
        ]
        std = np.maximum(np.sqrt(variance), np.maximum(floors, 1e-6)[:, None, None, None])
        correlation = _correlations(covariance)
        return Normative(mean.astype(np.float32), std.astype(np.float32), grid, correlation=correlation)


def _diagonal(matrices: Array64) -> Array64:
    """(C, X, Y, Z), what (C, C, X, Y, Z) have on their diagonals: a view."""
    return cast(Array64, np.einsum("iixyz->ixyz", matrices))


def _pairs(own: Array64) -> Array64:
    """(C, C, X, Y, Z) of (C, X, Y, Z), what two modalities are divided by: the geometric mean of both.

    So sums over the people who have both stay covariances where others have one alone, and correlations definite.
    """
    root = np.sqrt(own)
    return np.asarray(root[:, None] * root[None])


def _correlations(covariance: Array64) -> FloatArray | None:
    """(C, C, X, Y, Z) of covariances, a little drawn towards 0; None for one modality."""
    if len(covariance) == 1:
        return None
    std = np.sqrt(np.maximum(_diagonal(covariance), 1e-12))
    correlation = (1 - SHRINKAGE) * np.clip(covariance / (std[:, None] * std[None]), -1, 1)
    correlation[np.diag_indices(len(correlation))] = 1
    return np.asarray(correlation, dtype=np.float32)


def _blur(array: Array64) -> Array64:
    return np.asarray(ndimage.gaussian_filter(array, PRIOR_WIDTH, axes=(-3, -2, -1)))

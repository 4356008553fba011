"""Simulated atrophy: a smooth deformation that shrinks caudate and putamen and widens the frontal horns.

What it makes is no patient. Of Huntington's disease it has the one change that is found first and in everybody who
carries the gene, the loss of volume of the striatum with the frontal horns grown into the room (Aylward et al.,
Neurology 2004), and nothing else: neither cortical thinning nor altered intensities.

The deformation is made in the space of the scan as it is stored, from the scan's own labels, before any preprocessing.
A stationary velocity is the gradient of a potential whose Laplacian is the wanted rate of growth (Karacali and
Davatzikos, IEEE TMI 2006, go by the Jacobian likewise), and its exponential is a diffeomorphism
(Arsigny et al., MICCAI 2006). What the striatum loses the horns take, so that nothing far away moves; what
lies between moves along: at 20 % fornix and corpus callosum grow by 10 and 4 %, accumbens and pallidum lose 5 to 6 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from mri3d.grid import Grid

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.integer]

STRIATUM = {"Right Caudate": 36, "Left Caudate": 37, "Right Putamen": 57, "Left Putamen": 58}
"""Numbers of MUSE (Doshi et al. 2016, doi 10.1016/j.neuroimage.2015.11.073), as DLMUSE has them."""

VENTRICLES = {"Right": 51, "Left": 52}
HORN_MM = 10.0
"""How far from the caudate's head the frontal horn reaches."""

MARGIN_MM = 30.0
"""Around the striatum, beyond which nothing moves."""

SQUARINGS = 4
TRIALS = 8
CLOSE = 0.005
"""Of the volume: where the trials end."""


@dataclass(frozen=True, eq=False)
class Atrophy:
    """A head whose striatum is smaller than it was.

    Args:
        data: (X, Y, Z) intensities on the scan's grid.
        lost: share of its volume that each structure lost, by name, its labels interpolated linearly.
        horns: share that the frontal horns gained.
        least_jacobian: of the deformation; above 0, so that it folds nowhere.
        farthest_mm: how far a point moved at most.
    """

    data: FloatArray
    lost: dict[str, float]
    horns: float
    least_jacobian: float
    farthest_mm: float


def shrink_striatum(data: FloatArray, labels: LabelArray, grid: Grid, share: float) -> Atrophy:
    """Take a share of their volume from both caudates and putamina.

    Args:
        data: (X, Y, Z) intensities.
        labels: (X, Y, Z) DLMUSE labels of the same scan.
        grid: where the voxels lie.
        share: of the volume, 0 to 0.5.

    Raises:
        ValueError: a structure or a horn is not in the labels, or the deformation would fold.
    """
    box = _box(labels, grid)
    masks = {name: (labels[box] == number).astype(float) for name, number in STRIATUM.items()}
    horns = _horns(labels[box], grid)
    missing = [name for name, mask in {**masks, "frontal horns": horns}.items() if not mask.any()]
    if missing:
        raise ValueError(f"labels without {', '.join(missing)}")
    back = _deformation(masks, horns, grid, share)
    jacobian = float(_jacobian(back).min())
    if jacobian <= 0:
        raise ValueError(f"a deformation that folds (Jacobian {jacobian:.2f})")
    deformed = data.astype(np.float32).copy()
    # splines, since a linear interpolation would blur, and blur is no atrophy
    deformed[box] = np.clip(ndimage.map_coordinates(deformed[box], back, order=3, mode="nearest"), data.min(), None)
    steps = (back - _identity(back.shape[1:])) * np.reshape(grid.spacing, (3, 1, 1, 1))
    return Atrophy(
        deformed,
        {name: 1 - _volume(mask, back) / mask.sum() for name, mask in masks.items()},
        _volume(horns, back) / horns.sum() - 1,
        jacobian,
        float(np.linalg.norm(steps, axis=0).max()),
    )


def _box(labels: LabelArray, grid: Grid) -> tuple[slice, ...]:
    """The striatum and what may move around it."""
    inside = np.argwhere(np.isin(labels, list(STRIATUM.values())))
    if not len(inside):
        raise ValueError("labels without a striatum")
    margin = np.ceil(MARGIN_MM / np.array(grid.spacing)).astype(int)
    low, high = np.maximum(inside.min(axis=0) - margin, 0), np.minimum(inside.max(axis=0) + margin + 1, labels.shape)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def _horns(labels: LabelArray, grid: Grid) -> npt.NDArray[np.float64]:
    """The lateral ventricles beside the caudate of their side."""
    near = np.zeros(labels.shape, bool)
    for side, number in VENTRICLES.items():
        away = ndimage.distance_transform_edt(labels != STRIATUM[f"{side} Caudate"], sampling=grid.spacing)
        near |= (labels == number) & (away < HORN_MM)
    return near.astype(float)


def _deformation(masks: dict[str, FloatArray], horns: FloatArray, grid: Grid, share: float) -> npt.NDArray[np.float64]:
    """(3, X, Y, Z) voxel of the scan that each voxel of the deformed one is taken from."""
    rates = dict.fromkeys(masks, -np.log1p(-share))
    spread = ndimage.gaussian_filter(horns, 1.0)
    for _ in range(TRIALS):
        growth = -sum(rate * ndimage.gaussian_filter(masks[name], 0.7) for name, rate in rates.items())
        growth -= growth.sum() * spread / spread.sum()  # the horns take what the striatum loses
        back = _exponential(-_velocity(growth, grid))
        lost = {name: 1 - _volume(mask, back) / mask.sum() for name, mask in masks.items()}
        if max(abs(each - share) for each in lost.values()) < CLOSE:
            break
        rates = {name: rate * np.log1p(-share) / np.log1p(-max(lost[name], 1e-3)) for name, rate in rates.items()}
    return back


def _velocity(growth: FloatArray, grid: Grid) -> npt.NDArray[np.float64]:
    """(3, X, Y, Z) voxels a unit of time: the gradient of the potential whose Laplacian is the growth."""
    # padded, or the field would come in again on the other side
    shape = [fft.next_fast_len(n + n // 2, real=True) for n in growth.shape]
    waves = np.meshgrid(
        *(2 * np.pi * fft.fftfreq(n, step) for n, step in zip(shape, grid.spacing, strict=True)),
        indexing="ij", sparse=True,
    )  # fmt: skip
    square = sum(wave**2 for wave in waves)
    square[0, 0, 0] = 1.0
    spectrum = fft.fftn(growth, shape) / -square
    inside = tuple(slice(n) for n in growth.shape)
    field = np.stack([fft.ifftn(1j * wave * spectrum).real[inside] for wave in waves])
    return np.asarray(field * _taper(growth.shape) / np.reshape(grid.spacing, (3, 1, 1, 1)))


def _taper(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """1 in the middle, falling to 0 over the outer voxels of a box."""
    ramps = [np.clip(np.minimum(np.arange(n), np.arange(n)[::-1]) / 8, 0, 1) for n in shape]
    smooth = [np.sin(np.pi / 2 * ramp) ** 2 for ramp in ramps]
    return np.einsum("i,j,k->ijk", *smooth)


def _exponential(velocity: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Follow a velocity for a unit of time, by scaling and squaring: where each voxel comes to lie."""
    identity = _identity(velocity.shape[1:])
    step = velocity / 2**SQUARINGS
    for _ in range(SQUARINGS):
        step = step + np.stack([ndimage.map_coordinates(part, identity + step, order=1) for part in step])
    return identity + step


def _identity(shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)


def _jacobian(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The determinant of a map's derivative at each voxel."""
    rows = np.stack([np.stack(np.gradient(part), axis=-1) for part in points], axis=-2)
    return np.asarray(np.linalg.det(rows))


def _volume(mask: FloatArray, back: npt.NDArray[np.float64]) -> float:
    """In voxels, after the deformation."""
    return float(ndimage.map_coordinates(mask, back, order=1).sum())

"""How the modalities of one head lie to each other: a rigid transform between two scanner worlds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from nibabel.affines import apply_affine
from scipy import ndimage
from scipy.linalg import polar

from mri3d.errors import AlignmentError
from mri3d.grid import Affine
from mri3d.volumes.itk import RAS_TO_LPS, WORK_UNITS, as_sitk, world_matrix
from mri3d.volumes.volume import BoolArray, FloatArray, Volume

BINS = 32
"""Of the joint histogram, along each axis."""

WORKING_MM = 2.0
"""Spacing that a finer reference is brought to."""

SURROUNDINGS = 3
"""Voxels around the brain, at working resolution, that are looked at too."""

ASIDE_MM = 8.0
"""How far an image is shifted to see whether it fits better where it is."""

MIN_SHARPNESS = 1.5
"""Sharpness below which an image is not taken for one of the same head. Measured: four patients' T2w and FLAIR on their
own T1w 3.7 to 13, on each other's as scanned 1.0 to 1.4. Heads of two people that both lie on a template fit almost as
sharply (2.1 to 2.4) and pass."""

MIN_COVERED = 0.5
"""Share of the brain that an image must show."""

Points = npt.NDArray[np.float64]
Start = Callable[[sitk.Image], sitk.Euler3DTransform]
"""Where a search for an image begins."""


@dataclass(frozen=True, eq=False)
class Coregistration:
    """Where an image lies in the world of the reference image.

    Args:
        to_moving: (4, 4) rigid matrix from the reference's world to the image's, RAS, mm.
        information: mutual information of the two inside the brain, normalised (Studholme et al. 1999,
            doi 10.1016/S0031-3203(98)00091-0) and less 1: from 0, nothing in common, to 1, one tells the other.
        sharpness: how many times as much as 8 mm to the side.
        moved_mm: how far the brain's voxels lie on average from where the headers place them.
        covered: share of the brain that the image shows, 0 to 1.
        by_headers: ``information`` where the headers alone place the image.
    """

    to_moving: Affine
    information: float
    sharpness: float
    moved_mm: float
    covered: float
    by_headers: float


def coregister(reference: Volume, brain: BoolArray, moving: Volume, guess: Affine | None = None) -> Coregistration:
    """Rigid registration of another image of a head to its reference image, by mutual information in the brain.

    The search starts where the headers place the image, since scans of one session differ by millimetres, and from the
    guess, if there is one; what fits best counts. Only where the two do not fit then (another session, wrong headers)
    does it start once more, from the centres of what both show.

    Args:
        reference: the image whose grid the maps lie on.
        brain: (X, Y, Z) mask in the order of ``reference.data``.
        moving: the other image, on any grid.
        guess: (4, 4) matrix from the reference's world to the image's, RAS, mm, of which the rigid part is taken.

    Raises:
        AlignmentError: the two do not fit, wherever the image is put.
    """
    head = _Head.of(reference, brain)
    image = as_sitk(*moving.canonical(_without_outliers(moving.data)))
    tried = [(head.information(np.eye(4), moving), np.eye(4))]
    by_headers, sharpness = tried[0][0], 0.0
    starts: list[Start] = [head.from_headers]
    if guess is not None:
        starts.append(partial(head.from_guess, guess))
    for ways in (starts, [head.from_moments]):
        if sharpness < MIN_SHARPNESS:
            found = [matrix for start in ways for matrix in head.register(image, start)]
            tried += [(head.information(matrix, moving), matrix) for matrix in found]
            information, best = max(tried, key=lambda each: each[0])
            sharpness = information / max(head.aside(best, moving), 1e-9)
    covered = head.covered(best, moving)
    if sharpness < MIN_SHARPNESS or covered < MIN_COVERED:
        raise AlignmentError(
            moving.path,
            f"an image of the head in {reference.path.name}, {100 * MIN_COVERED:.0f}% of its brain or more",
            f"{100 * covered:.0f}% of it, and {sharpness:.1f} times the mutual information that the image has "
            f"{ASIDE_MM:g} mm to the side (at least {MIN_SHARPNESS:g})",
            "Check that both files show one person, or leave this one out",
        )
    moved = float(np.linalg.norm(apply_affine(best, head.points) - head.points, axis=1).mean())
    return Coregistration(best, information, sharpness, moved, covered, by_headers)


@dataclass(frozen=True, eq=False)
class _Head:
    """The reference image at working resolution, in RAS order.

    Args:
        image: its voxels.
        brain: the same of its brain, 1 and 0.
        points: (N, 3) world coordinates of the brain's voxels, RAS, mm.
        values: (N,) what the image has there.
    """

    image: sitk.Image
    brain: sitk.Image
    points: Points
    values: FloatArray

    @classmethod
    def of(cls, reference: Volume, brain: BoolArray) -> _Head:
        arrays = (_without_outliers(reference.data, brain), brain.astype(np.float32))
        whole, mask = (as_sitk(*reference.canonical(array)) for array in arrays)
        shrink = [max(1, int(WORKING_MM / spacing + 0.1)) for spacing in whole.GetSpacing()]
        image, inside = sitk.BinShrink(whole, shrink), sitk.BinShrink(mask, shrink) > 0.5
        array = sitk.GetArrayFromImage(inside)
        index = np.argwhere(array)[:, ::-1]
        direction = np.array(image.GetDirection()).reshape(3, 3)
        lps = index * np.array(image.GetSpacing()) @ direction.T + np.array(image.GetOrigin())
        return cls(image, inside, lps * (-1, -1, 1), sitk.GetArrayFromImage(image)[array > 0])

    def from_headers(self, image: sitk.Image) -> sitk.Euler3DTransform:
        """The image lies where its header says."""
        start = sitk.Euler3DTransform()
        start.SetCenter((self.points.mean(axis=0) * (-1, -1, 1)).tolist())
        return start

    def from_guess(self, guess: Affine, image: sitk.Image) -> sitk.Euler3DTransform:
        """It lies where the rigid part of a matrix puts it."""
        start = self.from_headers(image)
        middle = np.array(start.GetCenter())
        lps = RAS_TO_LPS @ guess @ RAS_TO_LPS
        rotation, _ = polar(lps[:3, :3])
        start.SetMatrix(rotation.ravel().tolist(), 1e-6)
        start.SetTranslation((apply_affine(lps, middle) - middle).tolist())
        return start

    def from_moments(self, image: sitk.Image) -> sitk.Euler3DTransform:
        """What both show has one centre."""
        stripped = sitk.Mask(self.image, self.brain)
        start = sitk.CenteredTransformInitializer(
            stripped, image, self.from_headers(image), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
        return sitk.Euler3DTransform(start)

    def register(self, image: sitk.Image, start: Start) -> list[Affine]:
        """Where a search leads that starts somewhere; nowhere if it breaks off."""
        try:
            return [world_matrix(self._optimise(image, start(image)))]
        except RuntimeError:  # ITK breaks off where hardly a voxel of the brain lies within the image
            return []

    def _optimise(self, image: sitk.Image, transform: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
        # Powell's, since gradients led 20 to 40 mm away from thick slices that lay right; and with the brain's
        # surroundings, whose edges hold it
        method = sitk.ImageRegistrationMethod()
        method.SetNumberOfThreads(WORK_UNITS)
        method.SetMetricAsMattesMutualInformation(BINS)
        method.SetMetricFixedMask(sitk.BinaryDilate(self.brain, [SURROUNDINGS] * 3))
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(0.25, seed=1)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetShrinkFactorsPerLevel([2, 1])
        method.SetSmoothingSigmasPerLevel([2.0, 0.0])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetOptimizerAsPowell(
            numberOfIterations=10, maximumLineIterations=20, stepLength=1.0, stepTolerance=0.05, valueTolerance=1e-4
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(self.image, image)
        return transform

    def information(self, to_moving: Affine, moving: Volume) -> float:
        """What the two have in common where a matrix places the image."""
        index = self._index(to_moving, moving)
        within = _within(index, moving)
        theirs = ndimage.map_coordinates(moving.data, index[within].T, order=1)
        return mutual_information(self.values[within], theirs)

    def aside(self, to_moving: Affine, moving: Volume) -> float:
        """The same :data:`ASIDE_MM` to the six sides, on average."""
        aside = []
        for shift in ASIDE_MM * np.vstack([np.eye(3), -np.eye(3)]):
            there = np.eye(4)
            there[:3, 3] = shift
            aside.append(self.information(to_moving @ there, moving))
        return float(np.mean(aside))

    def covered(self, to_moving: Affine, moving: Volume) -> float:
        """The share of the brain that the image shows."""
        return float(_within(self._index(to_moving, moving), moving).mean())

    def _index(self, to_moving: Affine, moving: Volume) -> Points:
        return np.asarray(apply_affine(np.linalg.inv(moving.grid.affine) @ to_moving, self.points))


def _without_outliers(data: FloatArray, where: BoolArray | None = None) -> FloatArray:
    """Without the brightest voxels (vessels, fat), which would leave the brain few bins of ITK's even histogram."""
    inside = data[data > 0] if where is None else data[where]
    return np.asarray(np.clip(data, None, np.quantile(inside, 0.995) if inside.size else 1), dtype=np.float32)


def _within(index: Points, moving: Volume) -> BoolArray:
    return np.asarray(((index >= 0) & (index <= np.array(moving.grid.shape) - 1)).all(axis=1))


def mutual_information(one: FloatArray, other: FloatArray) -> float:
    """(H(one) + H(other)) / H(both) - 1 of paired values: 0 where neither tells of the other, 1 where each does.

    Bins hold equally many values, so that a few bright ones take up no more than theirs.

    Args:
        one: (N,) finite.
        other: (N,) likewise.
    """
    if len(one) < BINS**2:
        return 0.0
    edges = [np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1))) for values in (one, other)]
    if min(map(len, edges)) < 3:
        return 0.0
    joint = np.histogram2d(one, other, bins=edges)[0]
    joint /= joint.sum()
    both, first, second = (_entropy(p) for p in (joint, joint.sum(axis=1), joint.sum(axis=0)))
    return float((first + second) / both - 1)


def _entropy(share: npt.NDArray[np.float64]) -> float:
    present = share[share > 0]
    return float(-(present * np.log(present)).sum())

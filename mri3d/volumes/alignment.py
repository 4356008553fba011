"""How a brain is brought onto the template: one affine between two worlds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from mri3d.errors import AlignmentError
from mri3d.grid import Affine, Grid
from mri3d.volumes.itk import WORK_UNITS, as_sitk, world_matrix
from mri3d.volumes.volume import BoolArray, FloatArray, Volume

MIN_DICE = 0.88
"""Overlap with the template's brain below which an alignment is refused; healthy brains reach 0.93 to 0.97."""

MIN_CORRELATION = 0.2
"""Correlation with the template inside both brains below which an alignment is refused; no T1w brain comes near it."""

USUAL_CORRELATION = 0.33
"""The same below which a user is warned.

Measured: T1w volumes of 55 healthy people have 0.36 to 0.53 (mean 0.44, standard deviation 0.03), of 4 patients with
multiple sclerosis 0.43 to 0.57; the patients' FLAIR volumes 0.18 to 0.27, their T2w volumes less than -0.25. Heads
stored upside down or back to front have 0.10 to 0.24; the Dice refuses most of them, but not all.
"""


@dataclass(frozen=True, eq=False)
class Template:
    """The MNI152 2 mm T1w brain (ICBM 2009a symmetric) that nilearn ships.

    Args:
        image: intensities from 0 to 1, 0 outside the brain.
        brain: its brain mask.
        grid: where its voxels lie.
    """

    image: FloatArray
    brain: BoolArray
    grid: Grid


@dataclass(frozen=True, eq=False)
class Alignment:
    """An affine between the template's world and a subject's.

    Args:
        template_to_source: (4, 4) matrix from template world to source world coordinates, RAS, mm.
        dice: overlap of the aligned brain mask with the template's, 0 to 1.
        correlation: of intensities inside both brains, -1 to 1.
    """

    template_to_source: Affine
    dice: float
    correlation: float

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a user should know of an alignment that is not refused, as whole sentences."""
        if self.correlation >= USUAL_CORRELATION:
            return ()
        return (
            f"The aligned brain looks little like the template (correlation {self.correlation:.2f}, T1w brains have "
            f"{USUAL_CORRELATION} or more); check that it is a T1w volume and lies the right way.",
        )


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the template from the installed nilearn; nothing is downloaded."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=2)
    data = np.clip(np.asarray(image.get_fdata(), dtype=np.float32), 0, None)
    brain = ndimage.binary_fill_holes(ndimage.binary_opening(data > 0.15))
    return Template(data, np.asarray(brain, dtype=bool), Grid(data.shape, image.affine))


def align(volume: Volume, brain: BoolArray) -> Alignment:
    """Bring a brain onto the template by :func:`register`, and refuse what does not lie on it.

    Raises:
        AlignmentError: the aligned brain overlaps too little with the template, or does not look like it.
    """
    alignment = register(volume, brain)
    overlaps, resembles = alignment.dice >= MIN_DICE, alignment.correlation >= MIN_CORRELATION  # NaN neither
    if not (overlaps and resembles):
        wrong = "contrast and orientation" if overlaps else "orientation and brain mask"
        raise AlignmentError(
            volume.path,
            f"a brain that overlaps with the template (Dice {MIN_DICE}, correlation {MIN_CORRELATION} or more)",
            f"Dice {alignment.dice:.2f}, correlation {alignment.correlation:.2f}",
            f"Check {wrong}, which mri3d check looks into, and that the volume is a whole T1-weighted brain",
        )
    return alignment


def register(volume: Volume, brain: BoolArray) -> Alignment:
    """Rigid, then affine registration of the stripped brain to the template by correlation inside its brain.

    Args:
        volume: the head.
        brain: (X, Y, Z) mask in the order of ``volume.data``.

    Raises:
        AlignmentError: the registration broke off.
    """
    template = load_template()
    fixed = as_sitk(template.image, template.grid)
    fixed_mask = as_sitk(ndimage.binary_dilation(template.brain, iterations=3).astype(np.uint8), template.grid)
    moving = _working_copy(volume, brain)
    try:
        matrix = _register(fixed, fixed_mask, moving)
    except RuntimeError as error:
        raise AlignmentError(
            volume.path,
            "a brain that can be registered to the MNI152 template",
            f"a registration that broke off ({str(error).strip().splitlines()[-1].strip()})",
            "Look at the volume and its brain mask",
        ) from error
    return _judge(matrix, volume, brain, template)


def _working_copy(volume: Volume, brain: BoolArray) -> sitk.Image:
    """The brain alone at about 2 mm, in RAS order, bright outliers clipped so that they do not lead the correlation."""
    ceiling = np.percentile(volume.data[brain], 99.5)
    stripped = np.where(brain, np.clip(volume.data, 0, ceiling), 0).astype(np.float32)
    image = as_sitk(*volume.canonical(stripped))
    shrunk: sitk.Image = sitk.BinShrink(image, [max(1, int(2 / s + 0.1)) for s in image.GetSpacing()])
    return shrunk


def _register(fixed: sitk.Image, fixed_mask: sitk.Image, moving: sitk.Image) -> Affine:
    """The affine from fixed to moving world coordinates (RAS)."""
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    rigid = _optimise(fixed, fixed_mask, moving, start, shrink=[4, 2])
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    affine = _optimise(fixed, fixed_mask, moving, affine, shrink=[4, 2, 1])
    return world_matrix(affine)


def _optimise(fixed: sitk.Image, mask: sitk.Image, moving: sitk.Image, start: Any, shrink: list[int]) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(WORK_UNITS)
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.25, seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([float(s) for s in shrink])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=100, relaxationFactor=0.5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    transform = type(start)(start)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return transform


def _judge(matrix: Affine, volume: Volume, brain: BoolArray, template: Template) -> Alignment:
    to_source = template.grid.index_affine_to(volume.grid, matrix)

    def on_template(data: FloatArray) -> FloatArray:
        return np.asarray(
            ndimage.affine_transform(
                data, to_source[:3, :3], to_source[:3, 3], output_shape=template.grid.shape, order=1
            )
        )

    mask = on_template(brain.astype(np.float32)) > 0.5
    both = mask & template.brain
    dice = 2 * both.sum() / max(mask.sum() + template.brain.sum(), 1)
    image = on_template(volume.data)
    correlation = float(np.corrcoef(image[both], template.image[both])[0, 1]) if both.sum() > 1 else 0.0
    return Alignment(matrix, float(dice), correlation)

"""How far each part of a brain is larger or smaller than in the template, once the whole is aligned."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.transforms.template import template_on
from mri3d.volumes.itk import WORK_UNITS, as_sitk
from mri3d.volumes.volume import FloatArray

LEVELS = ((4, 40), (2, 30), (1, 10))
"""How many times coarser than the model grid, and iterations, from coarse to fine."""

SMOOTHNESS = 1.2
"""Standard deviation in voxels of the Gaussian that keeps the deformation smooth after every iteration."""

WINDOW_MM = 8.0
"""Standard deviation of the Gaussian window in which intensities are standardised; 12 mm found as much atrophy."""

FLAT = 0.02
"""Added to the standard deviation, in normalised intensity, so that noise counts little where all is one tissue."""

EDGE = 0.02
"""Normalised intensity from which on a voxel is of the brain, since the template has no mask of its own here."""

TISSUE = 0.15
"""Of the template's intensity, from which on there is tissue."""

LEAST = 0.01
"""Smallest Jacobian of which a logarithm is taken."""


def log_jacobian(image: FloatArray, grid: Grid) -> FloatArray:
    """Logarithm of the growth that makes the template's tissue this brain's, at each of the template's voxels.

    Diffeomorphic demons (Vercauteren et al. 2009, doi 10.1016/j.neuroimage.2008.10.040) bring the brain onto the
    template; -0.1 says that what fills the voxel of the template has 10 % less room in this brain. The size of the
    whole head is no part of it, since the brain is aligned before (tensor-based morphometry, Ashburner and Friston
    2000, doi 10.1006/nimg.2000.0582, by the Jacobian).

    Both images are standardised in windows first, so that they are compared as by their local correlation (Avants et
    al. 2008, doi 10.1016/j.media.2007.06.004): another scanner's contrast and receive field look more like growth
    otherwise.

    Args:
        image: (X, Y, Z) normalised T1w intensity on the model grid, 0 outside the brain.
        grid: the model grid.

    Returns:
        (X, Y, Z) float32.
    """
    # in voxels, since ITK's Jacobian knows no directions
    fixed = as_sitk(_standardised(_normalised(template_on(grid)), grid))
    moving = as_sitk(_standardised(image.astype(np.float32), grid))
    field = None
    for times, iterations in LEVELS:
        small = _coarser(fixed, times)
        if field is not None:
            field = sitk.Resample(field, small, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkVectorFloat64)
        field = _demons(small, _coarser(moving, times), field, iterations)
    jacobian = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field)).T
    return np.asarray(np.log(np.maximum(jacobian, LEAST)), dtype=np.float32)


def _normalised(template: FloatArray) -> FloatArray:
    """On the scale of :class:`mri3d.transforms.intensity.NormaliseIntensity`."""
    scaled: FloatArray = np.clip(template / np.percentile(template[template > TISSUE], 98.0), 0, 1.5)
    return scaled


def _standardised(image: FloatArray, grid: Grid) -> FloatArray:
    """By mean and standard deviation of the brain around each voxel: -3 to 3 become 0 to 1, and outside is 0.

    What departs further, as a small lesion does, lies beyond; demons step the less, the farther two values lie apart.
    """
    brain, sigma = image > EDGE, WINDOW_MM / np.array(grid.spacing)
    share = ndimage.gaussian_filter(brain.astype(np.float32), sigma) + 1e-3  # of the window that is brain

    def mean(values: FloatArray) -> FloatArray:
        return np.asarray(ndimage.gaussian_filter(values, sigma) / share)

    away = np.where(brain, image - mean(np.where(brain, image, 0)), 0)
    return np.where(brain, (away / (np.sqrt(mean(away**2)) + FLAT) + 3) / 6, 0).astype(np.float32)


def _coarser(image: sitk.Image, times: int) -> sitk.Image:
    if times == 1:
        return image
    smaller: sitk.Image = sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, 0.5 * times), [times] * 3)
    return smaller


def _demons(fixed: sitk.Image, moving: sitk.Image, start: sitk.Image | None, iterations: int) -> sitk.Image:
    method = sitk.DiffeomorphicDemonsRegistrationFilter()
    method.SetNumberOfThreads(WORK_UNITS)
    method.SetNumberOfIterations(iterations)
    method.SetSmoothDisplacementField(True)
    method.SetStandardDeviations(SMOOTHNESS)
    field: sitk.Image = method.Execute(fixed, moving, *([] if start is None else [start]))
    return field

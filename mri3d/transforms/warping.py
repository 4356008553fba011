"""How far each part of a brain is larger or smaller than in the template, once the whole is aligned."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from mri3d.grid import Grid
from mri3d.transforms.template import template_on
from mri3d.volumes.itk import WORK_UNITS, as_sitk
from mri3d.volumes.volume import FloatArray

LEVELS = ((4, 40), (2, 30), (1, 10))
"""How many times coarser than the model grid, and iterations, from coarse to fine."""

SMOOTHNESS = 1.2
"""Standard deviation in voxels of the Gaussian that keeps the deformation smooth after every iteration."""

BINS, POINTS = 256, 15
"""Of the histogram matching."""

TISSUE = 0.15
"""Of the template's intensity, from which on there is tissue."""

LEAST = 0.01
"""Smallest Jacobian of which a logarithm is taken."""


def log_jacobian(image: FloatArray, grid: Grid) -> FloatArray:
    """Logarithm of the growth that makes the template's tissue this brain's, at each of the template's voxels.

    Diffeomorphic demons (Vercauteren et al. 2009, doi 10.1016/j.neuroimage.2008.10.040) bring the brain onto the
    template after the intensities are matched by their histograms; -0.1 says that what fills the voxel of the template
    has 10 % less room in this brain. The size of the whole head is no part of it, since the brain is aligned before
    (tensor-based morphometry, Ashburner and Friston 2000, doi 10.1006/nimg.2000.0582, by the Jacobian).

    Args:
        image: (X, Y, Z) normalised T1w intensity on the model grid, 0 outside the brain.
        grid: the model grid.

    Returns:
        (X, Y, Z) float32.
    """
    # in voxels, since ITK's Jacobian knows no directions
    fixed, moving = as_sitk(_normalised(template_on(grid))), as_sitk(image.astype(np.float32))
    moving = sitk.HistogramMatching(moving, fixed, BINS, POINTS, True)
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

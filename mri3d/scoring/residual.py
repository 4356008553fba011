"""How a reconstruction differs from what it reconstructs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from mri3d.scoring.similarity import SIGMA, similarity
from mri3d.volumes.volume import BoolArray, FloatArray


def difference(image: FloatArray, reconstruction: FloatArray, mask: BoolArray) -> FloatArray:
    """The signed difference ``image - reconstruction`` inside the brain.

    Args:
        image: (X, Y, Z) normalised intensity.
        reconstruction: (X, Y, Z), the model's output.
        mask: (X, Y, Z) brain.

    Returns:
        float32, positive where the image is brighter than expected, 0 outside the brain.
    """
    return np.where(mask, image - reconstruction, 0).astype(np.float32)


def dissimilarity(image: FloatArray, reconstruction: FloatArray, mask: BoolArray) -> FloatArray:
    """Lack of structural similarity (Bergmann et al. 2019, arXiv 1807.02011), with the sign of the mean difference.

    It answers to texture and edges as well as to intensity, and not to how bright the surroundings are.

    Args:
        image: (X, Y, Z) normalised intensity.
        reconstruction: (X, Y, Z), the model's output.
        mask: (X, Y, Z) brain.

    Returns:
        float32, -1 to 1: half of what SSIM lacks to 1, negative where the image is darker than expected; 0 outside the
        brain.
    """
    inside = [np.where(mask, array, 0).astype(np.float32) for array in (image, reconstruction)]
    sign = np.sign(smooth(inside[0] - inside[1], mask, [SIGMA]))
    return np.where(mask, sign * (1 - similarity(*inside)) / 2, 0).astype(np.float32)


def smooth(residual: FloatArray, mask: BoolArray, widths: Sequence[float]) -> FloatArray:
    """A residual averaged with its neighbours, at one or several scales.

    Args:
        residual: (X, Y, Z), 0 outside the brain.
        mask: (X, Y, Z) brain.
        widths: standard deviations of Gaussians in voxels, whose results are averaged; 0 leaves the residual as it is.
            They average over brain voxels alone (normalised convolution, Knutsson and Westin 1993), so that the border
            does not fade.

    Returns:
        (X, Y, Z) float32, 0 outside the brain.
    """
    scales = [_smooth(residual, mask, width) if width > 0 else residual for width in widths]
    return np.where(mask, np.mean(scales, axis=0), 0).astype(np.float32)


def _smooth(residual: FloatArray, mask: BoolArray, width: float) -> FloatArray:
    weight = ndimage.gaussian_filter(mask.astype(np.float32), width)
    return np.asarray(ndimage.gaussian_filter(residual, width) / np.maximum(weight, 1e-3), dtype=np.float32)

"""How a reconstruction differs from what it reconstructs."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mri3d.volumes.volume import BoolArray, FloatArray


def residual(image: FloatArray, reconstruction: FloatArray, mask: BoolArray, smoothing: float = 0.0) -> FloatArray:
    """The signed difference ``image - reconstruction`` inside the brain.

    Args:
        image: (X, Y, Z) normalised intensity.
        reconstruction: (X, Y, Z), the model's output.
        mask: (X, Y, Z) brain.
        smoothing: standard deviation of a Gaussian in voxels; averages over brain voxels alone
            (normalised convolution, Knutsson and Westin 1993), so that the border does not fade.

    Returns:
        float32, positive where the image is brighter than expected, 0 outside the brain.
    """
    difference = np.where(mask, image - reconstruction, 0).astype(np.float32)
    if smoothing <= 0:
        return difference
    weight = ndimage.gaussian_filter(mask.astype(np.float32), smoothing)
    smoothed = ndimage.gaussian_filter(difference, smoothing) / np.maximum(weight, 1e-3)
    return np.where(mask, smoothed, 0).astype(np.float32)

"""How faithful a reconstruction is to what it reconstructs, inside the brain on the model grid."""

from __future__ import annotations

import torch
from monai.metrics.regression import MSEMetric, PSNRMetric

from mri3d.scoring.similarity import PEAK, similarity
from mri3d.volumes.volume import BoolArray, FloatArray

LARGEST_PSNR = 120.0
"""In dB; a perfect reconstruction would have an infinite one, which JSON does not know."""


@torch.no_grad()
def fidelity(image: FloatArray, reconstruction: FloatArray, mask: BoolArray) -> dict[str, float]:
    """Mean squared error, peak signal-to-noise ratio and structural similarity.

    Args:
        image: (X, Y, Z) normalised intensity, 0 outside the brain.
        reconstruction: (X, Y, Z), 0 outside the brain.
        mask: (X, Y, Z) brain; not empty.

    Returns:
        ``mse`` (0 and up), ``psnr`` (dB, at most 120) and ``ssim`` (-1 to 1), the mean over brain voxels of
        :func:`mri3d.scoring.similarity.similarity`.
    """
    real, made = (torch.as_tensor(array[mask], dtype=torch.float32) for array in (image, reconstruction))
    return {
        "mse": float(torch.as_tensor(MSEMetric()(made[None], real[None]))),
        "psnr": min(float(torch.as_tensor(PSNRMetric(max_val=PEAK)(made[None], real[None]))), LARGEST_PSNR),
        "ssim": float(similarity(image, reconstruction)[mask].mean()),
    }

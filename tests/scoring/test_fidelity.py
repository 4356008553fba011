from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from mri3d.scoring.fidelity import fidelity
from mri3d.scoring.similarity import SIGMA

SHAPE = (14, 16, 12)


def volumes(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, bool)
    mask[2:-1, 1:-3, 2:-2] = True
    image = (rng.random(SHAPE) * mask).astype(np.float32)
    return image, (image + 0.1 * rng.normal(size=SHAPE) * mask).astype(np.float32), mask


def ssim_by_filtering(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Wang et al. 2004, equation 13, with scipy's Gaussian of the same width."""

    def mean(x: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(x.astype(float), SIGMA, radius=3, mode="constant")

    m_a, m_b = mean(a), mean(b)
    v_a, v_b, v_ab = mean(a * a) - m_a**2, mean(b * b) - m_b**2, mean(a * b) - m_a * m_b
    return (2 * m_a * m_b + 1e-4) * (2 * v_ab + 9e-4) / ((m_a**2 + m_b**2 + 1e-4) * (v_a + v_b + 9e-4))


def test_values_by_hand():
    image, reconstruction, mask = volumes()
    found = fidelity(image, reconstruction, mask)
    mse = float(((image - reconstruction)[mask].astype(float) ** 2).mean())
    assert found["mse"] == pytest.approx(mse, rel=1e-5)
    assert found["psnr"] == pytest.approx(10 * np.log10(1 / mse), rel=1e-5)
    assert found["ssim"] == pytest.approx(ssim_by_filtering(image, reconstruction)[mask].mean(), abs=1e-4)


def test_a_perfect_reconstruction_has_finite_values():
    image, _, mask = volumes()
    assert fidelity(image, image, mask) == pytest.approx({"mse": 0.0, "psnr": 120.0, "ssim": 1.0})


def test_what_lies_outside_the_brain_is_no_error():
    image, reconstruction, _ = volumes()
    far = np.zeros(SHAPE, bool)
    far[4:8, 4:8, 4:8] = True
    changed = reconstruction.copy()
    changed[-1, -1, -1] += 5  # beyond every window around the small brain
    assert fidelity(image, changed, far) == fidelity(image, reconstruction, far)

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.autoencoders import sharpness, spectrum
from mri3d.grid import Grid
from mri3d.scoring.residual import smooth
from tests.helpers import ellipsoid

GRID = Grid.centred((48, 56, 48), 3.5, (0.0, -15.0, 10.0))


@pytest.fixture
def brain() -> tuple[np.ndarray, np.ndarray]:
    mask = ellipsoid(GRID)
    rng = np.random.default_rng(0)
    texture = sum(ndimage.gaussian_filter(rng.normal(size=GRID.shape), width) * width for width in (0.6, 2.0, 5.0))
    return np.where(mask, 0.6 + 0.1 * texture, 0).astype(np.float32), mask


def test_a_perfect_reconstruction_is_as_sharp_as_its_input(brain):
    image, mask = brain
    assert sharpness(image, image, mask, 1.5) == pytest.approx({"fine_power": 1.0, "fine_kept": 1.0})
    assert spectrum(image, image, mask) == pytest.approx(np.ones((2, 20)))


def test_blur_takes_fine_detail_and_leaves_the_coarse(brain):
    image, mask = brain
    blurred = smooth(image, mask, [1.5])
    found = sharpness(image, blurred, mask, 1.5)
    assert found["fine_power"] < found["fine_kept"] < 0.4
    power, _ = spectrum(image, blurred, mask)
    assert power[1] > 0.6 and power[-5:].max() < 0.15
    assert (np.diff(power[:10]) < 0).all()


def test_noise_is_power_and_no_detail(brain):
    image, mask = brain
    noisy = np.where(mask, 0.6 + np.random.default_rng(1).normal(0, 0.1, image.shape), 0).astype(np.float32)
    found = sharpness(image, noisy, mask, 1.5)
    assert found["fine_power"] > 1 and abs(found["fine_kept"]) < 0.05
    _, coherence = spectrum(image, noisy, mask)
    assert np.abs(coherence[3:]).max() < 0.2

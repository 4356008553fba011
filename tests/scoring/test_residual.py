"""The residual is a plain difference inside the brain, and smoothing does not fade at its border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mri3d.grid import Grid
from mri3d.scoring.residual import difference, dissimilarity, smooth
from tests.helpers import ellipsoid

GRID = Grid.centred((20, 24, 20), 10.0, (0.0, -15.0, 10.0))
BRAIN = ellipsoid(GRID)


def residual(image: np.ndarray, reconstruction: np.ndarray, mask: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    return smooth(difference(image, reconstruction, mask), mask, [smoothing])


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=GRID.shape).astype(np.float32)


def test_without_smoothing_it_is_image_minus_reconstruction_inside_and_zero_outside():
    image, reconstruction = noise(0), noise(1)
    found = residual(image, reconstruction, BRAIN)
    assert found.dtype == np.float32
    assert (found[BRAIN] == (image - reconstruction)[BRAIN]).all()
    assert (found[~BRAIN] == 0).all()


@settings(deadline=None, max_examples=30)
@given(st.floats(0.1, 4), st.floats(-2, 2))
def test_a_constant_residual_stays_constant_up_to_the_border(smoothing: float, value: float):
    image = np.where(BRAIN, value, 1e3).astype(np.float32)
    found = residual(image, np.zeros(GRID.shape, np.float32), BRAIN, smoothing)
    assert found[BRAIN] == pytest.approx(value, abs=1e-4)
    assert (found[~BRAIN] == 0).all()


def test_what_lies_outside_the_brain_does_not_leak_in():
    image, reconstruction = noise(0), noise(1)
    found = residual(image, reconstruction, BRAIN, 1.5)
    scalp = np.where(BRAIN, image, 500).astype(np.float32)
    assert (residual(scalp, reconstruction, BRAIN, 1.5) == found).all()


def test_smoothing_averages_noise_away_and_keeps_the_sign():
    image = noise(0)
    spot = np.zeros(GRID.shape, np.float32)
    spot[8:12, 10:14, 8:12] = 1
    found = residual(image, np.zeros_like(image), BRAIN, 1.0)
    assert found[BRAIN].std() < 0.5 * image[BRAIN].std()
    bright, dark = (residual(sign * spot, np.zeros_like(spot), BRAIN, 1.0) for sign in (1, -1))
    assert bright.max() > 0.5
    assert bright.min() >= 0
    assert (dark == -bright).all()


def test_nothing_is_changed_in_place_and_an_empty_brain_gives_zeros():
    image, reconstruction = noise(0), noise(1)
    copies = image.copy(), reconstruction.copy()
    residual(image, reconstruction, BRAIN, 1.0)
    assert (image == copies[0]).all()
    assert (reconstruction == copies[1]).all()
    assert (residual(image, reconstruction, np.zeros(GRID.shape, bool), 1.0) == 0).all()


def test_several_scales_are_averaged():
    found = smooth(difference(noise(0), noise(1), BRAIN), BRAIN, [0.0, 1.0, 2.0])
    each = [residual(noise(0), noise(1), BRAIN, width) for width in (0.0, 1.0, 2.0)]
    assert found == pytest.approx(np.mean(each, axis=0), abs=1e-6)


def test_dissimilarity_sees_texture_that_the_mean_difference_does_not():
    flat = np.where(BRAIN, 0.6, 0).astype(np.float32)
    checks = np.indices(GRID.shape).sum(0) % 2 * 0.2 - 0.1
    textured = flat + np.where(BRAIN, checks, 0).astype(np.float32)
    deep = np.zeros(GRID.shape, bool)
    deep[8:12, 10:14, 8:12] = True
    found = dissimilarity(textured, flat, BRAIN)
    assert (found[~BRAIN] == 0).all()
    assert np.abs(found[deep]).min() > 0.2
    assert np.abs(smooth(difference(textured, flat, BRAIN), BRAIN, [1.5])[deep]).max() < 0.02


def test_dissimilarity_has_the_sign_of_the_difference_and_is_none_where_nothing_differs():
    flat = np.where(BRAIN, 0.6, 0).astype(np.float32)
    spot = np.zeros(GRID.shape, np.float32)
    spot[8:12, 10:14, 8:12] = 0.2
    for sign in (1, -1):
        found = dissimilarity(flat + sign * spot, flat, BRAIN)
        assert (sign * found)[9:11, 11:13, 9:11].min() > 0.01
        assert np.abs(found).max() <= 1
    assert (dissimilarity(flat, flat, BRAIN) == 0).all()

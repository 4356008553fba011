"""The noise is estimated whatever the object's size, place and scale."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mri3d.models.noise import noise_level, object_threshold

SHAPE = (56, 60, 52)


def ellipsoid(shape: tuple[int, int, int] = SHAPE, size: float = 0.8) -> torch.Tensor:
    """An object with a smooth change of intensity within, 0 outside."""
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    return (0.7 + 0.2 * x - 0.1 * y * z) * (x**2 + y**2 + z**2 < size)


def noise(sigma: float, seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return sigma * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25, deadline=None)
@given(
    level=st.floats(0.01, 0.12), unit=st.floats(1e-3, 1e5), size=st.floats(0.4, 1.5), seed=st.integers(0, 10**6),
    rician=st.booleans(),
)  # fmt: skip
def test_it_is_found_in_any_unit_for_an_object_of_any_size(level, unit, size, seed, rician):
    clean = ellipsoid(size=size)
    noisy = clean + noise(level, seed)
    noisy = torch.hypot(noisy, noise(level, seed + 1)) if rician else noisy
    found = float(noise_level(unit * noisy[None, None])) / unit
    assert found == pytest.approx(level, rel=0.15)  # the rim of a small object adds to it


@settings(max_examples=25, deadline=None)
@given(shape=st.tuples(*[st.integers(2, 9)] * 3), value=st.floats(-1e4, 1e4, width=32))
def test_a_constant_image_of_any_size_has_none(shape, value):
    found = noise_level(torch.full((2, 3, *shape), value))
    assert found.shape == (2, 3, 1, 1, 1)
    assert (found == 0).all()


def test_each_image_and_channel_has_its_own():
    sigma = torch.tensor([[0.02, 0.05], [0.1, 0.01]])
    noisy = torch.stack([torch.stack([ellipsoid() + noise(float(s), i) for i, s in enumerate(row)]) for row in sigma])
    assert noise_level(noisy)[..., 0, 0, 0].numpy() == pytest.approx(sigma.numpy(), rel=0.1)


def test_air_counts_neither_stripped_nor_as_it_is():
    stripped = ellipsoid() + noise(0.05, 0) * (ellipsoid() > 0)
    whole = torch.hypot(ellipsoid() + noise(0.05, 0), noise(0.05, 1))
    for image in (stripped, whole):
        assert float(noise_level(image[None, None])) == pytest.approx(0.05, rel=0.1)


def test_the_threshold_lies_between_an_object_and_its_background():
    assert 0.2 < float(object_threshold(ellipsoid(size=0.1))) < 0.5
    assert 0.2 < float(object_threshold(ellipsoid(size=0.8))) < 0.5


def test_fine_anatomy_is_not_taken_for_noise():
    """Half of the object is as finely textured as a cortex; its other half is plain."""
    texture = noise(0.1, 5) * (ellipsoid() > 0)
    texture[:, :30] = 0
    assert float(noise_level((ellipsoid() + texture + noise(0.03, 0))[None, None])) == pytest.approx(0.03, rel=0.2)


@pytest.mark.parametrize("clipped_at", [0.8, 0.9, 0.99])
def test_a_clipped_image_still_has_its_noise(clipped_at: float):
    noisy = ellipsoid() + noise(0.05, 0)
    ceiling = noisy[ellipsoid() > 0].quantile(clipped_at)
    assert float(noise_level(noisy.clamp(max=ceiling)[None, None])) == pytest.approx(0.05, rel=0.15)


def test_a_small_object_s_noise_is_not_left_to_chance():
    found = [float(noise_level((1 + noise(0.05, seed, (12, 12, 12)))[None, None])) for seed in range(40)]
    assert max(abs(one - 0.05) for one in found) < 0.014

"""Bias field and scale go, anatomy stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mri3d.errors import PreprocessingError
from mri3d.transforms.case import Case, Item
from mri3d.transforms.intensity import CorrectBias, NormaliseIntensity
from tests.helpers import subject_of

SHAPE = (42, 48, 40)


def coordinates() -> np.ndarray:
    return np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))


def brain() -> tuple[np.ndarray, np.ndarray]:
    """Tissue of two intensities with a little noise in a mask: (image, white matter)."""
    radius = np.linalg.norm(coordinates(), axis=0)
    noise = 1 + 0.02 * np.random.default_rng(0).normal(size=SHAPE)
    white = radius < 0.7
    return np.where(radius < 0.9, np.where(white, 100, 60) * noise, 0), white


def item_of(image: np.ndarray, mask: np.ndarray | None = None) -> Item:
    mask = image != 0 if mask is None else mask
    tensors = torch.tensor(image, dtype=torch.float32)[None], torch.tensor(mask, dtype=torch.bool)[None]
    return {"case": Case(subject_of()), "image": tensors[0], "mask": tensors[1]}


def variation(image: np.ndarray, where: np.ndarray) -> float:
    return float(image[where].std() / image[where].mean())


def test_a_known_bias_field_is_taken_out():
    image, white = brain()
    x, y, z = coordinates()
    biased = image * np.exp(0.5 * x - 0.3 * y * z + 0.2 * y)
    found = CorrectBias()(item_of(biased))["image"][0].numpy()
    assert variation(biased, white) > 0.15  # noise alone has 0.02
    assert variation(found, white) < 0.05
    # what differs between tissues is anatomy
    grey = (image != 0) & ~white
    assert found[white].mean() / found[grey].mean() == pytest.approx(100 / 60, rel=0.05)
    assert (found[image == 0] == 0).all()


def test_an_image_without_bias_stays_what_it_is():
    image, white = brain()
    found = CorrectBias()(item_of(image))["image"][0].numpy()
    assert found[white].mean() / image[white].mean() == pytest.approx(1, abs=0.1)
    assert np.corrcoef(found[image != 0], image[image != 0])[0, 1] > 0.99


def test_bias_correction_gives_the_same_bits_again():
    image, _ = brain()
    one, two = (CorrectBias()(item_of(image))["image"] for _ in range(2))
    assert torch.equal(one, two)
    assert one.dtype == torch.float32
    assert one.shape == (1, *SHAPE)


@settings(deadline=None, max_examples=20)
@given(st.floats(1e-3, 1e4))
def test_the_scanner_s_scale_does_not_matter(scale: float):
    image, _ = brain()
    one = NormaliseIntensity()(item_of(image))["image"]
    other = NormaliseIntensity()(item_of(image * scale))["image"]
    assert torch.allclose(one, other, atol=1e-5)


def test_the_percentile_of_the_brain_alone_becomes_one():
    image = np.zeros((10, 10, 10))
    image[:5] = np.arange(1, 501).reshape(5, 10, 10)
    image[7:] = 1e6  # scalp: outside the mask
    mask = np.zeros(image.shape, bool)
    mask[:5] = True
    found = NormaliseIntensity(percentile=90)(item_of(image, mask))["image"][0].numpy()
    assert found[:5] == pytest.approx(image[:5] / np.percentile(np.arange(1, 501), 90), rel=1e-5)
    assert (found[5:] == 0).all()


@pytest.mark.parametrize("modality", ["T2w", "FLAIR"])
def test_where_fluid_or_lesions_are_brightest_the_median_is_the_scale(modality: str):
    image = np.arange(1, 1001, dtype=float).reshape(10, 10, 10)
    item = item_of(image, np.ones(image.shape, bool))
    subject = item["case"].subject
    item["case"] = replace(item["case"], subject=replace(subject, images={modality: subject.reference}))
    found = NormaliseIntensity()(item)["image"][0].numpy()
    assert np.median(found) == pytest.approx(0.4)
    assert found.max() == pytest.approx(0.8, abs=0.01)
    image[image > 900] *= 30  # a lesion changes nothing elsewhere
    item["image"] = torch.from_numpy(image[None].astype(np.float32))
    assert NormaliseIntensity()(item)["image"][0].numpy()[image <= 900] == pytest.approx(found[image <= 900])


def test_values_end_at_zero_and_at_the_ceiling():
    image = np.linspace(-1, 100, 1000).reshape(10, 10, 10)
    image[0, 0, 0], image[0, 0, 1] = 1e5, -1e5
    item = item_of(image, np.ones(image.shape, bool))
    before = item["image"].clone()
    found = NormaliseIntensity(ceiling=1.2)(item)["image"]
    assert found.min() == 0
    assert found.max() == pytest.approx(1.2)
    assert found[0, 0, 0, 0] == pytest.approx(1.2)
    assert torch.equal(item["image"], before)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.zeros(1000), "a 98th percentile of 0"),
        (np.r_[np.zeros(990), np.ones(10)], "a 98th percentile of 0"),
        (np.linspace(-100, -1, 1000), "100.0% below 0"),
        (np.linspace(-50, 50, 1000), "50.0% below 0"),
        (np.linspace(-3, 97, 1000), "3.0% below 0"),
        (np.linspace(-2.05, 97.95, 1000), "at most 2.0% .* found 2.1% below 0"),
        (np.full(1000, np.nan), "a 98th percentile of nan"),
    ],
    ids=["empty", "nearly empty", "negative", "standardised", "a little too negative", "by a hair", "no numbers"],
)
def test_a_brain_without_a_scale_is_refused_with_the_file(values: np.ndarray, found: str):
    item = item_of(values.reshape(10, 10, 10), np.ones((10, 10, 10), bool))
    with pytest.raises(PreprocessingError, match=found) as caught:
        NormaliseIntensity()(item)
    assert caught.value.where == "head.nii.gz"


def test_a_few_negative_voxels_are_no_reason_to_refuse_a_brain():
    image = np.linspace(-1.9, 98.1, 1000).reshape(10, 10, 10)
    found = NormaliseIntensity()(item_of(image, np.ones(image.shape, bool)))["image"]
    assert (found >= 0).all()
    assert found.isfinite().all()

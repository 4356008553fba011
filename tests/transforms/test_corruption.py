"""Corruptions are random, reproducible, confined to the brain, and both brighter and darker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from monai.transforms import RandCoarseDropoutd, RandGaussianNoised
from scipy import ndimage

from mri3d.training.prepare import Fixed
from mri3d.transforms.corruption import RandAnomaliesd, RandCoarseNoised, RandMissingd, smooth_noise

SHAPE = (48, 56, 48)


def item(value: float = 0.7) -> dict[str, torch.Tensor]:
    mask = torch.zeros(1, *SHAPE, dtype=torch.bool)
    mask[:, 6:42, 6:50, 6:42] = True
    return {"image": value * mask, "mask": mask}


def anomalies(seed: int = 0, **options) -> RandAnomaliesd:
    return RandAnomaliesd("image", **options).set_random_state(seed)


def test_anomalies_stay_inside_the_brain_and_in_range_and_leave_the_input_alone():
    transform, data = anomalies(), item()
    before = data["image"].clone()
    for _ in range(20):
        image = transform(data)["image"]
        assert image.shape == before.shape
        assert 0 <= image.min() <= image.max() <= 1.5
        assert not image[~data["mask"]].any()
    assert torch.equal(data["image"], before)


def test_some_heads_stay_whole_and_others_get_up_to_the_number_asked_for():
    transform, data = anomalies(most=1), item()
    changed = [bool((transform(data)["image"] - data["image"]).abs().max() > 1e-3) for _ in range(60)]
    assert 15 < sum(changed) < 45


def test_tissue_gets_brighter_as_well_as_darker_and_sizes_cover_three_orders():
    transform, data = anomalies(most=1), item()
    sizes, signs = [], []
    for _ in range(80):
        change = (transform(data)["image"] - data["image"]).numpy()
        strong = np.abs(change) > 0.03
        if strong.any():
            sizes.append(strong.sum() * 0.008)
            signs.append(np.sign(change[strong].mean()))
    assert min(sizes) < 1
    assert max(sizes) > 20
    assert min(signs.count(1), signs.count(-1)) > 10


def test_the_same_state_makes_the_same_anomalies_and_another_makes_others():
    one, same, other = (anomalies(seed)(item())["image"] for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_an_empty_brain_stays_empty():
    data = {"image": torch.zeros(1, *SHAPE), "mask": torch.zeros(1, *SHAPE, dtype=torch.bool)}
    assert not anomalies()(data)["image"].any()


@pytest.mark.parametrize("scale", [2.0, 8.0])
def test_smooth_noise_has_the_width_that_is_asked_for(scale: float):
    noise = smooth_noise((64, 64, 64), scale, np.random.RandomState(0)).numpy()
    assert abs(noise.mean()) < 0.2
    assert 0.3 < noise.std() < 1.2
    assert np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1] > 0.5
    far = int(3 * scale)
    assert abs(np.corrcoef(noise[:-far].ravel(), noise[far:].ravel())[0, 1]) < 0.2


def test_coarse_noise_has_the_strength_that_is_asked_for_and_stays_inside():
    transform = RandCoarseNoised("image", 1.0, scales=(3, 3), std=(0.2, 0.2)).set_random_state(0)
    data = item()
    change = (transform(data)["image"] - data["image"])[0].numpy()
    inside = data["mask"][0].numpy()
    assert not change[~inside].any()
    assert 0.05 < change[inside].std() < 0.2  # interpolation takes some of the variance
    assert ndimage.gaussian_filter(change, 1)[inside].std() > 0.6 * change[inside].std()
    never = RandCoarseNoised("image", 0.0, scales=(3, 3), std=(0.2, 0.2))
    assert torch.equal(never(data)["image"], data["image"])


def test_in_validation_a_subject_is_corrupted_the_same_way_in_every_epoch():
    chain = [anomalies()]
    fixed = Fixed(chain)
    first, again, other = fixed(item())["image"], fixed(item())["image"], fixed(item(0.71))["image"]
    assert torch.equal(first, again)
    assert not torch.equal(first - item()["image"], other - item(0.71)["image"])
    assert any(not torch.equal(fixed(item(v))["image"], item(v)["image"]) for v in (0.5, 0.6, 0.7, 0.8))
    # and training's own random state is not touched
    assert torch.equal(chain[0](item())["image"], anomalies()(item())["image"])


def test_in_validation_neither_threads_nor_transforms_that_write_in_place_make_a_difference():
    in_place = RandCoarseDropoutd("image", holes=2, spatial_size=6, prob=1.0)
    fixed = Fixed([anomalies(), in_place, RandGaussianNoised("image", 1.0)])
    items = [item(0.5 + 0.02 * k) for k in range(16)]
    before = [data["image"].clone() for data in items]
    alone = [torch.as_tensor(fixed(data)["image"]).clone() for data in items]
    assert all(torch.equal(data["image"], image) for data, image in zip(items, before, strict=True))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fixed, items))
    assert all(torch.equal(torch.as_tensor(one["image"]), other) for one, other in zip(together, alone, strict=True))


def test_any_modality_but_the_first_may_be_left_out_of_image_and_mask_alike():
    whole = {"image": torch.ones(3, 4, 4, 4), "mask": torch.ones(3, 4, 4, 4, dtype=torch.bool)}
    transform, seen = RandMissingd(["image", "mask"], 0.75).set_random_state(0), []
    for _ in range(200):
        item = transform(whole)
        kept = item["mask"].flatten(1).any(dim=1)
        assert torch.equal(item["image"].flatten(1).any(dim=1), kept)
        seen.append(tuple(kept.tolist()))
    assert whole["mask"].all()  # the cache's own is left alone
    shares = {kind: seen.count(kind) / len(seen) for kind in set(seen)}
    assert shares == pytest.approx(
        {(True, *others): 0.25 for others in ((True, True), (True, False), (False, True), (False, False))}, abs=0.08
    )


def test_a_single_modality_is_never_left_out():
    one = item()
    assert torch.equal(RandMissingd("image", 1.0)(one)["image"], one["image"])

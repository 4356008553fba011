"""The loss is the brain's mean squared error; what lies outside teaches nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from mri3d.training.losses import BrainMSELoss, prepare_batch

CPU = torch.device("cpu")


def batch(seed: int = 0, channels: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {
        "image": torch.rand(3, channels, 4, 5, 6),
        "target": torch.rand(3, channels, 4, 5, 6),
        "mask": torch.rand(3, 1, 4, 5, 6) > 0.4,
    }


def test_it_is_the_mean_square_over_brain_voxels_and_channels():
    data = batch()
    pred = torch.rand(3, 2, 4, 5, 6)
    _, target = prepare_batch(data, CPU)
    inside = np.repeat(data["mask"].numpy(), 2, axis=1)
    wanted = ((pred - data["target"]).numpy()[inside] ** 2).mean()
    assert float(BrainMSELoss()(pred, target)) == pytest.approx(wanted, rel=1e-6)


def test_an_error_outside_the_brain_costs_nothing_and_has_no_gradient():
    data = batch()
    _, target = prepare_batch(data, CPU)
    pred = torch.rand(3, 2, 4, 5, 6, requires_grad=True)
    loss = BrainMSELoss()(pred, target)
    loss.backward()
    outside = ~data["mask"].expand(3, 2, 4, 5, 6)
    assert (pred.grad[outside] == 0).all()
    assert (pred.grad[~outside] != 0).all()
    worse = torch.where(outside, 100.0, pred.detach())
    assert float(BrainMSELoss()(worse, target)) == loss.item()


def test_the_input_may_be_corrupted_while_the_target_is_not():
    data = batch()
    image, target = prepare_batch(data, CPU)
    assert torch.equal(image, data["image"])
    assert torch.equal(target[:, :-1], data["target"])
    assert torch.equal(target[:, -1:], data["mask"].float())
    del data["target"]
    image, target = prepare_batch(data, CPU)
    assert torch.equal(target[:, :-1], image)


def test_what_augmentation_hands_on_becomes_plain_float32():
    data = {key: MetaTensor(value) for key, value in batch(channels=1).items()}
    data["image"] = data["image"].double()
    image, target = prepare_batch(data, CPU, non_blocking=True, label="ignored")
    assert type(image) is type(target) is torch.Tensor
    assert image.dtype == target.dtype == torch.float32


def test_a_batch_without_brain_is_no_division_by_zero():
    data = batch()
    data["mask"][:] = False
    pred = torch.rand(3, 2, 4, 5, 6, requires_grad=True)
    loss = BrainMSELoss()(pred, prepare_batch(data, CPU)[1])
    loss.backward()
    assert loss.item() == 0
    assert pred.grad.isfinite().all()


def test_a_half_precision_output_is_compared_in_float32():
    data = batch()
    pred = torch.rand(3, 2, 4, 5, 6).bfloat16()
    _, target = prepare_batch(data, CPU)
    assert float(BrainMSELoss()(pred, target)) == float(BrainMSELoss()(pred.float(), target))

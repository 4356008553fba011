"""The loss is the brain's mean squared error; what lies outside teaches nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from mri3d.training.losses import BrainBCELoss, BrainMSELoss, VariationalLoss, prepare_batch

CPU = torch.device("cpu")


def batch(seed: int = 0, channels: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {
        "image": torch.rand(3, channels, 4, 5, 6),
        "target": torch.rand(3, channels, 4, 5, 6),
        "mask": torch.rand(3, channels, 4, 5, 6) > 0.4,
    }


def test_it_is_the_mean_square_over_brain_voxels_and_channels():
    data = batch()
    pred = torch.rand(3, 2, 4, 5, 6)
    _, target = prepare_batch(data, CPU)
    inside = data["mask"].numpy()
    wanted = ((pred - data["target"]).numpy()[inside] ** 2).mean()
    assert float(BrainMSELoss()(pred, target)) == pytest.approx(wanted, rel=1e-6)


def test_an_error_outside_the_brain_costs_nothing_and_has_no_gradient():
    data = batch()
    _, target = prepare_batch(data, CPU)
    pred = torch.rand(3, 2, 4, 5, 6, requires_grad=True)
    loss = BrainMSELoss()(pred, target)
    loss.backward()
    outside = ~data["mask"]
    assert (pred.grad[outside] == 0).all()
    assert (pred.grad[~outside] != 0).all()
    worse = torch.where(outside, 100.0, pred.detach())
    assert float(BrainMSELoss()(worse, target)) == loss.item()


def test_the_input_may_be_corrupted_while_the_target_is_not():
    data = batch()
    image, target = prepare_batch(data, CPU)
    assert torch.equal(image, data["image"])
    assert torch.equal(target[:, :2], data["target"])
    assert torch.equal(target[:, 2:], data["mask"].float())
    del data["target"]
    image, target = prepare_batch(data, CPU)
    assert torch.equal(target[:, :2], image)


def test_what_augmentation_hands_on_becomes_plain_float32():
    data = {key: MetaTensor(value) for key, value in batch(channels=1).items()}
    data["image"] = data["image"].double()
    image, target = prepare_batch(data, CPU, non_blocking=True, label="ignored")
    assert type(image) is type(target) is torch.Tensor
    assert image.dtype == target.dtype == torch.float32


def test_without_a_mask_every_voxel_counts():
    image = torch.rand(2, 1, 4, 4, 4)
    inputs, target = prepare_batch({"image": image}, torch.device("cpu"))
    assert (inputs == image).all()
    assert (target[:, -1] == 1).all()
    assert target.shape == (2, 2, 4, 4, 4)


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


def test_corrupted_voxels_count_more_where_that_is_asked_for():
    data = batch(channels=1)
    data["image"] = data["target"].clone()
    data["image"][:, :, 0] += 0.2
    data["image"][:, :, 1] += 0.01  # no more than noise
    _, target = prepare_batch(data, CPU, focus=4.0)
    weight, mask = target[:, -1:], data["mask"].float()
    assert torch.equal(weight[:, :, 0], 5 * mask[:, :, 0])
    assert torch.equal(weight[:, :, 1:], mask[:, :, 1:])
    pred = data["target"].clone()
    pred[:, :, 0] += 0.1
    inside = mask.sum(dim=(0, 1, 3, 4))
    wanted = 0.01 * 5 * inside[0] / (5 * inside[0] + inside[1:].sum())
    assert float(BrainMSELoss()(pred, target)) == pytest.approx(float(wanted), rel=1e-5)


def test_cross_entropy_is_that_of_brain_voxels_and_least_at_the_target():
    data = batch(channels=1)
    _, target = prepare_batch(data, CPU)
    pred = torch.rand(3, 1, 4, 5, 6)
    inside, y, p = data["mask"].numpy(), data["target"].numpy(), pred.numpy()
    wanted = -(y * np.log(p) + (1 - y) * np.log(1 - p))[inside].mean()
    assert float(BrainBCELoss()(pred, target)) == pytest.approx(wanted, rel=1e-5)
    assert BrainBCELoss()(data["target"], target) < BrainBCELoss()(pred, target)
    assert torch.isfinite(BrainBCELoss()(torch.zeros_like(pred), target))


def test_the_variational_loss_adds_the_divergence_of_the_latent():
    data = batch(channels=1)
    _, target = prepare_batch(data, CPU)
    pred, mean, log_variance = torch.rand(3, 1, 4, 5, 6), torch.randn(3, 7), torch.randn(3, 7)
    plain = BrainMSELoss()(pred, target)
    standard = VariationalLoss(BrainMSELoss(), 1.0)((pred, torch.zeros(3, 7), torch.zeros(3, 7)), target)
    assert float(standard) == pytest.approx(float(plain))
    one, other = torch.distributions.Normal(mean, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
    divergence = torch.distributions.kl_divergence(one, other).sum() / data["mask"].sum()
    loss = VariationalLoss(BrainMSELoss(), 0.5)((pred, mean, log_variance), target)
    assert float(loss) == pytest.approx(float(plain + 0.5 * divergence), rel=1e-5)
    assert float(VariationalLoss(BrainMSELoss(), 0.5)(pred, target)) == float(plain)

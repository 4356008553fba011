"""The ResNet autoencoder takes any size, sees brains as MedicalNet saw them, and gives them back on their own scale."""

from __future__ import annotations

import pytest
import torch

from mri3d.models.resnet import ResNetAutoEncoder, standardise

TINY = {"depth": 10, "latent_channels": 4, "decoder_channels": (4, 4, 4, 8, 8)}


@pytest.fixture(scope="module")
def network() -> ResNetAutoEncoder:
    torch.manual_seed(0)
    return ResNetAutoEncoder(**TINY).eval()


@torch.no_grad()
@pytest.mark.parametrize("shape", [(33, 41, 30), (32, 64, 32), (1, 31, 97)])
def test_any_size_comes_back_scripted_or_not(network: ResNetAutoEncoder, shape: tuple[int, ...]):
    x = torch.rand(2, 1, *shape)
    y = network(x)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert torch.allclose(torch.jit.script(network)(x), y, atol=1e-5)


@torch.no_grad()
def test_padding_changes_nothing_but_the_size(network: ResNetAutoEncoder):
    x = torch.zeros(1, 1, 64, 64, 32)
    x[..., :33, :41, :30] = torch.rand(33, 41, 30) + 0.1
    assert torch.allclose(network(x[..., :33, :41, :30]), network(x)[..., :33, :41, :30], atol=1e-5)


@torch.no_grad()
def test_what_the_encoder_sees_is_standardised_within_each_brain_and_modality():
    x = torch.rand(2, 3, 20, 24, 18) * torch.tensor([1.0, 5.0, 0.2])[:, None, None, None] + 0.3
    x[..., :5] = 0
    seen, mean, std = standardise(x)
    assert seen[..., 5:].mean((2, 3, 4)).abs().max() < 1e-4
    assert torch.allclose(seen[..., 5:].std((2, 3, 4)), torch.ones(2, 3), atol=1e-3)
    assert not seen[..., :5].any()
    assert torch.allclose(seen[..., 5:] * std + mean, x[..., 5:], atol=1e-5)


@torch.no_grad()
def test_brightness_and_contrast_of_the_scan_go_through(network: ResNetAutoEncoder):
    x = torch.rand(1, 1, 32, 64, 32) + 0.1
    assert torch.allclose(network(3 * x + 2), 3 * network(x) + 2, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_a_volume_without_contrast_gives_finite_values(network: ResNetAutoEncoder, constant: float):
    assert network(torch.full((1, 1, 32, 64, 32), constant)).isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
def test_two_dimensions_and_several_modalities_go_as_well(dims: int):
    network = ResNetAutoEncoder(dims, 2, **TINY).eval()
    x = torch.rand(1, 2, *(40, 64, 33)[:dims])
    assert network(x).shape == x.shape


def test_a_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    network = ResNetAutoEncoder(**TINY).train()
    network(torch.rand(2, 1, 64, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_the_default_is_a_resnet_of_50_layers():
    with torch.device("meta"):
        network = ResNetAutoEncoder()
    # MedicalNet's ResNet-50 has 46 million weights
    assert sum(parameter.numel() for parameter in network.encoder.parameters()) == 46_155_072


def test_another_depth_or_number_of_levels_is_refused():
    with pytest.raises(ValueError, match="depth is 10 or 50, not 18"):
        ResNetAutoEncoder(depth=18)
    with pytest.raises(ValueError, match="decoder_channels are five, not 4"):
        ResNetAutoEncoder(depth=10, decoder_channels=(4, 4, 4, 4))

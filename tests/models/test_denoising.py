"""The denoising network keeps sizes and units, bounds what it changes, and learns to tell noise from an object."""

from __future__ import annotations

import pytest
import torch

from mri3d.models.denoising import DenoisingCNN, haar_wavelets


@pytest.fixture
def network() -> DenoisingCNN:
    torch.manual_seed(0)
    return DenoisingCNN(width=6, layers=2).eval()


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 1, 8, 8, 8), (2, 3, 9, 12, 7), (1, 1, 2, 3, 2)])
def test_any_size_comes_back_and_scripts(network: DenoisingCNN, shape: tuple[int, ...]):
    x = torch.rand(shape)
    scripted = torch.jit.script(network)
    for sigma in (None, torch.tensor(0.1), torch.full((shape[0], 1, 1, 1, 1), 0.1)):
        assert network(x, sigma).shape == x.shape
        assert torch.allclose(scripted(x, sigma), network(x, sigma), atol=1e-6)


@torch.no_grad()
def test_the_unit_of_the_image_does_not_matter(network: DenoisingCNN):
    x, sigma = torch.rand(1, 1, 12, 10, 11), torch.tensor(0.1)
    assert torch.allclose(network(1000 * x, 1000 * sigma) / 1000, network(x, sigma), atol=1e-6)
    assert torch.allclose(network(1000 * x) / 1000, network(x), atol=1e-5)


@torch.no_grad()
def test_no_voxel_changes_by_more_than_the_limit_and_none_without_noise(network: DenoisingCNN):
    x = 100 * torch.rand(1, 1, 8, 8, 8)
    assert (network(x, torch.tensor(0.0)) == x).all()
    changed = (network(x, torch.tensor(0.01)) - x).abs()
    assert 0 < changed.max() <= 0.04 + 1e-5


@torch.no_grad()
def test_channels_do_not_mix(network: DenoisingCNN):
    x = torch.rand(1, 2, 8, 8, 8)
    both = network(x, torch.tensor(0.1))
    assert torch.allclose(both[:, 1:], network(x[:, 1:], torch.tensor(0.1)), atol=1e-6)


def test_the_wavelets_are_orthonormal():
    flat = haar_wavelets().reshape(8, 8)
    assert torch.allclose(flat @ flat.T, torch.eye(8), atol=1e-6)
    assert (flat[0] > 0).all()


def test_it_learns_to_take_noise_away():
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = DenoisingCNN(width=8, layers=2).train()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    axes = torch.meshgrid(*[torch.linspace(0, 4, 16)] * 3, indexing="ij")
    for _ in range(150):
        phase = 6 * torch.rand(3, generator=rng)
        clean = 0.6 + 0.3 * sum(torch.sin(a + p) for a, p in zip(axes, phase, strict=True))[None, None] / 3
        noise = 0.1 * torch.randn(clean.shape, generator=rng)
        loss = ((network(clean + noise) - clean) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss) < 0.3 * float((noise**2).mean())

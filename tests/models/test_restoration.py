"""The restoring U-Net keeps the shape in two and three dimensions, and learns to take away what is put in."""

from __future__ import annotations

import pytest
import torch

from mri3d.models.restoration import RestorationUNet


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("atlas", [False, True])
def test_the_output_has_the_input_s_shape_and_scripts(dims: int, channels: int, atlas: bool):
    shape = (16, 32, 16)[:dims]
    torch.manual_seed(0)
    network = RestorationUNet(dims, channels, (4, 6, 8), 1, atlas_shape=shape if atlas else None).eval()
    x = torch.rand(2, channels, *shape)
    with torch.no_grad():
        assert network(x).shape == x.shape
        assert torch.allclose(torch.jit.script(network)(x), network(x), atol=1e-5)


def test_without_an_atlas_any_size_goes_and_with_one_only_its_own():
    assert RestorationUNet(2, channels=(4, 6))(torch.rand(2, 1, 8, 12)).shape == (2, 1, 8, 12)
    with pytest.raises(RuntimeError):
        RestorationUNet(2, channels=(4, 6), atlas_shape=(8, 8))(torch.rand(2, 1, 8, 12))


def test_it_learns_to_take_away_what_was_put_in_and_to_leave_the_rest():
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = RestorationUNet(2, channels=(8, 16), residual_units=1, atlas_shape=(16, 16)).train()

    def brains(n: int) -> torch.Tensor:
        y, x = torch.meshgrid(torch.linspace(0, 3, 16), torch.linspace(0, 3, 16), indexing="ij")
        phase = torch.rand(n, 1, 1, 1, generator=rng) * 0.5
        return 0.5 + 0.2 * torch.sin(x + phase) * torch.cos(y - 1.5)

    def corrupted(healthy: torch.Tensor) -> torch.Tensor:
        result = healthy.clone()
        for image in result:
            i, j = torch.randint(0, 12, (2,), generator=rng)
            image[0, i : i + 4, j : j + 4] *= 0.6
        return result

    healthy = brains(20)
    network.fit(list(healthy), [torch.ones(1, 16, 16, dtype=torch.bool)] * 20)
    assert network.atlas.mean.std() > 0.05
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(300):
        healthy = brains(16)
        loss = ((network(corrupted(healthy)) - healthy) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    healthy = brains(16)
    ill = corrupted(healthy)
    with torch.no_grad():
        lesion = (ill != healthy)
        restored = network(ill)
    assert (restored - healthy)[lesion].abs().mean() < 0.35 * (ill - healthy)[lesion].abs().mean()
    assert (restored - healthy)[~lesion].abs().mean() < 0.02

"""What the network of every recipe keeps, whatever it is inside."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from mri3d.recipe import merge, recipes
from mri3d.training.fit import fit

SHAPE = (32, 48, 32)
NARROW = {"channels": [4, 8, 8, 8], "components": 5, "depth": 10, "decoder_channels": [4, 4, 8, 8, 8]}
"""Recipe keys that make networks small."""


def config_of(recipe: str) -> dict[str, Any]:
    """The recipe's network, narrow and for a small grid; an ensemble of two."""
    config = merge(recipe, {"grid.shape": list(SHAPE)})["inference"]
    own = config["network_def"]
    own.update({key: value for key, value in NARROW.items() if key in own})
    if "members" in own:
        own["members"] = [config_of(member)["network_def"] for member in ("cae", "atlas")]
    return config


def build(recipe: str) -> nn.Module:
    parser = ConfigParser(config_of(recipe))
    parser["bundle_root"], parser["device"] = ".", "cpu"
    network: nn.Module = parser.get_parsed_content("network_def")
    return network


def network_of(recipe: str) -> nn.Module:
    """The recipe's network, measured on some drawn brains if it measures any."""
    torch.manual_seed(0)
    return fit(build(recipe), brains(8))


def brains(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Ellipsoids of an intensity that varies smoothly, with noise, each a little different."""
    rng = torch.Generator().manual_seed(seed)
    axes = [torch.linspace(-1, 1, size) for size in SHAPE]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    items = []
    for _ in range(n):
        tilt, noise = torch.rand(3, generator=rng), torch.randn(SHAPE, generator=rng)
        mask = x**2 + y**2 + z**2 < 0.7 + 0.2 * tilt[0]
        image = (0.6 + 0.2 * tilt[1] * y + 0.2 * tilt[2] * z + 0.02 * noise).clamp(min=0.05) * mask
        items.append({"image": image[None], "mask": mask[None]})
    return items


def batch(n: int = 2, seed: int = 2) -> torch.Tensor:
    return torch.stack([item["image"] for item in brains(n, seed)])


def batch_for(network: nn.Module, n: int = 2) -> torch.Tensor:
    """Volumes, or axial slices of them for a network of two dimensions."""
    flat = any(isinstance(module, nn.Conv2d) for module in network.modules())
    return batch(n)[..., SHAPE[2] // 2] if flat else batch(n)


@pytest.fixture(scope="module", params=recipes())
def network(request: pytest.FixtureRequest) -> nn.Module:
    return network_of(request.param).eval()


@torch.no_grad()
def test_the_output_is_one_finite_tensor_of_the_input_s_shape(network: nn.Module):
    one = batch_for(network, 1)
    for x in (batch_for(network), one, torch.zeros_like(one)):
        y = network(x)
        assert isinstance(y, torch.Tensor)
        assert y.shape == x.shape
        assert y.dtype == torch.float32
        assert y.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("recipe", ["cae", "vae", "unet", "attention_unet", "denoise", "noise", "resnet"])
def test_without_an_atlas_of_the_whole_grid_a_window_of_it_will_do(recipe: str):
    window = batch()[..., :16, 16:48, :16]
    assert network_of(recipe).eval()(window).shape == window.shape


@torch.no_grad()
def test_scripted_it_gives_the_same(network: nn.Module):
    x = batch_for(network)
    assert torch.allclose(torch.jit.script(network)(x), network(x), atol=1e-5)


@torch.no_grad()
def test_the_input_is_left_alone_and_neighbours_in_a_batch_do_not_matter(network: nn.Module):
    x = batch_for(network)
    before = x.clone()
    y = network(x)
    assert torch.equal(x, before)
    assert torch.allclose(network(x[:1]), y[:1], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("recipe", recipes())
def test_all_that_was_learnt_or_measured_is_in_the_state(recipe: str):
    one = network_of(recipe).eval()
    torch.manual_seed(5)
    other = build(recipe).eval()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(batch_for(one)), other(batch_for(one)))

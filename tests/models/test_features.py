"""Features are those of the network's levels, whatever the network, and looking leaves no trace."""

from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from mri3d.models.autoencoder import ConvAutoEncoder, VariationalAutoEncoder
from mri3d.models.ensemble import Ensemble
from mri3d.models.features import Features, features, parts_of
from mri3d.recipe import merge

SHAPE = [32, 48, 32]
SMALL = {
    "grid.shape": SHAPE,
    "network_def.channels": [4, 8, 12, 16],
    "network_def.depth": 10,
    "network_def.decoder_channels": [4, 6, 8, 10, 12],
}


def network_of(recipe: str) -> nn.Module:
    own = merge(recipe, {})["inference"]
    known = {key: v for key, v in SMALL.items() if key.split(".")[-1] in own[key.split(".")[0]]}
    parser = ConfigParser(merge(recipe, known)["inference"])
    network: nn.Module = parser.get_parsed_content("network_def")
    return network.eval()


def hooks_of(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def seen(found: Features) -> list[tuple[int, ...]]:
    return [tuple(level.maps.shape[1:]) for level in found.levels]


# maps and sizes at each level; latent
EXPECTED = {
    "cae": ([4, 8, 12, 16, 16, 12, 8, 4, 4], [2, 4, 8, 16, 16, 8, 4, 2, 1], (4, 2, 3, 2), 4),
    "vae": ([4, 8, 12, 16, 16, 12, 8, 4, 4], [2, 4, 8, 16, 16, 8, 4, 2, 1], (8, 2, 3, 2), 4),
    "unet": ([4, 8, 16, 8, 4], [2, 4, 8, 4, 2], None, 0),
    "attention_unet": ([4, 8, 12, 16, 12, 8, 4], [1, 2, 4, 8, 4, 2, 1], None, 0),
    "restore": ([24, 8, 16, 8, 4, 16], [2, 4, 8, 4, 2, 1], None, 0),
    "denoise": ([8, 8, 16, 8, 4, 16], [2, 4, 8, 4, 2, 1], None, 0),
}


@pytest.mark.parametrize("recipe", EXPECTED)
def test_levels_are_the_resolutions_on_the_way(recipe: str):
    widths, factors, latent, bottleneck = EXPECTED[recipe]
    network = network_of(recipe)
    x = torch.rand(1, 1, *SHAPE)
    found = features(network, x)
    assert [shape[1:] for shape in seen(found)] == [tuple(n // f for n in SHAPE) for f in factors]
    assert [shape[0] for shape in seen(found)] == widths
    assert (None if found.latent is None else tuple(found.latent.shape[1:])) == latent
    assert found.bottleneck == bottleneck
    assert hooks_of(network) == 0
    with torch.no_grad():
        assert torch.equal(found.result, network(x))


def test_names_are_those_of_modules_that_hold_one_level_each():
    network = network_of("cae")
    found = features(network, torch.rand(1, 1, *SHAPE))
    assert [level.name for level in found.levels] == [
        *(f"encoder.{i}" for i in range(4)), *(f"decoder.{i}" for i in range(5)),
    ]  # fmt: skip
    for recipe in EXPECTED:
        network = network_of(recipe)
        names = [level.name for level in features(network, torch.rand(1, 1, *SHAPE)).levels]
        assert len(set(names)) == len(names)
        assert set(names) <= {name for name, _ in network.named_modules()}


def test_a_residual_encoder_s_levels_are_its_stages():
    found = features(network_of("resnet"), torch.rand(1, 1, *SHAPE))
    names = [level.name for level in found.levels]
    assert names[:5] == ["encoder.act", *(f"encoder.layer{i}" for i in range(1, 5))]
    assert names[5:] == [f"decoder.{i}" for i in range(6)]
    assert found.latent is not None and found.latent.shape[1] == 32  # padded to 32 x 64 x 32 within
    assert tuple(found.latent.shape[2:]) == (1, 2, 1)
    assert found.bottleneck == 5


def test_maps_are_what_the_module_gives():
    network = network_of("cae")
    x = torch.rand(1, 1, *SHAPE)
    found = features(network, x)
    with torch.no_grad():
        assert torch.equal(found.levels[1].maps, network.encoder[:2](x))
        assert torch.equal(found.latent, network.encoder(x))


@pytest.mark.parametrize("recipe", ["atlas", "pca", "intensity", "equalised"])
def test_what_has_no_layers_shows_none(recipe: str):
    found = features(network_of(recipe), torch.rand(1, 1, *SHAPE))
    assert found.levels == () and found.latent is None


def test_slices_are_a_batch():
    network = network_of("cae2d")
    found = features(network, torch.rand(5, 1, *SHAPE[:2]))
    assert seen(found)[0] == (4, 16, 24)
    assert tuple(found.latent.shape) == (5, 4, 2, 3)


def test_a_latent_wider_than_its_level_is_none():
    for kind in (ConvAutoEncoder, VariationalAutoEncoder):
        network = kind(channels=(4, 4), latent_channels=8).eval()
        found = features(network, torch.rand(1, 1, *SHAPE))
        assert [level.name for level in found.levels[:2]] == ["encoder.0", "encoder.1"]
        assert tuple(found.latent.shape) == (1, 8, 8, 12, 8)


def test_a_dense_latent_is_a_vector():
    for kind in (ConvAutoEncoder, VariationalAutoEncoder):
        network = kind(channels=(4, 8), latent_channels=2, latent_size=6, shape=SHAPE).eval()
        found = features(network, torch.rand(1, 1, *SHAPE))
        assert tuple(found.latent.shape) == (1, 6)
        assert len(found.levels) == 5 and found.bottleneck == 2


def test_an_ensemble_is_looked_at_member_by_member():
    ensemble = Ensemble([network_of("cae"), network_of("unet")], SHAPE).eval()
    parts = parts_of(ensemble)
    assert list(parts) == ["1", "2"] and parts["2"] is ensemble.members[1]
    assert len(features(parts["1"], torch.rand(1, 1, *SHAPE)).levels) == 9
    alone = network_of("cae")
    assert parts_of(alone) == {"": alone}


def test_a_scripted_network_runs_and_shows_nothing_of_its_inside():
    network = network_of("cae")
    x = torch.rand(1, 1, *SHAPE)
    found = features(torch.jit.script(network), x)
    with torch.no_grad():
        assert torch.allclose(found.result, network(x), atol=1e-5)
    assert found.levels == ()


def test_hooks_go_even_where_the_network_fails():
    network = network_of("cae")
    with pytest.raises(RuntimeError):
        features(network, torch.rand(1, 3, *SHAPE))
    assert hooks_of(network) == 0

"""What every network keeps: one tensor of the input's shape, in two and three dimensions, through a bottleneck."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mri3d.models.autoencoder import ConvAutoEncoder, VariationalAutoEncoder

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "cae": lambda dims, **more: ConvAutoEncoder(dims, channels=(4, 8, 8), latent_channels=3, **more),
    "cae instance": lambda dims, **more: ConvAutoEncoder(
        dims, channels=(4, 6), latent_channels=2, norm="instance", act="relu", **more
    ),
    "vae": lambda dims, **more: VariationalAutoEncoder(dims, channels=(4, 8, 8), latent_channels=3, **more),
}
"""Networks whose input's sizes are multiples of 8."""


@pytest.fixture(params=NETWORKS)
def make(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    torch.manual_seed(0)
    return NETWORKS[request.param]


def volume(dims: int, channels: int = 1, batch: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.rand((batch, channels, 16, 24, 8)[: dims + 2], generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_output_is_one_tensor_of_the_input_s_shape(make, dims: int, channels: int):
    network = make(dims, in_channels=channels).eval()
    for size in (1, 2):
        x = volume(dims, channels).repeat_interleave(size, dim=-1)
        y = network(x)
        assert isinstance(y, torch.Tensor)
        assert y.shape == x.shape
        assert y.dtype == x.dtype


@pytest.mark.parametrize("dims", [2, 3])
def test_scripted_it_gives_the_same(make, dims: int):
    network = make(dims).eval()
    x = volume(dims)
    assert torch.equal(torch.jit.script(network)(x), network(x))


def test_the_same_state_gives_the_same_network(make):
    one, other = make(3).eval(), make(3).eval()
    assert not torch.equal(one(volume(3)), other(volume(3)))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(volume(3)), other(volume(3)))


def test_a_gradient_reaches_every_parameter(make):
    network = make(3).train()
    ((network(volume(3)) - volume(3, seed=1)) ** 2).mean().backward()
    # a bias before a normalisation is taken out by it again
    missing = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []
    weights = {name: p for name, p in network.named_parameters() if name.endswith("weight") and p.dim() > 1}
    assert [name for name, p in weights.items() if not p.grad.any()] == []


def test_in_eval_mode_a_subject_s_neighbours_in_the_batch_do_not_matter(make):
    network = make(3).eval()
    x = volume(3)
    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-5)


def test_it_learns(make):
    network, x = make(2).train(), volume(2)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(30):
        loss = ((network(x) - x) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_latent_is_the_only_way_through(make, dims: int):
    network = make(dims).eval()
    assert not torch.allclose(network(volume(dims, seed=1)), network(volume(dims, seed=2)))
    network.encoder.register_forward_hook(lambda module, inputs, latent: torch.zeros_like(latent))
    assert torch.equal(network(volume(dims, seed=1)), network(volume(dims, seed=2)))


@pytest.mark.parametrize(("levels", "width"), [(1, 5), (2, 3), (3, 1)])
def test_the_latent_has_the_width_and_resolution_that_the_recipe_says(levels: int, width: int):
    network = ConvAutoEncoder(3, channels=(4,) * levels, latent_channels=width)
    latent = network.encoder(volume(3))
    assert latent.shape == (2, width, 16 >> levels, 24 >> levels, 8 >> levels)


def test_a_sigmoid_keeps_the_output_in_its_range_and_linear_does_not():
    torch.manual_seed(0)
    x = 100 * (volume(3) - 0.5)
    bounded, free = (
        ConvAutoEncoder(3, channels=(4, 8), latent_channels=8, output=output).eval() for output in ("sigmoid", "linear")
    )
    free.load_state_dict(bounded.state_dict())
    assert 0 <= bounded(x).min() < bounded(x).max() <= 1
    assert free(x).min() < 0
    assert torch.allclose(torch.sigmoid(free(x)), bounded(x))


def test_an_unknown_output_is_refused_by_name():
    with pytest.raises(ValueError, match="'linear' or 'sigmoid', not 'tanh'"):
        ConvAutoEncoder(output="tanh")


@pytest.mark.parametrize("kind", [ConvAutoEncoder, VariationalAutoEncoder])
def test_a_dense_latent_is_a_vector_of_the_length_that_is_asked_for(kind: type[nn.Module]):
    torch.manual_seed(0)
    network = kind(3, channels=(4, 8), latent_channels=3, latent_size=20, shape=(16, 24, 8)).eval()
    x = volume(3)
    assert network.encoder(x).shape == (2, 20 if kind is ConvAutoEncoder else 40)
    assert network(x).shape == x.shape
    assert torch.allclose(torch.jit.script(network)(x), network(x), atol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        kind(3, latent_size=20)


def test_a_variational_network_draws_around_the_mean_that_it_reconstructs_from():
    torch.manual_seed(0)
    network, x = VariationalAutoEncoder(3, channels=(4, 8), latent_channels=3).eval(), volume(3)
    first, mean, log_variance = network.sample(x)
    second = network.sample(x)[0]
    assert first.shape == x.shape
    assert mean.shape == log_variance.shape == (2, 3, 4, 6, 2)
    assert not torch.equal(first, second)
    assert torch.allclose(network.decoder(mean), network(x))
    # without spread the draw is the mean
    network.encoder[-1].conv.weight.data[3:] = 0
    network.encoder[-1].conv.bias.data[3:] = -60
    assert torch.allclose(network.sample(x)[0], network(x), atol=1e-5)

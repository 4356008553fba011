"""The forward pass runs in bfloat16; weights, gradients and output stay float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mri3d.models.autoencoder import ConvAutoEncoder
from mri3d.training.precision import AutocastInferer, has_bfloat16


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch):
    """A CPU that has bfloat16; where it has not, torch emulates it."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": True, "amx_bf16": False})


@pytest.mark.usefixtures("native")
def test_output_weights_and_gradients_are_float32_and_the_arithmetic_is_not():
    torch.manual_seed(0)
    network = ConvAutoEncoder(3, channels=(4, 8), latent_channels=4).eval()
    seen = []
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv3d))
    convolution.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    x = torch.rand(1, 1, 80, 80, 80)
    found = AutocastInferer()(x, network)
    assert seen == [torch.bfloat16]
    assert found.dtype == torch.float32
    assert torch.allclose(found, network(x), atol=0.05)
    found.mean().backward()
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in network.parameters()} == {torch.float32}


def test_autocast_ends_with_the_call():
    AutocastInferer()(torch.rand(1, 3), nn.Linear(3, 3))
    assert nn.Linear(3, 3)(torch.rand(1, 3)).dtype == torch.float32


def test_further_arguments_reach_the_network():
    found = AutocastInferer()(torch.ones(2), lambda x, a, b: x * a + b, 3, b=4)
    assert found.tolist() == [7, 7]


@pytest.mark.parametrize("itself", [True, False])
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch, itself: bool):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or itself)
    assert has_bfloat16(torch.device("cuda:1")) == itself


@pytest.mark.parametrize(("capabilities", "itself"), [
    ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
    ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
    ({"avx2": True}, False),
])  # fmt: skip
def test_a_cpu_that_only_emulates_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], itself: bool
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bfloat16(torch.device("cpu")) == itself


def test_a_device_without_bfloat16_computes_in_float32():
    linear = nn.Linear(3, 3, device="meta")
    seen = []
    linear.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    AutocastInferer()(torch.empty(1, 3, device="meta"), linear)
    assert seen == [torch.float32]


@pytest.mark.usefixtures("native")
def test_a_small_grid_computes_in_float32_on_a_cpu_where_bfloat16_gradients_may_be_garbage():
    seen = []
    convolution = nn.Conv3d(1, 1, 3, padding=1)
    convolution.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    AutocastInferer()(torch.rand(1, 1, 80, 96, 32), convolution)
    assert seen == [torch.float32]


def test_at_every_level_of_the_default_grid_bfloat16_gradients_are_those_of_float32():
    torch.manual_seed(0)
    for shape in ((40, 48, 40), (20, 24, 20), (10, 12, 10), (5, 6, 5), (3, 3, 3)):
        convolution, x = nn.Conv3d(8, 8, 3, padding=1), torch.randn(2, 8, *shape)
        gradients = []
        for enabled in (False, True):
            convolution.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                convolution(x).float().square().mean().backward()
            gradients.append(convolution.weight.grad.clone())
        assert torch.allclose(*gradients, atol=0.05 * float(gradients[0].abs().max())), shape

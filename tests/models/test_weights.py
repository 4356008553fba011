"""Weights are data: they load into their network alone, and run no code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from mri3d.errors import BundleError
from mri3d.models.autoencoder import ConvAutoEncoder
from mri3d.models.weights import load_network, save_network


def network(width: int = 4) -> ConvAutoEncoder:
    return ConvAutoEncoder(2, channels=(width, 8), latent_channels=2)


def test_a_state_dict_comes_back_ready_for_inference(tmp_path: Path):
    kept = network()
    kept(torch.rand(4, 1, 16, 16))  # moves the running statistics
    torch.save(kept.state_dict(), tmp_path / "model.pt")
    fresh = network().train()
    found = load_network(fresh, tmp_path / "model.pt")
    assert found is fresh
    assert not any(module.training for module in found.modules())
    assert all(torch.equal(value, kept.state_dict()[name]) for name, value in found.state_dict().items())
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(found(x), kept.eval()(x))


def test_a_saved_network_is_small_and_comes_back_to_half_precision(tmp_path: Path):
    kept = network(64)
    kept(torch.rand(4, 1, 16, 16))
    save_network(kept, tmp_path / "model.pt")
    torch.save(kept.state_dict(), tmp_path / "whole.pt")
    assert (tmp_path / "model.pt").stat().st_size < 0.6 * (tmp_path / "whole.pt").stat().st_size
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert set(state) == set(kept.state_dict())
    found = load_network(network(64), tmp_path / "model.pt").state_dict()
    for name, value in kept.state_dict().items():
        assert found[name].dtype == value.dtype
        assert torch.allclose(found[name].float(), value.float(), rtol=1e-3, atol=1e-7), name
        assert value.dim() > 1 or torch.equal(found[name], value), name


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("save", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj, protocol=2))])
def test_a_file_with_code_is_refused_and_the_code_does_not_run(tmp_path: Path, save):
    save({"weight": Malicious(tmp_path / "owned")}, tmp_path / "model.pt")
    with pytest.raises(BundleError, match=r"model\.pt: expected weights of ConvAutoEncoder"):
        load_network(network(), tmp_path / "model.pt")
    assert not (tmp_path / "owned").exists()


def test_a_whole_pickled_network_is_no_state_dict(tmp_path: Path):
    torch.save(network(), tmp_path / "model.pt")
    with pytest.raises(BundleError):
        load_network(network(), tmp_path / "model.pt")


def test_weights_of_another_network_are_refused(tmp_path: Path):
    torch.save(network(6).state_dict(), tmp_path / "model.pt")
    with pytest.raises(BundleError, match=r"Train the bundle, or restore its models/model\.pt"):
        load_network(network(), tmp_path / "model.pt")
    incomplete = network().state_dict()
    incomplete.popitem()
    torch.save(incomplete, tmp_path / "model.pt")
    with pytest.raises(BundleError):
        load_network(network(), tmp_path / "model.pt")


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_a_missing_or_damaged_file_is_a_bundle_error_of_one_line(tmp_path: Path, content: bytes | None):
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        load_network(network(), path)
    assert str(path) in str(caught.value)
    assert caught.value.found
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_short_is_a_bundle_error(tmp_path: Path):
    path = tmp_path / "model.pt"
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BundleError):
        load_network(network(), path)

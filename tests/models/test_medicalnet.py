"""MedicalNet's weights arrive in the encoder value by value, or are refused with a reason."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from monai.networks.nets.resnet import resnet10

from mri3d.errors import BundleError, UsageError
from mri3d.models import medicalnet
from mri3d.models.autoencoder import ConvAutoEncoder
from mri3d.models.medicalnet import FILE, HUB, RANDOM, REPOSITORY, REVISION, SHA256, pretrain
from mri3d.models.resnet import ResNetAutoEncoder


def network(modalities: int = 1) -> ResNetAutoEncoder:
    return ResNetAutoEncoder(3, modalities, depth=10, latent_channels=4, decoder_channels=(4, 4, 4, 4, 4))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """The state of the network that MONAI loads MedicalNet's ResNet-10 into, moved off what networks start from."""
    torch.manual_seed(3)
    donor = resnet10(
        spatial_dims=3, n_input_channels=1, conv1_t_stride=2, feed_forward=False, shortcut_type="B",
        bias_downsample=False,
    )
    return {name: value + torch.rand_like(value.float()).to(value.dtype) for name, value in donor.state_dict().items()}


@pytest.fixture(scope="module")
def checkpoint(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As MedicalNet's files are: in the format before torch 1.6, from data-parallel training, without counters."""
    path = tmp_path_factory.mktemp("weights") / FILE
    kept = {f"module.{name}": value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save({"state_dict": kept}, path, _use_new_zipfile_serialization=False)
    return path


def test_random_weights_stay():
    torch.manual_seed(0)
    one = network()
    before = {name: value.clone() for name, value in one.state_dict().items()}
    pretrain(one, RANDOM)
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("of", [Path, str])
def test_every_value_of_a_file_arrives_and_the_decoder_stays(checkpoint: Path, state: dict[str, torch.Tensor], of):
    one = network()
    before = one.decoder[0].conv.weight.clone()
    pretrain(one, of(checkpoint))
    found = one.encoder.state_dict()
    assert found.keys() == state.keys()
    assert all(
        torch.equal(found[name], value) for name, value in state.items() if not name.endswith("num_batches_tracked")
    )
    assert torch.equal(one.decoder[0].conv.weight, before)


def test_a_bare_state_dict_is_a_checkpoint_as_well(state: dict[str, torch.Tensor], tmp_path: Path):
    torch.save(state, tmp_path / "bare.pth")
    one = network()
    pretrain(one, tmp_path / "bare.pth")
    assert torch.equal(one.encoder.conv1.weight, state["conv1.weight"])


@torch.no_grad()
def test_for_several_modalities_the_first_convolution_sees_their_mean(checkpoint: Path):
    one, three = network(), network(3)
    pretrain(one, checkpoint)
    pretrain(three, checkpoint)
    x = torch.rand(1, 3, 32, 32, 32)
    seen = three.encoder.eval()(x)[0]
    assert torch.allclose(seen, one.encoder.eval()(x.mean(1, keepdim=True))[0], atol=1e-4)


def test_another_network_s_weights_are_refused_with_what_does_not_fit(state: dict[str, torch.Tensor], tmp_path: Path):
    changed = {name: value for name, value in state.items() if not name.startswith("layer4")}
    changed["fc.weight"] = torch.zeros(2, 2)
    changed["layer1.0.conv1.weight"] = torch.zeros(64, 64, 1, 1, 1)
    torch.save({"state_dict": changed}, tmp_path / "other.pth")
    reason = r"missing \(such as layer4.*1 unexpected \(such as fc.weight\), 1 of another shape \(such as layer1\.0\.c"
    with pytest.raises(BundleError, match=reason) as caught:
        pretrain(network(), tmp_path / "other.pth")
    assert str(tmp_path / "other.pth") in str(caught.value)


def test_a_refused_file_leaves_the_encoder_as_it_was(state: dict[str, torch.Tensor], tmp_path: Path):
    torch.save({"conv1.weight": state["conv1.weight"]}, tmp_path / "other.pth")
    one = network()
    before = one.encoder.conv1.weight.clone()
    with pytest.raises(BundleError):
        pretrain(one, tmp_path / "other.pth")
    assert torch.equal(one.encoder.conv1.weight, before)


@pytest.mark.parametrize("content", [None, b"", b"no weights", {"epoch": 3}, [1, 2]])
def test_a_file_that_is_no_checkpoint_is_an_error_of_one_line(tmp_path: Path, content: Any):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(BundleError) as caught:
        pretrain(network(), path)
    assert str(path) in str(caught.value)
    assert caught.value.found
    assert "\n" not in str(caught.value)


def test_a_network_without_such_an_encoder_is_refused(checkpoint: Path):
    with pytest.raises(UsageError, match=r"training\.encoder_weights: expected a network with a ResNet encoder"):
        pretrain(ConvAutoEncoder(3, channels=(4,)), checkpoint)


def serve(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    """Put a hub in place whose download is this function."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))


def test_the_hub_is_asked_for_the_pinned_revision_and_its_file_loads(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, state: dict[str, torch.Tensor]
):
    asked = []

    def download(*args: str, **more: str) -> str:
        asked.append((args, more))
        return str(checkpoint)

    serve(monkeypatch, download)
    monkeypatch.setattr(medicalnet, "SHA256", hashlib.sha256(checkpoint.read_bytes()).hexdigest())
    one = network()
    pretrain(one, HUB)
    assert asked == [((REPOSITORY, FILE), {"revision": REVISION})]
    assert torch.equal(one.encoder.layer4[0].conv2.weight, state["layer4.0.conv2.weight"])


def test_a_file_of_another_hash_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    serve(monkeypatch, lambda *args, **more: str(checkpoint))
    monkeypatch.setattr(torch, "load", lambda *args, **more: pytest.fail("the file was read"))
    found = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    with pytest.raises(BundleError, match=f"expected a file of SHA-256 {SHA256}, found {found}"):
        pretrain(network(), HUB)


def test_a_hub_out_of_reach_is_an_error_that_tells_of_the_other_way(monkeypatch: pytest.MonkeyPatch):
    def download(*args: str, **more: str) -> str:
        raise OSError("no route\nto host")

    serve(monkeypatch, download)
    with pytest.raises(BundleError, match=rf"found no route\. Try again, or download .*{FILE} and give its path"):
        pretrain(network(), HUB)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'mri3d\[pretrained\]', or download https://.*and give its path"):
        pretrain(network(), HUB)


def test_revision_and_hash_are_whole():
    assert len(REVISION) == 40 and len(SHA256) == 64
    assert int(REVISION, 16) and int(SHA256, 16)

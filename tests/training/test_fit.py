"""What a training starts from: other weights where they are asked for, and given ones before all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mri3d.errors import UsageError
from mri3d.models.autoencoder import ConvAutoEncoder
from mri3d.models.resnet import ResNetAutoEncoder
from mri3d.training.fit import Fitter, start
from mri3d.training.prepare import Prepared
from mri3d.training.split import Split

SPLIT = Split(("a",), ("b",), ("c",))


@pytest.fixture
def prepared() -> Prepared:
    return Prepared((), ())


def network() -> ResNetAutoEncoder:
    return ResNetAutoEncoder(depth=10, latent_channels=4, decoder_channels=(4, 4, 4, 4, 4))


def test_an_encoder_starts_from_the_weights_that_are_asked_for(tmp_path: Path, prepared: Prepared):
    donor = network()
    torch.save(donor.encoder.state_dict(), tmp_path / "encoder.pth")
    found = start(network(), prepared, SPLIT, tmp_path / "none.pt", encoder_weights=tmp_path / "encoder.pth")
    assert torch.equal(found.encoder.conv1.weight, donor.encoder.conv1.weight)
    assert not torch.equal(found.squeeze.weight, donor.squeeze.weight)


def test_weights_of_a_whole_network_come_first(tmp_path: Path, prepared: Prepared):
    donor = network()
    torch.save(donor.state_dict(), tmp_path / "initial.pt")
    found = start(network(), prepared, SPLIT, tmp_path / "initial.pt", encoder_weights=tmp_path / "not read.pth")
    assert found.training
    assert torch.equal(found.squeeze.weight, donor.squeeze.weight)


def test_encoder_weights_for_a_network_that_has_no_such_encoder_are_refused(tmp_path: Path, prepared: Prepared):
    with pytest.raises(UsageError, match=r"training\.encoder_weights: .* found ConvAutoEncoder\. Leave it at random"):
        start(ConvAutoEncoder(channels=(4,)), prepared, SPLIT, tmp_path / "none.pt", encoder_weights="hub")


def test_a_network_with_weights_to_learn_is_not_saved_as_it_was_drawn(tmp_path: Path):
    with pytest.raises(UsageError, match=r"a network without weights to learn, found Linear.*training\.epochs"):
        Fitter(nn.Linear(2, 2), tmp_path / "model.pt")
    Fitter(nn.Flatten(), tmp_path / "model.pt").run()
    assert (tmp_path / "model.pt").exists()

"""Simulated anomalies are the same every time, and a network is judged by what it leaves of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mri3d.scoring.scorer import Scorer
from mri3d.scoring.simulated import Simulated, average_precision, simulate

SHAPE = (24, 28, 24)
CPU = torch.device("cpu")
SHARP = Scorer(smoothing=0.0)


def item(participant: str) -> dict[str, object]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.zeros(1, *SHAPE, dtype=torch.bool)
    mask[:, 3:-3, 3:-3, 3:-3] = True
    return {"image": torch.rand(1, *SHAPE, generator=generator) * mask, "mask": mask, "participant": participant}


@pytest.fixture(scope="module")
def subjects() -> tuple[Simulated, ...]:
    return simulate([item(f"sub-{n}") for n in range(4)])


def run(image: torch.Tensor, network: nn.Module) -> torch.Tensor:
    return network(image)


class Restores(nn.Module):
    """Gives the healthy brain back, whatever is put into it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(item("any")["image"])[None]


def test_a_subject_gets_the_same_anomalies_whoever_is_beside_it(subjects: tuple[Simulated, ...]):
    alone = simulate([item("sub-2")])[0]
    torch.testing.assert_close(alone.image, subjects[2].image)
    assert (alone.truth == subjects[2].truth).all()
    assert not torch.equal(subjects[0].image, subjects[1].image)


def test_every_subject_has_some_and_only_in_its_brain(subjects: tuple[Simulated, ...]):
    for subject in subjects:
        assert subject.truth.any() and not (subject.truth & ~subject.mask[0]).any()
        changed = (subject.image[0] - item("any")["image"][0]).abs().numpy()  # type: ignore[index]
        assert (changed[subject.truth] > 0.03).all() and changed[~subject.mask[0]].max() == 0
    many = simulate([item(f"control-{n}") for n in range(40)])  # some of whom chance would give none
    assert len(many) == 40 and all(subject.truth.any() for subject in many)


def test_a_perfect_network_finds_them_and_one_that_changes_nothing_does_not(subjects: tuple[Simulated, ...]):
    assert average_precision(subjects, Restores(), run, SHARP, CPU) == pytest.approx(1.0)
    share = np.concatenate([subject.truth[subject.mask[0]] for subject in subjects]).mean()
    assert average_precision(subjects, nn.Identity(), run, SHARP, CPU) == pytest.approx(share)


def test_a_direction_counts_its_own_sign_alone(subjects: tuple[Simulated, ...]):
    bright = average_precision(subjects, Restores(), run, Scorer(smoothing=0.0, direction="bright"), CPU)
    assert bright < 0.99


def test_a_network_that_is_not_finite_has_no_value_and_a_mode_is_put_back(subjects: tuple[Simulated, ...]):
    class Diverged(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * float("nan")

    network = Diverged().train()
    assert np.isnan(average_precision(subjects, network, run, SHARP, CPU)) and network.training

"""A training that was killed goes on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from mri3d.models.autoencoder import ConvAutoEncoder
from mri3d.models.weights import load_network
from mri3d.training.checkpoint import CHECKPOINT
from mri3d.training.history import read_history


def state(parts) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in parts.network.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def halved(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As a bundle keeps them."""
    return {name: value.half() if value.dim() > 1 else value for name, value in weights.items()}


def test_interrupted_and_resumed_it_ends_with_the_very_same_weights(training):
    whole = training("whole")
    whole.run()
    first = training("parts")
    first.run(kill_in_epoch=3)
    second = training("parts")
    second.run()
    assert second.trainer.state.epoch == whole.trainer.state.epoch == 4
    assert second.trainer.state.iteration == whole.trainer.state.iteration == 12
    # not a bit is lost: weights, the optimiser's moments and the place in the schedule
    assert same(state(second), state(whole))
    rates = [[row["learning_rate"] for row in read_history(parts.folder)] for parts in (whole, second)]
    assert rates[0] == rates[1]
    assert second.scheduler.state_dict()["last_epoch"] == 4
    losses = [[row["val_loss"] for row in read_history(parts.folder)] for parts in (whole, second)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_resumed_twice_it_still_ends_with_the_same_weights(training):
    whole = training("whole")
    whole.run()
    training("parts").run(kill_in_epoch=2)
    training("parts").run(kill_in_epoch=4)
    last = training("parts")
    last.run()
    assert same(state(last), state(whole))


def test_a_training_that_is_over_is_not_run_again(training):
    first = training()
    first.run()
    again = training()
    again.run()
    assert again.trainer.state.epoch == 4
    assert same(state(again), state(first))
    assert len(read_history(first.folder)) == 4


def test_without_a_checkpoint_it_starts_at_the_beginning(training):
    training("one").run(kill_in_epoch=1)
    again = training("one")
    again.run()
    assert [row["epoch"] for row in read_history(again.folder)] == [1, 2, 3, 4]


def test_a_checkpoint_holds_the_whole_state_and_runs_no_code(training):
    parts = training()
    parts.run(kill_in_epoch=3)
    kept = torch.load(parts.folder / CHECKPOINT, weights_only=True)
    assert set(kept) == {"network", "optimizer", "scheduler", "trainer"}
    assert kept["trainer"]["max_epochs"] == 4
    assert kept["scheduler"]["last_epoch"] == 2  # the next epoch's rate, not the last one's
    assert [path.name for path in parts.folder.glob("checkpoint*")] == [CHECKPOINT]


def test_a_kill_while_saving_leaves_the_state_before(training, monkeypatch):
    parts = training()
    parts.run(kill_in_epoch=3)
    before = (parts.folder / CHECKPOINT).read_bytes()

    whole = torch.save

    def half(state, path):
        if not isinstance(path, (str, Path)):
            return whole(state, path)
        Path(path).write_bytes(before[:100])
        raise OSError("killed")

    monkeypatch.setattr(torch, "save", half)
    again = training()
    with pytest.raises(OSError, match="killed"):
        again.trainer.run()
    assert (parts.folder / CHECKPOINT).read_bytes() == before


def test_training_without_progress_ends_early_and_restarts_do_not_start_the_count_anew(training):
    whole = training("whole", epochs=20, teach=4.0, rate=0.05, patience=3)
    whole.run()
    losses = [row["val_loss"] for row in read_history(whole.folder)]
    assert len(losses) < 20
    assert len(losses) - 1 - losses.index(min(losses)) == 3
    again = training("whole", epochs=20, teach=4.0, rate=0.05, patience=3)
    again.run()
    assert len(read_history(again.folder)) == len(losses)


def test_the_best_weights_are_those_of_the_epoch_with_the_least_validation_loss(training):
    parts = training(epochs=6, teach=4.0, rate=0.05)  # taught something else: it gets worse after a while
    by_epoch = {}
    parts.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: by_epoch.update({engine.state.epoch: state(parts)})
    )
    parts.run()
    losses = {row["epoch"]: row["val_loss"] for row in read_history(parts.folder)}
    best = min(losses, key=losses.get)
    assert best < 6
    saved = torch.load(parts.folder / "model.pt", weights_only=True)
    assert same(saved, halved(by_epoch[best]))
    load_network(ConvAutoEncoder(2, channels=(4, 4), latent_channels=2), parts.folder / "model.pt")


def test_after_a_restart_a_worse_epoch_does_not_overwrite_better_weights(training):
    first = training(rate=0.01)
    first.run(kill_in_epoch=3)
    kept = torch.load(first.folder / "model.pt", weights_only=True)
    second = training(teach=-50.0)  # from now on it learns nonsense
    second.run()
    losses = [row["val_loss"] for row in read_history(second.folder)]
    assert min(losses[2:]) > min(losses[:2])
    assert same(torch.load(second.folder / "model.pt", weights_only=True), kept)


def test_after_a_restart_a_better_epoch_does(training):
    first = training(rate=0.002)
    first.run(kill_in_epoch=3)
    second = training(rate=0.002)
    by_epoch = {}
    second.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: by_epoch.update({engine.state.epoch: state(second)})
    )
    second.run()
    losses = {row["epoch"]: row["val_loss"] for row in read_history(second.folder)}
    best = min(losses, key=losses.get)
    assert best > 2
    assert same(torch.load(second.folder / "model.pt", weights_only=True), halved(by_epoch[best]))


def test_a_checkpoint_of_a_longer_training_is_not_taken_for_a_shorter_one(training):
    training(epochs=4).run()
    with pytest.raises(ValueError, match="larger than"):
        training(epochs=2).trainer.run()

"""Records of a training hold every epoch's losses, on this machine."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ignite.engine import Engine, Events

from mri3d.errors import UsageError
from mri3d.training.tracking import DATABASE, Tracking, check_tracking


def train(kind: str, folder: Path) -> None:
    """Two epochs of losses that are known, with a validation after each."""
    trainer: Any = Engine(lambda engine, batch: None)
    validator: Any = Engine(lambda engine, batch: None)
    trainer.optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate() -> None:
        trainer.state.metrics["train_loss"] = trainer.state.epoch / 10
        validator.state.epoch = trainer.state.epoch - 1
        validator.run([0], max_epochs=trainer.state.epoch)

    @validator.on(Events.EPOCH_COMPLETED)
    def measure() -> None:
        validator.state.metrics["val_loss"] = validator.state.epoch / 100

    Tracking(kind, folder, validator, {"epochs": 2}).attach(trainer)
    trainer.run([0, 1], max_epochs=2)


def test_tensorboard_has_every_epoch(tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train("tensorboard", tmp_path / "record")
    found = {}
    for path in (tmp_path / "record").iterdir():
        events = EventAccumulator(str(path))
        events.Reload()
        for name in events.Tags()["scalars"]:
            found[name] = [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]
    assert found == {"train_loss": [(1, 0.1), (2, 0.2)], "val_loss": [(1, 0.01), (2, 0.02)]}


def test_mlflow_has_every_epoch_and_tells_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")  # put back after the test, whatever is set in it
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    train("mlflow", tmp_path / "record")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    with sqlite3.connect(tmp_path / "record" / DATABASE) as database:
        metrics = set(database.execute("select key, step, round(value, 3) from metrics"))
        assert metrics == {("train_loss", 1, 0.1), ("train_loss", 2, 0.2), ("val_loss", 1, 0.01), ("val_loss", 2, 0.02)}
        assert ("epochs", "2") in set(database.execute("select key, value from params"))
        assert list(database.execute("select status from runs")) == [("FINISHED",)]


def test_none_leaves_nothing(tmp_path: Path):
    train("none", tmp_path / "record")
    assert not (tmp_path / "record").exists()


def test_what_cannot_be_tracked_is_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="one of none, tensorboard, mlflow"):
        check_tracking("wandb")
    monkeypatch.setattr("mri3d.extras.find_spec", lambda name: None)
    for kind in ("tensorboard", "mlflow"):
        with pytest.raises(UsageError, match=r"pip install 'mri3d\[tracking\]'"):
            check_tracking(kind)
    check_tracking("none")

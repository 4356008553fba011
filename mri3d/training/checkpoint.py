"""The state of a training after every epoch, going on from it after a kill, and the best weights of all epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Workflow
from monai.handlers import CheckpointLoader, CheckpointSaver
from torch import nn

from mri3d.volumes.atomic import atomic_write


class TrainingState:
    """Handler that saves weights, optimiser, schedule and epoch after every epoch, and starts from the last one saved.

    Args:
        folder: where the newest checkpoint is kept.
        objects: name to object with a state dict; the trainer itself is added.
    """

    def __init__(self, folder: Path | str, objects: Mapping[str, Any]) -> None:
        self.folder, self.objects = Path(folder), dict(objects)
        self._saver: CheckpointSaver | None = None

    def attach(self, engine: Engine) -> None:
        """Follow a trainer; attach before what reads its epoch at the start."""
        state = {**self.objects, "trainer": engine}
        latest = latest_checkpoint(self.folder)
        if latest is not None:
            # torch.load, to which this goes, takes a name as well as the dictionary that MONAI declares
            CheckpointLoader(str(latest), state, map_location="cpu").attach(engine)  # type: ignore[arg-type]
        self._saver = CheckpointSaver(str(self.folder), state, save_interval=1, n_saved=1)
        engine.add_event_handler(Events.STARTED, self._save_last)

    def _save_last(self, engine: Engine) -> None:
        """Attach the saver behind all other handlers, so that it saves what they did to the epoch's schedule."""
        if self._saver is not None:
            self._saver.attach(engine)
            self._saver = None


class BestWeights:
    """Validation handler that writes a bare state dict whenever the validator counts the epoch as its best.

    MONAI's saver forgets over a restart what the best was; the validator is told by
    :class:`mri3d.training.history.History`.

    Args:
        network: whose weights.
        path: where they go.
    """

    def __init__(self, network: nn.Module, path: Path | str) -> None:
        self.network, self.path = network, Path(path)

    def attach(self, engine: Workflow) -> None:
        """Follow a validator."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Workflow) -> None:
        """Save the weights if they are the best."""
        if engine.state.best_metric_epoch == engine.state.epoch:
            with atomic_write(self.path) as path:
                torch.save(self.network.state_dict(), path)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a folder; None where there is none."""
    checkpoints = sorted(folder.glob("checkpoint_epoch=*.pt"), key=lambda path: path.stat().st_mtime)
    return checkpoints[-1] if checkpoints else None

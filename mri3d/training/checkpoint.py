"""The state of a training after every epoch, going on from it after a kill, and the best weights of all epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Workflow
from monai.handlers import CheckpointLoader
from torch import nn

from mri3d.models.weights import save_network
from mri3d.volumes.atomic import atomic_write

CHECKPOINT = "checkpoint.pt"


class TrainingState:
    """Handler that saves weights, optimiser, schedule and epoch after every epoch, and starts from what was saved last.

    The file is replaced whole, so that a kill at any moment leaves a state to go on from.

    Args:
        folder: where ``checkpoint.pt`` is kept.
        objects: name to object with a state dict; the trainer itself is added.
    """

    def __init__(self, folder: Path | str, objects: Mapping[str, Any]) -> None:
        self.path, self.objects = Path(folder) / CHECKPOINT, dict(objects)
        self._saves = False

    def attach(self, engine: Engine) -> None:
        """Follow a trainer; attach before what reads its epoch at the start."""
        if self.path.exists():
            # torch.load, to which this goes, takes a name as well as the dictionary that MONAI declares
            state = self._state(engine)
            CheckpointLoader(str(self.path), state, map_location="cpu").attach(engine)  # type: ignore[arg-type]
        engine.add_event_handler(Events.STARTED, self._save_last)

    def _state(self, engine: Engine) -> dict[str, Any]:
        return {**self.objects, "trainer": engine}

    def _save_last(self, engine: Engine) -> None:
        """Save behind all other handlers, so that what they did to the epoch's schedule is saved too."""
        if not self._saves:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)
            self._saves = True

    def _save(self, engine: Engine) -> None:
        with atomic_write(self.path) as path:
            torch.save({name: value.state_dict() for name, value in self._state(engine).items()}, path)


class SeededEpochs:
    """Handler that makes the chance in an epoch depend on seed and epoch alone: shuffling, augmentation, drawn latents.

    A training that was killed and resumed then goes through the very steps of one that was not. The loader must start
    its workers anew for each epoch, since that is when they take their seeds.

    Args:
        seed: of the training.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed before the epoch's first batch is drawn."""
        torch.manual_seed((self.seed << 20) + engine.state.epoch)


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
                save_network(self.network, path)

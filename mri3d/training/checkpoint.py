"""The state of a training after every epoch, and going on from it after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from monai.handlers import CheckpointLoader, CheckpointSaver


class TrainingState:
    """Handler that saves weights, optimiser, schedule and epoch after every epoch, and starts from the last one saved.

    Args:
        folder: where the newest checkpoint is kept.
        objects: name to object with a state dict; the trainer itself is added.
    """

    def __init__(self, folder: Path | str, objects: Mapping[str, Any]) -> None:
        self.folder, self.objects = Path(folder), dict(objects)

    def attach(self, engine: Engine) -> None:
        """Follow a trainer; attach before what reads its epoch at the start."""
        state = {**self.objects, "trainer": engine}
        latest = latest_checkpoint(self.folder)
        if latest is not None:
            # torch.load, to which this goes, takes a name as well as the dictionary that MONAI declares
            CheckpointLoader(str(latest), state, map_location="cpu").attach(engine)  # type: ignore[arg-type]
        CheckpointSaver(str(self.folder), state, save_interval=1, n_saved=1).attach(engine)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a folder; None where there is none."""
    checkpoints = sorted(folder.glob("checkpoint_epoch=*.pt"), key=lambda path: path.stat().st_mtime)
    return checkpoints[-1] if checkpoints else None

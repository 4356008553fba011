"""A progress bar over all epochs of a training."""

from __future__ import annotations

from ignite.engine import Events
from monai.engines import Workflow
from tqdm import tqdm


class TrainingProgress:
    """Ignite handler: epochs done, time left, and the last training and validation loss.

    Args:
        validator: engine whose ``state.metrics["val_loss"]`` belongs to the epoch.
    """

    def __init__(self, validator: Workflow) -> None:
        self.validator = validator
        self._bar: tqdm | None = None

    def attach(self, engine: Workflow) -> None:
        """Follow a trainer; attach after the handler that validates."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._advance)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: Workflow) -> None:
        self._bar = tqdm(total=engine.state.max_epochs, initial=engine.state.epoch, desc="train", unit="epoch")

    def _advance(self, engine: Workflow) -> None:
        assert self._bar is not None
        losses = {"loss": engine.state.metrics["train_loss"], "val": self.validator.state.metrics["val_loss"]}
        self._bar.set_postfix({name: f"{value:.5f}" for name, value in losses.items()}, refresh=False)
        self._bar.update()

    def _close(self, engine: Workflow) -> None:
        if self._bar is not None:
            self._bar.close()

    def _fail(self, engine: Workflow, error: BaseException) -> None:
        self._close(engine)
        raise error

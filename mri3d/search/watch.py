"""Tell what every epoch of a training is worth, to somebody who may end it."""

from __future__ import annotations

from collections.abc import Callable

from ignite.engine import Engine, Events


class Watch:
    """Ignite handler that measures after every epoch, and ends the training where that is asked for.

    Args:
        measure: what the epoch is worth.
        ends: is told epoch and worth; True ends the training as if it had come to its last epoch.
    """

    def __init__(self, measure: Callable[[], float], ends: Callable[[int, float], bool]) -> None:
        self.measure, self.ends = measure, ends

    def attach(self, engine: Engine) -> None:
        """Follow a trainer; attach after what validates."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Measure the epoch that is over."""
        if self.ends(engine.state.epoch, self.measure()):
            engine.terminate()

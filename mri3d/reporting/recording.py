"""What MONAI's evaluator does with each scored subject."""

from __future__ import annotations

import time
from dataclasses import replace

from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from tqdm import tqdm

from mri3d.reporting.output import OutputFolder
from mri3d.transforms.case import Case, Item, Stage


class SaveDetection(Stage):
    """MONAI transform that writes ``detection`` into an output folder."""

    name = "write"

    def __init__(self, output: OutputFolder) -> None:
        self.output = output

    def apply(self, item: Item) -> Item:
        """Write the subject's files; the item stays as it is."""
        self.output.save(item["detection"])
        return item


class RecordResults:
    """Ignite handler that turns every iteration, failed or not, into a line of the results table.

    Args:
        output: the folder.
    """

    def __init__(self, output: OutputFolder) -> None:
        self.output = output
        self._bar: tqdm | None = None  # type: ignore[type-arg]
        self._forward = 0.0

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator whose batches hold ``case``."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_STARTED, self._start_clock)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._stop_clock)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._record)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def _start(self, engine: Engine) -> None:
        done = len(self.output.subjects) - len(self.output.pending)
        self._bar = tqdm(total=len(self.output.subjects), initial=done, desc="detect", unit="subject")

    def _start_clock(self, engine: Engine) -> None:
        self._forward = time.perf_counter()

    def _stop_clock(self, engine: Engine) -> None:
        spent = time.perf_counter() - self._forward
        cases: list[Case] = engine.state.batch["case"]
        cases[:] = [replace(case, seconds={**case.seconds, "reconstruct": spent}) for case in cases]

    def _record(self, engine: Engine) -> None:
        done = {**engine.state.batch, **engine.state.output}
        for case, detection in zip(done["case"], done.get("detection", [None] * len(done["case"])), strict=True):
            self.output.record(case, None if case.error else detection)
            if self._bar is not None:
                self._bar.update()

    def _close(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.close()

"""What MONAI's evaluator does with each scored subject."""

from __future__ import annotations

import time

import torch
from ignite.engine import Events
from monai.engines import Workflow
from monai.engines.utils import IterationEvents
from tqdm import tqdm

from mri3d.reporting.output import OutputFolder
from mri3d.scoring.detection import Detection
from mri3d.transforms.case import Case, Item, Stage


def scored(engine: Workflow) -> list[tuple[Case, Detection | None]]:
    """The cases of an evaluator's iteration with their detections, None for those that failed."""
    done = {**engine.state.batch, **engine.state.output}
    detections = done.get("detection") or [None] * len(done["case"])
    return [(case, None if case.error else found) for case, found in zip(done["case"], detections, strict=True)]


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
        self._bar: tqdm | None = None
        self._forward = 0.0

    def attach(self, engine: Workflow) -> None:
        """Follow an evaluator whose batches hold ``case``."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_STARTED, self._start_clock)
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._stop_clock)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._record)
        engine.add_event_handler(Events.COMPLETED, self._close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: Workflow) -> None:
        done = len(self.output.subjects) - len(self.output.pending)
        self._bar = tqdm(total=len(self.output.subjects), initial=done, desc="detect", unit="subject")

    def _start_clock(self, engine: Workflow) -> None:
        self._forward = time.perf_counter()

    def _stop_clock(self, engine: Workflow) -> None:
        image: torch.Tensor = engine.state.output["image"]
        if image.is_cuda:  # which has been told what to do, but need not have done it
            torch.cuda.synchronize(image.device)
        spent = time.perf_counter() - self._forward
        cases: list[Case] = engine.state.batch["case"]
        # A subject that failed goes through the network as zeros, which is no part of its time.
        cases[:] = [case if case.error else case.spent("reconstruct", spent) for case in cases]

    def _record(self, engine: Workflow) -> None:
        for case, detection in scored(engine):
            self.output.record(case, detection)
            if self._bar is not None:
                self._bar.update()

    def _close(self, engine: Workflow) -> None:
        if self._bar is not None:
            self._bar.close()

    def _fail(self, engine: Workflow, error: BaseException) -> None:
        self._close(engine)  # or the error is told on the bar's own line
        raise error

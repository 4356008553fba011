"""The losses of every epoch: kept as a table, drawn as a curve, and what the best weights are chosen by."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ignite.engine import Events
from monai.engines import Workflow

from mri3d.volumes.atomic import atomic_write

logger = logging.getLogger(__name__)

Row = dict[str, float]
COLUMNS = ("epoch", "train_loss", "val_loss", "learning_rate", "seconds")

DRAW_SECONDS = 10.0
"""The curve is drawn so often at most, and at the end: a small network's epoch takes less time than its drawing."""


class History:
    """Ignite handler that keeps ``history.csv`` beside the checkpoints.

    After a restart the rows of finished epochs are read back, and the validator is told the best loss so far, so that
    a worse epoch does not overwrite better weights.

    A picture of it, ``curve.png``, is drawn at most every ten seconds, and at the end.

    Args:
        folder: where the table goes.
        validator: engine whose ``state.metrics["val_loss"]`` belongs to the epoch.
        learning_rate: gives the current learning rate.
        draw: draws the rows into a picture, ``draw(rows, path)``.
        patience: epochs without a better validation loss after which the training ends, restarts counted in.
    """

    def __init__(
        self,
        folder: Path | str,
        validator: Workflow,
        learning_rate: Callable[[], float],
        draw: Callable[[Sequence[Mapping[str, float]], Path], None],
        patience: int,
    ) -> None:
        self.folder, self.validator, self.learning_rate, self.draw = Path(folder), validator, learning_rate, draw
        self.patience = patience
        self.rows: list[Row] = []
        self._epoch_started = self._rate = 0.0
        self._drawn_at, self._drawn_rows = -math.inf, 0

    def attach(self, engine: Workflow) -> None:
        """Follow a trainer; attach after the handler that validates."""
        engine.add_event_handler(Events.STARTED, self._restore)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._record)
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _restore(self, engine: Workflow) -> None:
        self.rows = [row for row in read_history(self.folder) if row["epoch"] <= engine.state.epoch]
        if self.rows:
            best = self._best()
            self.validator.state.best_metric = best["val_loss"]
            self.validator.state.best_metric_epoch = int(best["epoch"])
            self._stop_early(engine)

    def _best(self) -> Row:
        return min(self.rows, key=lambda row: row["val_loss"])

    def _stop_early(self, engine: Workflow) -> None:
        if engine.state.epoch - self._best()["epoch"] >= self.patience:
            logger.info("no better validation loss in %d epochs: the training ends", self.patience)
            engine.terminate()

    def _start(self, engine: Workflow) -> None:
        # at the end of an epoch the schedule has moved on already
        self._epoch_started, self._rate = time.perf_counter(), self.learning_rate()

    def _record(self, engine: Workflow) -> None:
        self.rows.append(
            {
                "epoch": engine.state.epoch,
                "train_loss": float(engine.state.metrics["train_loss"]),
                "val_loss": float(self.validator.state.metrics["val_loss"]),
                "learning_rate": self._rate,
                "seconds": round(time.perf_counter() - self._epoch_started, 3),
            }
        )
        with atomic_write(self.folder / "history.csv") as path, open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        if time.monotonic() - self._drawn_at > DRAW_SECONDS:
            self._draw()
        self._stop_early(engine)

    def _draw(self) -> None:
        if self._drawn_rows != len(self.rows):
            self.draw(self.rows, self.folder / "curve.png")
            self._drawn_at, self._drawn_rows = time.monotonic(), len(self.rows)


def read_history(folder: Path | str) -> list[Row]:
    """The rows of ``history.csv`` in a folder; none where it is missing."""
    path = Path(folder) / "history.csv"
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [{column: float(row[column]) for column in COLUMNS} for row in csv.DictReader(file)]

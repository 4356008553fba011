"""Records of a training for tools that compare experiments: TensorBoard or MLflow, through MONAI's own handlers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.engines import Workflow
from monai.handlers import MLFlowHandler, TensorBoardStatsHandler

from mri3d.errors import UsageError
from mri3d.extras import need

KEY = "training.tracking"
KINDS = ("none", "tensorboard", "mlflow")
DATABASE = "mlflow.db"
EXPERIMENT, RUN = "mri3d", "training"


def check_tracking(kind: Any) -> None:
    """Refuse tracking that there is none of.

    Raises:
        UsageError: ``kind`` is not one of :data:`KINDS`, or its package is not installed.
    """
    if kind not in KINDS:
        raise UsageError(KEY, f"one of {', '.join(KINDS)}", str(kind), "Mend it")
    if kind != "none":
        need(kind, "tracking", f"{KEY}={kind}")


class Tracking:
    """Ignite handler that records training and validation loss of every epoch.

    ``tensorboard`` writes event files, ``mlflow`` an SQLite database, both on this machine; where the environment
    variable ``MLFLOW_TRACKING_URI`` names a server, MONAI's handler takes that in place of the database. A training
    that is gone on with after a kill goes on with its record.

    Args:
        kind: ``none``, ``tensorboard`` or ``mlflow``.
        folder: where the record lies.
        validator: engine whose ``state.metrics`` belong to the epoch.
        settings: of the training, recorded once by MLflow.

    Raises:
        UsageError: see :func:`check_tracking`.
    """

    def __init__(self, kind: str, folder: Path | str, validator: Workflow, settings: Mapping[str, Any]) -> None:
        check_tracking(kind)
        self.kind, self.folder, self.validator, self.settings = kind, Path(folder), validator, dict(settings)

    def attach(self, engine: Workflow) -> None:
        """Follow a trainer and its validator."""
        if self.kind == "none":
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        # the validator counts its epochs as the trainer does
        for followed in (engine, self.validator):
            handler = self._tensorboard() if self.kind == "tensorboard" else self._mlflow(followed is engine)
            handler.attach(followed)

    def _tensorboard(self) -> TensorBoardStatsHandler:
        return TensorBoardStatsHandler(log_dir=str(self.folder), iteration_log=False)

    def _mlflow(self, leads: bool) -> MLFlowHandler:
        # MLflow tells its makers of its use otherwise, and has no other switch
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        return MLFlowHandler(
            tracking_uri=f"sqlite:///{self.folder / DATABASE}",
            iteration_log=False,
            experiment_name=EXPERIMENT,
            run_name=RUN,
            experiment_param=self.settings if leads else None,
            close_on_complete=leads,
        )

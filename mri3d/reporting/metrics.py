"""What a bundle does to healthy volumes: how well it reconstructs them, and how much it calls abnormal."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from ignite.engine import Events
from monai.engines import Workflow
from tqdm import tqdm

from mri3d.errors import UsageError
from mri3d.evaluation.bootstrap import average
from mri3d.reporting.recording import scored
from mri3d.scoring.detection import Detection
from mri3d.volumes.atomic import write_json

logger = logging.getLogger(__name__)


class HealthyMetrics:
    """Ignite handler that writes ``metrics.json``: means over healthy subjects with 95 % bootstrap intervals.

    ``mse`` and ``psnr`` (dB, peak 1) compare reconstruction and normalised image inside the brain; ``exceedance`` is
    the share of brain voxels above the voxel threshold, ``false_positive_ml`` the volume of the anomaly mask,
    ``flagged`` the share of subjects called anomalous. The last three are absent where the bundle has no calibration.

    Args:
        path: the JSON file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._of_subjects: list[dict[str, float]] = []
        self._bar: tqdm | None = None

    def attach(self, engine: Workflow) -> None:
        """Follow an evaluator whose output holds ``detection``."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._measure)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Workflow) -> None:
        self._of_subjects = []
        self._bar = tqdm(total=engine.state.epoch_length, desc="evaluate", unit="subject")

    def _measure(self, engine: Workflow) -> None:
        for case, detection in scored(engine):
            if detection is None:
                logger.warning("%s is left out: %s", case.subject.key, case.error)
            else:
                self._of_subjects.append(measure(detection))
            if self._bar is not None:
                self._bar.update()

    def _write(self, engine: Workflow) -> None:
        if self._bar is not None:
            self._bar.close()
        if not self._of_subjects:
            raise UsageError(self.path, "at least one usable volume", "none", "Mend the volumes")
        names = self._of_subjects[0]
        estimates = {name: average([values[name] for values in self._of_subjects]).as_dict() for name in names}
        write_json(self.path, {"subjects": len(self._of_subjects), **estimates})


def measure(detection: Detection) -> dict[str, float]:
    """The metrics of one subject, by name."""
    model = detection.model
    mse = float(np.mean((model.image[model.mask] - model.reconstruction[model.mask]) ** 2))
    values = {"mse": mse, "psnr": float(-10 * np.log10(max(mse, 1e-12)))}
    if detection.anomaly is not None and detection.zscore is not None and detection.anomalous_ml is not None:
        assert detection.voxel_threshold is not None
        values["exceedance"] = float(np.mean(detection.zscore[detection.brain] > detection.voxel_threshold))
        values["false_positive_ml"] = detection.anomalous_ml
        values["flagged"] = float(detection.score.decision == "anomalous")
    return values

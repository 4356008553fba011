"""What unseen healthy subjects score: the thresholds and p-values of a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mri3d.errors import BundleError
from mri3d.scoring.detection import DECISIVE, Score
from mri3d.scoring.modality_sets import set_name
from mri3d.scoring.slices import Slices
from mri3d.volumes.atomic import write_json
from mri3d.volumes.volume import FloatArray

WIDE = 0.1
"""Share of voxels above the level that 1 % of healthy ones pass, from which a scan as a whole is in doubt. Measured
with ``brain_t1``: at most 0.031 in 25 healthy heads of the same scanner, 0.08 where a strong lesion of 7 ml shines into
its surroundings, 0.06 to 0.19 in four scans of other scanners."""

FAR = 1.5
"""Times the largest departure that is usual within a healthy scan, from which a modality as a whole is in doubt."""

STEPS = (1, DECISIVE)
"""The k of the thresholds mean + k std."""


@dataclass(frozen=True)
class Calibration:
    """Scores of healthy subjects that neither training nor the statistics they are scored by has seen.

    Args:
        scores: a score a person.
        voxel_threshold: z that the share ``voxel_quantile`` of their brain voxels stays below.
        voxel_quantile: that share, 0.999 by default.
        sha256: hash of the weights, statistics and settings the scores were made with, by name.
        voxel_tail: share of their brain voxels to the z that it stays below, for some large shares.
        slices: mean and standard deviation of the scores of a slice of the model grid, by its index; empty where slices
            are not judged.
        typical: modality to the largest departure that is usual within a healthy scan
            (:meth:`mri3d.scoring.scorer.Scorer.typical`).
        partial: the same for subjects that lack modalities, by the name of the set they have.
    """

    scores: tuple[float, ...]
    voxel_threshold: float
    voxel_quantile: float
    sha256: Mapping[str, str] = field(default_factory=dict)
    voxel_tail: Mapping[str, float] = field(default_factory=dict)
    slices: Slices = field(default_factory=dict)
    typical: Mapping[str, float] = field(default_factory=dict)
    partial: Mapping[str, Calibration] = field(default_factory=dict)

    def of_partial(self, modalities: Sequence[str]) -> Calibration:
        """The calibration for a subject that has these modalities and lacks others.

        Raises:
            BundleError: there is none.
        """
        name = set_name(modalities)
        if name not in self.partial:
            expected = f"a calibration for subjects of {name} alone"
            remedy = "Give all modalities, or train with --set missing_modalities=true"
            raise BundleError("calibration.json", expected, "none", remedy)
        return self.partial[name]

    @property
    def thresholds(self) -> dict[str, float]:
        """mean + k std of the scores for k = 1 and 3."""
        mean, std = float(np.mean(self.scores)), float(np.std(self.scores, ddof=1))
        return {f"mean+{k}std": mean + k * std for k in STEPS}

    def doubts(self, inside: FloatArray, typical: Mapping[str, float] | None = None) -> tuple[str, ...]:
        """What a user should know of a scan that departs nearly everywhere.

        Args:
            inside: (N,) z of its brain voxels.
            typical: the departure that is usual within the scan, by modality.
        """
        level = self.voxel_tail.get("0.99")
        share = 0.0 if level is None else float(np.mean(inside > level))
        words = [
            f"{100 * share:.0f}% of the brain depart as only 1% of a healthy brain does: unless a lesion is as large, "
            "the scan is unlike those of the calibration (scanner, preprocessing); see mri3d calibrate."
        ][: share > WIDE]
        for modality, usual in (typical or {}).items():
            times = usual / self.typical[modality] if self.typical.get(modality) else 0.0
            if times > FAR:
                words.append(
                    f"{modality} departs throughout the brain, {times:.1f} times as far as in any healthy subject of "
                    "the calibration: its contrast, noise or resolution is another; see mri3d calibrate."
                )
        return tuple(words)

    def judge(self, value: float) -> Score:
        """The decision on a score.

        The p-value is conformal in form: the share of healthy scores at least as large, the subject itself counted in
        (Vovk et al. 2005); it cannot be smaller than 1 / (n + 1). It is slightly conservative, because the healthy
        scores come from the statistics of n - 1 subjects and the new one from those of all n.
        """
        if not np.isfinite(value):
            raise ValueError(f"a score of {value}")  # which is above no threshold, and would read as normal
        threshold = self.thresholds[f"mean+{DECISIVE}std"]
        n = len(self.scores)
        return Score(
            value=value,
            decision="anomalous" if value > threshold else "normal",
            threshold=threshold,
            thresholds=self.thresholds,
            p_value=(1 + sum(score >= value for score in self.scores)) / (n + 1),
            p_resolution=1 / (n + 1),
        )

    def without(self, score: float) -> Calibration:
        """The calibration of all healthy subjects but one of this score, to judge that one by."""
        others = list(self.scores)
        others.remove(score)
        return replace(self, scores=tuple(others))

    def save(self, path: Path) -> None:
        """Write the calibration, with its thresholds spelt out for a reader, as JSON."""
        write_json(path, self._as_dict())

    def _as_dict(self) -> dict[str, Any]:
        told = {**asdict(replace(self, partial={})), "subjects": len(self.scores), "thresholds": self.thresholds}
        partial = {name: other._as_dict() for name, other in self.partial.items()}
        return {**told, "partial": partial} if partial else {k: v for k, v in told.items() if k != "partial"}

    @classmethod
    def _of(cls, raw: Mapping[str, Any]) -> Calibration:
        calibration = cls(
            tuple(float(score) for score in raw["scores"]),
            float(raw["voxel_threshold"]),
            float(raw["voxel_quantile"]),
            dict(raw["sha256"]),
            {share: float(z) for share, z in raw["voxel_tail"].items()},
            {index: (float(mean), float(std)) for index, (mean, std) in raw.get("slices", {}).items()},
            {name: float(usual) for name, usual in raw.get("typical", {}).items()},
            {name: cls._of(other) for name, other in raw.get("partial", {}).items()},
        )
        numbers = (*calibration.scores, calibration.voxel_threshold)
        if len(calibration.scores) < 2 or not np.isfinite(numbers).all():
            raise ValueError("scores that give no threshold")  # NaN would call everyone normal
        return calibration

    @classmethod
    def load(cls, path: Path) -> Calibration | None:
        """Read what :meth:`save` wrote; None where there is no such file.

        Raises:
            BundleError: the file is no calibration.
        """
        if not path.exists():
            return None
        try:
            return cls._of(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "Train the bundle again, or restore the file"
            raise BundleError(path, "a calibration", f"{error!r}", remedy) from error


def uncalibrated(value: float) -> Score:
    """The score of a bundle without a calibration: a number without a decision."""
    return Score(value, "uncalibrated", None, {}, None, None)

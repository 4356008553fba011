"""From a reconstruction to a z-map and one number, the same for calibration and detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mri3d.errors import UsageError
from mri3d.scoring.normative import Normative
from mri3d.scoring.residual import residual
from mri3d.volumes.volume import BoolArray, FloatArray


@dataclass(frozen=True)
class Scorer:
    """How residuals become scores.

    Args:
        smoothing: of the residual, standard deviation in voxels of the model grid.
        top_share: share of the brain's voxels with the largest z whose mean is the subject's score.
        standardise: by the mean and spread of healthy residuals at each ``voxel``, or by their spread over the whole
            ``brain``, which only gives the residual a scale.
        direction: what counts as abnormal: voxels that are ``bright``, ``dark``, or ``both``, against what is expected.
    """

    smoothing: float = 1.0
    top_share: float = 0.001
    standardise: Literal["voxel", "brain"] = "voxel"
    direction: Literal["both", "bright", "dark"] = "both"

    def __post_init__(self) -> None:
        for name, known in (("standardise", ("voxel", "brain")), ("direction", ("both", "bright", "dark"))):
            if getattr(self, name) not in known:
                found = repr(getattr(self, name))
                raise UsageError(f"scorer.{name}", f"one of {', '.join(known)}", found, "Mend the recipe")

    def residual(self, image: FloatArray, reconstruction: FloatArray, mask: BoolArray) -> FloatArray:
        """The signed, smoothed residual that is standardised; (X, Y, Z), 0 outside the brain."""
        return residual(image, reconstruction, mask, self.smoothing)

    def zscore(self, residual: FloatArray, mask: BoolArray, normative: Normative) -> FloatArray:
        """The z-map of a residual of :meth:`residual`: (X, Y, Z), at least 0, larger is more abnormal."""
        z = normative.zscore(residual, mask)
        match self.direction:
            case "both":
                return np.abs(z)
            case "bright":
                return np.maximum(z, 0)
            case "dark":
                return np.maximum(-z, 0)

    def value(self, values: FloatArray, mask: BoolArray) -> float:
        """The subject's score: the mean of the largest ``top_share`` of a map's values inside the brain.

        A lesion of a few millilitres fills it; a healthy brain's scattered outliers do not.
        """
        inside = values[mask]
        if inside.size == 0:
            return 0.0
        top = max(1, round(inside.size * self.top_share))
        return float(np.partition(inside, -top)[-top:].mean())

    def of_subject(
        self,
        image: FloatArray,
        reconstruction: FloatArray,
        mask: BoolArray,
        normative: Normative | None,
    ) -> tuple[FloatArray, FloatArray | None, float]:
        """Error map, z-map and score; without statistics no z-map, and the score is that of the error map."""
        error = np.abs(residual(image, reconstruction, mask))
        if normative is None:
            return error, None, self.value(error, mask)
        zscore = self.zscore(self.residual(image, reconstruction, mask), mask, normative)
        return error, zscore, self.value(zscore, mask)

"""From a reconstruction to a z-map and one number, the same for calibration and detection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri3d.scoring.normative import Normative
from mri3d.scoring.residual import residual
from mri3d.volumes.volume import BoolArray, FloatArray


@dataclass(frozen=True)
class Scorer:
    """How residuals become scores.

    Args:
        smoothing: of the residual, standard deviation in voxels of the model grid.
        top_share: share of the brain's voxels with the largest z whose mean is the subject's score.
    """

    smoothing: float = 1.0
    top_share: float = 0.001

    def residual(self, image: FloatArray, reconstruction: FloatArray, mask: BoolArray) -> FloatArray:
        """The signed, smoothed residual that is standardised; (X, Y, Z), 0 outside the brain."""
        return residual(image, reconstruction, mask, self.smoothing)

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
        zscore = normative.zscore(self.residual(image, reconstruction, mask), mask)
        return error, zscore, self.value(zscore, mask)

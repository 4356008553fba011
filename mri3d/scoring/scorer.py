"""From a reconstruction to a z-map and one number, the same for calibration and detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mri3d.errors import UsageError
from mri3d.scoring.normative import Normative
from mri3d.scoring.residual import difference, dissimilarity, smooth
from mri3d.scoring.tail import Tails
from mri3d.volumes.volume import BoolArray, FloatArray

MOST = 0.9
"""Share of a brain's voxels that are its own measure: a lesion is smaller than the rest, and on validation subjects of
``brain_t1`` measuring by it found more than by the median (AP 0.38 against 0.36; 0.31 without a measure)."""

KNOWN = {
    "measure": ("difference", "ssim"),
    "standardise": ("voxel", "brain"),
    "direction": ("both", "bright", "dark"),
}


@dataclass(frozen=True)
class Scorer:
    """How residuals become scores. Arrays (C, X, Y, Z) have a channel a modality.

    Args:
        measure: what the residual is, the ``difference`` of image and reconstruction or, by ``ssim``, their lack of
            structural similarity.
        smoothing: of the residual, standard deviation in voxels of the model grid; of several the results are averaged.
        top_share: share of the brain's voxels with the largest departures, whose mean is the subject's score.
        standardise: by the mean and spread of healthy residuals at each ``voxel``, or by their spread over the whole
            ``brain``, which only gives the residual a scale.
        direction: what counts as abnormal: voxels that are ``bright``, ``dark``, or ``both``, against what is expected.
        own_scale: measure a modality's departures by what is usual in this very scan (:meth:`typical`), since people
            and scanners differ in how well a whole brain is reconstructed.
    """

    measure: Literal["difference", "ssim"] = "difference"
    smoothing: float | Sequence[float] = 1.0
    top_share: float = 0.0003
    standardise: Literal["voxel", "brain"] = "voxel"
    direction: Literal["both", "bright", "dark"] = "both"
    own_scale: bool = False

    def __post_init__(self) -> None:
        for name, known in KNOWN.items():
            if getattr(self, name) not in known:
                found = repr(getattr(self, name))
                raise UsageError(f"scorer.{name}", f"one of {', '.join(known)}", found, "Mend the recipe")
        if not (isinstance(self.top_share, int | float) and 0 < self.top_share <= 1):
            found = str(self.top_share)
            raise UsageError("scorer.top_share", "a share above 0, at most 1.0", found, "Mend the recipe")
        if not self.widths or min(self.widths) < 0:
            found = str(self.smoothing)
            raise UsageError("scorer.smoothing", "one or more widths from 0 voxels on", found, "Mend the recipe")

    @property
    def widths(self) -> tuple[float, ...]:
        """The scales of :attr:`smoothing`."""
        return tuple(self.smoothing) if isinstance(self.smoothing, Sequence) else (self.smoothing,)

    def residual(self, image: FloatArray, reconstruction: FloatArray, mask: BoolArray) -> FloatArray:
        """The signed, smoothed residual that is standardised; all (C, X, Y, Z), 0 outside ``mask``."""
        measure = dissimilarity if self.measure == "ssim" else difference
        channels = zip(image, reconstruction, mask, strict=True)
        return np.stack([smooth(measure(*channel), channel[-1], self.widths) for channel in channels])

    def departure(self, residual: FloatArray, mask: BoolArray, normative: Normative) -> FloatArray:
        """How far a residual of :meth:`residual` departs: (X, Y, Z), at least 0, larger is more abnormal.

        :meth:`Normative.zscore` makes it a z-map.
        """
        return self.together(self.apart(residual, mask, normative), normative.tails)

    def apart(self, residual: FloatArray, mask: BoolArray, normative: Normative) -> FloatArray:
        """(C, X, Y, Z) how far each modality departs, in healthy standard deviations."""
        signed = normative.standardise(residual, mask)
        if self.own_scale:
            typical = np.maximum(self.typical(residual, mask, normative), np.float32(1e-3))
            signed = np.asarray(signed / typical[:, None, None, None], dtype=np.float32)
        match self.direction:
            case "both":
                return np.abs(signed)
            case "bright":
                return np.maximum(signed, 0)
            case "dark":
                return np.maximum(-signed, 0)

    @staticmethod
    def together(departures: FloatArray, tails: Tails) -> FloatArray:
        """A voxel is as abnormal as the modality in which it is rarest among healthy voxels.

        So a lesion that one modality shows is not averaged away by others, and one that varies more has no more say. On
        lesions simulated in validation subjects of ``brain_t1t2flair`` this found more than the root mean square or the
        Mahalanobis distance.

        Args:
            departures: (C, ...) of :meth:`apart`.
            tails: of healthy subjects; where they do not tell how far each modality departs, sizes are compared.

        Returns:
            (...), of one modality its departures as they are.
        """
        if len(departures) == 1:
            return np.asarray(departures[0])
        known = tails.alone or (None,) * len(departures)
        pairs = zip(departures, known, strict=True)
        return np.asarray(np.max([own if tail is None else tail.normal(own) for own, tail in pairs], axis=0))

    def typical(self, residual: FloatArray, mask: BoolArray, normative: Normative) -> FloatArray:
        """(C,) the departure that most voxels of a modality stay below (:data:`MOST`), in healthy standard deviations.

        0 for a modality that shows nothing. A scan unlike the healthy ones as a whole has more of it than they.
        """
        size = np.abs(normative.standardise(residual, mask))
        each = [np.quantile(own[inside], MOST) if inside.any() else 0.0 for own, inside in zip(size, mask, strict=True)]
        return np.array(each, dtype=np.float32)

    def value(self, inside: FloatArray) -> float:
        """The subject's score: the mean of the largest ``top_share`` of the departures at the voxels of the brain.

        A lesion of half a millilitre fills it.
        """
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
        """Error map, z-map and score; without statistics no z-map, and the score is that of the error map.

        Image, reconstruction and mask are (C, X, Y, Z), the maps (X, Y, Z); the error is the mean over the modalities
        that show a voxel. The score is taken before departures become the z-map's z: of one modality the few that are
        largest by far then count for what they are. Several are compared in z of their own already.
        """
        brain = mask.any(axis=0)
        error = np.abs(difference(image, reconstruction, mask)).sum(axis=0) / np.maximum(mask.sum(axis=0), 1)
        error = error.astype(np.float32)
        if normative is None:
            return error, None, self.value(error[brain])
        departure = self.departure(self.residual(image, reconstruction, mask), mask, normative)
        return error, normative.zscore(departure), self.value(departure[brain])

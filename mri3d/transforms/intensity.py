"""Intensities on the model grid: bias field and scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from mri3d.errors import PreprocessingError
from mri3d.transforms.case import Item, Stage
from mri3d.volumes.itk import WORK_UNITS, as_sitk
from mri3d.volumes.volume import BoolArray, FloatArray

TO_MEDIAN = 0.4
"""What a brain's median becomes where fluid is bright, or lesions are: then a high percentile is one or the other."""

BY_MEDIAN = ("T2w", "FLAIR")
"""Modalities that are scaled so; all others are scaled by what is brightest in a healthy brain."""

MAX_NEGATIVE = 0.02
"""Share of negative brain voxels, which become 0, that is accepted; resampling and filters leave a few."""


def scale_of(brain: FloatArray, path: Path, percentile: float = 98.0) -> float:
    """The intensity of a brain's bright tissue.

    Args:
        brain: (N,) the brain's voxels.
        path: the volume they are from, for the error.
        percentile: of the voxels, which is the scale.

    Raises:
        PreprocessingError: the brain's intensities have no scale, or too many of them are negative.
    """
    scale = float(np.percentile(brain, percentile))
    negative = float((brain < 0).mean())
    if not (0 < scale < np.inf and negative <= MAX_NEGATIVE):
        # rounded up: what is refused must not read as what is allowed
        percent = np.ceil(1000 * negative - 1e-6) / 10
        raise PreprocessingError(
            path,
            f"a brain of positive intensities (at most {100 * MAX_NEGATIVE:.1f}% of its voxels below 0)",
            f"{percent:.1f}% below 0, and a {percentile:g}th percentile of {scale:g}",
            "Give the volume as the scanner made it, not standardised to a mean of 0",
        )
    return scale


class CorrectBias(Stage):
    """N4 bias field correction (Tustison et al. 2010, doi 10.1109/TMI.2010.2046908) inside the brain.

    The smooth field is estimated on every third voxel along each axis of the model grid and divided out.
    """

    name = "bias"

    def apply(self, item: Item) -> Item:
        """Replace ``image``."""
        channels = zip(item["image"].numpy(), item["mask"].numpy(), strict=True)
        item["image"] = torch.from_numpy(np.stack([self._corrected(*channel) for channel in channels]))
        return item

    def _corrected(self, data: FloatArray, mask: BoolArray) -> FloatArray:
        if not mask.any():
            return data
        image, brain = as_sitk(np.clip(data, 0, None)), as_sitk(mask.astype(np.uint8))
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        n4.SetNumberOfThreads(WORK_UNITS)
        n4.SetMaximumNumberOfIterations([50, 50, 30])
        n4.Execute(sitk.Shrink(image, [3, 3, 3]), sitk.Shrink(brain, [3, 3, 3]))
        field = np.exp(sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T)
        return np.where(mask, data / field, 0).astype(np.float32)


class NormaliseIntensity(Stage):
    """Give each modality a scale of its own and clip, so that tissue lies in [0, 1].

    T1w are divided by a high percentile, which is white matter. In T2w it would be fluid, of which people have more or
    less, and in FLAIR a lesion: these are scaled by their median (:data:`BY_MEDIAN`).

    Args:
        percentile: of the brain's voxels that becomes 1.
        ceiling: upper limit after scaling; the lower one is 0.

    Raises:
        PreprocessingError: the brain's intensities have no scale, or too many of them are negative.
    """

    name = "normalise"

    def __init__(self, percentile: float = 98.0, ceiling: float = 1.5) -> None:
        self.percentile, self.ceiling = percentile, ceiling

    def apply(self, item: Item) -> Item:
        """Replace ``image`` by values in [0, ceiling], 0 outside the brain."""
        image, mask, case = item["image"], item["mask"], item["case"]
        scales = [
            self._scale(image[c][mask[c]].numpy(), name, case.subject.images[name]) if mask[c].any() else 1.0
            for c, name in enumerate(case.channels)
        ]
        item["image"] = (image / torch.tensor(scales)[:, None, None, None]).clamp(0, self.ceiling) * mask
        return item

    def _scale(self, brain: FloatArray, modality: str, path: Path) -> float:
        if modality in BY_MEDIAN:
            return scale_of(brain, path, 50.0) / TO_MEDIAN
        return scale_of(brain, path, self.percentile)

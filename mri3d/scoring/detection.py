"""What is known of a subject at the end of the line: the values every report is drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mri3d.grid import Affine, Grid
from mri3d.volumes.coregistration import Coregistration
from mri3d.volumes.subject import Subject
from mri3d.volumes.volume import BoolArray, FloatArray, Volume

DECISIVE = 3
"""The k of the threshold mean + k std of healthy scores on which decisions rest."""

SIGNIFICANT = 0.05
"""q below which a region counts as found."""

Decision = Literal["normal", "anomalous", "uncalibrated"]


@dataclass(frozen=True)
class Component:
    """One connected region of the anomaly mask (26-neighbourhood).

    Args:
        index: 1 for the largest.
        volume_ml: its volume in ml.
        peak_z: largest value of the z-map in it.
        peak_mm: where that is, world coordinates (RAS, mm) of the source.
        mean_z: mean of the z-map over it.
    """

    index: int
    volume_ml: float
    peak_z: float
    peak_mm: tuple[float, float, float]
    mean_z: float


@dataclass(frozen=True)
class SliceScore:
    """How far one axial slice of the model grid departs from the same slice of healthy subjects.

    Args:
        index: along the model grid's third axis, 0 at the bottom.
        position_mm: its height in template space.
        error: mean |x - x_hat| over its brain voxels, in normalised intensity.
        score: mean of the largest z in its brain voxels.
        threshold: mean + 3 std of this slice's score in unseen healthy subjects; None if that is not known.
        decision: ``anomalous`` above the threshold.
    """

    index: int
    position_mm: float
    error: float
    score: float
    threshold: float | None
    decision: Decision


@dataclass(frozen=True)
class RegionScore:
    """One region of the atlas in one subject.

    Args:
        index: its number in the atlas.
        name: such as ``Left Caudate``.
        volume_ml: its volume in this brain. What does not look like it, as a lesion may not, is no part of it.
        mean_z: mean of the z-map where the atlas has it; None where there is no z-map, or no brain in the region.
        peak_z: largest value of the z-map there; likewise.
        fraction: share of the voxels where the atlas has it that are above the voxel threshold; likewise.
        z: how many healthy standard deviations it is larger (or, below 0, smaller) than expected of a healthy person,
            once the whole brain has the template's size; None where no healthy people are known.
        p: two-sided, of Student's t for one new person; likewise.
        q: the same corrected for the number of regions (Benjamini and Hochberg); likewise.
    """

    index: int
    name: str
    volume_ml: float
    mean_z: float | None
    peak_z: float | None
    fraction: float | None
    z: float | None
    p: float | None
    q: float | None


def by_departure(regions: Iterable[RegionScore]) -> list[RegionScore]:
    """Those that depart most first: by the size of z, and by the mean of the z-map where no region has a z."""
    return sorted(regions, key=lambda each: (-abs(each.z or 0.0), -(each.mean_z or 0.0)))


@dataclass(frozen=True)
class Score:
    """How far a subject departs from healthy ones.

    Args:
        value: the subject's score; larger is more abnormal.
        decision: ``anomalous`` above ``threshold``; ``uncalibrated`` where the bundle has no calibration.
        threshold: mean + 3 std of unseen healthy scores, on which the decision rests; None if uncalibrated.
        thresholds: all thresholds by name (``mean+1std``, ``mean+3std``).
        p_value: share of healthy scores at least as large, (1 + k) / (n + 1) (conformal); None if uncalibrated.
        p_resolution: the smallest p-value that n healthy subjects can give, 1 / (n + 1).
    """

    value: float
    decision: Decision
    threshold: float | None
    thresholds: Mapping[str, float]
    p_value: float | None
    p_resolution: float | None


@dataclass(frozen=True, eq=False)
class ModelSpace:
    """What the model saw: arrays on the model grid, for the pictures.

    Args:
        grid: the model grid, in template world space.
        image: normalised intensity of the reference, about 0 to 1, 0 outside the brain.
        reconstruction: the model's output on the same grid.
        mask: the brain on that grid.
        zscore: the z-map on that grid; None where the bundle has no statistics.
        images: every modality the subject has, like ``image``.
        to_source: (4, 4) affine from template world space to the source's, mm.
    """

    grid: Grid
    image: FloatArray
    reconstruction: FloatArray
    mask: BoolArray
    zscore: FloatArray | None = None
    images: Mapping[str, FloatArray] = field(default_factory=dict)
    to_source: Affine = field(default_factory=lambda: np.eye(4))


@dataclass(frozen=True, eq=False)
class ModalityMap:
    """A map of one modality, which knows nothing of the others.

    Args:
        modality: such as ``FLAIR``.
        kind: ``error`` or ``zscore``, as for all modalities together.
        native: whether it lies on the modality's own grid; else on the reference's.
        data: float32 of the shape of ``volume.data``; 0 outside the brain and where the modality does not show it.
        volume: whose grid it lies on.
    """

    modality: str
    kind: str
    native: bool
    data: FloatArray
    volume: Volume


@dataclass(frozen=True, eq=False)
class Detection:
    """A scored subject. All arrays but ``model`` have the shape and order of ``volume.data``.

    Args:
        subject: whose it is.
        volume: the source, on the reference grid.
        brain: the brain mask on the source grid.
        brain_source: where the mask came from (``given``, ``stripped input``, ``deepbet``).
        alignment_dice: overlap of the aligned brain with the template's, 0 to 1.
        alignment_correlation: of intensities in the aligned brain with the template's, -1 to 1.
        error: |x - x_hat| in normalised intensity, formed on the model grid; 0 outside the brain.
        zscore: absolute z against healthy subjects; 0 outside the brain; None where the bundle has no statistics.
        anomaly: the thresholded and filtered z-map; None where the bundle has no calibration.
        voxel_threshold: z above which a voxel counts as anomalous; None if uncalibrated.
        score: the subject's score and decision.
        components: regions of ``anomaly``, largest first.
        model: the same subject on the model grid.
        slices: of the model grid, bottom to top; empty where the bundle does not judge them.
        regions: of the atlas; empty where the bundle has none.
        covariates: what of the person their z takes into account, by name.
        reconstruction: the reference's reconstruction in normalised intensity, if asked for.
        others: the modalities beside the reference, by name, each on its own grid.
        coregistrations: how these were brought to the reference, by their name.
        modality_maps: of each modality alone, if asked for.
        warnings: what a user should know, whole sentences.
        seconds: time by stage.
    """

    subject: Subject
    volume: Volume
    brain: BoolArray
    brain_source: str
    alignment_dice: float
    alignment_correlation: float
    error: FloatArray
    zscore: FloatArray | None
    anomaly: BoolArray | None
    voxel_threshold: float | None
    score: Score
    components: tuple[Component, ...]
    model: ModelSpace
    slices: tuple[SliceScore, ...] = ()
    regions: tuple[RegionScore, ...] = ()
    covariates: Mapping[str, float | str] = field(default_factory=dict)
    reconstruction: FloatArray | None = None
    others: Mapping[str, Volume] = field(default_factory=dict)
    coregistrations: Mapping[str, Coregistration] = field(default_factory=dict)
    modality_maps: tuple[ModalityMap, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def anomalous_ml(self) -> float | None:
        """Volume of the anomaly mask in ml; None if uncalibrated."""
        return None if self.anomaly is None else sum(c.volume_ml for c in self.components)

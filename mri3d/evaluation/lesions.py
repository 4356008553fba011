"""How many lesions a map finds, and at the price of how many false findings.

A lesion is a connected part (26-neighbourhood) of the truth. It counts as detected where at least ``MIN_COVERED`` of it
is flagged. A finding is a connected part of what is flagged, of at least the detector's minimum volume; it is false
where less than ``MIN_COVERED`` of it lies in lesions, so that neither a speck in a large lesion nor half a brain around
a small one counts as a find.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mri3d.evaluation.bootstrap import Estimate, FloatArray, draw_subjects

MIN_COVERED = 0.1
SIZES_ML = (1.0, 5.0, 20.0)
"""Lesions are told apart by these volumes: under the first, from one to the next, and from the last on."""

RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False findings a scan at which the FROC score takes the sensitivity (CAMELYON16, Bejnordi et al. 2017)."""

_NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class ScanLesions:
    """The L lesions of one scan, and what T thresholds make of them.

    Args:
        subject: whose they are; scans of one subject are resampled together.
        sizes_ml: (L,) volumes; L is 0 for a healthy scan.
        covered: (T, L) share of each lesion that is flagged, 0 to 1.
        false_findings: (T,) how many findings are false.
    """

    subject: str
    sizes_ml: FloatArray
    covered: FloatArray
    false_findings: FloatArray

    @property
    def detected(self) -> npt.NDArray[np.bool_]:
        """(T, L) whether each lesion is detected."""
        return np.asarray(self.covered >= MIN_COVERED)


@dataclass(frozen=True, eq=False)
class Froc:
    """Free-response ROC (Bunch et al. 1978): from nothing flagged to where false findings grow into one another.

    Args:
        false_findings: (P,) false findings a scan, rising from 0.
        sensitivity: (P,) share of lesions detected.
    """

    false_findings: FloatArray
    sensitivity: FloatArray

    @property
    def score(self) -> float:
        """Mean sensitivity at ``RATES``, 0 to 1; beyond the curve's end that of its end."""
        return float(np.interp(RATES, self.false_findings, self.sensitivity).mean())


def find_lesions(
    subject: str,
    scores: npt.NDArray[np.floating],
    truth: npt.NDArray[np.bool_],
    voxel_ml: float,
    thresholds: Sequence[float],
    min_ml: float,
) -> ScanLesions:
    """Judge one scan's map at several thresholds.

    Args:
        subject: whose scan it is.
        scores: (X, Y, Z); larger is more abnormal, 0 outside the brain.
        truth: (X, Y, Z) True in lesions.
        voxel_ml: volume of a voxel in ml.
        thresholds: (T,) positive and falling; voxels with a larger score are flagged, as in the anomaly mask.
        min_ml: smallest finding, in ml.

    Raises:
        ValueError: shapes differ, or thresholds do not fall.
    """
    if scores.shape != truth.shape:
        raise ValueError(f"{subject}: scores {scores.shape} and truth {truth.shape} differ")
    if not (np.diff(thresholds) < 0).all() or min(thresholds) <= 0:
        raise ValueError(f"thresholds are positive and fall, not {list(thresholds)}")
    box = _box_of((scores > min(thresholds)) | truth)
    scores, truth = scores[box], truth[box]
    lesions, count = ndimage.label(truth, structure=_NEIGHBOURS_26)
    sizes = np.bincount(lesions.ravel(), minlength=count + 1)[1:]
    covered, false_findings = np.zeros((len(thresholds), count)), np.zeros(len(thresholds))
    for at, threshold in enumerate(thresholds):
        flagged, false_findings[at] = _findings(scores > threshold, truth, voxel_ml, min_ml)
        covered[at] = np.bincount(lesions[flagged], minlength=count + 1)[1:] / np.maximum(sizes, 1)
    return ScanLesions(subject, np.asarray(sizes * voxel_ml, dtype=np.float64), covered, false_findings)


def sensitivity(scans: Sequence[ScanLesions], at: int, *, replicates: int = 1000, seed: int = 0) -> Estimate | None:
    """Share of the lesions of all scans that are detected at threshold number ``at``; None without lesions."""
    return _detected_share(scans, at, (0.0, np.inf), replicates, seed)


def by_size(
    scans: Sequence[ScanLesions], at: int, *, replicates: int = 1000, seed: int = 0
) -> dict[str, tuple[int, Estimate]]:
    """Lesions and the share detected at threshold number ``at`` by size, such as ``1-5 ml``, where there are any."""
    found = {}
    bounds = (0.0, *SIZES_ML, np.inf)
    for low, high in itertools.pairwise(bounds):
        name = f"<{high:g} ml" if low == 0 else f">={low:g} ml" if high == np.inf else f"{low:g}-{high:g} ml"
        share = _detected_share(scans, at, (low, high), replicates, seed)
        if share is not None:
            found[name] = (int(sum(_within(scan, (low, high)).sum() for scan in scans)), share)
    return found


def froc(scans: Sequence[ScanLesions]) -> Froc | None:
    """The curve over the lesions and false findings of all scans, healthy ones included; None without lesions."""
    return _curve(np.ones(len(scans)), *_table(scans)) if any(scan.sizes_ml.size for scan in scans) else None


def froc_score(scans: Sequence[ScanLesions], *, replicates: int = 1000, seed: int = 0) -> Estimate | None:
    """:attr:`Froc.score` with its interval; None without lesions."""
    curve = froc(scans)
    if curve is None:
        return None
    table = _table(scans)
    draws = draw_subjects([scan.subject for scan in scans], replicates, seed)
    scores = [_curve(weights, *table).score if (weights @ table[1] > 0) else np.nan for weights in draws]
    return Estimate.from_replicates(curve.score, np.asarray(scores))


def _findings(
    above: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], voxel_ml: float, min_ml: float
) -> tuple[npt.NDArray[np.bool_], int]:
    """The voxels of findings, and how many findings are false."""
    labels, count = ndimage.label(above, structure=_NEIGHBOURS_26)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = sizes * voxel_ml >= min_ml - 1e-9
    kept[0] = False
    in_lesions = np.bincount(labels[truth], minlength=count + 1)
    return kept[labels], int(np.count_nonzero(kept & (in_lesions < MIN_COVERED * sizes)))


def _box_of(mask: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    boxes = ndimage.find_objects(mask.view(np.uint8))
    return boxes[0] if boxes else (slice(0, 1),) * mask.ndim


def _within(scan: ScanLesions, bounds: tuple[float, float]) -> npt.NDArray[np.bool_]:
    return np.asarray((scan.sizes_ml >= bounds[0]) & (scan.sizes_ml < bounds[1]))


def _detected_share(
    scans: Sequence[ScanLesions], at: int, bounds: tuple[float, float], replicates: int, seed: int
) -> Estimate | None:
    counts = np.array([_within(scan, bounds).sum() for scan in scans], dtype=np.float64)
    found = np.array([scan.detected[at][_within(scan, bounds)].sum() for scan in scans], dtype=np.float64)
    if not counts.sum():
        return None
    draws = draw_subjects([scan.subject for scan in scans], replicates, seed)
    drawn = draws @ counts
    shares = np.divide(draws @ found, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)
    return Estimate.from_replicates(found.sum() / counts.sum(), shares)


def _table(scans: Sequence[ScanLesions]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A row a scan: lesions detected (C, T), lesions (C,), false findings (C, T)."""
    detected = np.stack([scan.detected.sum(axis=1) for scan in scans]).astype(np.float64)
    lesions = np.array([scan.sizes_ml.size for scan in scans], dtype=np.float64)
    return detected, lesions, np.stack([scan.false_findings for scan in scans])


def _curve(weights: FloatArray, detected: FloatArray, lesions: FloatArray, false_findings: FloatArray) -> Froc:
    found, false = weights @ detected / (weights @ lesions), weights @ false_findings / weights.sum()
    end = false.size - int(np.argmax(false[::-1]))  # just after the last threshold with most false findings
    rising = np.maximum.accumulate(false[:end])
    return Froc(np.concatenate([[0.0], rising]), np.concatenate([[0.0], found[:end]]))

"""How well score maps find the voxels of lesions, inside brain masks and pooled over subjects.

Values are exact. Their intervals resample subjects, which for metrics over all thresholds would mean sorting millions
of voxels a thousand times; instead each case becomes a histogram on a common fine grid of scores, and a replicate is a
weighted sum of histograms, within 1e-3 of the sorted result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from mri3d.evaluation.bootstrap import Estimate, FloatArray, draw_subjects
from mri3d.evaluation.subjects import (
    Curve,
    at_or_above,
    auroc_of_counts,
    average_precision_of_counts,
    curve_of_counts,
)

# A bin holds at most about 1 / BINS of the lesion voxels. Counting a bin as tied then moves AUROC by at most
# 1 / (2 BINS), and average precision by 1 / BINS times how far precision falls over the curve, which is at most 1.
BINS = 2048


@dataclass(frozen=True, eq=False)
class BrainVoxels:
    """The voxels of one case that count: those inside its brain mask.

    Args:
        subject: whose they are; cases of one subject are resampled together.
        scores: (N,) finite scores; larger is more abnormal.
        truth: (N,) bool, True in a lesion; all False for a healthy case.

    Raises:
        ValueError: shapes differ, or a score is not finite.
    """

    subject: str
    scores: npt.NDArray[np.floating]
    truth: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or self.scores.shape != self.truth.shape:
            raise ValueError(f"{self.subject}: scores {self.scores.shape} and truth {self.truth.shape} are not (N,)")
        if not np.isfinite(self.scores).all():
            raise ValueError(f"{self.subject}: a score inside the brain mask is not finite")

    @classmethod
    def within(
        cls, subject: str, brain: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating], truth: npt.NDArray[np.bool_]
    ) -> BrainVoxels:
        """The voxels of maps (X, Y, Z) where ``brain`` is True."""
        if not brain.shape == scores.shape == truth.shape:
            raise ValueError(f"{subject}: brain {brain.shape}, scores {scores.shape}, truth {truth.shape} differ")
        inside = brain.astype(bool)
        return cls(subject, scores[inside], truth[inside].astype(bool))


def ranking(cases: Sequence[BrainVoxels], *, replicates: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """How well scores put lesion voxels before healthy ones, over all thresholds.

    Args:
        cases: whose voxels are pooled.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Returns:
        ``average_precision``, ``auroc``, ``dice_best`` (each 0 to 1) and ``dice_best_threshold`` (voxels with a score
        of at least that are flagged). ``dice_best`` chooses its threshold with the labels, anew in each replicate: it
        bounds what a threshold could reach and must not be mixed with Dice at a threshold set beforehand. Without
        lesion voxels the result is empty; without healthy voxels it has no ``auroc``.
    """
    scores, truth = _pooled(cases)
    if not truth.any():
        return {}
    best, threshold = _best_dice(scores, truth)
    edges = bin_edges(scores[truth])
    draws = draw_subjects([case.subject for case in cases], replicates, seed)
    histograms = [histogram(case, edges) for case in cases]
    positives, negatives = (draws @ np.stack(side) for side in zip(*histograms, strict=True))
    dice = _dice(at_or_above(positives), positives.sum(axis=1)[:, None], at_or_above(positives + negatives))
    drawn = positives.any(axis=1)
    at_best = edges[np.maximum(np.argmax(dice, axis=1) - 1, 0)]
    estimates = {
        "average_precision": Estimate.from_replicates(
            average_precision_score(truth, scores), average_precision_of_counts(positives, negatives)
        ),
        "dice_best": Estimate.from_replicates(best, np.where(drawn, dice.max(axis=1), np.nan)),
        "dice_best_threshold": Estimate.from_replicates(threshold, np.where(drawn, at_best, np.nan)),
    }
    if not truth.all():
        area = auroc_of_counts(positives, negatives)
        estimates["auroc"] = Estimate.from_replicates(roc_auc_score(truth, scores), area)
    return estimates


def curve(cases: Sequence[BrainVoxels]) -> Curve:
    """ROC and precision-recall points of the pooled voxels, at the scores of :func:`bin_edges`.

    Args:
        cases: at least one of them with lesion voxels.
    """
    edges = bin_edges(np.concatenate([case.scores[case.truth] for case in cases]))
    positives, negatives = np.sum([histogram(case, edges) for case in cases], axis=0)
    return curve_of_counts(positives, negatives)


def at_threshold(
    cases: Sequence[BrainVoxels], threshold: float, *, replicates: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """How well the voxels with a score of at least ``threshold`` agree with the lesions.

    Args:
        cases: whose voxels are counted.
        threshold: chosen without these cases, such as from healthy subjects only.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Returns:
        Each 0 to 1: ``dice`` (voxels pooled), ``dice_subject_mean`` (mean over the cases that have a lesion),
        ``sensitivity`` (share of lesion voxels flagged) and ``precision`` (share of flagged voxels in lesions). Without
        lesion voxels only ``precision`` can be said, and that only where a voxel is flagged.
    """
    counts = np.array([_counts_at(case, threshold) for case in cases], dtype=np.float64).reshape(-1, 3)
    found, actual, flagged = counts.T
    per_case = {
        "found": found,
        "actual": actual,
        "flagged": flagged,
        "lesioned": (actual > 0).astype(np.float64),
        "dice": np.where(actual > 0, _dice(found, actual, flagged), 0.0),
    }
    draws = draw_subjects([case.subject for case in cases], replicates, seed)
    # the sum over the sample comes first, then that over each replicate
    total = {name: np.concatenate([[each.sum()], draws @ each]) for name, each in per_case.items()}
    sizes = np.where(total["actual"] > 0, total["actual"] + total["flagged"], 0)
    ratios = {
        "dice": (2 * total["found"], sizes),
        "dice_subject_mean": (total["dice"], total["lesioned"]),
        "sensitivity": (total["found"], total["actual"]),
        "precision": (total["found"], total["flagged"]),
    }
    return {name: _ratio_estimate(*ratio) for name, ratio in ratios.items() if ratio[1][0] > 0}


def bin_edges(lesion_scores: npt.NDArray[np.floating], bins: int = BINS) -> npt.NDArray[np.floating]:
    """Rising scores that split the lesion voxels evenly.

    Args:
        lesion_scores: (P,) scores of lesion voxels, P at least 1.
        bins: how many edges at most.

    Returns:
        (E,) scores that occur, E at most ``bins``; all that occur where these are no more, and then nothing is lost by
        binning. The grid follows the lesions because recall moves at their scores alone, be they ever so rare.
    """
    ordered = np.sort(lesion_scores)
    index = np.linspace(0, ordered.size - 1, min(bins, ordered.size)).round().astype(np.int64)
    return np.unique(ordered[index])


def histogram(case: BrainVoxels, edges: npt.NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
    """A case's lesion voxels and healthy voxels by score.

    Args:
        case: its N voxels.
        edges: (E,) rising scores.

    Returns:
        Two (E + 1,) counts: below the first edge, then from each edge to the next, the last bin being open.
    """
    which = np.searchsorted(edges, case.scores, side="right")
    all_voxels = np.bincount(which, minlength=edges.size + 1).astype(np.float64)
    lesion = np.bincount(which[case.truth], minlength=edges.size + 1).astype(np.float64)
    return lesion, all_voxels - lesion


def _pooled(cases: Sequence[BrainVoxels]) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]:
    if not cases:
        return np.zeros(0), np.zeros(0, dtype=bool)
    return np.concatenate([case.scores for case in cases]), np.concatenate([case.truth for case in cases])


def _best_dice(scores: npt.NDArray[np.floating], truth: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """The largest Dice any threshold gives, and that threshold; Dice is the F1 of precision and recall."""
    precision, recall, thresholds = precision_recall_curve(truth, scores, drop_intermediate=True)
    dice = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
    best = int(np.argmax(dice[:-1]))
    return float(dice[best]), float(thresholds[best])


def _dice(found: FloatArray, actual: FloatArray, flagged: FloatArray) -> FloatArray:
    """Dice from counts of lesion voxels found, lesion voxels and flagged voxels; 0 where there are none at all."""
    return np.asarray(2 * found / np.maximum(actual + flagged, 1))


def _counts_at(case: BrainVoxels, threshold: float) -> tuple[int, int, int]:
    """Lesion voxels flagged, lesion voxels, flagged voxels."""
    flagged = case.scores >= threshold
    return int((flagged & case.truth).sum()), int(case.truth.sum()), int(flagged.sum())


def _ratio_estimate(numerator: FloatArray, denominator: FloatArray) -> Estimate:
    """The estimate whose value is the first ratio and whose replicates are the others."""
    ratio = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return Estimate.from_replicates(ratio[0], ratio[1:])

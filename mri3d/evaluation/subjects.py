"""How well scores, and decisions, tell abnormal subjects from healthy ones, and how sure one can be of that.

A bootstrap replicate only changes how often a subject counts, so scores are sorted into bins once and every replicate
is a weighted sum of those counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from mri3d.evaluation.bootstrap import Estimate, FloatArray, draw_subjects


def auroc_of_counts(positives: FloatArray, negatives: FloatArray) -> FloatArray:
    """Area under the ROC curve (0 to 1) from counts by score.

    Args:
        positives: (..., B) positives in B bins of rising score; those of one bin count as tied.
        negatives: (..., B) negatives in the same bins.

    Returns:
        (...) areas: the Mann-Whitney statistic; NaN where a class is empty.
    """
    beaten = np.cumsum(negatives, axis=-1) - negatives / 2
    pairs = positives.sum(axis=-1) * negatives.sum(axis=-1)
    return _ratio((positives * beaten).sum(axis=-1), pairs)


def average_precision_of_counts(positives: FloatArray, negatives: FloatArray) -> FloatArray:
    """Average precision (0 to 1) from counts by score: precision at each bin, weighted by the recall it adds.

    Args:
        positives: (..., B) positives in B bins of rising score; those of one bin count as tied.
        negatives: (..., B) negatives in the same bins.

    Returns:
        (...) the sum scikit-learn defines as average precision; NaN without positives.
    """
    found, flagged = at_or_above(positives), at_or_above(positives + negatives)
    precision = found / np.maximum(flagged, 1)
    return _ratio((precision * positives).sum(axis=-1), positives.sum(axis=-1))


def at_or_above(counts: FloatArray) -> FloatArray:
    """(..., B) counts by rising score to (..., B) how many lie in that bin or a higher one."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


@dataclass(frozen=True, eq=False)
class Curve:
    """What every threshold gives, from the highest down.

    Args:
        recall: (B,) share of positives at or above it; also called sensitivity or true positive rate.
        false_positive_rate: (B,) share of negatives at or above it; NaN without negatives.
        precision: (B,) share of positives among all at or above it.
    """

    recall: FloatArray
    false_positive_rate: FloatArray
    precision: FloatArray


def curve_of_counts(positives: FloatArray, negatives: FloatArray) -> Curve:
    """ROC and precision-recall points from counts (B,) by rising score; bins above which nothing lies are left out."""
    found, false = at_or_above(positives)[::-1], at_or_above(negatives)[::-1]
    any_flagged = found + false > 0
    found, false = found[any_flagged], false[any_flagged]
    recall, rate = (_ratio(part, np.full(part.shape, part[-1])) if part.size else part for part in (found, false))
    return Curve(recall, rate, found / (found + false))


def curve(scores: npt.ArrayLike, abnormal: npt.ArrayLike) -> Curve:
    """The curve of scores (C,) and truths (C,)."""
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(abnormal, dtype=bool)
    one_hot = values[:, None] == np.unique(values)
    return curve_of_counts(one_hot[truth].sum(axis=0).astype(float), one_hot[~truth].sum(axis=0).astype(float))


def ranking(
    scores: npt.ArrayLike,
    abnormal: npt.ArrayLike,
    subjects: Sequence[str] | None = None,
    *,
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """How well scores put abnormal cases before healthy ones, whatever the threshold.

    Args:
        scores: (C,) one score a case; larger is more abnormal.
        abnormal: (C,) the truth.
        subjects: the subject of each case, where one subject gives several (scanned twice, or with and without a
            simulated lesion); each case is a subject of its own when left out.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Returns:
        ``auroc`` and ``average_precision``, each 0 to 1; empty where only one class is there. Perfect separation gives
        the interval [1, 1], as no resampling can break it: read it together with the number of subjects.

    Raises:
        ValueError: lengths differ, or a score is not finite.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(abnormal, dtype=bool)
    names = [str(i) for i in range(values.size)] if subjects is None else subjects
    if values.ndim != 1 or values.shape != truth.shape or len(names) != values.size:
        raise ValueError(f"scores {values.shape}, truths {truth.shape} and {len(names)} subjects: expected one a case")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite: leave failed cases out")
    if truth.all() or not truth.any():
        return {}
    levels = np.unique(values)
    one_hot = (values[:, None] == levels).astype(np.float64)
    draws = draw_subjects(names, replicates, seed)
    positives, negatives = draws @ (one_hot * truth[:, None]), draws @ (one_hot * ~truth[:, None])
    # Without both classes average precision is 0 or 1 whatever the scores: such draws say nothing.
    precision = average_precision_of_counts(positives, negatives)
    precision[negatives.sum(axis=1) == 0] = np.nan
    return {
        "auroc": Estimate.from_replicates(roc_auc_score(truth, values), auroc_of_counts(positives, negatives)),
        "average_precision": Estimate.from_replicates(average_precision_score(truth, values), precision),
    }


def decisions(
    flagged: npt.ArrayLike,
    abnormal: npt.ArrayLike,
    subjects: Sequence[str] | None = None,
    *,
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """How well a decision made with a threshold set beforehand agrees with the truth.

    Args:
        flagged: (C,) whether a case is called abnormal.
        abnormal: (C,) the truth.
        subjects: the subject of each case, as for :func:`ranking`.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Returns:
        Each 0 to 1: ``accuracy``, ``sensitivity`` (share of abnormal cases flagged, absent without any) and
        ``specificity`` (share of healthy cases not flagged, likewise). Empty without cases.
    """
    said, truth = np.asarray(flagged, dtype=bool), np.asarray(abnormal, dtype=bool)
    names = [str(i) for i in range(truth.size)] if subjects is None else subjects
    if truth.ndim != 1 or said.shape != truth.shape or len(names) != truth.size:
        raise ValueError(f"decisions {said.shape}, truths {truth.shape} and {len(names)} subjects: one a case expected")
    draws = np.vstack([np.ones(truth.size), draw_subjects(names, replicates, seed)])
    counted = {"accuracy": truth | ~truth, "sensitivity": truth, "specificity": ~truth}
    ratios = {name: _ratio(draws @ (of & (said == truth)), draws @ of) for name, of in counted.items() if of.any()}
    return {name: Estimate.from_replicates(ratio[0], ratio[1:]) for name, ratio in ratios.items()}


def confusion(flagged: npt.ArrayLike, abnormal: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Counts of cases, (2, 2): rows are the truth (healthy, abnormal), columns the decision (normal, anomalous)."""
    truth, said = np.asarray(abnormal, dtype=bool), np.asarray(flagged, dtype=bool)
    return np.asarray(confusion_matrix(truth, said, labels=[False, True]))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """``numerator / denominator``, NaN where that is 0 / 0."""
    unknown = np.full(np.shape(denominator), np.nan)
    return np.asarray(np.divide(numerator, denominator, out=unknown, where=denominator > 0))

"""One number and one decision for each axial slice of the model grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mri3d.grid import Grid
from mri3d.scoring.detection import DECISIVE, SliceScore
from mri3d.volumes.volume import BoolArray, FloatArray

SHARE = 0.01
"""Share of a slice's brain voxels with the largest z, whose mean is its score: 0.4 ml of the largest slice at 2 mm."""

LEAST = 200
"""Brain voxels from which on a slice is judged; 8 cm2 at 2 mm."""

Slices = Mapping[str, tuple[float, float]]
"""Mean and standard deviation of healthy scores by a slice's index, which JSON knows as a word."""


def slice_scores(zscore: FloatArray, mask: BoolArray) -> dict[int, float]:
    """The score of each slice with enough brain in it, by its index along the third axis.

    Args:
        zscore: (X, Y, Z) z-map on the model grid.
        mask: (X, Y, Z) brain.
    """
    scores = {}
    for index in np.flatnonzero(np.count_nonzero(mask, axis=(0, 1)) >= LEAST):
        inside = zscore[..., index][mask[..., index]]
        top = max(1, round(inside.size * SHARE))
        scores[int(index)] = float(np.partition(inside, -top)[-top:].mean())
    return scores


def judge_slices(
    error: FloatArray, zscore: FloatArray, mask: BoolArray, grid: Grid, healthy: Slices
) -> tuple[SliceScore, ...]:
    """The slices of a subject, held against the same slices of healthy ones.

    Args:
        error: (X, Y, Z) |x - x_hat| on the model grid.
        zscore: likewise.
        mask: likewise, the brain.
        grid: the model grid.
        healthy: what is known of unseen healthy subjects.
    """
    judged = []
    for index, score in slice_scores(zscore, mask).items():
        known = healthy.get(str(index))
        threshold = None if known is None else known[0] + DECISIVE * known[1]
        judged.append(
            SliceScore(
                index=index,
                position_mm=float(grid.world((0, 0, index))[2]),
                error=float(error[..., index][mask[..., index]].mean()),
                score=score,
                threshold=threshold,
                decision="uncalibrated" if threshold is None else "anomalous" if score > threshold else "normal",
            )
        )
    return tuple(judged)


def healthy_slices(people: list[dict[int, float]], least: int) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each slice that at least so many people have.

    Args:
        people: the scores of each, as :func:`slice_scores` gave them.
        least: people, two or more.
    """
    found = {}
    for index in sorted({index for scores in people for index in scores}):
        values = [scores[index] for scores in people if index in scores]
        if len(values) >= least:
            found[str(index)] = (float(np.mean(values)), float(np.std(values, ddof=1)))
    return found

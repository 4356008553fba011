"""How well a network's residual finds simulated anomalies, on the model grid and without any calibration."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.networks.utils import eval_mode
from sklearn.metrics import average_precision_score

from mri3d.grid import Grid
from mri3d.scoring.normative import Normative
from mri3d.scoring.scorer import Scorer
from mri3d.transforms.case import Item
from mri3d.transforms.corruption import CORRUPTED, RandAnomaliesd
from mri3d.volumes.volume import BoolArray


@dataclass(frozen=True, eq=False)
class Simulated:
    """A healthy subject with anomalies put in.

    Args:
        image: (C, X, Y, Z) float32, normalised intensity.
        mask: (C, X, Y, Z) the brain as far as each modality shows it.
        truth: (X, Y, Z) brain voxels whose intensity was changed by more than 0.03; at least one.
    """

    image: torch.Tensor
    mask: BoolArray
    truth: BoolArray


def simulate(items: Sequence[Item]) -> tuple[Simulated, ...]:
    """Put random anomalies into healthy subjects, the same into a subject every time.

    What :class:`mri3d.transforms.corruption.RandAnomaliesd` makes of a subject is a function of the participant's name
    alone; where chance would put nothing in, it draws again.

    Args:
        items: preprocessed, ``image`` and ``mask`` of shape (C, X, Y, Z) and ``participant``; unchanged.
    """
    return tuple(_simulate(item) for item in items if item["mask"].any())


def _simulate(item: Item) -> Simulated:
    transform, seed = RandAnomaliesd("image"), zlib.crc32(item["participant"].encode())
    mask = np.asarray(item["mask"], dtype=bool)
    while True:
        transform.set_random_state(seed % 2**32)
        image = transform({"image": item["image"], "mask": item["mask"]})["image"].float()
        truth = (((image - item["image"]).abs().numpy() > CORRUPTED) & mask).any(axis=0)
        if truth.any():
            return Simulated(image, mask, truth)
        seed += 1


def average_precision(
    subjects: Sequence[Simulated],
    network: torch.nn.Module,
    inferer: Callable[..., torch.Tensor],
    scorer: Scorer,
    device: torch.device,
) -> float:
    """Average precision (0 to 1) of a network's departures for the anomalies, over the brain voxels of all subjects.

    A voxel's score is its smoothed residual, as ``scorer`` makes it before any statistics of healthy residuals come
    in: its size, or where the ``direction`` is bright or dark the part of that sign. Standardising all voxels alike
    would leave the order of voxels, and so the result, as it is.

    Args:
        subjects: of :func:`simulate`.
        network: on ``device``; its mode is put back.
        inferer: MONAI inferer, called as ``inferer(image, network)``.
        scorer: how residuals are made.
        device: where the network is.

    Returns:
        NaN where a reconstruction is not finite.
    """
    scores, truths = [], []
    with eval_mode(network):
        for subject in subjects:
            pred = inferer(subject.image[None].to(device), network)[0].float().cpu().numpy()
            if not np.isfinite(pred).all():
                return float("nan")
            residual = scorer.residual(subject.image.numpy(), pred, subject.mask)
            brain = subject.mask.any(axis=0)
            scores.append(scorer.departure(residual, subject.mask, _unit(residual.shape))[brain])
            truths.append(subject.truth[brain])
    return float(average_precision_score(np.concatenate(truths), np.concatenate(scores)))


def _unit(shape: tuple[int, ...]) -> Normative:
    """Statistics that leave a residual as it is."""
    zero, one = (np.full(shape, value, np.float32) for value in (0, 1))
    return Normative(zero, one, Grid((shape[1], shape[2], shape[3]), np.eye(4)))

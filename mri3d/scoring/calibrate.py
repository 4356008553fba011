"""Make a bundle's statistics and calibration from healthy subjects that training did not see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from mri3d.errors import UsageError
from mri3d.grid import Grid
from mri3d.scoring.calibration import Calibration
from mri3d.scoring.normative import Normative, ResidualSums
from mri3d.scoring.scorer import Scorer
from mri3d.scoring.slices import healthy_slices, slice_scores
from mri3d.scoring.tail import Tail, TailCounts
from mri3d.transforms.case import Item
from mri3d.transforms.dataset import Guarded
from mri3d.volumes.volume import BoolArray, FloatArray

logger = logging.getLogger(__name__)

MIN_SUBJECTS = 5
"""Fewer people give no standard deviation worth a threshold."""

FEW = 20
"""Below that many a warning is due."""

TAIL_SHARES = (0.99, 0.995, 0.999)
"""Shares of healthy brain voxels whose z is kept, so that the tail can be compared with what is observed later."""


def check_quantile(share: Any) -> None:
    """Refuse what is no share of voxels.

    Raises:
        UsageError: it is not above 0 and below 1.
    """
    if not (isinstance(share, float) and 0 < share < 1):
        raise UsageError("voxel_quantile", "a share above 0 and below 1", str(share), "Mend the recipe")


@dataclass(frozen=True, eq=False)
class HealthyResidual:
    """One scan of one healthy person.

    Args:
        participant: whom it shows.
        values: (C, X, Y, Z) smoothed residual, a channel a modality, 0 outside ``mask``.
        mask: (C, X, Y, Z) the brain as far as each modality shows it.
    """

    participant: str
    values: FloatArray
    mask: BoolArray

    def alone(self, channel: int) -> HealthyResidual:
        """That of one modality."""
        own = slice(channel, channel + 1)
        return HealthyResidual(self.participant, self.values[own], self.mask[own])

    @property
    def brain(self) -> BoolArray:
        """(X, Y, Z) where any modality shows it."""
        return np.asarray(self.mask.any(axis=0))


class Calibrator:
    """Residual statistics from all calibration subjects; thresholds from each scored by the others' statistics.

    All scans of a person are left out of the statistics that person is scored by (leave one out, jackknife), so that
    everybody serves both purposes and nobody is scored by themselves. This is slightly conservative: a new subject is
    scored by one person's scans more.

    Args:
        network: eval-mode network on ``device``.
        inferer: MONAI inferer, called as ``inferer(image, network)``.
        scorer: how residuals become scores.
        grid: the model grid.
        device: where the network is.
        voxel_quantile: share of healthy brain voxels below the voxel threshold.
        slicewise: whether the slices of the model grid get thresholds of their own.
        hashes: gives the hashes of what the calibration depends on, from bundle root, preprocessing and scorer.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: Callable[..., torch.Tensor],
        scorer: Scorer,
        grid: Grid,
        device: torch.device,
        voxel_quantile: float,
        hashes: Callable[[Path, Guarded, Scorer], dict[str, str]],
        slicewise: bool = False,
    ) -> None:
        check_quantile(voxel_quantile)
        self.network, self.inferer, self.device = network, inferer, device
        self.scorer, self.grid, self.voxel_quantile = scorer, grid, voxel_quantile
        self.hashes, self.slicewise = hashes, slicewise

    def run(self, items: Sequence[Item], root: Path | str, preprocessing: Guarded) -> Calibration:
        """Write the statistics and ``calibration.json`` into a bundle's ``models``.

        Args:
            items: preprocessed healthy scans, ``image`` and ``mask`` of shape (C, *grid.shape), and ``participant``,
                whom the scan shows.
            root: the bundle.
            preprocessing: the chain that made the items.

        Raises:
            UsageError: fewer than five people.
        """
        return self.calibrate(self.residuals(items), root, preprocessing)

    @torch.no_grad()
    def residuals(self, items: Sequence[Item]) -> list[HealthyResidual]:
        """What the network leaves unexplained of healthy scans; for the arguments see :meth:`run`."""
        self.network.eval()
        found = []
        for item in tqdm(items, desc="calibrate", unit="subject"):
            reconstruction = self.inferer(item["image"].to(self.device)[None], self.network)[0].float().cpu().numpy()
            mask = np.asarray(item["mask"])
            residual = self.scorer.residual(item["image"].numpy(), reconstruction, mask)
            found.append(HealthyResidual(item["participant"], residual, mask))
        return found

    def calibrate(
        self, residuals: Sequence[HealthyResidual], root: Path | str, preprocessing: Guarded
    ) -> Calibration:
        """The same from residuals, which may come from several networks, each of which did not see its own."""
        people: dict[str, list[HealthyResidual]] = {}
        for residual in residuals:
            people.setdefault(residual.participant, []).append(residual)
        if len(people) < MIN_SUBJECTS:
            expected = f"at least {MIN_SUBJECTS} calibration subjects"
            raise UsageError(root, expected, str(len(people)), "Give healthy volumes of more people")
        if len(people) < FEW:
            logger.warning(
                "%d people calibrate %s: its thresholds are uncertain, one unusual control shifts them, and no p-value "
                "can be below %.2g; %d or more are worth having", len(people), root, 1 / (len(people) + 1), FEW,
            )  # fmt: skip
        sums, departures, counts = self._leave_one_out(list(people.values()))
        normative = sums.normative(self.grid, self.scorer.standardise)
        normative = replace(normative, tail=counts.tail(), tails=self._tails(list(people.values())))
        models = Path(root) / "models"
        normative.save(models)
        zscores = _zscores(normative, counts, departures)
        voxels = np.concatenate([z for scans in zscores for z in scans])
        levels = sorted({*TAIL_SHARES, self.voxel_quantile})
        tail = dict(zip(map(str, levels), map(float, np.quantile(voxels, levels)), strict=True))
        calibration = Calibration(
            scores=tuple(max(self.scorer.value(scan) for scan in scans) for scans in departures),
            voxel_threshold=tail[str(self.voxel_quantile)],
            voxel_quantile=self.voxel_quantile,
            voxel_tail=tail,
            slices=healthy_slices(_of_slices(zscores, people.values()), MIN_SUBJECTS) if self.slicewise else {},
            sha256=self.hashes(Path(root), preprocessing, self.scorer),
        )
        calibration.save(models / "calibration.json")
        return calibration

    def _tails(self, people: Sequence[Sequence[HealthyResidual]]) -> tuple[Tail | None, ...]:
        """The tail of each modality alone, where there are several."""
        channels = range(len(people[0][0].mask))
        if len(channels) == 1:
            return ()
        alone = [[[scan.alone(channel) for scan in scans] for scans in people] for channel in channels]
        return tuple(self._leave_one_out(of_one)[2].tail() for of_one in alone)

    def _leave_one_out(
        self, people: Sequence[Sequence[HealthyResidual]]
    ) -> tuple[ResidualSums, list[list[FloatArray]], TailCounts]:
        """How far the brain voxels of each person's scans depart by the statistics of all others.

        With the sums over everybody's residuals, and the counts of everybody's departures.
        """
        everyone = [scan for scans in people for scan in scans]
        sums = ResidualSums.of([scan.values for scan in everyone], [scan.mask for scan in everyone])
        departures = []
        for scans in people:
            others = sums
            for scan in scans:
                others = others.without(scan.values, scan.mask)
            normative = others.normative(self.grid, self.scorer.standardise)
            departures.append([self.scorer.departure(s.values, s.mask, normative)[s.brain] for s in scans])
        return sums, departures, TailCounts.of([np.concatenate(scans) for scans in departures])


def _zscores(
    normative: Normative, counts: TailCounts, departures: Sequence[Sequence[FloatArray]]
) -> list[list[FloatArray]]:
    """z at the brain voxels of all people's scans, each by the tail of all others."""
    found = []
    for scans in departures:
        others = replace(normative, tail=counts.without(np.concatenate(scans)).tail())
        found.append([others.zscore(scan) for scan in scans])
    return found


def _of_slices(
    zscores: Sequence[Sequence[FloatArray]], people: Iterable[Sequence[HealthyResidual]]
) -> list[dict[int, float]]:
    """The score of each person's slices, the largest of their scans'."""
    found = []
    for own, scans in zip(zscores, people, strict=True):
        largest: dict[int, float] = {}
        for z, scan in zip(own, scans, strict=True):
            whole = np.zeros(scan.brain.shape, np.float32)
            whole[scan.brain] = z
            for index, score in slice_scores(whole, scan.brain).items():
                largest[index] = max(score, largest.get(index, score))
        found.append(largest)
    return found

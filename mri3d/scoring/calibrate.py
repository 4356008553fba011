"""Make a bundle's statistics and calibration from healthy subjects that training did not see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from mri3d.errors import UsageError
from mri3d.grid import Grid
from mri3d.scoring.calibration import Calibration
from mri3d.scoring.modality_sets import ModalitySet, set_name
from mri3d.scoring.normative import Normative, ResidualSums
from mri3d.scoring.region_statistics import RegionStatistics
from mri3d.scoring.regions import Table, fit_regions
from mri3d.scoring.scorer import Scorer
from mri3d.scoring.slices import healthy_slices, slice_scores
from mri3d.scoring.tail import TailCounts, Tails
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
        given: the modalities that the network was given; others of the scan were withheld.
    """

    participant: str
    values: FloatArray
    mask: BoolArray
    given: ModalitySet

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
        sets: the sets of modalities that subjects may have, the complete one first. Each gets a tail and thresholds of
            its own; the statistics, by voxel, are those of complete subjects.
        atlas: a label map in template space, whose regions are measured too; None measures none.
        table: what ``participants.tsv`` says of the people, whose age, sex and site go with their regions.
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
        sets: Sequence[ModalitySet] = (("T1w",),),
        atlas: Path | str | None = None,
        table: Table | None = None,
    ) -> None:
        check_quantile(voxel_quantile)
        self.network, self.inferer, self.device = network, inferer, device
        self.scorer, self.grid, self.voxel_quantile = scorer, grid, voxel_quantile
        self.hashes, self.slicewise, self.sets, self.atlas = hashes, slicewise, tuple(sets), atlas
        self.table = table or {}

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
        calibration = self.calibrate(self.residuals(items), root, preprocessing)
        self.measure_regions(items, root, preprocessing)
        return calibration

    def measure_regions(
        self, items: Sequence[Item], root: Path | str, preprocessing: Guarded
    ) -> RegionStatistics | None:
        """Write what healthy people's regions measure; the arguments are those of :meth:`run`.

        Returns:
            The same, people in the order in which the items show them first; None where no regions are measured.
        """
        if self.atlas is None:
            return None
        return fit_regions(items, self.atlas, self.grid, root, preprocessing, self.table)

    @torch.no_grad()
    def residuals(self, items: Sequence[Item]) -> list[HealthyResidual]:
        """What the network leaves unexplained of healthy scans, once for each of the sets.

        For the arguments see :meth:`run`.
        """
        self.network.eval()
        progress = tqdm(items, desc="calibrate", unit="subject")
        return [self._residual(item, given) for item in progress for given in self.sets]

    def _residual(self, item: Item, given: ModalitySet) -> HealthyResidual:
        kept = torch.tensor([name in given for name in self.sets[0]])[:, None, None, None]
        image, mask = item["image"] * kept, np.asarray(item["mask"] & kept)
        reconstruction = self.inferer(image.to(self.device)[None], self.network)[0].float().cpu().numpy()
        residual = self.scorer.residual(image.numpy(), reconstruction, mask)
        return HealthyResidual(item["participant"], residual, mask, given)

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
        normative, departures = self._leave_one_out(list(people.values()))
        models = Path(root) / "models"
        normative.save(models)
        digests = self.hashes(Path(root), preprocessing, self.scorer)
        of_sets = {given: self._calibration(departures[given], digests) for given in self.sets}
        calibration = of_sets.pop(self.sets[0])
        if self.slicewise:
            zscores = departures[self.sets[0]].zscores()
            scans = [[scan for scan in scans if scan.given == self.sets[0]] for scans in people.values()]
            calibration = replace(calibration, slices=healthy_slices(_of_slices(zscores, scans), MIN_SUBJECTS))
        calibration = replace(calibration, partial={set_name(given): each for given, each in of_sets.items()})
        calibration.save(models / "calibration.json")
        return calibration

    def _calibration(self, found: Departures, digests: dict[str, str]) -> Calibration:
        """Of the subjects that have one set of modalities."""
        voxels = np.concatenate([z for scans in found.zscores() for z in scans])
        levels = sorted({*TAIL_SHARES, self.voxel_quantile})
        tail = dict(zip(map(str, levels), map(float, np.quantile(voxels, levels)), strict=True))
        return Calibration(
            scores=tuple(max(self.scorer.value(scan) for scan in scans) for scans in found.people),
            voxel_threshold=tail[str(self.voxel_quantile)],
            voxel_quantile=self.voxel_quantile,
            voxel_tail=tail,
            typical=dict(zip(self.sets[0], map(float, found.typical), strict=True)),
            sha256=digests,
        )

    def _leave_one_out(
        self, people: Sequence[Sequence[HealthyResidual]]
    ) -> tuple[Normative, dict[ModalitySet, Departures]]:
        """The statistics of everybody, and how far each person departs by those of all others, with each set."""
        everyone = [scan for scans in people for scan in scans if scan.given == self.sets[0]]
        sums = ResidualSums.of([scan.values for scan in everyone], [scan.mask for scan in everyone])
        of_sets: dict[ModalitySet, list[list[Departed]]] = {given: [] for given in self.sets}
        for scans in people:
            others = sums
            for scan in scans:
                if scan.given == self.sets[0]:
                    others = others.without(scan.values, scan.mask)
            normative = others.normative(self.grid, self.scorer.standardise)
            for given, of_set in of_sets.items():
                of_set.append([self._departed(scan, normative) for scan in scans if scan.given == given])
        departures = {given: Departures.of(each) for given, each in of_sets.items()}
        complete, *partial = departures.values()
        named = {set_name(given): each.tails() for given, each in zip(self.sets[1:], partial, strict=True)}
        tails = replace(complete.tails(), partial=named)
        return replace(sums.normative(self.grid, self.scorer.standardise), tails=tails), departures

    def _departed(self, scan: HealthyResidual, normative: Normative) -> Departed:
        apart = self.scorer.apart(scan.values, scan.mask, normative)[:, scan.brain]
        return Departed(apart, scan.mask[:, scan.brain], self.scorer.typical(scan.values, scan.mask, normative))


class Departed(NamedTuple):
    """How far the modalities of a healthy scan depart at its brain's voxels (C, N), which of these they show, and what
    is usual within each (C,)."""

    apart: FloatArray
    shown: BoolArray
    typical: FloatArray


@dataclass(frozen=True, eq=False)
class Departures:
    """How far healthy scans depart by the statistics, and the tails, of all other people.

    Args:
        people: for each person the departures (N,) of each of their scans, modalities together.
        counts: of these.
        alone: of each modality by itself, where there are several.
        typical: (C,) the largest that is usual within a scan.
    """

    people: Sequence[Sequence[FloatArray]]
    counts: TailCounts
    alone: tuple[TailCounts | None, ...]
    typical: FloatArray

    @classmethod
    def of(cls, people: Sequence[Sequence[Departed]]) -> Departures:
        """Put each scan's modalities together by the tails that all other people have."""
        channels = len(people[0][0].apart)
        of_each = [[_shown(scans, channel) for scans in people] for channel in range(channels) if channels > 1]
        alone = tuple(TailCounts.of(each) if any(own.size for own in each) else None for each in of_each)
        together = []
        for number, scans in enumerate(people):
            others = Tails(None, tuple(
                None if counts is None else counts.without(of_each[channel][number]).tail()
                for channel, counts in enumerate(alone)
            ))  # fmt: skip
            together.append([Scorer.together(scan.apart, others) for scan in scans])
        typical = np.max([scan.typical for scans in people for scan in scans], axis=0)
        return cls(together, TailCounts.of([np.concatenate(scans) for scans in together]), alone, typical)

    def tails(self) -> Tails:
        """How rare they are."""
        return Tails(self.counts.tail(), tuple(None if counts is None else counts.tail() for counts in self.alone))

    def zscores(self) -> list[list[FloatArray]]:
        """z of them all, each person's by the tail of all others."""
        found = []
        for scans in self.people:
            tail = self.counts.without(np.concatenate(scans)).tail()
            found.append([scan if tail is None else tail.normal(scan) for scan in scans])
        return found


def _shown(scans: Sequence[Departed], channel: int) -> FloatArray:
    """The departures of one modality at all voxels of a person's scans that it shows."""
    return np.concatenate([scan.apart[channel][scan.shown[channel]] for scan in scans])


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

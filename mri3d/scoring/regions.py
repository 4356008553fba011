"""Which structures depart: what is measured of each region, and how unusual that is among healthy people."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mri3d.errors import UsageError
from mri3d.evaluation.groups import benjamini_hochberg
from mri3d.grid import Grid
from mri3d.scoring.calibration import Calibration
from mri3d.scoring.covariates import COVARIATES, Person, UnknownCovariateError, head_of, person_of
from mri3d.scoring.detection import RegionScore
from mri3d.scoring.region_size import LEAST_ML, LEAST_VOXELS, RegionMeasure, Size
from mri3d.scoring.region_statistics import Judged, Norm, RegionStatistics, region_hashes
from mri3d.transforms.case import Case, Item, Stage
from mri3d.transforms.dataset import Guarded
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.regions import Atlas, Labels, network_beside
from mri3d.volumes.volume import BoolArray, FloatArray

ATLAS_FILE, STATISTICS_FILE = "regions_dseg.nii.gz", "regions.json"
"""In a bundle's ``models``: the atlas its statistics are of, and the statistics."""

UNKNOWN = (
    "The bundle knows no healthy people's regions that were measured by this atlas and what lies beside it "
    "(NAME_dseg.pt), so that none has a z, p or q; see mri3d calibrate --set bundle_atlas=FILE."
)

Table = Mapping[str, Mapping[str, str | None]]
"""Participant to the columns of ``participants.tsv``."""


@dataclass(frozen=True, eq=False)
class Regions:
    """All that a bundle knows of regions.

    Args:
        measure: where they lie, and how they are measured.
        statistics: of healthy people; None where the bundle has none that were measured so.
    """

    measure: RegionMeasure
    statistics: RegionStatistics | None


def fit_regions(
    items: Sequence[Item],
    atlas: Path | str,
    grid: Grid,
    root: Path | str,
    preprocessing: Guarded,
    table: Table,
) -> RegionStatistics:
    """Measure the regions of healthy people and write them, with atlas and network, into a bundle's ``models``.

    A region of which somebody has nothing at all is left out: there is no spread to judge by.

    Args:
        items: preprocessed scans of people who did not train: ``image`` (C, *grid.shape), the first channel T1w,
            ``template_to_source``, and ``participant``, whom the scan shows. Of several scans of a person the mean
            counts.
        atlas: a label map in template space, with its table of names and, it may be, a network beside it.
        grid: the model grid.
        root: the bundle.
        preprocessing: the chain that made the items.
        table: what is known of the people.

    Raises:
        InputError, UsageError, BundleError: see :meth:`mri3d.scoring.region_size.RegionMeasure.load`.
    """
    path, models = Path(atlas), Path(root) / "models"
    measure = RegionMeasure.load(path)
    scans: dict[str, list[dict[int, Size]]] = {}
    heads: dict[str, list[float]] = {}
    for item in tqdm(items, desc="regions", unit="subject"):
        person, image = item["participant"], torch.as_tensor(item["image"])[0].float().numpy()
        scans.setdefault(person, []).append(measure(image, grid))
        heads.setdefault(person, []).append(head_of(item["template_to_source"]))
    names = measure.atlas.names
    everything = [scan for own in scans.values() for scan in own]
    known = [number for number in everything[0] if all(scan[number].ml > LEAST_ML for scan in everything)]
    values = {
        names[number]: tuple(float(np.mean([scan[number].value for scan in own])) for own in scans.values())
        for number in known
    }
    people = tuple(person_of(table.get(person, {}), float(np.mean(own))) for person, own in heads.items())
    if path.resolve() != (models / ATLAS_FILE).resolve():  # else they are there
        measure.atlas.save(models / ATLAS_FILE)
        _bring(network_beside(path), network_beside(models / ATLAS_FILE))
    statistics = RegionStatistics(values, people, region_hashes(measure, preprocessing))
    statistics.save(models / STATISTICS_FILE)
    return statistics


def _bring(network: Path, place: Path) -> None:
    """Copy a network, or take away what lies there if there is none."""
    if not network.exists():
        place.unlink(missing_ok=True)
    elif network.resolve() != place.resolve():
        with atomic_write(place) as temporary:
            shutil.copyfile(network, temporary)


class MeasureRegions(Stage):
    """Every region's volume and z-map against healthy people.

    Args:
        regions: what the bundle knows of them.
        grid: the model grid.
        calibration: the bundle's, for its voxel threshold.
        covariates: what of a person is taken into account, of ``age``, ``sex``, ``tiv`` and ``site``.
        table: the columns of the input's ``participants.tsv``, by participant.

    Raises:
        UsageError: the atlas lies elsewhere, there is no such covariate, nobody's is known, or the bundle's healthy
            people are not known by it.
    """

    name = "regions"

    def __init__(
        self,
        regions: Regions,
        grid: Grid,
        calibration: Calibration | None,
        covariates: Sequence[str] = (),
        table: Table | None = None,
    ) -> None:
        self.regions, self.grid, self.calibration = regions, grid, calibration
        self.covariates, self.table = tuple(covariates), table or {}
        self._labels = regions.measure.atlas.on(grid)
        if np.bincount(self._labels.ravel())[1:].max(initial=0) < LEAST_VOXELS:
            expected = f"an atlas with regions of {LEAST_VOXELS} voxels of the model grid or more"
            raise UsageError("atlas", expected, "none", "Give a label map that lies in MNI152 space")
        _check_table(self.covariates, self.table)
        statistics = regions.statistics
        self._plain = None if statistics is None else statistics.against()
        self._norm = _against(statistics, self.covariates)

    def apply(self, item: Item) -> Item:
        """Set ``regions`` (tuple of RegionScore), in the order of the atlas's numbers, and ``covariates`` (Person)."""
        case: Case = item["case"]
        assert case.alignment is not None
        image, mask = (torch.as_tensor(item[key])[0].cpu().float().numpy() for key in ("image", "mask"))
        sizes = self.regions.measure(image, self.grid)
        affine = case.alignment.template_to_source
        columns = self.table.get(case.subject.participant, {})
        judged, who, told = self._judge(sizes, person_of(columns, head_of(affine)))
        threshold = None if self.calibration is None else self.calibration.voxel_threshold
        # of the aligned brain, back to the brain's own size
        scale = abs(float(np.linalg.det(affine[:3, :3])))
        zscore = item.get("model_zscore")
        item["regions"] = tell(
            self.regions.measure.atlas, self._labels, sizes, judged, scale, zscore, mask > 0, threshold
        )
        item["covariates"] = who
        item["case"] = replace(case, warnings=(*case.warnings, *told))
        return item

    def _judge(
        self, sizes: Mapping[int, Size], who: Person
    ) -> tuple[Mapping[str, Judged], Person, tuple[str, ...]]:
        """z and p by name, the covariates that were taken into account, and what the user should know."""
        if self._plain is None or self._norm is None:
            return {}, {}, (UNKNOWN,)
        values = {self.regions.measure.atlas.names[number]: size.value for number, size in sizes.items()}
        try:
            judged = self._norm.judge(values, who)
        except UnknownCovariateError as error:
            told = f"The regions' z takes no {' and no '.join(self.covariates)} into account: {error}."
            return self._plain.judge(values, {}), {}, (told,)
        beyond = self._norm.regression.beyond(who)
        warnings = (f"The regions' z is extrapolated: {' and '.join(beyond)}.",) if beyond else ()
        return judged, {name: who[name] for name in self.covariates}, warnings


def _check_table(covariates: Sequence[str], table: Table) -> None:
    """Refuse covariates of which nothing is known of anybody, before any work is done."""
    for name in covariates:
        if name in COVARIATES and not any(name in person_of(columns, 1.0) for columns in (*table.values(), {})):
            expected = f"a participants.tsv (tab-separated) beside the input with a column {name}"
            remedy = f"Add the column, or leave {name} out"
            raise UsageError(f"--covariates {name}", expected, "no one's that can be read", remedy)


def _against(statistics: RegionStatistics | None, covariates: Sequence[str]) -> Norm | None:
    """What is expected of healthy people; None where none are known."""
    unknown = [name for name in covariates if name not in COVARIATES]
    if unknown:
        raise UsageError("--covariates", f"some of {', '.join(COVARIATES)}", ", ".join(unknown), "Mend the names")
    if statistics is None:
        if covariates:
            expected, found = "a bundle that knows healthy people's regions of this atlas", "one that does not"
            remedy = "Leave them out, or calibrate a bundle with this atlas"
            raise UsageError("--covariates", expected, found, remedy)
        return None
    try:
        return statistics.against(covariates)
    except UnknownCovariateError as error:
        expected = "covariates by which the bundle's healthy people are known"
        remedy = "Leave some out, or calibrate a bundle on people whose participants.tsv has them"
        raise UsageError("--covariates", expected, str(error), remedy) from error


def tell(
    atlas: Atlas,
    labels: Labels,
    sizes: Mapping[int, Size],
    judged: Mapping[str, Judged],
    scale: float,
    zscore: FloatArray | None,
    mask: BoolArray,
    threshold: float | None,
) -> tuple[RegionScore, ...]:
    """The regions of a subject.

    Args:
        atlas: gives the names.
        labels: (X, Y, Z) its labels on the model grid.
        sizes: of the regions, by number.
        judged: z and p by name; empty where no healthy people are known.
        scale: by how much the subject's head is larger than the template's, as a factor of volume.
        zscore: (X, Y, Z) z-map; None where the bundle has no statistics of voxels.
        mask: (X, Y, Z) brain.
        threshold: z of a voxel above which it counts as anomalous; None if uncalibrated.
    """
    found = []
    for number, size in sizes.items():
        mean, peak, fraction = _of_voxels(zscore, (labels == number) & mask, threshold)
        own = judged.get(atlas.names[number])
        found.append(
            RegionScore(
                index=number,
                name=atlas.names[number],
                volume_ml=size.ml * scale,
                mean_z=mean,
                peak_z=peak,
                fraction=fraction,
                z=None if own is None else own.z,
                p=None if own is None else own.p,
                q=None,
            )
        )
    return corrected(found)


def _of_voxels(
    zscore: FloatArray | None, region: BoolArray, threshold: float | None
) -> tuple[float | None, float | None, float | None]:
    """Mean and largest of the z-map in a region, and the share above a threshold."""
    if zscore is None or not region.any():
        return None, None, None
    inside = zscore[region]
    return float(inside.mean()), float(inside.max()), None if threshold is None else float((inside > threshold).mean())


def corrected(scores: Sequence[RegionScore]) -> tuple[RegionScore, ...]:
    """The same with q of Benjamini and Hochberg (1995) over the regions of one subject that have a p."""
    q = benjamini_hochberg([score.p for score in scores])
    return tuple(replace(score, q=each) for score, each in zip(scores, q, strict=True))

"""Which structures depart: what is measured of each region, and how unusual that is among healthy people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import ndimage, stats
from tqdm import tqdm

from mri3d.errors import BundleError
from mri3d.grid import Grid
from mri3d.scoring.calibration import Calibration
from mri3d.scoring.detection import RegionScore
from mri3d.transforms.case import Case, Item, Stage
from mri3d.transforms.dataset import Guarded
from mri3d.transforms.warping import log_jacobian
from mri3d.volumes.atomic import write_json
from mri3d.volumes.regions import Atlas, Labels
from mri3d.volumes.volume import BoolArray, FloatArray

ATLAS_FILE, STATISTICS_FILE = "regions_dseg.nii.gz", "regions.json"
"""In a bundle's ``models``: the atlas its statistics are of, and the statistics."""

METHOD = 1
"""Raise it when the measure of a region changes, so that no statistics made before are taken for it."""

UNKNOWN = (
    "The bundle knows no healthy people's regions of this atlas, so that none has a z, p or q; "
    "see mri3d calibrate --set bundle_atlas=FILE."
)

SURROUNDINGS_MM = 12.0
"""Standard deviation of the Gaussian that makes a region's surroundings. Heads differ in shape, and alignments by a
little, over larger distances than atrophy; on simulated atrophy in validation subjects 12 mm found more than 8 or 20,
and all of them more than the volume as it is."""

LEAST_VOXELS = 10
"""Of the model grid, from which on a region is measured."""


def growth_of(growth: FloatArray, labels: Labels, grid: Grid) -> dict[int, Growth]:
    """How large each region is against the atlas's, as a whole and against its surroundings.

    Args:
        growth: (X, Y, Z) log-Jacobian of :func:`mri3d.transforms.warping.log_jacobian`.
        labels: (X, Y, Z) regions on the same grid.
        grid: the model grid.

    Returns:
        By number; regions of fewer than ten voxels are left out.
    """
    flat = labels.ravel()
    voxels = np.bincount(flat)
    room = np.bincount(flat, np.exp(growth.astype(np.float64)).ravel())
    against = growth - ndimage.gaussian_filter(growth, SURROUNDINGS_MM / np.array(grid.spacing))
    relative = np.bincount(flat, against.astype(np.float64).ravel())
    regions = (int(n) for n in np.flatnonzero(voxels >= LEAST_VOXELS) if n)
    return {n: Growth(float(room[n] / voxels[n]), float(relative[n] / voxels[n])) for n in regions}


class Growth(NamedTuple):
    """One region of one brain.

    Args:
        share: its volume, as a share of the atlas's, once the whole brain has the template's size.
        relative: mean logarithm of its growth, less that of its surroundings: what is compared with healthy people.
    """

    share: float
    relative: float


@dataclass(frozen=True, eq=False)
class RegionStatistics:
    """The regions of healthy people who neither trained nor set the statistics of the z-map by which they are judged.

    Args:
        values: region to :attr:`Growth.relative` in each person, the people in one order.
        sha256: hash of what they were made with, by name.
    """

    values: Mapping[str, tuple[float, ...]]
    sha256: Mapping[str, str]

    def judge(self, name: str, value: float) -> tuple[float, float] | None:
        """z and two-sided p of a region's value; None where nothing is known of the region.

        p is that of Student's t with n - 1 degrees of freedom, for one new person against n (prediction variance
        s^2 (1 + 1 / n); Crawford and Howell 1998, doi 10.1076/clin.12.4.482.7241).
        """
        healthy = self.values.get(name)
        if healthy is None:
            return None
        mean, std, n = float(np.mean(healthy)), float(np.std(healthy, ddof=1)), len(healthy)
        z = (value - mean) / max(std, 1e-6)
        return z, float(2 * stats.t.sf(abs(z) / np.sqrt(1 + 1 / n), n - 1))

    def without(self, person: int) -> RegionStatistics:
        """Those of all people but one, to judge that one by."""
        return replace(self, values={name: _all_but(each, person) for name, each in self.values.items()})

    @property
    def people(self) -> int:
        """How many there are."""
        return len(next(iter(self.values.values()), ()))

    def save(self, path: Path) -> None:
        """Write them as JSON, with mean and standard deviation of each region for a reader."""
        told = {
            name: {"mean": np.mean(each), "std": np.std(each, ddof=1), "values": [round(v, 6) for v in each]}
            for name, each in self.values.items()
        }
        write_json(path, {"people": self.people, "measure": "log growth against the surroundings", "regions": told,
                          "sha256": dict(self.sha256)})  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> RegionStatistics | None:
        """Read what :meth:`save` wrote; None where there is no such file.

        Raises:
            BundleError: the file holds no such statistics.
        """
        if not path.exists():
            return None
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            values = {str(name): tuple(map(float, each["values"])) for name, each in raw["regions"].items()}
            if len({len(each) for each in values.values()}) != 1 or not np.isfinite(list(values.values())).all():
                raise ValueError("regions of different people")
            found = cls(values, dict(raw["sha256"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "Calibrate the bundle again, or restore the file"
            raise BundleError(path, "regions of healthy people", f"{error!r}", remedy) from error
        if found.people < 3:
            raise BundleError(path, "regions of 3 people or more", str(found.people), "Calibrate the bundle again")
        return found


def _all_but(values: Sequence[float], index: int) -> tuple[float, ...]:
    return tuple(v for i, v in enumerate(values) if i != index)


def region_hashes(atlas: Atlas, preprocessing: Guarded) -> dict[str, str]:
    """SHA-256 of what statistics of regions depend on, by name."""
    settings = json.dumps([METHOD, preprocessing.settings()], sort_keys=True)
    told = json.dumps([atlas.labels.shape, atlas.grid.affine.round(4).tolist(), sorted(atlas.names.items())])
    content = told.encode() + np.ascontiguousarray(atlas.labels, dtype="<i4").tobytes()
    parts = {"atlas": content, "settings": settings.encode()}
    return {name: hashlib.sha256(each).hexdigest() for name, each in parts.items()}


def fit_regions(
    items: Sequence[Item], atlas: Path | str, grid: Grid, root: Path | str, preprocessing: Guarded
) -> RegionStatistics:
    """Measure the regions of healthy people and write them, with the atlas, into a bundle's ``models``.

    Args:
        items: preprocessed scans of people who did not train: ``image`` (C, *grid.shape), the first channel T1w, and
            ``participant``, whom the scan shows. Of several scans of a person the mean counts.
        atlas: a label map in template space, with its table of names.
        grid: the model grid.
        root: the bundle.
        preprocessing: the chain that made the items.
    """
    known, models = Atlas.load(Path(atlas)), Path(root) / "models"
    labels = known.on(grid)
    people: dict[str, list[dict[int, Growth]]] = {}
    for item in tqdm(items, desc="regions", unit="subject"):
        image = torch.as_tensor(item["image"])[0].float().numpy()
        found = growth_of(log_jacobian(image, grid), labels, grid)
        people.setdefault(item["participant"], []).append(found)
    measured = next(iter(people.values()))[0]
    values = {
        known.names[number]: tuple(float(np.mean([scan[number].relative for scan in own])) for own in people.values())
        for number in measured
    }
    known.save(models / ATLAS_FILE)
    statistics = RegionStatistics(values, region_hashes(known, preprocessing))
    statistics.save(models / STATISTICS_FILE)
    return statistics


class MeasureRegions(Stage):
    """Every region's volume and z-map against healthy people.

    Args:
        atlas: the label map in template space.
        grid: the model grid.
        statistics: of healthy people; regions that they do not know get no z.
        calibration: the bundle's, for its voxel threshold.
    """

    name = "regions"

    def __init__(
        self, atlas: Atlas, grid: Grid, statistics: RegionStatistics | None, calibration: Calibration | None
    ) -> None:
        self.atlas, self.grid, self.statistics, self.calibration = atlas, grid, statistics, calibration
        self._labels = atlas.on(grid)

    def apply(self, item: Item) -> Item:
        """Set ``regions`` (tuple of RegionScore), in the order of the atlas's numbers."""
        case: Case = item["case"]
        assert case.alignment is not None
        if self.statistics is None:
            item["case"] = replace(case, warnings=(*case.warnings, UNKNOWN))
        image, mask = (torch.as_tensor(item[key])[0].cpu().float().numpy() for key in ("image", "mask"))
        growth = log_jacobian(image, self.grid)
        threshold = None if self.calibration is None else self.calibration.voxel_threshold
        # of the aligned brain, back to the brain's own size
        scale = abs(float(np.linalg.det(case.alignment.template_to_source[:3, :3]))) * self.grid.voxel_ml
        item["regions"] = judge_regions(
            self.atlas,
            self._labels,
            self.grid,
            growth,
            item.get("model_zscore"),
            mask > 0,
            threshold,
            self.statistics,
            scale,
        )
        return item


def judge_regions(
    atlas: Atlas,
    labels: Labels,
    grid: Grid,
    growth: FloatArray,
    zscore: FloatArray | None,
    mask: BoolArray,
    threshold: float | None,
    statistics: RegionStatistics | None,
    voxel_ml: float,
) -> tuple[RegionScore, ...]:
    """The regions of a subject, held against those of healthy people.

    Args:
        atlas: gives the names.
        labels: (X, Y, Z) its labels on the model grid.
        grid: that grid.
        growth: (X, Y, Z) log-Jacobian.
        zscore: (X, Y, Z) z-map; None where the bundle has no statistics of voxels.
        mask: (X, Y, Z) brain.
        threshold: z of a voxel above which it counts as anomalous; None if uncalibrated.
        statistics: healthy people; None where the bundle has none.
        voxel_ml: volume of a voxel of the model grid in the subject's own brain.
    """
    found = []
    for number, (share, relative) in growth_of(growth, labels, grid).items():
        own = labels == number
        mean, peak, fraction = _of_voxels(zscore, own & mask, threshold)
        judged = None if statistics is None else statistics.judge(atlas.names[number], relative)
        found.append(
            RegionScore(
                index=number,
                name=atlas.names[number],
                volume_ml=share * float(own.sum()) * voxel_ml,
                mean_z=mean,
                peak_z=peak,
                fraction=fraction,
                z=None if judged is None else judged[0],
                p=None if judged is None else judged[1],
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
    known = [score.p for score in scores if score.p is not None]
    q = iter(stats.false_discovery_control(known)) if known else iter(())
    return tuple(score if score.p is None else replace(score, q=float(next(q))) for score in scores)

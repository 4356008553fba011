"""What ``mri3d detect`` wrote, read again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri3d.errors import Mri3dError, UsageError
from mri3d.grid import Grid
from mri3d.reporting.names import RUN, SIDECAR, TABLE, ending_of, path_of
from mri3d.reporting.table import Row, read_results
from mri3d.volumes.nifti import read_volume
from mri3d.volumes.truth import Who
from mri3d.volumes.volume import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class Result:
    """A scored subject.

    Args:
        root: the output folder.
        key: the place of its files below it.
        sidecar: what its JSON says.
    """

    root: Path
    key: str
    sidecar: Mapping[str, Any]

    @property
    def who(self) -> Who:
        """The names by which it may be told of."""
        images = tuple(Path(image["path"]) for image in self.sidecar["inputs"].values())
        return Who(self.key, self.sidecar["participant"], images)

    @property
    def scale(self) -> float:
        """By how much the brain is larger than the template's, as a factor of volume."""
        return float(abs(np.linalg.det(np.array(self.sidecar["template_to_source"], dtype=np.float64)[:3, :3])))

    def read_maps(self) -> tuple[FloatArray, BoolArray, Grid]:
        """The z-map, or the error map where there is none; where it or the error is not 0, the brain; their grid."""
        error = read_volume(path_of(self.root, self.key, ending_of("error")))
        if "zscore" not in self.sidecar["maps"]:
            return error.data, error.data != 0, error.grid
        path = path_of(self.root, self.key, ending_of("zscore"))
        zscore = read_volume(path)
        if not zscore.grid.matches(error.grid):
            raise Mri3dError(path, "the error map's grid", "another", "Run mri3d detect again")
        return zscore.data, np.asarray((zscore.data != 0) | (error.data != 0)), zscore.grid

    def read_anomaly(self) -> BoolArray:
        """The anomaly mask; may be empty."""
        path = path_of(self.root, self.key, ending_of("anomaly"))
        return np.asarray(read_volume(path, constant_allowed=True).data != 0)

    def read_scan(self, grid: Grid) -> FloatArray | None:
        """The volume that was scored, on the maps' grid; None where it is there no more."""
        try:
            scan = read_volume(self.who.images[0])
        except Mri3dError:
            return None
        return scan.data if scan.grid.matches(grid) else None


@dataclass(frozen=True, eq=False)
class Results:
    """An output folder whose subjects were all scored by one bundle.

    Args:
        root: the folder.
        scored: its subjects.
        failed: why others have no maps, by key.
    """

    root: Path
    scored: tuple[Result, ...]
    failed: Mapping[str, str]

    @property
    def bundle(self) -> Mapping[str, str]:
        """Name, version and hash of the bundle."""
        bundle: Mapping[str, str] = self.scored[0].sidecar["bundle"]
        return bundle

    @property
    def voxel_threshold(self) -> float | None:
        """Of the z-map, from healthy subjects; None if uncalibrated."""
        threshold: float | None = self._fullest["voxel_threshold"]
        return threshold

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Of the score, from healthy subjects, by name; empty if uncalibrated."""
        thresholds: Mapping[str, float] = self._fullest["thresholds"]
        return thresholds

    def score_of(self, result: Result) -> float:
        """A subject's score on the scale of :attr:`thresholds`.

        Scores of subjects that lack a modality have thresholds of their own; they are brought to the others' scale by
        mean and standard deviation of healthy scores, so that all of them can be ranked together.
        """
        score, own, common = float(result.sidecar["score"]), result.sidecar["thresholds"], self.thresholds
        if own == common or not own:
            return score
        (low, high), (lowest, highest) = (sorted(each.values()) for each in (own, common))
        return float(lowest + (score - low) * (highest - lowest) / (high - low))

    def map_scale_of(self, result: Result) -> float:
        """What brings the voxel threshold of a subject's z-map to :attr:`voxel_threshold`: a few percent."""
        own, common = result.sidecar["voxel_threshold"], self.voxel_threshold
        return 1.0 if own is None or common is None else float(common / own)

    @property
    def _fullest(self) -> Mapping[str, Any]:
        """What is said of a subject that has the most modalities."""
        return max((result.sidecar for result in self.scored), key=lambda made: len(made["inputs"]))

    @property
    def min_ml(self) -> float:
        """The smallest component of the anomaly mask."""
        return float(self.scored[0].sidecar["settings"].get("min_ml", 0.0))


def read_folder(root: Path) -> Results:
    """Read the table and the sidecars of an output folder; maps stay on disk.

    Raises:
        UsageError: it is none, holds no scored subject, or maps of several bundles or settings.
    """
    table = root / TABLE
    if not table.is_file():
        raise UsageError(root, f"a folder that mri3d detect wrote, with {TABLE}", "none", "Check the path")
    scored, failed, key = [], {}, ""
    try:
        rows = read_results(table)
        _check_whole(root, rows)
        for row in rows:
            key = str(row["key"])
            if row["status"] == "ok":
                scored.append(Result(root, key, _sidecar(path_of(root, key, SIDECAR))))
            else:
                failed[key] = str(row["error"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"{key}: {error!r}" if key else repr(error)
        raise UsageError(root, "whole results of mri3d detect", found, "Run mri3d detect again") from error
    if not scored:
        raise UsageError(root, "at least one scored subject", f"{len(failed)} failed", "Run mri3d detect again")
    for result in scored:
        for what in ("bundle", "settings"):
            if result.sidecar[what] != scored[0].sidecar[what]:
                found = f"another {what} for {result.key} than for {scored[0].key}"
                raise UsageError(root, "maps of one bundle with one set of settings", found, "Run detect --overwrite")
    return Results(root, tuple(scored), failed)


def _check_whole(root: Path, rows: Sequence[Row]) -> None:
    """Refuse a table that has lost lines.

    Raises:
        ValueError: it has.
    """
    odd = [row for row in rows if row["status"] not in ("ok", "failed")]
    if odd:
        raise ValueError(f"{TABLE} with a line that is neither ok nor failed ({odd[0]['subject']})")
    if (root / RUN).exists():  # which a run that was cut short has not
        subjects = json.loads((root / RUN).read_text(encoding="utf-8"))["subjects"]
        if subjects != len(rows):
            raise ValueError(f"{len(rows)} lines in {TABLE} where {RUN} counts {subjects}")


def refuse_adjusted(results: Results) -> None:
    """Refuse regions that are compared with what is expected at somebody's age: a comparison needs plain ones.

    Raises:
        UsageError: they were detected with covariates.
    """
    if covariates := results.scored[0].sidecar["settings"].get("covariates"):
        expected = "maps that were detected without --covariates, since a comparison has covariates of its own"
        found = f"some detected with {', '.join(covariates)}"
        raise UsageError(results.root, expected, found, "Detect once more without them, into another folder")


def _sidecar(path: Path) -> dict[str, Any]:
    made = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(made, dict):
        raise TypeError(f"{path.name} is no JSON object")
    missing = [name for name in NEEDED if name not in made]
    if missing:
        raise KeyError(f"{path.name} without {', '.join(missing)}")
    wrong = [name for name, fits in {**NEEDED, **OPTIONAL}.items() if name in made and not fits(made[name])]
    if wrong:
        raise ValueError(f"{path.name} with {', '.join(wrong)} that cannot be read")
    return made


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _may_be_number(value: Any) -> bool:
    return value is None or _is_number(value)


def _are_inputs(value: Any) -> bool:
    return bool(value) and isinstance(value, dict) and all(
        isinstance(each, dict) and isinstance(each.get("path"), str) for each in value.values()
    )


def _are_thresholds(value: Any) -> bool:
    # none where the bundle is not calibrated; else there is a span between them
    return isinstance(value, dict) and len(value) != 1 and all(map(_is_number, value.values()))


def _are_regions(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict)
        and isinstance(each.get("name"), str)
        and _is_number(each.get("volume_ml"))
        and _may_be_number(each.get("z", "missing"))
        for each in value
    )


def _is_affine(value: Any) -> bool:
    rows = value if isinstance(value, list) and all(isinstance(row, list) for row in value) else []
    whole = [len(row) for row in rows] == [4] * 4 and all(_is_number(cell) for row in rows for cell in row)
    return whole and abs(float(np.linalg.det(np.array(rows)))) > 0


Fits = Mapping[str, Callable[[Any], bool]]

NEEDED: Fits = {
    "participant": lambda value: isinstance(value, str),
    "inputs": _are_inputs,
    "score": _is_number,
    "thresholds": _are_thresholds,
    "voxel_threshold": _may_be_number,
    "anomalous_ml": _may_be_number,
    "maps": lambda value: isinstance(value, list),
    "bundle": lambda value: isinstance(value, dict),
    "settings": lambda value: isinstance(value, dict),
}
"""What a sidecar says at least, and what that looks like."""

OPTIONAL: Fits = {"regions": _are_regions, "template_to_source": _is_affine}
"""What it may say."""

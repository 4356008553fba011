"""The regions of healthy people, and one person held against them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mri3d.errors import BundleError
from mri3d.scoring.covariates import COVARIATES, Person, Regression, regress
from mri3d.scoring.region_size import RegionMeasure
from mri3d.transforms.dataset import Guarded
from mri3d.volumes.atomic import write_json

METHOD = 3
"""Raise it when the measure of a region changes, so that no statistics made before are taken for it."""

MEASURE = "log volume of what the atlas's network knows; log growth against the surroundings of all else"
"""What the values are, for who reads the file."""

LEAST_PEOPLE = 5
"""Fewer give no spread worth a z."""


class Judged(NamedTuple):
    """One region among healthy people.

    Args:
        z: how many healthy standard deviations it is larger than expected.
        p: two-sided.
    """

    z: float
    p: float


@dataclass(frozen=True, eq=False)
class RegionStatistics:
    """The regions of healthy people.

    Args:
        values: region to :attr:`mri3d.scoring.region_size.Size.value` in each person, the people in one order.
        people: their covariates, in the same order; what is not known of somebody is left out.
        sha256: hash of what they were made with, by name.
    """

    values: Mapping[str, tuple[float, ...]]
    people: tuple[Person, ...]
    sha256: Mapping[str, str]

    def against(self, covariates: Sequence[str] = ()) -> Norm:
        """What is expected of a healthy person of these covariates.

        Raises:
            UnknownCovariateError: too few healthy people are known by them.
        """
        table = np.array([self.values[name] for name in self.values]).T
        return Norm(tuple(self.values), regress(table, self.people, covariates))

    def without(self, person: int) -> RegionStatistics:
        """Those of all people but one, to judge that one by."""
        values = {name: (*each[:person], *each[person + 1 :]) for name, each in self.values.items()}
        people = (*self.people[:person], *self.people[person + 1 :])
        return RegionStatistics(values, people, self.sha256)

    def of_others(self, covariates: Sequence[str] = ()) -> list[dict[str, Judged]]:
        """Every healthy person held against all others.

        Raises:
            UnknownCovariateError: see :meth:`against`.
        """
        own = [{name: each[person] for name, each in self.values.items()} for person in range(len(self.people))]
        return [self.without(i).against(covariates).judge(values, self.people[i]) for i, values in enumerate(own)]

    def save(self, path: Path) -> None:
        """Write them as JSON, with mean and standard deviation of each region for a reader.

        The people stand in the order of their heads' size, so that no list of names tells who is who.
        """
        order = sorted(range(len(self.people)), key=lambda i: float(self.people[i].get("tiv", 0.0)))
        told = {
            name: {"mean": np.mean(each), "std": np.std(each, ddof=1), "values": [round(each[i], 6) for i in order]}
            for name, each in self.values.items()
        }
        covariates = {name: [self.people[i].get(name) for i in order] for name in COVARIATES}
        known = {name: each for name, each in covariates.items() if any(value is not None for value in each)}
        write_json(path, {"people": len(self.people), "measure": MEASURE, "covariates": known, "regions": told,
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
            made = cls._read(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "Calibrate the bundle again, or restore the file"
            found = f"{error!r}, as an older mri3d may have written"
            raise BundleError(path, "regions of healthy people", found, remedy) from error
        if len(made.people) < LEAST_PEOPLE:
            expected, remedy = f"regions of {LEAST_PEOPLE} people or more", "Calibrate the bundle again"
            raise BundleError(path, expected, str(len(made.people)), remedy)
        return made

    @classmethod
    def _read(cls, raw: dict[str, Any]) -> RegionStatistics:
        values = {str(name): tuple(map(float, each["values"])) for name, each in raw["regions"].items()}
        covariates = {name: raw["covariates"][name] for name in COVARIATES if name in raw["covariates"]}
        count = int(raw["people"])
        if {len(each) for each in (*values.values(), *covariates.values())} != {count}:
            raise ValueError("regions or covariates of different people")
        if not np.isfinite(list(values.values())).all():
            raise ValueError("a value that is no number")
        people = tuple(
            {name: each[i] for name, each in covariates.items() if each[i] is not None} for i in range(count)
        )
        return cls(values, people, dict(raw["sha256"]))


@dataclass(frozen=True, eq=False)
class Norm:
    """What is expected of a healthy person's regions.

    Args:
        names: of the regions.
        regression: of their values on the covariates.
    """

    names: tuple[str, ...]
    regression: Regression

    def judge(self, values: Mapping[str, float], who: Person) -> dict[str, Judged]:
        """z and p of those regions whose healthy values are known.

        Raises:
            UnknownCovariateError: something of the person is not known, or no healthy person is like that.
        """
        own = np.array([values.get(name, np.nan) for name in self.names])
        z, p = self.regression.judge(own, who)
        return {
            name: Judged(float(z[i]), float(p[i])) for i, name in enumerate(self.names) if np.isfinite(own[i])
        }


def region_hashes(measure: RegionMeasure, preprocessing: Guarded) -> dict[str, str]:
    """SHA-256 of what statistics of regions depend on, by name."""
    atlas = measure.atlas
    settings = json.dumps([METHOD, preprocessing.settings()], sort_keys=True)
    told = json.dumps([atlas.labels.shape, atlas.grid.affine.round(4).tolist(), sorted(atlas.names.items())])
    content = told.encode() + np.ascontiguousarray(atlas.labels, dtype="<i4").tobytes()
    parts = {"atlas": content, "settings": settings.encode()}
    return {name: hashlib.sha256(each).hexdigest() for name, each in parts.items()} | {"network": measure.sha256}

"""Compare groups of people: which regions differ, by how much, and how sure that is."""

from __future__ import annotations

import logging
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import scipy
from tqdm import tqdm

from mri3d import __version__
from mri3d.commands.grouping import TIV, Grouping, Member, read_grouping, told_left_out, unscored
from mri3d.errors import UsageError, some
from mri3d.evaluation.design import Covariate, as_covariate, described, entangled, extent, one_sided, regressors
from mri3d.evaluation.groups import LEAST, FloatArray, Line, Measure, compare
from mri3d.reporting.group_maps import MeanMap, draw_mean_maps, mean_map, write_mean_map
from mri3d.reporting.groups_figure import draw_groups, most_different
from mri3d.reporting.groups_page import write_groups_page
from mri3d.reporting.names import REPORT, plain_words
from mri3d.reporting.ownership import PageFolder, recorded_files, writable
from mri3d.reporting.results import Results, read_folder, refuse_adjusted
from mri3d.reporting.table import Row, distinct, write_table
from mri3d.scoring.covariates import head_of
from mri3d.scoring.detection import SIGNIFICANT
from mri3d.volumes.atomic import write_json

logger = logging.getLogger(__name__)

JSON, GROUPS, PEOPLE, CHANGES = "compare.json", "groups.csv", "people.csv", "changes.csv"
FOREST, MEANS = "groups.png", "means.png"
COLUMNS = (
    "region", "measure", "group", "reference", "n", "n_reference", "mean", "sd", "mean_reference", "sd_reference",
    "difference", "difference_low", "difference_high", "volume_percent", "g", "g_low", "g_high", "p", "q",
)  # fmt: skip
Z, LOG_VOLUME = "z", "log ml"
HEAD = "whole brain, ml"
"""The whole brain's size as ``tiv`` has it, but for the logarithm."""

SCORE, ANOMALOUS = "Subject score", "Anomalous ml"
MOST_TOLD = 10
"""Regions on the standard output."""


@dataclass(frozen=True)
class Outcome:
    """What became of a comparison.

    Args:
        words: what was found, a line each.
        failures: a line for everyone who was to be compared and whose files cannot be used.
    """

    words: str
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What is to be compared with what.

    Args:
        maps: a folder that ``mri3d detect`` wrote.
        table: with a line a participant; that of the input when left out.
        column: of the table, with the groups.
        covariates: of the table, and ``tiv``.
        reference: the group that the others are compared with.
        bundle: the one that made the maps, where it is no shipped one.
    """

    maps: Path
    table: Path | None = None
    column: str | None = None
    covariates: tuple[str, ...] = ()
    reference: str | None = None
    bundle: str | None = None


def page_folder(output: Path) -> PageFolder:
    """The folder of a comparison, whose record lists the maps that its names alone do not tell."""
    names = (GROUPS, CHANGES, FOREST, MEANS, REPORT, *recorded_files(output / JSON))
    return PageFolder(output, "compare", JSON, tuple(dict.fromkeys(names)))


def compare_groups(asked: Asked, output: Path, overwrite: bool = False) -> Outcome:
    """Write ``groups.csv``, ``people.csv``, ``compare.json``, mean z-maps, pictures and ``report.html``.

    Args:
        asked: what is to be compared with what.
        output: where the results go.
        overwrite: replace an earlier comparison.

    Raises:
        UsageError: see :func:`mri3d.commands.grouping.read_grouping`; covariates that cannot be told apart from the
            groups; sidecars that an older version wrote; results stand there already.
        BundleError: no such bundle.
    """
    folder = page_folder(output)
    folder.refuse_standing(overwrite)
    results = read_folder(asked.maps)
    refuse_adjusted(results)
    _refuse_older(results)
    grouping = read_grouping(results, asked.table, asked.column, asked.covariates, asked.reference, asked.bundle)
    covariates = [_covariate(name, grouping.people) for name in asked.covariates]
    numbers = np.array([grouping.groups.index(person.group) for person in grouping.people])
    adjusted = regressors(covariates, numbers, grouping.groups) if covariates else None
    notes = _notes(results, grouping, asked)
    notes += [
        f"The groups differ so much in {name} that what it does can hardly be parted from them: intervals are wide."
        for name in entangled(covariates, numbers)
    ]
    notes += [
        f"There is one and the same {each}: what it does is known from the others alone."
        for each in one_sided(covariates, numbers, grouping.groups)
    ]
    measures = _measures(results, grouping.people)
    rows = [_row(line, grouping.groups) for line in compare(measures, numbers, adjusted)]
    files = {group: f"group-{word}_zscore.nii.gz" for group, word in plain_words(grouping.groups).items()}
    folder.refuse_foreign([PEOPLE, *files.values()])
    maps, failures = _mean_maps(grouping)
    notes += _notes_of_maps(maps, grouping, failures)
    for note in notes:
        logger.warning("%s", note)
    made = _made(asked, results, grouping, covariates, measures)
    told = {
        "groups": {group: [person.name for person in grouping.of(group)] for group in grouping.groups},
        "composition": _composition(grouping),
        "left_out": dict(grouping.left_out),
        "notes": notes,
        "lines": rows,
        "files": [PEOPLE, *(files[group] for group in maps)],
        "failures": list(failures),
    }
    with writable(output):
        folder.clear()
        write_json(output / JSON, {"made": made, **told})
        write_table(output / GROUPS, rows, COLUMNS)
        _write_people(output / PEOPLE, grouping, measures)
        for group, found in maps.items():
            write_mean_map(output / files[group], found, group)
        _draw(rows, grouping, maps, output)
        write_groups_page(output / REPORT, told, made)
    return Outcome(_in_words(rows, grouping, made), failures)


def _composition(grouping: Grouping) -> list[dict[str, Any]]:
    """Who is in the groups, by the covariates and by what the table has of age and sex."""
    return [
        {
            "group": group,
            "people": len(own),
            "described": {name: described(name, [person.cells[name] for person in own]) for name in own[0].cells}
            | {HEAD: extent([head_of(person.result.sidecar["template_to_source"]) for person in own]) | {"unknown": 0}},
        }
        for group in grouping.groups
        for own in [grouping.of(group)]
    ]


def _write_people(path: Path, grouping: Grouping, measures: Sequence[Measure]) -> None:
    """A line a person with all that is compared, for another program to do it again."""
    names = distinct([*(of.name for of in measures), "participant", "group", HEAD, *grouping.people[0].cells])
    regions, (person, group, head, *cells) = names[: len(measures)], names[len(measures) :]
    rows: list[Row] = []
    for i, of in enumerate(grouping.people):
        row: Row = {person: of.name, group: of.group, head: head_of(of.result.sidecar["template_to_source"])}
        row |= zip(cells, of.cells.values(), strict=True)
        row |= {name: _known(measure.values[i]) for name, measure in zip(regions, measures, strict=True)}
        rows.append(row)
    write_table(path, rows, (person, group, *cells, head, *regions))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _refuse_older(results: Results) -> None:
    for result in results.scored:
        missing = [name for name in ("template_to_source", "brain_ml") if name not in result.sidecar]
        if missing:
            found, remedy = f"none in {result.key}, which an older mri3d wrote", "Run mri3d detect --overwrite"
            raise UsageError(results.root, f"sidecars with {missing[0]}", found, remedy)


def _notes(results: Results, grouping: Grouping, asked: Asked) -> list[str]:
    """What a reader must know of who is compared, whole sentences."""
    notes = [f"{line}." for line in told_left_out(grouping.left_out)]
    if grouping.absent:
        told = f"in {grouping.table.name} there is no scan in {results.root} ({some(grouping.absent)})"
        notes.append(f"Of {len(grouping.absent)} {told}.")
    past = [grouping.histories[person.name] for person in grouping.people]
    repeated = sum(len(each.visits) - 1 + len(each.repeated) for each in past)
    if repeated:
        notes.append(f"Of people with several scans the first visit counts; {repeated} further scans do not.")
    compared = {person.name for person in grouping.people}
    lost = [f"{visit.participant} ({PurePosixPath(visit.key).name})" for visit, _ in unscored(results)
            if visit.participant in compared]  # fmt: skip
    if lost:
        notes.append(f"Another scan was not scored, so that a later visit may count, of: {', '.join(lost)}.")
    held = [person for person in grouping.people if person.control is not None]
    if held:
        notes.append(
            f"{len(held)} people trained the bundle and count by their out-of-fold scores; they are not part of "
            f"the mean z-maps nor of the line {ANOMALOUS}: {', '.join(person.name for person in held)}."
        )
    unjudged = [person.name for person in held if not _own_regions(person)]
    if unjudged and any(result.sidecar.get("regions") for result in results.scored):
        notes.append(f"{len(unjudged)} of them have no out-of-fold regions and are not part of the lines of regions.")
    if TIV in asked.covariates:
        notes.append(
            f"{TIV} is the logarithm of the whole brain's size by its alignment to the template, whatever the table "
            "may have of that name."
        )
    return notes


def _covariate(name: str, people: Sequence[Member]) -> Covariate:
    if name != TIV:
        return as_covariate(name, {person.name: str(person.cells[name]) for person in people})
    logarithms = {person.name: math.log(person.result.scale) for person in people}
    return as_covariate(name, {name: repr(value) for name, value in logarithms.items()})


def _measures(results: Results, people: Sequence[Member]) -> list[Measure]:
    """Regions, then the subject's score and the anomalous volume, of each person; NaN where there is none."""
    regions = [{each["name"]: each for each in person.result.sidecar.get("regions", ())} for person in people]
    names = list(dict.fromkeys(name for own in regions for name in own))
    judged = any(each["z"] is not None for own in regions for each in own.values())
    measures = []
    for name in names:
        z, ml = (np.array([_of_region(person, own.get(name), key) for person, own in zip(people, regions, strict=True)])
                 for key in ("z", "volume_ml"))  # fmt: skip
        # the volume in percent is that of the people whose z counts
        # once brains have the template's size, as z is
        ml = ml / np.array([person.result.scale for person in people])
        volumes = np.where(np.isfinite(z), ml, np.nan) if judged else ml
        values = z if judged else np.log(np.where(ml > 0, ml, np.nan))
        measures.append(Measure(name, Z if judged else LOG_VOLUME, values, volumes))
    scores = [person.control["score"] if person.control else results.score_of(person.result) for person in people]
    measures.append(Measure(SCORE, "score", _numbers(scores), corrected=False))
    anomalous = [None if person.control else person.result.sidecar["anomalous_ml"] for person in people]
    if any(value is not None for value in anomalous):
        measures.append(Measure(ANOMALOUS, "ml", _numbers(anomalous), corrected=False))
    return measures


def _of_region(person: Member, region: Mapping[str, Any] | None, key: str) -> float:
    """A number of a region; of a control only where its z is out of fold."""
    if region is None:
        return math.nan
    value = region[key]
    if person.control is not None:
        z = _own_regions(person).get(region["name"])
        value = None if z is None else z if key == "z" else value
    return math.nan if value is None else float(value)


def _own_regions(person: Member) -> Mapping[str, float]:
    return (person.control or {}).get("regions") or {}


def _numbers(values: Sequence[float | None]) -> FloatArray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _row(line: Line, groups: Sequence[str]) -> dict[str, Any]:
    found = line.found
    return {
        "region": line.name,
        "measure": line.unit,
        "group": groups[line.group],
        "reference": groups[0],
        **{name: getattr(found, name) for name in COLUMNS if hasattr(found, name)},
        "volume_percent": line.volume_percent,
        "q": line.q,
    }


def _mean_maps(grouping: Grouping) -> tuple[dict[str, MeanMap], tuple[str, ...]]:
    """Each group's mean z-map, of those whom the bundle has not seen; and what could not be read."""
    maps: dict[str, MeanMap] = {}
    failures: list[str] = []
    unseen = {group: [of.result for of in grouping.of(group) if of.control is None] for group in grouping.groups}
    with tqdm(total=sum(map(len, unseen.values())), desc="mean maps", unit="subject") as progress:
        for group, own in unseen.items():
            held = [result for result in own if "zscore" in result.sidecar["maps"]]
            found, failed = mean_map(held, progress.update)
            failures += failed
            if found is not None and found.people >= LEAST:
                maps[group] = found
    return maps, tuple(failures)


def _notes_of_maps(maps: Mapping[str, MeanMap], grouping: Grouping, failures: Sequence[str]) -> list[str]:
    """Where a mean map is not what a reader takes it for."""
    if not failures:
        return []
    counts = ", ".join(
        f"{group} {maps[group].people if group in maps else 'none'} of {len(grouping.of(group))}"
        for group in grouping.groups
    )
    return [f"{len(failures)} z-maps could not be read; mean maps are of fewer people ({counts})."]


def _draw(rows: Sequence[Mapping[str, Any]], grouping: Grouping, maps: Mapping[str, MeanMap], output: Path) -> None:
    held = [row for row in rows if _is_region(row)]
    regions = {group: [row for row in held if row["group"] == group] for group in grouping.groups[1:]}
    if any(most_different(own) for own in regions.values()):
        unit = next(row["measure"] for own in regions.values() for row in own)
        words = "size of the region, z among healthy people" if unit == Z else "logarithm of the region's volume"
        draw_groups(regions, grouping.groups[0], words, output / FOREST)
    if maps:
        draw_mean_maps(maps, grouping.groups[0], output / MEANS)


def _is_region(row: Mapping[str, Any]) -> bool:
    return row["measure"] in (Z, LOG_VOLUME)


def _made(
    asked: Asked, results: Results, grouping: Grouping, covariates: Sequence[Covariate], measures: Sequence[Measure]
) -> dict[str, Any]:
    model = "Welch's t-test of each group with the reference"
    if covariates:
        equal = ", ".join(f"{of.name} ({of.words})" for of in covariates)
        model = f"ordinary least squares, all groups in one model, at equal {equal}"
    return {
        "command": "compare",
        "maps": str(results.root),
        "groups": str(grouping.table),
        "column": str(asked.column),
        "reference": grouping.groups[0],
        "covariates": list(asked.covariates),
        "model": model,
        "measure of regions": next((of.unit for of in measures if of.volumes is not None), "none"),
        "bundle": dict(results.bundle),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what numbers of a comparison depend on."""
    return {
        "mri3d": __version__, "python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__,
    }  # fmt: skip


def _in_words(rows: Sequence[Mapping[str, Any]], grouping: Grouping, made: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{group} {len(grouping.of(group))}" for group in grouping.groups)
    lines = [f"{counts}; {len(grouping.left_out)} left out. Reference: {grouping.groups[0]}; {made['model']}."]
    for group in grouping.groups[1:]:
        own = [row for row in rows if row["group"] == group]
        regions = [row for row in own if _is_region(row)]
        found = [row for row in most_different(regions) if row["q"] is not None and row["q"] < SIGNIFICANT]
        tested = sum(row["q"] is not None for row in regions)
        told = f"{len(found)} of {tested} regions at q < {SIGNIFICANT}" if tested else "no regions to compare"
        lines.append(f"{group} against {grouping.groups[0]}: {told}")
        lines += [f"  {_region_in_words(row)}" for row in found[:MOST_TOLD]]
        if len(found) > MOST_TOLD:
            lines.append(f"  and {len(found) - MOST_TOLD} more in {GROUPS}")
        whole = [row for row in own if not _is_region(row) and row["p"] is not None]
        lines += [f"  {row['region']}: {_plain_in_words(row)}" for row in whole]
    return "\n".join(lines)


def _region_in_words(row: Mapping[str, Any]) -> str:
    percent = "" if row["volume_percent"] is None else f"volume {row['volume_percent']:+.1f} %, "
    direction = "smaller" if row["difference"] < 0 else "larger"
    return f"{row['region']}: {direction}, {percent}{_effect(row)}, q = {row['q']:.2g}"


def _plain_in_words(row: Mapping[str, Any]) -> str:
    return f"{row['difference']:+.3g}, {_effect(row)}, p = {row['p']:.2g}"


def _effect(row: Mapping[str, Any]) -> str:
    return f"g = {row['g']:.2f} ({row['g_low']:.2f} to {row['g_high']:.2f})"

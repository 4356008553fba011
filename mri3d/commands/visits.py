"""Compare the visits of a person: where the later scan is more abnormal than the first, and how regions changed."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mri3d.commands.compare import CHANGES, JSON, Outcome, page_folder, versions
from mri3d.commands.grouping import bundle_of, seen_by, unscored, visits_of
from mri3d.errors import InputError, Mri3dError, UsageError, some
from mri3d.grid import Affine
from mri3d.reporting.change_figure import Change, draw_change
from mri3d.reporting.names import REPORT, plain_words
from mri3d.reporting.ownership import writable
from mri3d.reporting.results import Result, Results, read_folder, refuse_adjusted
from mri3d.reporting.table import Row, write_table
from mri3d.reporting.visits_page import by_change, write_visits_page
from mri3d.transforms.resampling import resample_within
from mri3d.volumes.atomic import write_json
from mri3d.volumes.coregistration import Coregistration, coregister
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.visits import DAYS_A_YEAR, History, Visit, natural
from mri3d.volumes.volume import Volume

logger = logging.getLogger(__name__)

COLUMNS = (
    "participant", "first", "later", "days", "region", "volume_ml_first", "volume_ml_later", "change_percent",
    "change_percent_a_year", "z_first", "z_later", "z_change", "error",
)  # fmt: skip
DESCRIPTION = "mri3d z-map, later visit minus first"
_AGAIN = "Put the scan back as it was, or run mri3d detect again on the folder where it is now"
SHORTEST = 0.1
"""Years from which on a change a year is told: over weeks it would be noise, multiplied."""
ONE_HEAD_INFORMATION, ONE_HEAD_SHARPNESS = 0.1, 2.5
"""Mutual information and sharpness (:class:`Coregistration`) below both of which two visits may show two people.
Measured on registered T1w. Two people: 0.04 to 0.08 and 1.5 to 2.1 (26 pairs as scanned), 0.04 to 0.07 and 1.8 to 2.3
(60 pairs on the template). Six people and a simulated second visit: 0.34 to 0.36 and 7.0 or more, in slices of 5 mm
with noise of 8 % 0.14 to 0.15 and 2.7 or more. An uneven receive field takes information, not sharpness: 0.08 and 4.0
where it is exp(0.7 x + 0.5 y), x and y from -1 to 1 over the volume."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A later visit of someone, and the first.

    Args:
        first: the result of the first visit.
        later: that of the later one.
        history: of all visits.
        visit: the later visit.
        stem: of the files' names.
    """

    first: Result
    later: Result
    history: History
    visit: Visit
    stem: str

    @property
    def names(self) -> Row:
        """The columns that tell whom a line is of."""
        years = self.history.years(self.visit)
        return {
            "participant": self.visit.participant,
            "first": _session(self.history.visits[0]),
            "later": _session(self.visit),
            "days": None if years is None else years * DAYS_A_YEAR,
        }


def compare_visits(maps: Path, output: Path, overwrite: bool = False, bundle: str | None = None) -> Outcome:
    """Write change maps, ``changes.csv``, ``compare.json``, pictures and ``report.html``.

    Args:
        maps: a folder that ``mri3d detect`` wrote.
        output: where the results go.
        overwrite: replace an earlier comparison.
        bundle: the one that made the maps, where it is no shipped one; without it nobody knows whom it has seen.

    Raises:
        UsageError: nobody has two sessions, or results stand there already.
    """
    folder = page_folder(output)
    folder.refuse_standing(overwrite)
    results = read_folder(maps)
    refuse_adjusted(results)
    everyone = visits_of(results)
    pairs = _pairs_of(results, everyone)
    files = [f"{pair.stem}_change{ending}" for pair in pairs for ending in (".nii.gz", ".png")]
    folder.refuse_foreign(files)
    notes = _notes(results, pairs, everyone, bundle)
    _warn(notes)
    made = {
        "command": "compare",
        "maps": str(results.root),
        "what": "visits: later minus first",
        "order of visits": _order_of(pairs),
        "bundle": dict(results.bundle),
        "versions": versions(),
    }
    with writable(output):
        folder.clear()
        # the record comes first: it tells whose the files are, should the run be cut short
        write_json(output / JSON, {"made": made, "notes": notes, "pairs": [], "files": files})
        told = [_compare(pair, results, output) for pair in tqdm(pairs, desc="compare", unit="visit")]
        doubts = _notes_of_strangers(told)
        _warn(doubts)
        notes += doubts
        told = sorted(told + _unscored(results, everyone), key=lambda each: natural(each["participant"]))
        written = [name for name in files if (output / name).exists()]
        write_json(output / JSON, {"made": made, "notes": notes, "pairs": told, "files": written})
        write_table(output / CHANGES, [line for each in told for line in each["lines"]], COLUMNS)
        write_visits_page(output / REPORT, told, notes, made)
    failures = tuple(f"{each['participant']} {each['later']}: {each['error']}" for each in told if each["error"])
    return Outcome(_in_words(told, made), failures)


def _pairs_of(results: Results, everyone: Mapping[str, History]) -> list[Pair]:
    """Every later visit of everyone, in the order of people and visits."""
    by_key = {result.key: result for result in results.scored}
    past = {
        person: History(tuple(visit for visit in each.visits if visit.session), each.dated, each.repeated)
        for person, each in everyone.items()
    }
    several = sorted((person for person, each in past.items() if len(each.visits) > 1), key=natural)
    if not several:
        found = f"{len(past)} people with one session each"
        remedy = "Name sessions as in BIDS: sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
        raise UsageError(results.root, "someone with two sessions (ses-) or more", found, remedy)
    later = [(past[person], visit) for person in several for visit in past[person].visits[1:]]
    stems = plain_words(f"{visit.participant}_ses-{visit.session}" for _, visit in later)
    return [
        Pair(
            by_key[history.visits[0].key], by_key[visit.key], history, visit,
            stems[f"{visit.participant}_ses-{visit.session}"],
        )
        for history, visit in later
    ]  # fmt: skip


def _unscored(results: Results, everyone: Mapping[str, History]) -> list[dict[str, Any]]:
    """Visits that could not be scored, of people who have another: lines that fail."""
    told = []
    for visit, why in unscored(results):
        if visit.session and any(other.session for other in getattr(everyone.get(visit.participant), "visits", ())):
            names = {"participant": visit.participant, "first": "", "later": _session(visit), "days": None}
            error = f"was not scored: {why}"
            told.append({**names, "files": [], "error": error, "lines": [{**names, "error": error}]})
    return told


def _notes(
    results: Results, pairs: Sequence[Pair], everyone: Mapping[str, History], bundle: str | None
) -> list[str]:
    """What a reader must know of who is compared, whole sentences."""
    people = {pair.visit.participant: pair.history for pair in pairs}
    repeated = sum(len(history.repeated) for history in people.values())
    notes = [*_notes_of_order(people), *_notes_of_lost(results, people, everyone)]
    if repeated:
        notes.append(f"Of several scans of a session the first by name counts; {repeated} further scans do not.")
    try:
        seen = seen_by(bundle_of(results, bundle))
    except Mri3dError as error:
        if bundle is not None:
            raise
        return [*notes, f"Whether the bundle has seen anyone of them is not known: {error}"]
    known = [f"{name}: {seen[name]}" for name in people if name in seen]
    if known:
        words = "z is too small in scans that the bundle has seen, and a change from them too large"
        notes.append(f"{words}. {'; '.join(known)}.")
    return notes


def _notes_of_order(people: Mapping[str, History]) -> list[str]:
    """Where visits may be in another order than they were."""
    by_label = {name: history for name, history in people.items() if not history.dated}
    remedy = "give each visit's date (acq_time, as 2021-03-15) in scans.tsv or sessions.tsv"
    halves = [name for name, history in by_label.items() if any(visit.date for visit in history.visits)]
    words = [
        f"{name} ({', '.join(visit.session for visit in history.visits)})"
        for name, history in by_label.items()
        if len({re.sub(r"\d+", "", visit.session) for visit in history.visits}) > 1
    ]
    notes = []
    if halves:
        notes.append(f"Not all dates can be read, so that session labels count, of {some(halves)}: {remedy}.")
    if words:
        notes.append(f"Sessions that are called by words stand in the order of the alphabet, {some(words)}: {remedy}.")
    return notes


def _notes_of_lost(
    results: Results, people: Mapping[str, History], everyone: Mapping[str, History]
) -> list[str]:
    """Scans that are no visit, and first visits that are missing."""
    notes = []
    for name, history in everyone.items():
        without = [visit.key for visit in history.visits if not visit.session]
        if without and (len(history.visits) > 1 or name in people):
            notes.append(f"{without[0]} counts for nothing, since it has no session (ses-).")
    for visit, _ in unscored(results):
        own = people.get(visit.participant)
        if own is not None and visit.session and natural(visit.session) < natural(own.visits[0].session):
            first = _session(own.visits[0])
            notes.append(f"{_session(visit)} of {visit.participant} was not scored: changes count from {first}.")
    return notes


def _notes_of_strangers(told: Sequence[Mapping[str, Any]]) -> list[str]:
    """Visits that may be another person's."""
    notes = []
    for each in told:
        fit = each.get("registration")
        if fit and fit["information"] < ONE_HEAD_INFORMATION and fit["sharpness"] < ONE_HEAD_SHARPNESS:
            notes.append(
                f"{each['participant']} {each['later']} has no more in common with the first visit than scans of two "
                f"people (mutual information {fit['information']:.2f}, sharpness {fit['sharpness']:.1f}): check whose "
                "it is."
            )
    return notes


def _warn(notes: Sequence[str]) -> None:
    for note in notes:
        logger.warning("%s", note)


def _order_of(pairs: Sequence[Pair]) -> str:
    dated = {pair.visit.participant: pair.history.dated for pair in pairs}
    by_date = sum(dated.values())
    if by_date == len(dated):
        return "dates (acq_time) in scans.tsv or sessions.tsv"
    labels = "session labels, numbers by their size"
    return labels if not by_date else f"dates (acq_time) for {by_date} people, {labels} for {len(dated) - by_date}"


def _compare(pair: Pair, results: Results, output: Path) -> dict[str, Any]:
    """One later visit against the first; its map is written, the rest handed back. A failure is a line too."""
    told: dict[str, Any] = {**pair.names, "dated": pair.history.dated, "files": [], "error": None}
    try:
        registered = _write_change(pair, output)
    except Mri3dError as error:
        return {**told, "error": str(error), "lines": [{**pair.names, "error": str(error)}]}
    told["files"] = [f"{pair.stem}_change{ending}" for ending in (".nii.gz", ".png")]
    told["registration"] = {
        name: getattr(registered, name) for name in ("information", "sharpness", "moved_mm", "covered")
    }
    for name, each in (("first", pair.first), ("later", pair.later)):
        told[f"score_{name}"] = results.score_of(each)
        told[f"anomalous_ml_{name}"] = each.sidecar["anomalous_ml"]
    return {**told, "lines": _region_lines(pair)}


def _write_change(pair: Pair, output: Path) -> Coregistration:
    """Write the map and its picture."""
    for result in (pair.first, pair.later):
        if "zscore" not in result.sidecar["maps"]:
            raise InputError(result.key, "a z-map", "none", "Detect with a bundle that has healthy statistics")
    before, brain, grid = pair.first.read_maps()
    after, later_brain, later_grid = pair.later.read_maps()
    first, later = _scan_of(pair.first), _scan_of(pair.later)
    for scan, of in ((first, grid), (later, later_grid)):
        if not scan.grid.matches(of):
            raise InputError(str(scan.path), "the scan that was scored", "one on another grid", _AGAIN)
    registered = coregister(first, brain, later, _by_the_template(pair))
    moved, inside = resample_within(after, later_brain, later_grid, grid, registered.to_moving)
    both = brain & inside
    change = np.where(both, moved - before, 0).astype(np.float32)
    write_map(output / f"{pair.stem}_change.nii.gz", change, first, DESCRIPTION)
    person, name, later_name = (str(pair.names[key]) for key in ("participant", "first", "later"))
    threshold = pair.first.sidecar["voxel_threshold"]
    shown = Change(person, name, later_name, grid, first.data, both, before, moved, change, threshold)
    draw_change(shown, output / f"{pair.stem}_change.png")
    return registered


def _by_the_template(pair: Pair) -> Affine | None:
    """From the first visit's world to the later one's, as both scans were aligned; None where an older mri3d did so."""
    both = (pair.first.sidecar.get("template_to_source"), pair.later.sidecar.get("template_to_source"))
    if None in both:
        return None
    first, later = (np.array(each, dtype=np.float64) for each in both)
    return np.asarray(later @ np.linalg.inv(first))


def _scan_of(result: Result) -> Volume:
    """The reference image of a visit, which must be the one that was scored."""
    told = next(iter(result.sidecar["inputs"].values()))
    path = Path(told["path"])
    if not path.is_file():
        raise InputError(str(path), "the scan that was scored", "nothing", _AGAIN)
    size = path.stat().st_size
    if size != told.get("bytes", size):
        raise InputError(str(path), f"the scan that was scored, of {told['bytes']} bytes", f"one of {size}", _AGAIN)
    return read_volume(path)


def _region_lines(pair: Pair) -> list[Row]:
    """A line a region that both visits have; without regions one that tells the visits."""
    first, later = ({each["name"]: each for each in of.sidecar.get("regions", ())} for of in (pair.first, pair.later))
    years = pair.history.years(pair.visit)
    lines: list[Row] = []
    for name in first:
        if name not in later:
            continue
        ml, ml_later, z, z_later = (of[name][key] for key in ("volume_ml", "z") for of in (first, later))
        percent = 100 * (ml_later / ml - 1) if ml > 0 else None
        lines.append({
            **pair.names,
            "region": name,
            "volume_ml_first": ml,
            "volume_ml_later": ml_later,
            "change_percent": percent,
            "change_percent_a_year": _a_year(ml, ml_later, years),
            "z_first": z,
            "z_later": z_later,
            "z_change": None if z is None or z_later is None else z_later - z,
        })  # fmt: skip
    return lines or [pair.names]


def _a_year(ml: float, ml_later: float, years: float | None) -> float | None:
    """Percent a year at a steady rate."""
    if years is None or years < SHORTEST or min(ml, ml_later) <= 0:
        return None
    return float(100 * ((ml_later / ml) ** (1 / years) - 1))


def _session(visit: Visit) -> str:
    return f"ses-{visit.session}"


def _in_words(told: Sequence[Mapping[str, Any]], made: Mapping[str, Any]) -> str:
    people = len({each["participant"] for each in told})
    failed = sum(each["error"] is not None for each in told)
    lines = [
        f"{people} {'person' if people == 1 else 'people'}, {len(told)} later visit{'s' if len(told) != 1 else ''}"
        f"{f', {failed} of them failed' if failed else ''}. Order: {made['order of visits']}."
    ]
    for each in told[:10]:
        if each["error"] is None:
            scores = f"score {each['score_first']:.2f} to {each['score_later']:.2f}"
            most = by_change(each["lines"])[:1]
            region = f"; {_largest_in_words(most[0])}" if most else ""
            lines.append(f"  {each['participant']} {each['first']} to {each['later']}: {scores}{region}")
    return "\n".join(lines)


def _largest_in_words(line: Mapping[str, Any]) -> str:
    z = "" if line["z_change"] is None else f", z {line['z_change']:+.2f}"
    return f"largest change: {line['region']} {line['change_percent']:+.1f} %{z}"

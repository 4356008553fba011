"""Who of an output folder is compared with whom: people and not scans, and nobody whom the bundle has seen."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mri3d.bundle import CONTROLS, SPLIT, describe, find_bundle, shipped
from mri3d.errors import UsageError, some
from mri3d.evaluation.design import refuse_commas
from mri3d.evaluation.groups import LEAST
from mri3d.reporting.names import TABLE
from mri3d.reporting.results import Result, Results
from mri3d.training.split import REQUIRED, Split
from mri3d.volumes.naming import participant_of
from mri3d.volumes.participants import age_in, read_named_table, sex_in, with_prefix
from mri3d.volumes.visits import History, Visit, histories, visit_of

REFERENCES = frozenset({"control", "controls", "hc", "healthy", "cn", "normal", "healthy control", "healthy controls"})
"""What a reference group may be called, in small or capital letters."""

SEEN = "the bundle was"

TIV = "tiv"
"""The covariate that no table gives: the logarithm of the whole brain's size, by its alignment."""


@dataclass(frozen=True, eq=False)
class Member:
    """Someone who is compared.

    Args:
        name: of the participant.
        group: from the table.
        cells: the table's covariates, of which none is None, and age and sex where it has them, by name.
        result: of the first visit.
        control: the out-of-fold record of someone who trained the bundle; None for everyone else.
    """

    name: str
    group: str
    cells: Mapping[str, str | None]
    result: Result
    control: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Grouping:
    """Who is compared with whom.

    Args:
        groups: names, the reference first.
        people: in the order of the groups.
        left_out: participant to the reason.
        absent: those in the table of whom there is no scan.
        histories: the visits of everyone who was scored.
        table: where the groups are from.
        bundle: the folder of the bundle that made the maps.
    """

    groups: tuple[str, ...]
    people: tuple[Member, ...]
    left_out: Mapping[str, str]
    absent: tuple[str, ...]
    histories: Mapping[str, History]
    table: Path
    bundle: Path

    def of(self, group: str) -> list[Member]:
        """The people of a group."""
        return [person for person in self.people if person.group == group]


def read_grouping(
    results: Results,
    table: Path | None,
    column: str | None,
    covariates: Sequence[str],
    reference: str | None,
    bundle: str | None,
) -> Grouping:
    """Find out who is compared with whom.

    Args:
        results: what ``mri3d detect`` wrote.
        table: see :func:`mri3d.volumes.participants.read_named_table`; that of the input when left out.
        column: of the table, with the groups.
        covariates: of the table, and ``tiv``.
        reference: the group that the others are compared with; one that is called like healthy people when left out.
        bundle: folder of the bundle that made the maps, where it is not a shipped one.

    Raises:
        UsageError: something of it cannot be found, or a group has too few people.
        BundleError: no such bundle.
    """
    past = visits_of(results)
    table = table or _table_of(results)
    known = read_named_table(table)
    if column is None:
        columns = ", ".join(next(iter(known.values()))) or "none"
        raise UsageError("--column", f"a column of {table} with the groups", "none", f"Name one: {columns}")
    wanted = tuple(name for name in covariates if name != TIV)
    _check_columns(table, known, (column, *wanted))
    for name in wanted:
        refuse_commas(name, {person: cells[name] for person, cells in known.items()})
    root = bundle_of(results, bundle)
    seen, controls = seen_by(root), _controls_of(root)
    first = {person: _result_of(results, history) for person, history in past.items()}
    people, left_out = [], _failed(results, first)
    lines = with_prefix(known)
    if not set(first) & set(lines):
        expected = f"lines of people in {results.root}, such as {next(iter(first))}"
        raise UsageError(table, expected, f"others, such as {next(iter(known))}", "Write the names as they stand there")
    for name, result in first.items():
        group, cells = _said_of(lines.get(name, {}), column, wanted)
        control = controls.get(name)
        why = _why_not(name in lines, table, {column: group, **{each: cells[each] for each in wanted}})
        if why is None and control is None:
            why = seen.get(name)
        elif why is None and not _is_reference(str(group), reference):
            why = "a control of the bundle has that name, and is none here"
        if why is not None:
            left_out[name] = why
        else:
            people.append(Member(name, str(group), cells, result, control))
    groups = _groups_of(people, column, reference, left_out)
    small = (person for person in people if person.group not in groups)
    left_out |= {person.name: f"the group {person.group} has fewer than {LEAST} people" for person in small}
    held = sorted((person for person in people if person.group in groups), key=lambda of: groups.index(of.group))
    scanned = {*first, *left_out}
    absent = tuple(name for name in known if not {name, f"sub-{name}"} & scanned)
    return Grouping(groups, tuple(held), left_out, absent, past, table, root)


def _said_of(
    line: Mapping[str, str | None], column: str, covariates: Sequence[str]
) -> tuple[str | None, dict[str, str | None]]:
    """Someone's group and cells, by the table."""
    told = dict.fromkeys((*covariates, *(name for name in ("age", "sex") if name in line)))
    return line.get(column), {name: _as_known(name, line.get(name)) for name in told}


def _as_known(covariate: str, cell: str | None) -> str | None:
    """A cell as ``detect`` reads it: no age that is none, and one word a sex; codes stay as they are."""
    if covariate == "age":
        return None if age_in(cell) is None else cell
    return sex_in(cell) or cell if covariate == "sex" else cell


def visits_of(results: Results) -> dict[str, History]:
    """The visits of everyone who was scored.

    Raises:
        UsageError: a participant's scans lie in folders of two people, as of two sites that both count from 01.
    """
    folders: dict[str, str] = {}
    for result in results.scored:
        name, parts = result.who.participant, PurePosixPath(result.key).parts
        folder = "/".join(parts[: parts.index(name) + 1]) if name in parts else ""
        if folders.setdefault(name, folder) != folder:
            found = f"{name} in {folders[name] or 'the root'} and in {folder or 'the root'}"
            remedy = "Give people names of their own, or detect and compare each folder by itself"
            raise UsageError(results.root, "one folder a participant", found, remedy)
    scans = ((result.key, result.who.participant, result.who.images[0]) for result in results.scored)
    return histories(visit_of(*scan) for scan in scans)


def unscored(results: Results) -> list[tuple[Visit, str]]:
    """The scans that could not be scored, and why."""
    return [(visit_of(key, participant_of(Path(key)), Path(key)), why) for key, why in results.failed.items()]


def bundle_of(results: Results, named: str | None) -> Path:
    """The folder of the bundle that made the maps.

    Raises:
        UsageError: it is no shipped one, or the named one is another.
        BundleError: there is none of that name.
    """
    made = results.bundle
    remedy = "Name the bundle's folder with --bundle; it tells whom the bundle has seen, who must not be compared"
    if named is None and made["name"] not in shipped():
        raise UsageError(results.root, "maps of a shipped bundle", f"maps of one called {made['name']}", remedy)
    root = find_bundle(named or made["name"])
    if describe(root)["sha256"] != made["sha256"]:
        expected = f"the bundle that made the maps ({made['name']}, {made['sha256'][:12]})"
        raise UsageError(root, expected, f"another ({describe(root)['sha256'][:12]})", remedy)
    return root


def _result_of(results: Results, history: History) -> Result:
    return next(result for result in results.scored if result.key == history.visits[0].key)


def _table_of(results: Results) -> Path:
    """``participants.tsv`` of the input, which results mirror."""
    result = results.scored[0]
    depth = len(PurePosixPath(result.key).parts)
    parents = result.who.images[0].parents
    table = parents[min(depth, len(parents)) - 1] / "participants.tsv"
    if not table.is_file():
        expected, remedy = "a participants.tsv in the folder that was scored", "Name the table: --groups TABLE"
        raise UsageError("--groups", expected, f"no {table}", remedy)
    return table


def _check_columns(table: Path, known: Mapping[str, Mapping[str, str | None]], wanted: Iterable[str]) -> None:
    columns = next(iter(known.values()))
    for name in wanted:
        if name not in columns:
            remedy = "Check --column and --covariates; tiv needs no column"
            raise UsageError(table, f"a column {name}", ", ".join(columns) or "no column but participant_id", remedy)


def seen_by(root: Path) -> dict[str, str]:
    """Participant to what the bundle in a folder knows them from.

    Raises:
        UsageError: the bundle does not tell.
    """
    path = root / SPLIT
    try:
        split = Split.load(path)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        remedy = "Restore the file: without it nobody can tell whom the bundle has seen"
        raise UsageError(path, "the bundle's participants by part", f"{error!r}", remedy) from error
    words = {"train": "trained", "validation": "validated", "calibration": "calibrated"}
    parts = {person: words[part] for part in REQUIRED for person in getattr(split, part)}
    return {person: f"{SEEN} {part} on this participant" for person, part in parts.items()}


def _controls_of(root: Path) -> dict[str, Mapping[str, Any]]:
    """Participant to the out-of-fold record, where the bundle was trained with ``--folds``."""
    path = root / CONTROLS
    if not path.exists():
        return {}
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return {str(each["participant"]): {**each, "score": float(each["score"])} for each in records}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(path, "every control's score out of fold", f"{error!r}", "Restore the bundle") from error


def _failed(results: Results, first: Mapping[str, Result]) -> dict[str, str]:
    """Those of whom no scan was scored."""
    lost = (visit.participant for visit, _ in unscored(results))
    return {name: f"was not scored ({TABLE} tells why)" for name in lost if name not in first}


def _why_not(named: bool, table: Path, cells: Mapping[str, str | None]) -> str | None:
    """Why someone cannot be compared, by the table: not named there, or cells that say nothing."""
    if not named:
        return f"no line in {table.name}"
    missing = [name for name, cell in cells.items() if cell is None]
    return f"no {' and no '.join(missing)} in {table.name}" if missing else None


def _is_reference(group: str, named: str | None) -> bool:
    return group == named if named is not None else group.lower() in REFERENCES


def _groups_of(
    people: Sequence[Member], column: str, named: str | None, left_out: Mapping[str, str]
) -> tuple[str, ...]:
    """The groups that are compared, the reference first; those that are too small are not among them."""
    counts = Counter(person.group for person in people)
    found = ", ".join(f"{group} ({count})" for group, count in sorted(counts.items())[:12]) or "nobody"
    found += f" and {len(counts) - 12} more" if len(counts) > 12 else ""
    told = f"{len(left_out)} were left out: {_told(left_out)}. " if left_out else ""
    if any(why.startswith(SEEN) for why in left_out.values()):
        told += "A bundle made with mri3d train --folds lets those count whom it has seen. "
    alike = [group for group in counts if group != group.lower() and group.lower() in {*counts} - {group}]
    if alike:
        found = f"{alike[0]} and {alike[0].lower()}"
        raise UsageError(f"--column {column}", "one way to write a group", found, "Write it alike in all lines")
    called = [named] if named is not None else [group for group in counts if _is_reference(group, None)]
    if len(called) != 1 or called[0] not in counts:
        expected = f"a group {named}" if named is not None else "one group that is called like healthy people"
        remedy = f"{told}Name the group that the others are compared with: --reference NAME"
        raise UsageError(f"--column {column}", expected, found, remedy)
    large = sorted(group for group, count in counts.items() if count >= LEAST)
    if called[0] not in large or len(large) < 2:
        expected = f"{called[0]} and another group of {LEAST} people or more each"
        remedy = f"{told}Give more people, or name another column"
        raise UsageError(f"--column {column}", expected, found, remedy)
    return (called[0], *(group for group in large if group != called[0]))


def _told(left_out: Mapping[str, str], most: int = 3) -> str:
    """Reasons with how many people each has, the commonest first."""
    reasons = Counter(left_out.values()).most_common(most)
    return "; ".join(f"{count} ({why})" for why, count in reasons)


def told_left_out(left_out: Mapping[str, str]) -> list[str]:
    """A sentence a reason: how many people it left out, and some of them."""
    by_reason: dict[str, list[str]] = {}
    for name, why in left_out.items():
        by_reason.setdefault(why, []).append(name)
    return [f"{len(names)} left out ({some(names)}): {why}" for why, names in by_reason.items()]

"""Visits of people: which session a scan is of, and in what order sessions came (BIDS)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mri3d.errors import UsageError
from mri3d.volumes.naming import ImageName
from mri3d.volumes.tables import Table

DAYS_A_YEAR = 365.25


@dataclass(frozen=True)
class Visit:
    """One scan of a person.

    Args:
        key: the place of its results, unique in a study.
        participant: whom it shows.
        session: its label, such as ``2`` of ``ses-2``; empty where the names tell none.
        date: when it was, if a table says so.
    """

    key: str
    participant: str
    session: str
    date: datetime.datetime | None


@dataclass(frozen=True)
class History:
    """The visits of a person.

    Args:
        visits: a scan a session, the first visit first.
        dated: whether their order is that of dates; else that of the sessions' labels, numbers by their size.
        repeated: keys of further scans of the same sessions, which do not count.
    """

    visits: tuple[Visit, ...]
    dated: bool
    repeated: tuple[str, ...] = ()

    def years(self, later: Visit) -> float | None:
        """From the first visit to a later one; None where dates do not tell."""
        first = self.visits[0]
        if not self.dated or first.date is None or later.date is None:
            return None
        return (later.date - first.date).total_seconds() / 86400 / DAYS_A_YEAR


def visit_of(key: str, participant: str, scan: Path) -> Visit:
    """The visit a scan belongs to, from its name and the tables beside it.

    ``acq_time`` of ``*_scans.tsv`` counts before that of ``*_sessions.tsv``; dates are lost where the scan is no more.

    Args:
        key: the place of its results.
        participant: whom it shows.
        scan: the file that was scored.
    """
    parts = (*reversed(PurePosixPath(key).parts), *reversed(scan.parts))
    folder = next((part for part in parts if _is_session(part)), "")
    session = ImageName.of(scan).entity("ses") or folder.removeprefix("ses-")
    return Visit(key, participant, session, _date_of(scan, session))


def histories(visits: Iterable[Visit]) -> dict[str, History]:
    """Each person's visits in their order; of several scans of a session the first by name counts."""
    people: dict[str, list[Visit]] = {}
    for visit in visits:
        people.setdefault(visit.participant, []).append(visit)
    return {person: _history(own) for person, own in people.items()}


def natural(words: str) -> tuple[tuple[int, int, str], ...]:
    """A key to sort labels by, so that 10 comes after 2."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", words))


def _history(visits: Iterable[Visit]) -> History:
    ordered = sorted(visits, key=lambda visit: (natural(visit.session), natural(visit.key)))
    sessions: dict[str, Visit] = {}
    repeated = [visit.key for visit in ordered if sessions.setdefault(visit.session, visit) is not visit]
    held = list(sessions.values())
    dates = {visit.date for visit in held}
    dated = None not in dates and len(dates) == len(held)
    if dated:
        held.sort(key=lambda visit: visit.date or datetime.datetime.min)
    return History(tuple(held), dated, tuple(repeated))


def _is_session(part: str) -> bool:
    return re.fullmatch(r"ses-[A-Za-z0-9]+", part) is not None


def _date_of(scan: Path, session: str) -> datetime.datetime | None:
    """What the tables of the scan's subject and session folders say."""
    folders = scan.absolute().parents
    person = next((folder for folder in folders if folder.name.startswith("sub-")), None)
    if person is None:
        return None
    for folder in (person / f"ses-{session}", person):
        for table in sorted(folder.glob("*_scans.tsv")):
            for row in _rows(table):
                own = row.get("filename") and (folder / str(row["filename"])) == scan.absolute()
                if own and (date := _parsed(row.get("acq_time"))) is not None:
                    return date
    for table in sorted(person.glob("*_sessions.tsv")):
        for row in _rows(table):
            if session and (row.get("session_id") or "").removeprefix("ses-") == session:
                return _parsed(row.get("acq_time"))
    return None


def _rows(table: Path) -> list[dict[str, str | None]]:
    try:
        return Table.read(table).rows
    except UsageError:
        return []


def _parsed(words: str | None) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat((words or "").strip()).replace(tzinfo=None)
    except ValueError:
        return None

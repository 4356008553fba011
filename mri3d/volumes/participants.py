"""What ``participants.tsv`` says of the people in a BIDS data set."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from mri3d.errors import UsageError
from mri3d.volumes.tables import Table

NAME, KEY = "participants.tsv", "participant_id"
OLDEST = 125.0
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
Columns = TypeVar("Columns")

_OF_A_SUBJECT = re.compile(r"(sub|ses)-|anat$")


def table_of(source: Path | str) -> Path | None:
    """Where the ``participants.tsv`` of an input lies; None where there is none.

    Args:
        source: the folder of a data set, or a folder of a subject or session, a volume or a datalist in it.
    """
    source = Path(source)
    folder = source if source.is_dir() else source.parent
    for place in (folder, *folder.absolute().parents):
        if (place / NAME).is_file():
            return place / NAME
        if not _OF_A_SUBJECT.match(place.absolute().name):
            break
    return None


def fingerprint(source: Path | str) -> str | None:
    """SHA-256 of the ``participants.tsv`` of an input; None where there is none."""
    table = table_of(source)
    return None if table is None else hashlib.sha256(table.read_bytes()).hexdigest()


def read_ages(source: Path | str) -> dict[str, float]:
    """Participant to age in years, for those whose age is known.

    Args:
        source: see :func:`table_of`.
    """
    ages = {person: age_in(columns.get("age")) for person, columns in read_table(source).items()}
    return {person: age for person, age in ages.items() if age is not None}


def age_in(cell: str | None) -> float | None:
    """The age in years that a cell holds; None for words, and for what stands for an unknown one, as -9 and 999 do."""
    try:
        age = float(cell or "nan")
    except ValueError:  # such as 89+
        return None
    return age if 0 <= age <= OLDEST else None


def sex_in(cell: str | None) -> str | None:
    """``M`` or ``F``; None for anything else, as codes whose meaning is not known."""
    return SEXES.get((cell or "").strip().lower())


def read_table(source: Path | str) -> dict[str, dict[str, str | None]]:
    """Participant to the columns of ``participants.tsv``; see :func:`with_prefix` for their names.

    Cells that say nothing (:data:`mri3d.volumes.tables.UNKNOWN`) are None, and so is what several lines of a person, or
    several columns of a name, say differently.

    Args:
        source: see :func:`table_of`.

    Raises:
        UsageError: the file cannot be taken apart.
    """
    table = _people_in(source)
    people: dict[str, dict[str, str | None]] = {}
    for person, name, cell in () if table is None else table.cells_of(KEY):
        own = people.setdefault(person, {})
        own[name] = cell if own.get(name, cell) == cell else None
    return with_prefix(people)


def read_people(source: Path | str) -> frozenset[str] | None:
    """Everyone whom ``participants.tsv`` names; None where there is no such table with a ``participant_id``.

    Args:
        source: see :func:`table_of`.

    Raises:
        UsageError: the file cannot be taken apart.
    """
    table = _people_in(source)
    return None if table is None else frozenset(table.column(KEY))


def read_named_table(path: Path) -> dict[str, dict[str, str | None]]:
    """Participant to the other columns of a table that the user has named; cells that say nothing are None.

    Args:
        path: a BIDS ``participants.tsv``; one that ends in ``.csv`` has commas.

    Raises:
        UsageError: no such file, no column ``participant_id``, two columns of a name, a line with more cells than
            columns, no people, or lines of a person that contradict each other.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise UsageError(path, "a table with a column participant_id (participants.tsv)", found, "Check the path")
    table = Table.read(path)
    if KEY not in table.columns:
        remedy = f"Name the column so, and part columns by {table.separated_by}"
        raise UsageError(path, "a column participant_id", ", ".join(table.columns) or "an empty file", remedy)
    table.refuse_ambiguous()
    people: dict[str, dict[str, str | None]] = {}
    for person, name, cell in table.cells_of(KEY):
        known = people.setdefault(person, {}).setdefault(name, cell)
        if known != cell:
            found = f"{known or 'n/a'} and {cell or 'n/a'} as {name} of {person}"
            raise UsageError(path, "one line a person", found, "Leave one line a person, of the first visit")
    everyone = table.column(KEY)
    if not everyone:
        raise UsageError(path, "a line a person", "none", "Check the table")
    return {person: people.get(person, {}) for person in everyone}


def _people_in(source: Path | str) -> Table | None:
    """The ``participants.tsv`` of an input; None where there is none that names people."""
    path = table_of(source)
    table = None if path is None else Table.read(path)
    return None if table is None or KEY not in table.columns else table


def with_prefix(people: Mapping[str, Columns]) -> dict[str, Columns]:
    """The same, and whom the table names without ``sub-`` is found with it, too."""
    return {f"sub-{person}": columns for person, columns in people.items() if not person.startswith("sub-")} | {
        **people
    }

"""What ``participants.tsv`` says of the people in a BIDS data set."""

from __future__ import annotations

import codecs
import csv
import hashlib
import re
from pathlib import Path

from mri3d.errors import UsageError

NAME = "participants.tsv"
OLDEST = 125.0
UNKNOWN = ("", "n/a", "na", "nan", "none", "-")
"""What stands for a missing value: BIDS's n/a, and what spreadsheets and programs write in its place."""

SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
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
    """Participant to the columns of ``participants.tsv``; cells that say nothing (:data:`UNKNOWN`) are None, and so is
    what several lines of a person say differently.

    A person whom the table names without ``sub-`` is found with it, too.

    Args:
        source: see :func:`table_of`.
    """
    table = table_of(source)
    columns, rows = ([], []) if table is None else _lines(table)
    if "participant_id" not in columns:
        return {}
    people: dict[str, dict[str, str | None]] = {}
    for person, cells in rows:
        own = people.setdefault(person, dict(cells))
        own |= {name: None for name, cell in cells.items() if own[name] != cell}
    return {f"sub-{person}": cells for person, cells in people.items() if not person.startswith("sub-")} | people


def read_people(source: Path | str) -> frozenset[str] | None:
    """Everyone whom ``participants.tsv`` names; None where there is no such table with a ``participant_id``.

    Args:
        source: see :func:`table_of`.
    """
    table = table_of(source)
    columns, rows = ([], []) if table is None else _lines(table)
    return frozenset(person for person, _ in rows) if "participant_id" in columns else None


def read_named_table(path: Path) -> dict[str, dict[str, str | None]]:
    """Participant to the other columns of a table that the user has named; cells that say nothing are None.

    Args:
        path: a BIDS ``participants.tsv``; one that ends in ``.csv`` has commas.

    Raises:
        UsageError: no such file, no column ``participant_id``, no people, or lines of a person that contradict each
            other.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise UsageError(path, "a table with a column participant_id (participants.tsv)", found, "Check the path")
    columns, rows = _lines(path)
    if "participant_id" not in columns:
        remedy = f"Name the column so, and part columns by {'commas' if _delimiter(path) == ',' else 'tabs'}"
        raise UsageError(path, "a column participant_id", ", ".join(columns) or "an empty file", remedy)
    table: dict[str, dict[str, str | None]] = {}
    for person, cells in rows:
        for name, cell in table.setdefault(person, cells).items():
            if cells[name] != cell:
                found = f"{cell or 'n/a'} and {cells[name] or 'n/a'} as {name} of {person}"
                raise UsageError(path, "one line a person", found, "Leave one line a person, of the first visit")
    if not table:
        raise UsageError(path, "a line a person", "none", "Check the table")
    return table


def _lines(path: Path) -> tuple[list[str], list[tuple[str, dict[str, str | None]]]]:
    """Names of all columns, and of every line with a ``participant_id`` that and the other cells."""
    with open(path, newline="", encoding=_encoding(path), errors="replace") as lines:
        reader = csv.DictReader(lines, delimiter=_delimiter(path), restval="", restkey="more")
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = [{name: _known(row[name]) for name in columns} for row in reader]
    named = ((row.pop("participant_id", None), row) for row in rows)
    return columns, [(person, row) for person, row in named if person is not None]


def _delimiter(path: Path) -> str:
    return "," if path.suffix.lower() == ".csv" else "\t"


def _encoding(path: Path) -> str:
    """UTF-8, or the UTF-16 that Excel calls Unicode text."""
    with open(path, "rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _known(cell: str | None) -> str | None:
    stripped = (cell or "").strip()
    return None if stripped.lower() in UNKNOWN else stripped

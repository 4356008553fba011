"""What ``participants.tsv`` says of the people in a BIDS data set."""

from __future__ import annotations

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
    """Participant to the columns of ``participants.tsv``; cells that say nothing (:data:`UNKNOWN`) are None.

    A person whom the table names without ``sub-`` is found with it, too.

    Args:
        source: see :func:`table_of`.
    """
    table = table_of(source)
    if table is None:
        return {}
    with open(table, newline="", encoding="utf-8-sig", errors="replace") as lines:
        reader = csv.DictReader(lines, delimiter="\t", restval="", restkey="more")
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        rows = list(reader)
    people = {
        row["participant_id"].strip(): {
            name: _known(cell) for name, cell in row.items() if name not in ("participant_id", "more")
        }
        for row in rows
        if row.get("participant_id")
    }
    return {f"sub-{person}": columns for person, columns in people.items() if not person.startswith("sub-")} | people


def read_people(source: Path | str) -> frozenset[str] | None:
    """Everyone whom ``participants.tsv`` names; None where there is no such table with a ``participant_id``.

    Args:
        source: see :func:`table_of`.
    """
    table = table_of(source)
    if table is None:
        return None
    with open(table, newline="", encoding="utf-8-sig", errors="replace") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        if "participant_id" not in (rows.fieldnames or ()):
            return None
        return frozenset(row["participant_id"] for row in rows if row["participant_id"])


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
    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as lines:
        rows = csv.DictReader(lines, delimiter=delimiter, restval="", restkey="more")
        columns = [name.strip() for name in rows.fieldnames or ()]
        rows.fieldnames = columns
        if "participant_id" not in columns:
            remedy = f"Name the column so, and part columns by {'commas' if delimiter == ',' else 'tabs'}"
            raise UsageError(path, "a column participant_id", ", ".join(columns) or "an empty file", remedy)
        table: dict[str, dict[str, str | None]] = {}
        for row in rows:
            cells = {name: _known(row[name]) for name in columns}
            person = cells.pop("participant_id")
            if person is None:
                continue
            for name, cell in table.setdefault(person, cells).items():
                if cells[name] != cell:
                    found = f"{cell or 'n/a'} and {cells[name] or 'n/a'} as {name} of {person}"
                    raise UsageError(path, "one line a person", found, "Leave one line a person, of the first visit")
    if not table:
        raise UsageError(path, "a line a person", "none", "Check the table")
    return table


def _known(cell: str | None) -> str | None:
    stripped = (cell or "").strip()
    return None if stripped.lower() in UNKNOWN else stripped

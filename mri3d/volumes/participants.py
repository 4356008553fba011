"""What ``participants.tsv`` says of the people in a BIDS data set."""

from __future__ import annotations

import csv
import math
from pathlib import Path


def read_ages(source: Path | str) -> dict[str, float]:
    """Participant to age in years, for those whose age is known.

    Args:
        source: a folder, in which ``participants.tsv`` may lie (BIDS), or anything else, which knows no ages.
    """
    table = Path(source) / "participants.tsv"
    if not table.is_file():
        return {}
    ages = {}
    # names and ages are ASCII; what another encoding made of the other columns does not matter
    with open(table, newline="", encoding="utf-8-sig", errors="replace") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            try:
                person, age = row["participant_id"], float(row["age"])
            except (KeyError, TypeError, ValueError):
                continue
            if math.isfinite(age):
                ages[person] = age
    return ages


def read_table(source: Path | str) -> dict[str, dict[str, str | None]]:
    """Participant to the columns of ``participants.tsv``, ``n/a`` (BIDS) and empty cells being None.

    Args:
        source: as for :func:`read_ages`.
    """
    table = Path(source) / "participants.tsv"
    if not table.is_file():
        return {}
    with open(table, newline="", encoding="utf-8-sig", errors="replace") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", restval="", restkey="more"))
    return {
        row["participant_id"]: {
            name: cell if cell not in ("", "n/a") else None
            for name, cell in row.items()
            if name not in ("participant_id", "more")
        }
        for row in rows
        if row.get("participant_id")
    }


def read_people(source: Path | str) -> frozenset[str] | None:
    """Everyone whom ``participants.tsv`` names; None where there is no such table with a ``participant_id``.

    Args:
        source: as for :func:`read_ages`.
    """
    table = Path(source) / "participants.tsv"
    if not table.is_file():
        return None
    with open(table, newline="", encoding="utf-8-sig", errors="replace") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        if "participant_id" not in (rows.fieldnames or ()):
            return None
        return frozenset(row["participant_id"] for row in rows if row["participant_id"])

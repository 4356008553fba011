"""The results table: one row a subject, failures included."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mri3d.errors import Mri3dError
from mri3d.scoring.detection import Detection
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.subject import Subject

COLUMNS = (
    "subject",
    "input",
    "status",
    "decision",
    "score",
    "threshold",
    "p_value",
    "anomalous_ml",
    "seconds",
    "warnings",
    "error",
)
NUMBERS = frozenset({"score", "threshold", "p_value", "anomalous_ml", "seconds"})
Value = str | float | None
Row = dict[str, Value]
"""The columns and ``key``, the subject's outputs below the output folder without an ending. None is an empty cell."""


def row_of(detection: Detection, input_root: Path) -> Row:
    """The row of a scored subject; ``seconds`` is the sum over all stages."""
    score = detection.score
    made = {
        "decision": score.decision,
        "score": score.value,
        "threshold": score.threshold,
        "p_value": score.p_value,
        "anomalous_ml": detection.anomalous_ml,
        "seconds": detection.seconds,
        "warnings": detection.warnings,
    }
    return row_of_sidecar(made, detection.subject, input_root)


def row_of_sidecar(made: Mapping[str, Any], subject: Subject, input_root: Path) -> Row:
    """The row of a subject that an earlier run has scored, from what its JSON says.

    Raises:
        KeyError, TypeError, AttributeError: the JSON is none of a subject.
    """
    columns = ("decision", "score", "threshold", "p_value", "anomalous_ml")
    return _blank(subject, input_root) | {
        "status": "ok",
        **{column: made[column] for column in columns},
        "seconds": sum(made["seconds"].values()),
        "warnings": joined(made["warnings"]),
    }


def failed_row(
    subject: Subject,
    error: Mri3dError,
    input_root: Path,
    seconds: float | None = None,
    warnings: Sequence[str] = (),
) -> Row:
    """The row of a subject that could not be scored; what was noticed before it failed may tell why."""
    # The input has a column of its own; any other place, such as a second modality's file, must be named here.
    message = error.cause if error.where == str(subject.reference) else str(error)
    return _blank(subject, input_root) | {
        "status": "failed",
        "seconds": seconds,
        "warnings": joined(warnings),
        "error": _one_line(message),
    }


def write_results(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows of a detection run."""
    write_table(path, rows, COLUMNS)


def write_table(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Write these columns of rows as CSV (RFC 4180, UTF-8), numbers with six significant digits."""
    # Names go in as they are, even where a spreadsheet would take one (=1+1.nii) for a formula: programs join on
    # them, and a quote before them would name a file that does not exist. `input` is made safe in `input_of`.
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    with atomic_write(path) as temporary:
        # A file name that is no UTF-8 reaches Python as lone surrogates.
        temporary.write_bytes(text.getvalue().encode("utf-8", errors="backslashreplace"))


def distinct(names: Iterable[str]) -> list[str]:
    """Names of columns, of which none hides another: what stands there already gets a number."""
    found: list[str] = []
    for name in names:
        numbered = (name, *(f"{name} ({number})" for number in range(2, len(found) + 3)))
        found.append(next(each for each in numbered if each not in found))
    return found


def read_results(path: Path) -> list[Row]:
    """The rows of a results table, with their ``key`` again.

    Raises:
        ValueError: a line is cut short.
        KeyError: it is another table.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    cut = next((line for line in lines if None in line.values()), None)
    if cut is not None:
        raise ValueError(f"{path.name} with a line that is cut short ({next(iter(cut.values()))})")
    rows = [{column: _value(column, cell) for column, cell in line.items()} for line in lines]
    return [row | {"key": _key_of(row)} for row in rows]


def _blank(subject: Subject, input_root: Path) -> Row:
    names: Row = {"subject": subject.name, "input": input_of(subject, input_root), "key": subject.key}
    return dict.fromkeys(COLUMNS) | names


def input_of(subject: Subject, input_root: Path) -> str:
    """A subject's file as a table names it: below the input's folder, else its whole path."""
    # Not resolved: a linked study is named as the user sees it.
    path, root = (Path(os.path.abspath(p)) for p in (subject.reference, input_root))
    if path == root or not path.is_relative_to(root):
        return path.name if path == root else path.as_posix()
    relative = path.relative_to(root).as_posix()
    return f"./{relative}" if relative[0] in "=+-@\t\r" else relative


def _key_of(row: Row) -> str:
    """Outputs mirror the input's folders; a file from elsewhere has its outputs at the root."""
    folder = PurePosixPath(str(row["input"])).parent
    return str(row["subject"]) if folder.is_absolute() else (folder / str(row["subject"])).as_posix()


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.6g}"


def _value(column: str, cell: str | None) -> Value:
    if not cell:
        return None
    return float(cell) if column in NUMBERS else cell


def joined(warnings: Iterable[str]) -> str | None:
    """Several messages in one cell."""
    return " | ".join(map(_one_line, warnings)) or None


def _one_line(message: str) -> str:
    return " ".join(message.split())

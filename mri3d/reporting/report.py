"""The report of a study: a page over all subjects, and one of each, which open from disk and need no network.

They are made of the table's rows and the subjects' sidecars, pictures and ``NAME_view.js``, and can be made again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mri3d.errors import UsageError
from mri3d.reporting.cohort_page import by_rank, write_cohort_page
from mri3d.reporting.names import REPORT, RUN, SHARED, SIDECAR, TABLE, path_of
from mri3d.reporting.subject_page import Neighbours, write_subject_page
from mri3d.reporting.table import Row, read_results
from mri3d.reporting.view import NIIVUE, has_niivue
from mri3d.resources import viewer_dir


def write_report(root: Path, rows: Iterable[Row], run: Mapping[str, object]) -> None:
    """Write ``report.html``, a page beside the files of every subject that was scored, and the scripts they share.

    Args:
        root: the output folder.
        rows: rows of the results table with their ``key``.
        run: what to say of how it was made, by name; a mapping as value is written as names with their values.
    """
    ranked = by_rank(rows)
    made = {str(row["key"]): _sidecar(root, row) for row in ranked}
    keys = [key for key, sidecar in made.items() if sidecar]
    for place, key in enumerate(keys):
        before = keys[place - 1] if place > 0 else None
        after = keys[place + 1] if place + 1 < len(keys) else None
        row = next(row for row in ranked if row["key"] == key)
        write_subject_page(root, row, made[key], Neighbours(before, after))
    if keys:
        _copy_scripts(root / SHARED)
    write_cohort_page(root / REPORT, ranked, made, run)


def remake_report(root: Path) -> int:
    """Write the report of an output folder once more, from what stands there.

    Returns:
        How many subjects it tells of.

    Raises:
        UsageError: no folder that ``mri3d detect`` has finished.
    """
    try:
        rows = read_results(root / TABLE)
        run = json.loads((root / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError) as error:
        expected = f"a folder that mri3d detect wrote, with {TABLE} and {RUN}"
        raise UsageError(root, expected, str(error), "Check the path, or finish the run with --resume") from error
    write_report(root, rows, run)
    return len(rows)


def _sidecar(root: Path, row: Row) -> dict[str, Any]:
    """What a scored subject's JSON says; empty for one that failed or has none."""
    path = path_of(root, str(row["key"]), SIDECAR)
    if row["status"] != "ok" or not os.path.isfile(path):
        return {}
    made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return made


def _copy_scripts(folder: Path) -> None:
    """Put what all viewers load beside the report, once."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*((NIIVUE,) if has_niivue() else ()), "viewer.js", "viewer.css"):
        shutil.copyfile(viewer_dir() / name, folder / name)

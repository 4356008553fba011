"""The report of a study: a page over all subjects, and one of each, which open from disk and need no network.

They are made of the table's rows and the subjects' sidecars, pictures and ``NAME_view.js``, and can be made again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mri3d.errors import UsageError
from mri3d.reporting.cohort_page import by_rank, write_cohort_page
from mri3d.reporting.html import STATES, state_of
from mri3d.reporting.names import PAGE, REPORT, RUN, SHARED, SIDECAR, TABLE, path_of
from mri3d.reporting.ownership import refuse_link_out, writable
from mri3d.reporting.subject_page import Neighbours, write_subject_page
from mri3d.reporting.table import COLUMNS, Row, read_results
from mri3d.reporting.view import LICENCE, NIIVUE, has_niivue
from mri3d.resources import viewer_dir
from mri3d.volumes.atomic import atomic_write


def write_report(root: Path, rows: Iterable[Row], run: Mapping[str, object]) -> None:
    """Write ``report.html``, a page beside the files of every subject that was scored, and the scripts they share.

    Args:
        root: the output folder.
        rows: rows of the results table with their ``key``.
        run: what to say of how it was made, by name; a mapping as value is written as names with their values.

    Raises:
        UsageError: a link leads out of the folder.
    """
    rows = list(rows)
    sidecars = {str(row["key"]): _sidecar(root, row) for row in rows}
    ranked = by_rank(rows, sidecars)
    scored = [row for row in ranked if sidecars[str(row["key"])]]
    for folder in {root / SHARED, *(path_of(root, str(row["key"]), PAGE).parent for row in scored)}:
        refuse_link_out(folder, root)
    keys = [None, *(str(row["key"]) for row in scored), None]
    for row, before, after in zip(scored, keys, keys[2:], strict=False):
        write_subject_page(root, row, sidecars[str(row["key"])], Neighbours(before, after))
    if scored:
        _copy_scripts(root / SHARED)
    write_cohort_page(root / REPORT, ranked, sidecars, run)


def remake_report(root: Path) -> int:
    """Write the report of an output folder once more, from what stands there.

    Returns:
        How many subjects it tells of.

    Raises:
        UsageError: no folder that ``mri3d detect`` has finished, or one that cannot be written to.
    """
    expected = f"a folder that mri3d detect wrote, with {TABLE} and {RUN}"
    remedy = "Check the path, or finish the run with --resume"
    try:
        rows = read_results(root / TABLE)
        run = json.loads((root / RUN).read_text(encoding="utf-8"))
        whole = isinstance(run, dict) and all({*COLUMNS} <= row.keys() and state_of(row) in STATES for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(root, expected, str(error), remedy) from error
    if not whole:
        raise UsageError(root, expected, f"a {TABLE} or {RUN} of another kind", remedy)
    with writable(root):
        write_report(root, rows, run)
    return len(rows)


def _sidecar(root: Path, row: Row) -> dict[str, Any]:
    """What a scored subject's JSON says; empty for one that failed, or whose JSON is not there or none."""
    try:
        made = json.loads(path_of(root, str(row["key"]), SIDECAR).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return made if row["status"] == "ok" and isinstance(made, dict) else {}


def _copy_scripts(folder: Path) -> None:
    """Put what all viewers load beside the report, once."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*((NIIVUE, LICENCE) if has_niivue() else ()), "viewer.js", "viewer.css"):
        with atomic_write(folder / name) as path:
            shutil.copyfile(viewer_dir() / name, path)

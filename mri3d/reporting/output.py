"""The output folder of a detection run: what is known of all subjects, and which are still to do."""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mri3d.errors import Mri3dError, UsageError
from mri3d.reporting.cohort_regions import write_cohort
from mri3d.reporting.names import (
    COHORT_REGIONS,
    ENDINGS,
    HEAT_MAP,
    MODALITIES,
    PAGE,
    PICTURE,
    REGIONS,
    REGIONS_PICTURE,
    REPORT,
    RUN,
    SIDECAR,
    SIMPLE_VIEW,
    TABLE,
    VIEW,
    clear,
    ending_of,
    path_of,
)
from mri3d.reporting.ownership import check_inside, is_ours, writable
from mri3d.reporting.report import write_report
from mri3d.reporting.subject_files import origin_of, versions, write_detection
from mri3d.reporting.table import Row, failed_row, read_results, row_of, row_of_sidecar, write_results
from mri3d.scoring.detection import Detection
from mri3d.transforms.case import Case
from mri3d.volumes.atomic import write_json
from mri3d.volumes.participants import fingerprint
from mri3d.volumes.subject import Subject

EXISTING = ("refuse", "resume", "overwrite")


class OutputFolder:
    """Where a run's results go, and which subjects it still has to do.

    A subject's sidecar tells that its files are whole, and of what they were made; the table is written from them.

    Args:
        root: the folder.
        source: the run's input, which subjects' places are relative to.
        subjects: all subjects of the input.
        bundle: name, version and hash of the bundle.
        device: what the model runs on, for provenance.
        existing: what to do where results stand already: ``refuse``, ``resume`` (do only what is missing, failed or was
            made from other files, with another bundle or other settings) or ``overwrite``.
        settings: what else makes the maps what they are, by name, JSON-ready.

    Raises:
        UsageError: results stand there and are to be refused, or a subject's would take the place of another file.
    """

    def __init__(
        self,
        root: Path | str,
        source: Path | str,
        subjects: Sequence[Subject],
        bundle: Mapping[str, str],
        device: str,
        existing: str = "refuse",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.root, self.subjects, self.bundle, self.device = Path(root), tuple(subjects), bundle, device
        self.source = Path(source) if Path(source).is_dir() else Path(source).parent
        self._list = Path(source)
        self.settings = dict(settings or {})
        if self.settings.get("covariates"):  # a mended table changes what is expected of a person
            self.settings["participants"] = fingerprint(source)
        self._started = datetime.datetime.now(datetime.UTC)
        if existing not in EXISTING:
            raise UsageError("existing", " or ".join(EXISTING), repr(existing), "Mend the word")
        self._check_places()
        check_inside(self.root, self.subjects)
        self._check_owner()
        standing = [subject.key for subject in subjects if os.path.exists(path_of(self.root, subject.key, SIDECAR))]
        if existing == "refuse" and (standing or (self.root / TABLE).exists()):
            raise UsageError(
                self.root,
                "an output folder without results",
                f"results of {', '.join(standing[:3]) or 'an earlier run'}",
                "Use --resume or --overwrite",
            )
        self.rows = self._finished() if existing == "resume" else {}
        self.pending = tuple(subject for subject in subjects if subject.key not in self.rows)

    def save(self, detection: Detection) -> None:
        """Write a subject's files, in place of any earlier ones."""
        with writable(self.root, "Mend permissions and free space, then use --resume"):
            write_detection(detection, self.root, self.bundle, self.settings)

    def record(self, case: Case, detection: Detection | None) -> None:
        """Add a subject's line to ``results.csv``, which then stands whole on disk again.

        A subject that failed keeps no files, neither an earlier run's nor those written before it failed.
        """
        if detection is None:
            error = case.error or Mri3dError(case.subject.reference, "a result", "none", "Please report this")
            row = failed_row(case.subject, error, self.source, sum(case.seconds.values()), case.warnings)
        else:
            row = row_of(replace(detection, seconds=case.seconds), self.source)
        self.keep(case.subject, row)

    def keep(self, subject: Subject, row: Row) -> None:
        """Add a line that is known already; for the files of a subject that failed see :meth:`record`."""
        self.rows[subject.key] = row
        with writable(self.root, "Mend permissions and free space, then use --resume"):
            if row["status"] == "failed":
                clear(self.root, subject.key)
            for name in (RUN, REPORT):  # they tell of a run that is done
                (self.root / name).unlink(missing_ok=True)
            write_results(self.root / TABLE, self.ordered)

    @property
    def ordered(self) -> list[Row]:
        """The lines known so far, in the order of the subjects."""
        return [self.rows[subject.key] for subject in self.subjects if subject.key in self.rows]

    def finish(self) -> None:
        """Write ``results.csv``, ``regions.csv``, ``run.json``, ``report.html`` and the subjects' pages."""
        rows = self.ordered
        run = {
            "command": sys.argv,
            "bundle": dict(self.bundle),
            "device": self.device,
            "versions": versions(),
            "started": self._started.isoformat(timespec="seconds"),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "subjects": len(rows),
            "failed": sum(row["status"] == "failed" for row in rows),
        }
        with writable(self.root, "Mend permissions and free space, then use --resume"):
            write_results(self.root / TABLE, rows)
            write_json(self.root / RUN, run)
            write_cohort(self.root, rows, self.source)
            write_report(self.root, rows, run)

    def exit_if_failed(self) -> None:
        """End the process with exit code 1 and a line on stderr if subjects failed; call it when all is written.

        Raises:
            SystemExit: some did.
        """
        failed = sum(row["status"] == "failed" for row in self.ordered)
        if failed:
            raise SystemExit(f"mri3d: {failed} of {len(self.rows)} subjects failed; {self.root / TABLE} tells why")

    def _check_places(self) -> None:
        """Refuse subjects whose files would replace the run's own, an input or each other's.

        As ``run.nii.gz``, which has a ``run.json``, or ``a.nii.gz`` beside ``a_modalities.nii.gz``.
        """
        inputs = (path for s in self.subjects for path in (*s.images.values(), s.mask) if path is not None)
        own = (self.root / name for name in (RUN, REPORT, COHORT_REGIONS, HEAT_MAP))
        taken = {_place(path): path for path in (*own, self._list, *inputs)}
        for name in (TABLE, RUN, REPORT, COHORT_REGIONS, HEAT_MAP):
            if _place(self.root / name) == _place(self._list):
                remedy = "Choose another output folder"
                raise UsageError(self._list, "an input that the run does not write", name, remedy)
        for subject in self.subjects:
            places = [_place(path_of(self.root, subject.key, ending)) for ending in ENDINGS]
            for place in places:
                if (other := taken.get(place)) is not None:
                    found = f"a result that would replace {other} or a result of it"
                    remedy = "Rename the input or choose another output folder"
                    raise UsageError(subject.reference, "results with names of their own", found, remedy)
            taken |= dict.fromkeys(places, subject.reference)

    def _check_owner(self) -> None:
        """Refuse to replace files that mri3d did not write, such as the BIDS sidecars beside the input."""
        remedy = "Choose another output folder"
        for subject in self.subjects:
            for ending in (SIDECAR, PICTURE, MODALITIES, REGIONS, REGIONS_PICTURE, PAGE, VIEW, SIMPLE_VIEW):
                path = path_of(self.root, subject.key, ending)
                # what has lost its sidecar may be left of a run that was killed, but not beside the input
                may_be_left = ending != SIDECAR and _place(path.parent) != _place(subject.reference.parent)
                foreign = os.path.lexists(path) and not is_ours(path_of(self.root, subject.key, SIDECAR))
                if foreign and not may_be_left:
                    raise UsageError(path, "an output folder of mri3d", "a file that it did not write", remedy)
        known = {subject.key for subject in self.subjects}
        table = self.root / TABLE
        for name in (RUN, REPORT):
            if os.path.lexists(self.root / name) and not table.exists():
                raise UsageError(self.root / name, "an output folder of mri3d", "a file that it did not write", remedy)
        try:
            others = [str(row["key"]) for row in read_results(table) if row["key"] not in known]
        except (OSError, ValueError, KeyError, TypeError):
            others = []  # no table, or none of ours: nothing of it is used
        if others:
            found = f"results of {', '.join(others[:3])}, which the input does not hold"
            raise UsageError(self.root, "an output folder of this input", found, remedy)

    def _finished(self) -> dict[str, Row]:
        """Lines of the subjects whose files all stand and were made from these inputs by this bundle."""
        rows = ((subject.key, self._standing(subject)) for subject in self.subjects)
        return {key: row for key, row in rows if row is not None}

    def _standing(self, subject: Subject) -> Row | None:
        """A finished subject's line, from its sidecar: the table may still tell of the maps before these."""
        try:
            made = json.loads(path_of(self.root, subject.key, SIDECAR).read_text(encoding="utf-8"))
            origin = origin_of(subject, self.settings)
            stands = (
                made["bundle"]["sha256"] == self.bundle["sha256"]
                and {key: made[key] for key in origin} == origin
                and all(
                    path_of(self.root, subject.key, ending).exists()
                    for ending in (PICTURE, *[REGIONS][: len(made["regions"])], *map(ending_of, made["maps"]))
                )
                and any(path_of(self.root, subject.key, ending).exists() for ending in (VIEW, SIMPLE_VIEW))
            )
            return row_of_sidecar(made, subject, self.source) if stands else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _place(path: Path) -> str:
    # Some file systems tell no capitals from small letters.
    return os.path.abspath(path).casefold()

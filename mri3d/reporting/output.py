"""The output folder of a detection run: what is known of all subjects, and which are still to do."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mri3d.errors import Mri3dError, UsageError
from mri3d.reporting.page import write_page
from mri3d.reporting.subject_files import identity_of, path_of, versions, write_detection
from mri3d.reporting.table import Row, failed_row, read_results, row_of, write_results
from mri3d.scoring.detection import Detection
from mri3d.transforms.case import Case
from mri3d.volumes.atomic import write_json
from mri3d.volumes.subject import Subject


class OutputFolder:
    """Where a run's results go, and which subjects it still has to do.

    Args:
        root: the folder.
        source: the run's input, which subjects' places are relative to.
        subjects: all subjects of the input.
        bundle: name, version and hash of the bundle.
        device: what the model runs on, for provenance.
        existing: what to do where results stand already: ``refuse``, ``resume`` (do only what is missing, failed or was
            made from another file or bundle) or ``overwrite``.

    Raises:
        UsageError: results stand there and are to be refused.
    """

    def __init__(
        self,
        root: Path | str,
        source: Path | str,
        subjects: Sequence[Subject],
        bundle: Mapping[str, str],
        device: str,
        existing: str = "refuse",
    ) -> None:
        self.root, self.subjects, self.bundle, self.device = Path(root), tuple(subjects), bundle, device
        self.source = Path(source) if Path(source).is_dir() else Path(source).parent
        self._started = datetime.datetime.now(datetime.UTC)
        standing = [subject.key for subject in subjects if path_of(self.root, subject, ".json").exists()]
        if existing == "refuse" and (standing or (self.root / "results.csv").exists()):
            raise UsageError(
                self.root, "an output folder without results",
                f"results of {', '.join(standing[:3]) or 'an earlier run'}", "Use --resume or --overwrite",
            )
        self.rows = self._finished() if existing == "resume" else {}
        self.pending = tuple(subject for subject in subjects if subject.key not in self.rows)

    def save(self, detection: Detection) -> None:
        """Write a subject's files."""
        write_detection(detection, self.root, self.bundle)

    def record(self, case: Case, detection: Detection | None) -> None:
        """Add a subject's line to ``results.csv``, which then stands whole on disk again."""
        if detection is None:
            error = case.error or Mri3dError(case.subject.reference, "a result", "none", "Please report this")
            row = failed_row(case.subject, error, self.source, sum(case.seconds.values()))
        else:
            row = row_of(replace(detection, seconds=case.seconds), self.source)
        self.rows[case.subject.key] = row
        write_results(self.root / "results.csv", self.ordered)

    @property
    def ordered(self) -> list[Row]:
        """The lines known so far, in the order of the subjects."""
        return [self.rows[subject.key] for subject in self.subjects if subject.key in self.rows]

    def finish(self) -> None:
        """Write ``results.csv``, ``run.json`` and ``report.html``."""
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
        write_results(self.root / "results.csv", rows)
        write_json(self.root / "run.json", run)
        write_page(self.root / "report.html", rows, run)

    def _finished(self) -> dict[str, Row]:
        """Lines of the subjects whose files all stand and were made from this input by this bundle."""
        table = self.root / "results.csv"
        earlier = read_results(table) if table.exists() else []
        rows = {str(row["key"]): row for row in earlier if row["status"] == "ok"}
        return {s.key: rows[s.key] for s in self.subjects if s.key in rows and self._stands(s)}

    def _stands(self, subject: Subject) -> bool:
        try:
            made = json.loads(path_of(self.root, subject, ".json").read_text(encoding="utf-8"))
            inputs = {modality: identity_of(path) for modality, path in subject.images.items()}
            return bool(
                made["bundle"]["sha256"] == self.bundle["sha256"]
                and made["inputs"] == inputs
                and all(path_of(self.root, subject, f"_{ending}.nii.gz").exists() for ending in made["maps"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return False

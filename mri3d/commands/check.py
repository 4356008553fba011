"""Look a data set over before anything is trained on it or detected in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch.utils.data import Dataset

from mri3d import __version__
from mri3d.checking.facts import Facts, examine
from mri3d.checking.finding import Finding
from mri3d.checking.judgement import judge, unsaid
from mri3d.reporting.check_page import write_check_page
from mri3d.reporting.check_table import COLUMNS, counts, in_brief, in_words, row_of, severity_of, summary
from mri3d.reporting.contact_sheet import Cell, Pixels, sheet_name, thumbnail, write_sheets
from mri3d.reporting.names import REPORT
from mri3d.reporting.ownership import PageFolder, writable
from mri3d.reporting.table import write_table
from mri3d.transforms.processes import in_processes
from mri3d.volumes.atomic import write_json
from mri3d.volumes.discovery import Discovery, discover
from mri3d.volumes.participants import read_people
from mri3d.volumes.subject import Subject
from mri3d.workflow import pick_device

TABLE, JSON = "check.csv", "check.json"


@dataclass(frozen=True, eq=False)
class Checked:
    """A data set that was looked over.

    Args:
        source: the input.
        found: what was found by name.
        facts: of every volume, in the order of ``found.subjects``.
        findings: what is wrong or odd.
        remarks: what could not be judged, whole sentences.
        pictures: a thumbnail of every volume; None where the file was refused.
    """

    source: Path
    found: Discovery
    facts: tuple[Facts, ...]
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]
    pictures: tuple[Pixels | None, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What must be mended."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def words(self, width: int = 100) -> str:
        """All of it for a terminal of this many columns."""
        told = summary(self.facts, self.found.skipped)
        return in_words(told, self.findings, self.remarks, counts(self.facts, self.findings), width)


def check(source: Path, output: Path | None = None, device: str = "auto", overwrite: bool = False) -> Checked:
    """Read every T1w volume of an input, find and align its brain, and say what is wrong or odd.

    Args:
        source: a volume, folder or datalist.
        output: folder for ``check.csv``, ``check.json``, ``contact_sheet.png`` and ``report.html``; None for no files.
        device: see :func:`mri3d.workflow.pick_device`.
        overwrite: replace an earlier check.

    Raises:
        UsageError: an unknown device, no volumes, or results that stand there already.
    """
    place = pick_device(device)
    found = discover(source)
    if output is not None:
        _folder(output).refuse_standing(overwrite)
    dataset = _Examination(found.subjects, str(place))
    examined = list(in_processes(dataset, len(found.subjects), place, "check"))
    facts = tuple(each for each, _ in examined)
    findings = judge(facts, read_people(source))
    checked = Checked(source, found, facts, findings, unsaid(facts), tuple(picture for _, picture in examined))
    if output is not None:
        _write(checked, output)
    return checked


class _Examination(Dataset[tuple[Facts, Pixels | None]]):
    """Facts and thumbnails, so that no volume crosses the process border."""

    def __init__(self, subjects: Sequence[Subject], device: str) -> None:
        self.subjects, self.device = subjects, device

    def __len__(self) -> int:
        return len(self.subjects)

    def __getitem__(self, index: int) -> tuple[Facts, Pixels | None]:
        examined = examine(self.subjects[index], self.device)
        picture = None if examined.volume is None else thumbnail(examined.volume, examined.mask)
        return examined.facts, picture


def _write(checked: Checked, output: Path) -> None:
    source = checked.source
    root = source if source.is_dir() else source.parent
    total, told = counts(checked.facts, checked.findings), summary(checked.facts, checked.found.skipped)
    rows = [row_of(facts, checked.findings, root) for facts in checked.facts]
    made = {
        "made": {"command": "check", "mri3d": __version__, "input": str(source)},
        "summary": told,
        "remarks": checked.remarks,
        "findings": [asdict(finding) for finding in checked.findings],
        "skipped": [{"path": str(skipped.path), "reason": skipped.reason} for skipped in checked.found.skipped],
    }
    with writable(output):
        _folder(output).clear()
        write_json(output / JSON, made)
        write_table(output / TABLE, rows, COLUMNS)
        sheets = write_sheets(output, f"{source.name or source} \N{MIDDLE DOT} {total}", _cells(checked))
        write_check_page(output / REPORT, total, told, checked.findings, rows, checked.remarks, sheets)


def _folder(output: Path) -> PageFolder:
    return PageFolder(output, "check", JSON, (TABLE, REPORT, sheet_name(1), "contact_sheet-*.png"))


def _cells(checked: Checked) -> list[Cell]:
    names = {facts.subject.name for facts in checked.facts}
    cells = []
    for facts, picture in zip(checked.facts, checked.pictures, strict=True):
        own = [finding for finding in checked.findings if finding.subject == facts.subject.key]
        flags = tuple(dict.fromkeys(finding.what for finding in own))
        name = facts.subject.name if len(names) == len(checked.facts) else facts.subject.key
        cause = f"no picture: {facts.error.found}" if facts.error is not None and picture is None else ""
        cells.append(Cell(name, severity_of(own), flags, cause or in_brief(facts), picture))
    return cells

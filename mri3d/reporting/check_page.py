"""The report of a check: one HTML file, with the contact sheets lying beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from mri3d.checking.finding import Finding
from mri3d.reporting.html import definitions, scrolling_table, write_document
from mri3d.reporting.table import Row

STYLE = """
.error { color: var(--anomalous); } .note { color: var(--link); } .ok { color: var(--soft); }
"""
SHOWN = {
    "shape": "shape",
    "spacing_mm": "voxel mm",
    "orientation": "axes",
    "brain_ml": "brain ml",
    "dice": "Dice",
    "correlation": "correlation",
}
NUMBERS = {"brain_ml", "dice", "correlation"}


def write_check_page(
    path: Path,
    total: str,
    told: Mapping[str, str],
    findings: Sequence[Finding],
    rows: Sequence[Row],
    remarks: Sequence[str],
    sheets: Sequence[Path],
) -> None:
    """Write the page.

    Args:
        path: where it goes.
        total: the counts in words.
        told: what the data set is, by name.
        findings: what was found.
        rows: a row a volume, of :func:`mri3d.reporting.check_table.row_of`.
        remarks: what could not be judged, whole sentences.
        sheets: the contact sheets, beside the page.
    """
    title = "Check of a data set"
    errors = [finding for finding in findings if finding.severity == "error"]
    notes = [finding for finding in findings if finding.severity == "note"]
    pictures = "".join(
        f'<article><a href="{sheet.name}"><img src="{sheet.name}" loading="lazy" '
        f'alt="Three planes of every volume with the brain\'s outline, page {number}"></a></article>\n'
        for number, sheet in enumerate(sheets, 1)
    )
    main = f"""{definitions(told)}
{_listed("Errors", "To be mended before these volumes are used.", errors)}
{_listed("Notes", "To be looked at; nothing need be wrong.", notes)}
<h2>Volumes</h2>
{_volumes(rows)}
<h2>Contact sheet</h2>
{pictures}"""
    words = "".join(f"<p>{escape(remark)}</p>" for remark in remarks)
    header = f'<h1>{title}</h1>\n<p class="lead">{escape(total)}.</p>{words}'
    write_document(path, f"{title}: {total}", header, main, STYLE)


def _listed(title: str, meaning: str, findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    head = "".join(f'<th scope="col"><button>{name}</button></th>' for name in ("volume", "finding", "what to do"))
    body = "\n".join(
        f'<tr>{_cell(each.subject or "the data set", "name")}{_cell(each.what, f"state {each.severity}")}'
        f"{_cell(each.words, 'notes')}</tr>"
        for each in findings
    )
    return f'<h2>{title}</h2>\n<p class="soft">{meaning}</p>\n{scrolling_table(title, head, body)}'


def _volumes(rows: Sequence[Row]) -> str:
    names = ["volume", "status", *SHOWN.values()]
    head = "".join(f'<th scope="col"><button>{name}</button></th>' for name in names)
    lines = []
    for row in rows:
        cells = [_cell(str(row["key"]), "name"), _cell(str(row["status"]), f"state {row['status']}")]
        cells += [_cell(_said(row, column), "number" if column in NUMBERS else "") for column in SHOWN]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return scrolling_table("Volumes", head, "\n".join(lines))


def _said(row: Row, column: str) -> str:
    value = row.get(column)
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return value or ""


def _cell(words: str, kind: str) -> str:
    return f'<td class="{kind}" data-value="{escape(words)}">{escape(words)}</td>'

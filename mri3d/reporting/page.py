"""The report of a study: one HTML file that needs no network, with the pictures and maps lying beside it."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from mri3d.reporting.cohort_regions import cohort_section, subject_section
from mri3d.reporting.html import definitions, scrolling_table, write_document
from mri3d.reporting.names import MAPS, MODALITIES, PICTURE, SIDECAR, ending_of, modality_kinds, path_of
from mri3d.reporting.table import Row, Value

LINKS = {ending_of(kind): named.label for kind, named in MAPS.items()} | {SIDECAR: "details"}
PICTURES = {
    PICTURE: "Map over the scan in three planes, brain mask and alignment",
    MODALITIES: "Each modality in three planes with what was found",
}
STATES = {
    "anomalous": "\N{BLACK UP-POINTING TRIANGLE}",
    "normal": "\N{BLACK CIRCLE}",
    "uncalibrated": "\N{WHITE CIRCLE}",
    "failed": "\N{MULTIPLICATION SIGN}",
}
NUMBERS = {
    "score": "score",
    "threshold": "threshold",
    "p_value": "p",
    "anomalous_ml": "anomalous ml",
    "seconds": "seconds",
}

VIEWERS = """
<p><b>ITK-SNAP</b>: File &gt; Open Main Image and choose the source volume; File &gt; Add Another Image and choose
<code>NAME_zscore.nii.gz</code>, shown as a semi-transparent overlay; Segmentation &gt; Open Segmentation and choose
<code>NAME_anomaly.nii.gz</code>.</p>
<p><b>3D Slicer</b>: File &gt; Add Data, add the source volume and the maps, tick Show Options and LabelMap for
<code>NAME_anomaly.nii.gz</code>; then choose the source as background and the z-map as foreground of the slice views,
with a colour table and a lower threshold of your choice in the Volumes module.</p>
<p>All maps lie on the source's own grid, so they need no registration. Larger values of the z-map are more abnormal,
whether brighter or darker than expected.</p>
"""


def write_page(path: Path, rows: Iterable[Row], run: Mapping[str, object]) -> None:
    """Write the report of a study.

    Args:
        path: where the page goes; the subjects' outputs lie below its folder.
        rows: rows of the results table with their ``key``.
        run: what to say of how it was made, by name; a mapping as value is written as names with their values.
    """
    ranked = sorted(rows, key=_rank)
    title = "Anomaly report"
    main = f"""{_table(ranked)}
{cohort_section(path.parent)}
<h2>Subjects</h2>
{"".join(_article(number, row, path.parent) for number, row in enumerate(ranked, start=1))}
<h2>Open the maps in a viewer</h2>
{VIEWERS}
<h2>How it was made</h2>
{definitions(run)}"""
    write_document(path, f"{title}: {_counts(ranked)}", f"<h1>{title}</h1>\n{_summary(ranked)}", main)


def _rank(row: Row) -> tuple[bool, float]:
    """Worst first, failures last; each against its own threshold, which depends on the modalities it has."""
    score, threshold = row["score"], row["threshold"]
    if not isinstance(score, float):
        return row["status"] == "failed", float("inf")
    return row["status"] == "failed", -score / (threshold if isinstance(threshold, float) else 1.0)


def _state(row: Row) -> str:
    return "failed" if row["status"] == "failed" else str(row["decision"])


def _counts(rows: Sequence[Row]) -> str:
    """Such as ``6 subjects: 1 anomalous, 4 normal, 1 failed``."""
    number = Counter(map(_state, rows))
    parts = ", ".join(f"{number[state]} {state}" for state in STATES if number[state])
    return f"{len(rows)} subject{'' if len(rows) == 1 else 's'}" + (f": {parts}" if parts else "")


def _summary(rows: Sequence[Row]) -> str:
    states = {_state(row) for row in rows}
    meaning = []
    if states & {"anomalous", "normal"}:
        meaning.append("A subject is anomalous when its score lies above the threshold set on unseen healthy subjects.")
    if "uncalibrated" in states:
        meaning.append("Uncalibrated subjects have a score but no decision, since the bundle has no calibration.")
    if "failed" in states:
        meaning.append("Failed subjects were not scored; their cause is given with them.")
    return f'<p class="lead">{_counts(rows)}.</p>\n<p class="soft">{" ".join(meaning)}</p>'


def _table(rows: Sequence[Row]) -> str:
    heads = [("subject", ""), ("decision", "")] + [(name, "number") for name in NUMBERS.values()] + [("notes", "")]
    head = "".join(f'<th scope="col" class="{kind}"><button>{name}</button></th>' for name, kind in heads)
    body = "\n".join(_line(number, row) for number, row in enumerate(rows, start=1))
    return scrolling_table("Results", head, body)


def _line(number: int, row: Row) -> str:
    name, notes = escape(str(row["subject"])), _notes(row)
    numbers = "".join(
        f'<td class="number" data-value="{_number(row[column], 6)}">{_number(row[column])}</td>' for column in NUMBERS
    )
    return (
        f'<tr><td class="name" data-value="{name}"><a href="#s{number}">{name}</a></td>'
        f'<td class="state {_state(row)}" data-value="{_state(row)}">{_badge(row)}</td>{numbers}'
        f'<td class="notes" data-value="{" ".join(notes)}">{"<br>".join(notes)}</td></tr>'
    )


def _notes(row: Row) -> list[str]:
    """Error and warnings, escaped."""
    messages = [str(row[column]) for column in ("error", "warnings") if row[column]]
    return [escape(note) for message in messages for note in message.split(" | ")]


def _article(number: int, row: Row, folder: Path) -> str:
    """One subject: decision, picture, maps, warnings; only files that are there are linked."""
    key, name = str(row["key"]), escape(str(row["subject"]))
    facts = [f"{label} {_number(row[column])}" for column, label in NUMBERS.items() if row[column] is not None]
    state = f'<span class="state {_state(row)}">{_badge(row)}</span>'
    parts = [f"<p>{' &middot; '.join([state, *facts])}</p>"]
    parts += [f"<p>{note}</p>" for note in _notes(row)]
    for ending, shown in PICTURES.items():
        if os.path.isfile(picture := path_of(folder, key, ending)):
            link = _href(key + ending)
            parts.append(
                f'<a href="{link}"><img src="{link}" loading="lazy" {_size(picture)} alt="{shown} of {name}"></a>'
            )
    alone = {ending_of(kind): kind.replace("_", " ") for kind in modality_kinds(path_of(folder, key, SIDECAR))}
    maps = [
        f'<li><a href="{_href(key + ending)}">{label}</a></li>'
        for ending, label in {**LINKS, **alone}.items()
        if os.path.isfile(path_of(folder, key, ending))  # false for a name that is too long, too
    ]
    if maps:
        parts.append(f'<ul class="maps">{"".join(maps)}</ul>')
    parts.append(subject_section(folder, key))
    source = f'<p class="soft">{escape(str(row["input"]))}</p>'
    return f'<article id="s{number}"><h3>{name}</h3>\n{source}\n' + "\n".join(parts) + "</article>\n"


def _badge(row: Row) -> str:
    state = _state(row)
    return f'<span aria-hidden="true">{STATES[state]}</span> {state}'


def _number(value: Value, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if isinstance(value, (int, float)) else ""


def _href(path: str) -> str:
    """A path relative to the page as a URL; a leading ``./`` keeps ``a:b.png`` from being read as a scheme."""
    # Bytes, because a file name need not be UTF-8.
    return "./" + quote(os.fsencode(path))


def _size(picture: Path) -> str:
    """Width and height of a PNG as attributes, so that lazy pictures hold their place."""
    with picture.open("rb") as file:
        header = file.read(24)
    if header[:8] != b"\x89PNG\r\n\x1a\n" or len(header) < 24:
        return ""
    width, height = struct.unpack(">II", header[16:24])
    return f'width="{width}" height="{height}"'

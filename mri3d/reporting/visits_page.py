"""The report of a comparison of visits: a section a later visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mri3d.reporting.html import definitions, href, png_size, scrolling_table, write_document

SHOWN = 10
"""Regions a visit on the page."""

REGION_HEADS = {
    "region": "region",
    "volume_ml_first": "ml, first",
    "volume_ml_later": "ml, later",
    "change_percent": "change, %",
    "change_percent_a_year": "% a year",
    "z_first": "z, first",
    "z_later": "z, later",
    "z_change": "change of z",
}
VISIT_HEADS = {
    "participant": "participant",
    "first": "first",
    "later": "later",
    "days": "days",
    "score_first": "score, first",
    "score_later": "score, later",
    "anomalous_ml_first": "anomalous ml, first",
    "anomalous_ml_later": "anomalous ml, later",
    "error": "notes",
}
WORDS = frozenset({"region", "participant", "first", "later", "error"})

NOTES = (
    "The later scan was registered to the first (rigid), and its z-map brought to the first visit's grid by one "
    "interpolation; a change map is the later z-map minus the first. The z-maps have no sign: a positive change says "
    "that a voxel is more abnormal than before, be it brighter or darker. Regions were measured at each visit by "
    "itself. How much two scans of an unchanged brain differ is not known here: another scanner, protocol or head "
    "position changes z and volumes too, and a change has neither interval nor p-value."
)


def by_change(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Lines of regions, the largest change of z first, or of volume where none has a z."""
    regions = [line for line in lines if line.get("region") and line.get("change_percent") is not None]
    key = "z_change" if any(line["z_change"] is not None for line in regions) else "change_percent"
    return sorted(regions, key=lambda line: -abs(line[key] or 0.0))


def write_visits_page(
    path: Path, told: Sequence[Mapping[str, Any]], notes: Sequence[str], made: Mapping[str, Any]
) -> None:
    """Write the report.

    Args:
        path: where the page goes; the pictures lie beside it.
        told: a later visit each, as in ``compare.json``.
        notes: what a reader must know of who is compared.
        made: how it was made, by name.
    """
    people = len({each["participant"] for each in told})
    visits = f"{len(told)} later visit{'s' if len(told) != 1 else ''}"
    title = f"{visits} of {people} {'person' if people == 1 else 'people'}"
    header = f"""<h1>Change between visits</h1><p class="lead">{escape(title)}</p>
<p>Each against the first visit. Order of visits: {escape(str(made["order of visits"]))}.</p>
<p class="soft">{escape(NOTES)}</p>"""
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    parts = [f"<ul>{listed}</ul>" if notes else "", _table("Visits", VISIT_HEADS, told)]
    parts += [*(_section(path.parent, each) for each in told), "<h2>How it was made</h2>", definitions(made)]
    write_document(path, f"Change between visits: {title}", header, "".join(parts))


def _section(folder: Path, told: Mapping[str, Any]) -> str:
    time = "" if told["days"] is None else f", {_after(told['days'])}"
    against = f" against {told['first']}" if told["first"] else ""
    head = f"<h3>{escape(str(told['participant']))}: {escape(told['later'] + against)}{time}</h3>"
    if told["error"]:
        return f'<article>{head}<p class="failed">Not compared: {escape(told["error"])}</p></article>\n'
    quality = told["registration"]
    words = (
        f"Score {told['score_first']:.2f} and {told['score_later']:.2f}. Registration: the head lay "
        f"{quality['moved_mm']:.1f} mm from where the headers place it, {100 * quality['covered']:.0f} % of the first "
        f"visit's brain is shown, sharpness {quality['sharpness']:.1f} (refused below 1.5)."
    )
    picture = next(name for name in told["files"] if name.endswith(".png"))
    links = "".join(f'<li><a href="{href(name)}">{escape(name)}</a></li>' for name in told["files"] if name != picture)
    shown = f'src="{href(picture)}" {png_size(folder / picture)} loading="lazy" alt="z-maps and their change"'
    image = f'<a href="{href(picture)}"><img {shown}></a>'
    most = by_change(told["lines"])[:SHOWN]
    regions = f"<p>The regions that changed most:</p>{_table('Regions', REGION_HEADS, most)}" if most else ""
    return f'<article>{head}<p>{escape(words)}</p>{image}<ul class="maps">{links}</ul>{regions}</article>\n'


def _after(days: float) -> str:
    return f"after {days:.0f} days" if days < 180 else f"after {days / 365.25:.1f} years"


def _table(label: str, heads: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [name for name in heads if any(row.get(name) is not None for row in rows)]
    kinds = ((name, "" if name in WORDS else ' class="number"') for name in shown)
    head = "".join(f'<th scope="col"{kind}><button>{heads[name]}</button></th>' for name, kind in kinds)
    body = "\n".join(f"<tr>{''.join(_cell(name, row.get(name)) for name in shown)}</tr>" for row in rows)
    return scrolling_table(label, head, body)


def _cell(name: str, value: Any) -> str:
    if name in WORDS:
        kind = "name" if name in ("region", "participant") else ""
        # why is told in the visit's own section, where there is room
        words = escape("" if value is None else "not compared" if name == "error" else str(value))
        return f'<td class="{kind}" data-value="{words}">{words}</td>'
    if value is None:
        return '<td class="number" data-value=""></td>'
    signed = "change" in name
    words = f"{value:.0f}" if name == "days" else f"{value:+.2f}" if signed else f"{value:.2f}"
    return f'<td class="number" data-value="{value:.6g}">{words}</td>'.replace(">-", ">\N{MINUS SIGN}")

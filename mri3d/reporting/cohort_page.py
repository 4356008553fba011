"""The page over all subjects: where their scores lie among healthy ones, and a table to sort."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mri3d.reporting.html import (
    STATES,
    badge,
    definitions,
    href,
    notes,
    number,
    png_size,
    scrolling_table,
    state_of,
    write_document,
)
from mri3d.reporting.names import PAGE, PICTURE, path_of
from mri3d.reporting.regions_section import cohort_section
from mri3d.reporting.score_figure import SCORE_STYLE, Placed, score_figure
from mri3d.reporting.table import Row

NUMBERS = {
    "score": "score",
    "threshold": "threshold",
    "p_value": "p",
    "anomalous_ml": "anomalous ml",
    "seconds": "seconds",
}
PICTURED = 6
"""How many of the farthest subjects are shown as pictures."""

STYLE = """
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1.25rem; }
.pictures a { text-decoration: none; } .pictures figure { margin: 0; }
.pictures img { display: block; width: 100%; height: auto; border-radius: .5rem; background: #101418; }
.pictures figcaption { margin-top: .35rem; overflow-wrap: anywhere; }
"""


def write_cohort_page(
    path: Path, ranked: Sequence[Row], sidecars: Mapping[str, Mapping[str, Any]], run: Mapping[str, object]
) -> None:
    """Write ``report.html``.

    Args:
        path: where the page goes; the subjects' outputs lie below its folder.
        ranked: rows of the results table with their ``key``, in the order of :func:`by_rank`.
        sidecars: what the sidecar of each scored subject says, by key; empty where there is none.
        run: what to say of how it was made, by name; a mapping as value is written as names with their values.
    """
    title = "Anomaly report"
    main = f"""{_distribution(ranked, sidecars)}
<h2>Subjects</h2>
{_table(ranked, sidecars)}
{_pictures(path.parent, ranked, sidecars)}
{cohort_section(path.parent)}
<h2>How it was made</h2>
{definitions(run)}"""
    header = f"<h1>{title}</h1>\n{_summary(ranked)}"
    write_document(path, f"{title}: {_counts(ranked)}", header, main, STYLE + SCORE_STYLE)


def by_rank(rows: Iterable[Row], sidecars: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Farthest from healthy first, as the drawing has it; then what is uncalibrated, by score; failures last."""

    def rank(row: Row) -> tuple[int, float]:
        deviations, score = _deviations(row, sidecars[str(row["key"])]), row["score"]
        if deviations is not None:
            return 0, -deviations
        known = isinstance(score, float) and math.isfinite(score) and row["status"] != "failed"
        return (1, -float(score or 0)) if known else (2, 0.0)

    return sorted(rows, key=rank)


def _deviations(row: Row, sidecar: Mapping[str, Any]) -> float | None:
    """A score in standard deviations of healthy scores above their mean, so that subjects with other modalities fit in.

    None where it is not calibrated, or no number.
    """
    thresholds, score = sidecar.get("thresholds") or {}, row["score"]
    if not (isinstance(score, float) and {"mean+1std", "mean+3std"} <= thresholds.keys()):
        return None
    one, three = thresholds["mean+1std"], thresholds["mean+3std"]
    deviations = 1.0 + 2.0 * (score - one) / max(three - one, 1e-9)
    return deviations if math.isfinite(deviations) else None


def _counts(rows: Sequence[Row]) -> str:
    """Such as ``6 subjects: 1 anomalous, 4 normal, 1 failed``."""
    count = Counter(map(state_of, rows))
    parts = ", ".join(f"{count[state]} {state}" for state in STATES if count[state])
    return f"{len(rows)} subject{'' if len(rows) == 1 else 's'}" + (f": {parts}" if parts else "")


def _summary(rows: Sequence[Row]) -> str:
    states = {state_of(row) for row in rows}
    meaning = []
    if states & {"anomalous", "normal"}:
        meaning.append("A subject is anomalous when its score lies above the threshold set on unseen healthy subjects.")
    if "uncalibrated" in states:
        meaning.append("Uncalibrated subjects have a score but no decision, since the bundle has no calibration.")
    if "failed" in states:
        meaning.append("Failed subjects were not scored; their cause is given with them.")
    return f'<p class="lead">{_counts(rows)}.</p>\n<p class="soft">{" ".join(meaning)}</p>'


def _distribution(rows: Sequence[Row], sidecars: Mapping[str, Mapping[str, Any]]) -> str:
    placed = []
    for row in rows:
        key = str(row["key"])
        if (deviations := _deviations(row, sidecars[key])) is not None:
            placed.append(Placed(str(row["subject"]), deviations, state_of(row), href(key + PAGE)))
    return f"<h2>Scores among those of healthy people</h2>\n{score_figure(placed)}" if placed else ""


def _table(rows: Sequence[Row], sidecars: Mapping[str, Mapping[str, Any]]) -> str:
    heads = [("subject", ""), ("decision", "")] + [(name, "number") for name in NUMBERS.values()] + [("notes", "")]
    head = "".join(f'<th scope="col" class="{kind}"><button>{name}</button></th>' for name, kind in heads)
    body = "\n".join(_line(row, bool(sidecars[str(row["key"])])) for row in rows)
    return scrolling_table("Results", head, body)


def _line(row: Row, has_page: bool) -> str:
    name, found = escape(str(row["subject"])), notes(row)
    link = f'<a href="{href(str(row["key"]) + PAGE)}">{name}</a>' if has_page else name
    numbers = "".join(
        f'<td class="number" data-value="{number(row[column], 6)}">{number(row[column])}</td>' for column in NUMBERS
    )
    return (
        f'<tr><td class="name" data-value="{name}">{link}</td>'
        f'<td data-value="{state_of(row)}">{badge(row)}</td>{numbers}'
        f'<td class="notes" data-value="{" ".join(found)}">{"<br>".join(found)}</td></tr>'
    )


def _pictures(folder: Path, rows: Sequence[Row], sidecars: Mapping[str, Mapping[str, Any]]) -> str:
    """The farthest subjects at a glance."""
    figures: list[str] = []
    for row in rows:
        key, name = str(row["key"]), escape(str(row["subject"]))
        if len(figures) < PICTURED and sidecars[key] and os.path.isfile(picture := path_of(folder, key, PICTURE)):
            size, alt = png_size(picture), f"Map over the scan of {name}"
            image = f'<img src="{href(key + PICTURE)}" loading="lazy" {size} alt="{alt}">'
            caption = f"<figcaption>{name} {badge(row)}</figcaption>"
            figures.append(f'<a href="{href(key + PAGE)}"><figure>{image}{caption}</figure></a>')
    return f'<h2>Farthest from healthy</h2>\n<div class="pictures">{"".join(figures)}</div>' if figures else ""

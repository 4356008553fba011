"""The report of a group comparison: who is compared with whom, what differs, and the mean maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mri3d.reporting.html import FIGURE_STYLE, definitions, figure, href, scrolling_table, write_document
from mri3d.scoring.detection import SIGNIFICANT

OWN_STYLE = "td.name { white-space: nowrap; } th, td { padding: .4rem .45rem; }"

HEADS = {
    "region": "region",
    "mean": "mean",
    "mean_reference": "reference",
    "difference": "difference",
    "volume_percent": "volume, %",
    "g": "g",
    "interval": "95 % interval",
    "p": "p",
    "q": "q",
    "n": "n",
    "n_reference": "n ref.",
}
"""Columns of the tables, and their names there."""

EXPLAINED = {
    "z": "A region's values are its z of size among the bundle's healthy people, so that a difference of -1 is one "
    "healthy standard deviation less. ",
    "log ml": "The bundle knows no healthy people's regions, so that logarithms of volumes in ml are compared: a "
    "difference of -0.1 is about 10 % less. ",
    "none": "",
}


def write_groups_page(path: Path, told: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Write the report.

    Args:
        path: where the page goes; ``groups.png`` and ``means.png``, where they stand beside it, are taken into it.
        told: ``groups``, ``composition``, ``notes``, ``lines`` and ``files`` as in ``compare.json``.
        made: how it was made, by name.
    """
    groups, reference = told["groups"], str(made["reference"])
    counts = " and ".join(f"{name} ({len(people)})" for name, people in groups.items() if name != reference)
    title = f"{counts} against {reference} ({len(groups[reference])})"
    notes = "".join(f"<li>{escape(note)}</li>" for note in told["notes"])
    forest = path.parent / "groups.png"
    parts = [
        _composition(told["composition"]),
        f"<ul>{notes}</ul>" if notes else "",
        figure(forest, "The regions that differ most.", _described(told["lines"])) if forest.is_file() else "",
        *(_section(group, reference, told["lines"]) for group in groups if group != reference),
        _maps(path.parent, [name for name in told["files"] if name.endswith(".nii.gz")]),
        "<h2>How it was made</h2>",
        definitions({name: of for name, of in made.items() if of not in ([], "")}),
    ]
    header = f"""<h1>Group comparison</h1><p class="lead">{escape(title)}</p>
<p>{escape(_model(made))}</p><p class="soft">{escape(EXPLAINED[made["measure of regions"]] + _explained(made))}</p>"""
    write_document(path, f"Group comparison: {title}", header, "".join(parts), FIGURE_STYLE + OWN_STYLE)


def _composition(groups: Sequence[Mapping[str, Any]]) -> str:
    """Who is in the groups."""
    names = ["group", "people", *groups[0]["described"]]
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    lines = [[group["group"], group["people"], *map(_in_words, group["described"].values())] for group in groups]
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in line)}</tr>" for line in lines)
    table = scrolling_table("Who is compared", heads, body)
    words = '<a href="people.csv">people.csv</a> has everybody by name, with what is compared.'
    return f"<h2>Who is compared</h2>{table}<p>{words}</p>"


def _in_words(told: Mapping[str, Any]) -> str:
    """``46.0 ± 16.1 (20.9 to 73.5)``, to three digits of the spread, or how many are of which kind."""
    unknown = f"; {told['unknown']} unknown" if told["unknown"] else ""
    if "counts" in told:
        return ", ".join(f"{kind} {count}" for kind, count in told["counts"].items()) + unknown
    digits = max(0, 2 - math.floor(math.log10(told["sd"] or 1.0)))
    mean, spread, low, high = (f"{told[name] or 0.0:.{digits}f}" for name in ("mean", "sd", "min", "max"))
    return f"{mean} ± {spread} ({low} to {high})".replace("-", "\N{MINUS SIGN}") + unknown


def _model(made: Mapping[str, Any]) -> str:
    return f"Groups are those of the column {made['column']}. Method: {made['model']}. Each person counts once."


def _explained(made: Mapping[str, Any]) -> str:
    adjusted = "The difference is adjusted for the covariates, the means are not. " if made["covariates"] else ""
    within = "that the covariates leave within the groups" if made["covariates"] else "within the groups"
    return (
        f"{adjusted}g (Hedges) is the difference in standard deviations {within}. p is two-sided; q is corrected for "
        "the number of regions (Benjamini and Hochberg). The volume's difference is of millilitres once all heads have "
        "the template's size; it is told beside and is not what is tested: of regions that no network outlines that "
        "is their growth against their surroundings."
    )


def _section(group: str, reference: str, lines: Sequence[Mapping[str, Any]]) -> str:
    own = [line for line in lines if line["group"] == group]
    tested = [line for line in own if line["q"] is not None]
    found = [line for line in tested if line["q"] < SIGNIFICANT]
    told = f"{len(found)} of {len(tested)} regions differ at q < {SIGNIFICANT}."
    if found:
        smaller = sum(line["difference"] < 0 for line in found)
        told += f" {smaller} of them are smaller, {len(found) - smaller} larger."
    told += "".join(f" {_whole(line)}" for line in own if line["q"] is None and line["p"] is not None)
    kinds = ((words, "" if name == "region" else ' class="number"') for name, words in HEADS.items())
    heads = "".join(f'<th scope="col"{kind}><button>{words}</button></th>' for words, kind in kinds)
    # the surest first; what could not be compared last
    ordered = sorted(own, key=lambda line: (line["q"] is None, line["p"] is None, line["p"] or 0.0))
    body = "\n".join(f"<tr>{''.join(_cell(name, line) for name in HEADS)}</tr>" for line in ordered)
    title = f"{group} against {reference}"
    return f"<h2>{escape(title)}</h2><p>{told}</p>{scrolling_table(title, heads, body)}"


def _whole(line: Mapping[str, Any]) -> str:
    """A measure of the whole brain in words."""
    value, other, g, low, high = (_number("", line[of]) for of in ("mean", "mean_reference", "g", "g_low", "g_high"))
    p = _number("p", line["p"]) if line["p"] < 0.001 else f"= {_number('p', line['p'])}"
    return f"{escape(line['region'])}: {value} against {other} on average, g = {g} ({low} to {high}), p {p}."


def _cell(name: str, line: Mapping[str, Any]) -> str:
    if name == "region":
        return f'<td class="name" data-value="{escape(line[name])}">{escape(line[name])}</td>'
    value = line["g_low" if name == "interval" else name]
    if value is None:
        return '<td class="number" data-value=""></td>'
    words = _number(name, value)
    if name == "interval":
        words = f"{words} to {_number(name, line['g_high'])}"
    strong = name == "q" and value < SIGNIFICANT
    return f'<td class="number" data-value="{value:.6g}">{f"<strong>{words}</strong>" if strong else words}</td>'


def _number(name: str, value: float) -> str:
    if name in ("p", "q"):
        return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"
    if name in ("n", "n_reference"):
        return str(value)
    words = f"{value:+.1f}" if name == "volume_percent" else f"{value:.2f}"
    return words.replace("-", "\N{MINUS SIGN}")


def _maps(folder: Path, files: Sequence[str]) -> str:
    if not files:
        return "<h2>Mean z-maps</h2><p>None: nobody who is compared has a z-map that the bundle has not seen.</p>"
    links = "".join(f'<li><a href="{href(name)}">{escape(name)}</a></li>' for name in files)
    words = (
        "The mean of the absolute z of each voxel, in MNI152 space, where at least half of the group has brain. It has "
        "no sign: brighter and darker than healthy are alike, and a mean of about 0.8 is what healthy people have."
    )
    picture = figure(folder / "means.png", "Mean z-maps over the template.") if (folder / "means.png").is_file() else ""
    return f'<h2>Mean z-maps</h2><p>{words}</p><ul class="maps">{links}</ul>{picture}'


def _described(lines: Sequence[Mapping[str, Any]]) -> str:
    held = [line for line in lines if line["q"] is not None and line["q"] < SIGNIFICANT]
    found = [f"{line['region']} in {line['group']}" for line in held]
    return f"Effect sizes with intervals; at q < {SIGNIFICANT}: {', '.join(found[:20]) or 'none'}."

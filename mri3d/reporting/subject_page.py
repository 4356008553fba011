"""The page of one subject: the viewer, its pictures, what was found, and how it was made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from mri3d.reporting.html import badge, definitions, href, notes, number, png_size, write_document
from mri3d.reporting.names import (
    MAPS,
    MODALITIES,
    PAGE,
    PICTURE,
    REGIONS,
    REPORT,
    SHARED,
    SIDECAR,
    SIMPLE_VIEW,
    SLICES,
    VIEW,
    ending_of,
    modality_kinds,
    path_of,
)
from mri3d.reporting.regions_section import subject_section
from mri3d.reporting.table import Row

TABLES = {SIDECAR: "details", SLICES: "slices", REGIONS: "regions"}
LINKS = {ending_of(kind): named.label for kind, named in MAPS.items()} | TABLES
PICTURES = {
    PICTURE: "Map over the scan in three planes; below, brain mask and alignment",
    MODALITIES: "Each modality in three planes with what was found",
}
VIEWERS = """
<details><summary>Open the maps in ITK-SNAP or 3D Slicer</summary>
<p><b>ITK-SNAP</b>: File &gt; Open Main Image and choose the source volume; File &gt; Add Another Image and choose
<code>NAME_zscore.nii.gz</code>, shown as a semi-transparent overlay; Segmentation &gt; Open Segmentation and choose
<code>NAME_anomaly.nii.gz</code>.</p>
<p><b>3D Slicer</b>: File &gt; Add Data, add the source volume and the maps, tick Show Options and LabelMap for
<code>NAME_anomaly.nii.gz</code>; then choose the source as background and the z-map as foreground of the slice views,
with a colour table and a lower threshold of your choice in the Volumes module.</p>
<p>All maps lie on the source's own grid, so they need no registration. Larger values of the z-map are more abnormal,
whether brighter or darker than expected.</p></details>
"""
SIMPLER = (
    "A simpler viewer, since NiiVue was not at hand when mri3d was installed: with npm on the path, install mri3d "
    "again and run <code>mri3d detect</code> with <code>--overwrite</code>."
)
START = """
const viewer = document.getElementById("viewer");
if (self.mri3dViewer) mri3dViewer.show(viewer, self.mri3dView).catch(() => {});  // it says itself what is wrong
else viewer.textContent = "The viewer is not here: the folder report_files belongs beside report.html.";
"""
STYLE = """
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.5rem; margin-bottom: 1rem; }
.facts { font-size: 1.1rem; } .warnings { border-left: 4px solid var(--anomalous); padding: .1rem 0 .1rem 1rem; }
main img:not(.plot) { display: block; width: 100%; height: auto; margin: .75rem 0; border-radius: .5rem;
  background: #101418; }
iframe { width: 100%; height: 26rem; border: 0; border-radius: .5rem; background: #fff; }
summary { cursor: pointer; color: var(--link); }
"""


@dataclass(frozen=True)
class Neighbours:
    """The keys of the subjects before and after one in the report's order, None at its ends."""

    before: str | None
    after: str | None


def write_subject_page(root: Path, row: Row, made: Mapping[str, Any], neighbours: Neighbours) -> None:
    """Write ``NAME.html`` beside a subject's files.

    Args:
        root: the output folder.
        row: the subject's line of the table, with its ``key``.
        made: what its sidecar says.
        neighbours: whom to go on to.
    """
    key, name = str(row["key"]), escape(str(row["subject"]))
    up = "../" * key.count("/")
    header = f"""{_navigation(up, neighbours)}
<h1>{name}</h1>
<p class="facts">{_facts(row)}</p>
<p class="soft">{escape(str(row["input"]))}</p>
{_warnings(row)}"""
    main = f"""{_viewer(root, key, up)}
{_pictures(root, key, name)}
{subject_section(root, key, made)}
<h2>Files</h2>
{_files(root, key)}
{VIEWERS}
<h2>How it was made</h2>
{definitions(_provenance(made))}"""
    write_document(path_of(root, key, PAGE), str(row["subject"]), header, main, STYLE, f"{up}{SHARED}/viewer.css")


def _navigation(up: str, neighbours: Neighbours) -> str:
    links = [f'<a href="{href(up + REPORT)}">All subjects</a>']
    for words, key in (("Farther from healthy", neighbours.before), ("Closer to healthy", neighbours.after)):
        links += [f'<a href="{href(up + key + PAGE)}">{words}</a>'] if key else []
    return f"<nav>{''.join(links)}</nav>"


def _facts(row: Row) -> str:
    facts = [badge(row)]
    facts += [f"score {number(row['score'])}"] if row["score"] is not None else []
    facts += [f"threshold {number(row['threshold'])}"] if row["threshold"] is not None else []
    facts += [f"p {number(row['p_value'], 2)}"] if row["p_value"] is not None else []
    facts += [f"{number(row['anomalous_ml'], 3)} ml anomalous"] if row["anomalous_ml"] is not None else []
    return " &middot; ".join(facts)


def _warnings(row: Row) -> str:
    found = notes(row)
    return f'<div class="warnings">{"".join(f"<p>{note}</p>" for note in found)}</div>' if found else ""


def _viewer(root: Path, key: str, up: str) -> str:
    """NiiVue with the volumes of ``NAME_view.js``, nilearn's viewer, or nothing where neither was written."""
    name = key.rsplit("/", 1)[-1]
    if os.path.isfile(path_of(root, key, SIMPLE_VIEW)):
        frame = f'<iframe src="{href(name + SIMPLE_VIEW)}" title="Three planes with the z-map"></iframe>'
        return f'<h2>Viewer</h2>\n{frame}\n<p class="soft">{SIMPLER}</p>'
    if not os.path.isfile(path_of(root, key, VIEW)):
        words = "No viewer: its volumes are not beside this page. Detect with --resume to have them."
        return f'<p class="soft">{words}</p>'
    scripts = "".join(f'<script src="{href(up + SHARED)}/{name}"></script>' for name in ("niivue.umd.js", "viewer.js"))
    return f"""<h2>Viewer</h2>
<div id="viewer"><p class="viewer-note">Loading the volumes &hellip;</p></div>
<noscript><p>The viewer needs JavaScript; the pictures below show the same.</p></noscript>
{scripts}
<script src="{href(name + VIEW)}"></script>
<script>{START}</script>"""


def _pictures(root: Path, key: str, name: str) -> str:
    """The subject's pictures, as far as they are there."""
    shown = []
    for ending, words in PICTURES.items():
        if os.path.isfile(picture := path_of(root, key, ending)):
            link = href(key.rsplit("/", 1)[-1] + ending)
            image = f'<img src="{link}" loading="lazy" {png_size(picture)} alt="{words} of {name}">'
            shown.append(f'<h2>{words}</h2>\n<a href="{link}">{image}</a>')
    return "\n".join(shown)


def _files(root: Path, key: str) -> str:
    """Links to maps and tables; only to files that are there."""
    alone = {ending_of(kind): kind.replace("_", " ") for kind in modality_kinds(path_of(root, key, SIDECAR))}
    links = [
        f'<li><a href="{href(key.rsplit("/", 1)[-1] + ending)}">{label}</a></li>'
        for ending, label in {**LINKS, **alone}.items()
        if os.path.isfile(path_of(root, key, ending))
    ]
    return f'<ul class="maps">{"".join(links)}</ul>'


def _provenance(made: Mapping[str, Any]) -> dict[str, object]:
    """What of a sidecar tells how the maps came about."""
    names = ("bundle", "modalities", "brain_mask", "brain_ml", "alignment_dice", "alignment_correlation")
    facts = {name: made[name] for name in names if name in made}
    facts |= {"voxel_threshold": made.get("voxel_threshold"), "map_notes": made.get("map_notes")}
    facts |= {"seconds": made.get("seconds"), "versions": made.get("versions")}
    return {name: number(fact) if isinstance(fact, float) else fact for name, fact in facts.items() if fact is not None}

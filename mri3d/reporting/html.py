"""What all pages share: HTML that needs no network and says once what it is not."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from mri3d.reporting.table import Row, Value
from mri3d.volumes.atomic import atomic_write

STATES = {
    "anomalous": "\N{BLACK UP-POINTING TRIANGLE}",
    "normal": "\N{BLACK CIRCLE}",
    "uncalibrated": "\N{WHITE CIRCLE}",
    "failed": "\N{MULTIPLICATION SIGN}",
}

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b2126; --soft: #5c6770; --line: #dde2e6; --tint: #f4f6f8;
  --link: #005a9c; --anomalous: #b3410e; --normal: #005a9c; --uncalibrated: #5c6770; --failed: #7a3e9d; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #101418; --ink: #e6eaed; --soft: #a3adb6;
  --line: #2c343b;
  --tint: #181e24; --link: #7cc0f0; --anomalous: #f2855b; --normal: #7cc0f0; --uncalibrated: #a3adb6;
  --failed: #cda4ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.75rem 0 .75rem; }
h3 { font-size: 1.05rem; margin: 0; } h1, h3, p { overflow-wrap: anywhere; }
p { margin: .4rem 0; } a { color: var(--link); } .soft { color: var(--soft); } .lead { font-size: 1.1rem; }
a:focus-visible, button:focus-visible, .scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.scroll { margin-top: 1.25rem; overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .8rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
tr:last-child > td { border-bottom: 0; } thead { background: var(--tint); } .number { text-align: right; }
th, .number, .state { white-space: nowrap; } td.name { min-width: 9rem; overflow-wrap: anywhere; }
td.notes { min-width: 12rem; }
th button { all: unset; cursor: pointer; } th button:hover { text-decoration: underline; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.anomalous { color: var(--anomalous); } .normal { color: var(--normal); } .uncalibrated { color: var(--uncalibrated); }
.failed { color: var(--failed); } .state { font-weight: 600; }
article { margin: 1.25rem 0 2.5rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
article img { display: block; width: 100%; height: auto; margin: .75rem 0; border-radius: .5rem; background: #101418; }
img.plot { display: block; width: auto; max-width: 100%; height: auto; margin: .75rem 0; border-radius: .5rem;
  background: #fff; }
ul.maps { display: flex; flex-wrap: wrap; gap: .3rem 1.25rem; list-style: none; margin: .5rem 0; padding: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: .92em; background: var(--tint); padding: .05em .3em; border-radius: .25em; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media (max-width: 40rem) { body { padding-top: 1.25rem; }
  dl { grid-template-columns: 1fr; } dd { margin: 0 0 .5rem; } }
@media print { article { break-inside: avoid; } h2, h3 { break-after: avoid; } .scroll { overflow: visible; } }
"""

FIGURE_STYLE = """
figure { margin: 1.25rem 0; } figcaption { color: var(--soft); margin-bottom: .5rem; }
figure img { display: block; max-width: 100%; height: auto; border-radius: .5rem; background: #fff; }
"""
"""CSS for pages that hold what :func:`figure` gives."""

SORTING = """
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  const value = row => row.cells[head.cellIndex].dataset.value;
  const order = (a, b) => a === "" || b === "" ? (a === "") - (b === "")
    : (up ? 1 : -1) * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...[...body.rows].sort((a, b) => order(value(a), value(b))));
});
"""


def write_document(
    path: Path, title: str, header: str, main: str, style: str = "", stylesheet: str | None = None
) -> None:
    """Write a page.

    Args:
        path: where it goes.
        title: plain text, of the browser's window.
        header: HTML of the page's head.
        main: HTML of the rest.
        style: CSS beyond what all pages have.
        stylesheet: a file of CSS to load, relative to the page.
    """
    link = f'<link rel="stylesheet" href="{href(stylesheet)}">\n' if stylesheet else ""
    content = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
{link}<style>{STYLE}{style}</style>
</head>
<body>
<header>
{header}
</header>
<main>
{main}
</main>
<footer class="soft"><p>Research software, not a medical device: nothing here is a diagnosis.</p></footer>
<script>{SORTING}</script>
</body>
</html>
"""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.encode("utf-8", errors="backslashreplace"))


def figure(path: Path, caption: str, alt: str | None = None) -> str:
    """A PNG taken into the page, its caption above it.

    Args:
        path: the PNG.
        caption: plain text.
        alt: what is to be seen, for those who cannot; the caption when left out.
    """
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    picture = f'<img src="data:image/png;base64,{data}" alt="{escape(alt or caption)}">'
    return f"<figure><figcaption>{escape(caption)}</figcaption>{picture}</figure>\n"


def scrolling_table(label: str, head: str, body: str) -> str:
    """A table that scrolls by itself where it is too wide; ``head`` holds ``th`` elements, ``body`` rows."""
    region = f'class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"'
    return f"<div {region}><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n"


def definitions(facts: Mapping[str, object]) -> str:
    """Names with their values; a mapping as value is written as names with their values."""
    pairs = ((escape(name.replace("_", " ")), escape(said(value))) for name, value in facts.items())
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in pairs)}</dl>"


def said(value: object) -> str:
    """A value of the provenance in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {said(of)}" for name, of in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(said, value))
    return str(value)


def state_of(row: Row) -> str:
    """``anomalous``, ``normal``, ``uncalibrated`` or ``failed``."""
    return "failed" if row["status"] == "failed" else str(row["decision"])


def badge(row: Row) -> str:
    """A subject's state with its sign, so that it is not told by colour alone."""
    state = state_of(row)
    return f'<span class="state {state}"><span aria-hidden="true">{STATES[state]}</span> {state}</span>'


def notes(row: Row) -> list[str]:
    """Error and warnings of a subject, escaped."""
    messages = [str(row[column]) for column in ("error", "warnings") if row[column]]
    return [escape(note) for message in messages for note in message.split(" | ")]


def number(value: Value, digits: int = 4) -> str:
    """A number in few digits; of anything else nothing."""
    return f"{value:.{digits}g}" if isinstance(value, (int, float)) else ""


def href(path: str) -> str:
    """A path relative to the page as a URL; a leading ``./`` keeps ``a:b.png`` from being read as a scheme."""
    # Bytes, because a file name need not be UTF-8.
    return ("" if path.startswith("../") else "./") + quote(os.fsencode(path))


def png_size(picture: Path) -> str:
    """Width and height of a PNG as attributes, so that lazy pictures hold their place."""
    with picture.open("rb") as file:
        header = file.read(24)
    if header[:8] != b"\x89PNG\r\n\x1a\n" or len(header) < 24:
        return ""
    width, height = struct.unpack(">II", header[16:24])
    return f'width="{width}" height="{height}"'

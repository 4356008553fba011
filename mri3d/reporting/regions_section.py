"""Regions in the report: the cohort's heat map, a subject's picture and what was found."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mri3d.reporting.html import href, png_size, scrolling_table
from mri3d.reporting.names import COHORT_REGIONS, HEAT_MAP, REGIONS_PICTURE, path_of
from mri3d.scoring.detection import SIGNIFICANT, RegionScore, by_departure

COLUMNS = {"volume_ml": "ml", "z": "z of size", "q": "q", "mean_z": "mean of z-map", "fraction": "anomalous"}


def cohort_section(root: Path) -> str:
    """HTML of the regions of all subjects; empty where there are none."""
    if not os.path.isfile(picture := root / HEAT_MAP):
        return ""
    words = f'How each region departs in each subject; <a href="{href(COHORT_REGIONS)}">{COHORT_REGIONS}</a> has all.'
    return f"<h2>Regions</h2>\n<p>{words}</p>\n{_picture(picture, 'Heat map of subjects and regions')}"


def subject_section(root: Path, key: str, made: Mapping[str, Any]) -> str:
    """HTML of one subject's regions: the picture, and those found as a table; empty without any.

    Args:
        root: the output folder.
        key: the subject's place below it.
        made: what its sidecar says.
    """
    regions = [RegionScore(**each) for each in made.get("regions", ())]
    if not regions:
        return ""
    found = [each for each in by_departure(regions) if each.q is not None and each.q < SIGNIFICANT]
    words = f"{len(found)} of {len(regions)} regions at q < {SIGNIFICANT}"
    if all(each.q is None for each in regions):
        words = f"{len(regions)} regions, none of them judged"
    if covariates := made.get("covariates"):
        words += f", compared with healthy people of {', '.join(_in_words(*each) for each in covariates.items())}"
    picture = path_of(root, key, REGIONS_PICTURE)
    shown = _picture(picture, "The regions that depart most, as bars") if os.path.isfile(picture) else ""
    return f"<h2>Regions</h2>\n<p>{escape(words)}.</p>\n{shown}{_table(found) if found else ''}"


def _in_words(name: str, value: float | str) -> str:
    return f"{name} {value:.0f}" if isinstance(value, float | int) else f"{name} {value}"


def _picture(path: Path, alt: str) -> str:
    image = f'<img class="plot" src="{href(path.name)}" loading="lazy" {png_size(path)} alt="{alt}">'
    return f'<a href="{href(path.name)}">{image}</a>\n'


def _table(regions: Sequence[RegionScore]) -> str:
    heads = "".join(f'<th scope="col" class="number"><button>{name}</button></th>' for name in COLUMNS.values())
    lines = (
        f'<td class="name" data-value="{escape(region.name)}">{escape(region.name)}</td>'
        f"{''.join(_cell(getattr(region, name)) for name in COLUMNS)}"
        for region in regions
    )
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return scrolling_table("Regions", f'<th scope="col"><button>region</button></th>{heads}', body)


def _cell(value: float | None) -> str:
    words = "" if value is None else f"{value:.3g}"
    return f'<td class="number" data-value="{words}">{words}</td>'

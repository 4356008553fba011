"""Regions of a whole cohort: one tidy table and a heat map."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mri3d.reporting.names import COHORT_REGIONS, HEAT_MAP, SIDECAR, path_of
from mri3d.reporting.panels import save_png
from mri3d.reporting.region_files import COLUMNS, INK
from mri3d.reporting.table import Row, Value, write_table
from mri3d.scoring.detection import SIGNIFICANT, RegionScore
from mri3d.volumes.participants import read_table

MOST_NAMED = 100
"""Subjects up to which the heat map names each."""

FURTHEST = 5.0
"""z at which the heat map's colours end."""

People = Mapping[str, tuple[str, tuple[RegionScore, ...]]]
"""A subject's key to the participant's name and the regions, in the order of the subjects."""


def read_people(root: Path, rows: Sequence[Row]) -> People:
    """The regions of all subjects of a results table, from their sidecars; failed subjects have none."""
    found = {}
    for row in rows:
        if row["status"] != "ok":
            continue
        made = json.loads(path_of(root, str(row["key"]), SIDECAR).read_text(encoding="utf-8"))
        if regions := tuple(RegionScore(**each) for each in made.get("regions", ())):
            found[str(row["key"])] = (str(made["participant"]), regions)
    return found


def write_cohort(root: Path, rows: Sequence[Row], source: Path) -> None:
    """Write ``regions.csv``, a line a subject and region, and the heat map ``regions.png``; take away earlier ones.

    Args:
        root: the output folder.
        rows: of the results table, with their ``key``.
        source: the input's folder, whose ``participants.tsv`` adds its columns.
    """
    people = read_people(root, rows)
    if not people:
        for name in (COHORT_REGIONS, HEAT_MAP):
            (root / name).unlink(missing_ok=True)
        return
    known = read_table(source)
    # a column of the participants that is called like one of ours would take its place
    extra = [name for name in next(iter(known.values()), {}) if name not in ("participant_id", "subject", *COLUMNS)]
    lines: list[dict[str, Value]] = [
        {"subject": key.rsplit("/", 1)[-1], "participant_id": person, **known.get(person, {}), **asdict(region)}
        for key, (person, regions) in people.items()
        for region in regions
    ]
    write_table(root / COHORT_REGIONS, lines, ("subject", "participant_id", *extra, *COLUMNS))
    draw_heat_map(people, root / HEAT_MAP)


def draw_heat_map(people: People, path: Path) -> None:
    """Draw z of every region (columns) in every subject (rows); where nobody has a z, the mean of the z-map.

    A dot marks what stays found after the correction for the number of regions.
    """
    names = list(dict.fromkeys(region.name for _, regions in people.values() for region in regions))
    judged = any(region.z is not None for _, regions in people.values() for region in regions)
    values = np.full((len(people), len(names)), np.nan)
    found = np.zeros(values.shape, bool)
    for row, (_, regions) in enumerate(people.values()):
        for region in regions:
            value = region.z if judged else region.mean_z
            values[row, names.index(region.name)] = np.nan if value is None else value
            found[row, names.index(region.name)] = region.q is not None and region.q < SIGNIFICANT
    height = 2.9 + 0.2 * min(len(people), MOST_NAMED)
    picture = Figure(figsize=(3.2 + 0.21 * len(names), height), dpi=110, facecolor="white", layout="constrained")
    axes = picture.subplots()
    limits = (-FURTHEST, FURTHEST) if judged else (0.0, FURTHEST)
    shown = axes.imshow(values, cmap="RdBu_r" if judged else "magma_r", vmin=limits[0], vmax=limits[1],
                        aspect="auto", interpolation="nearest")  # fmt: skip
    size = 14.0 if len(people) <= MOST_NAMED else 3.0
    marked = np.argwhere(found)
    axes.scatter(marked[:, 1], marked[:, 0], s=size, color=INK, linewidths=0)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    if len(people) <= MOST_NAMED:
        axes.set_yticks(range(len(people)), [key.rsplit("/", 1)[-1] for key in people], fontsize=8)
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(people)} subjects, in the order of the table")
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    words = "z (red larger)" if judged else "mean of the z-map"
    picture.colorbar(shown, ax=axes, label=words, fraction=0.025, pad=0.01, extend="both" if judged else "max")
    axes.set_title(f"Regions of all subjects; dots: q < {SIGNIFICANT}" if judged else "Regions of all subjects",
                   loc="left", fontsize=11, color=INK)  # fmt: skip
    save_png(picture, path)

"""How well a change within a person shows between two visits: what `mri3d compare --visits` is for.

    python -m benchmarks.longitudinal HEALTHY -o OUT

HEALTHY is a BIDS data set with DLMUSE labels (``derivatives/dlmuse``). Each person of the bundle's test part gets four
simulated visits from the one real scan: two without a change, and two whose caudate and putamen have lost 5 and 10 %
(:mod:`benchmarks.simulated_atrophy`). At every visit, the first one too, the head lies another way and has noise of its
own; everything from the brain's outline on is done anew. OUT gets the visits, what ``detect`` and ``compare --visits``
make of them, ``metrics.json`` and ``table.md``.

Two real scans of an unchanged brain may differ by more, by all that changes in scanners and in how still heads lie in
them. What stands here is what the method alone loses.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from benchmarks.huntington import auroc
from benchmarks.region_atlas import label_maps
from benchmarks.simulated_atrophy import STRIATUM, shrink_striatum
from mri3d.bundle import find_bundle
from mri3d.commands.detect import detect
from mri3d.commands.visits import compare_visits
from mri3d.models.parcellation import DEEP
from mri3d.volumes.atomic import write_json, write_text
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.volume import FloatArray, Volume

LOST = {"ses-1": 0.0, "ses-2": 0.0, "ses-3": 0.05, "ses-4": 0.1}
"""Visit to the share of the striatum that is gone; the first is what the others are compared with."""

DEGREES, SHIFT_MM = 5.0, 5.0
"""Standard deviations of how the head lies at a visit, about and along each axis."""

NOISE = 0.01
"""Standard deviation of a visit's noise, as a share of the scan's bright end."""

CAUDATES, PUTAMINA = ([name for name in STRIATUM if kind in name] for kind in ("Caudate", "Putamen"))
OTHERS = [name for name in DEEP if name not in STRIATUM and "Ventricle" not in name]
"""Structures that the network outlines and that the atrophy hardly reaches."""

Array64 = npt.NDArray[np.float64]


def visit(volume: Volume, data: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The head (X, Y, Z) on the same grid as it lies at another visit, with noise where there is any head."""
    middle = volume.grid.world((np.array(volume.grid.shape) - 1) / 2)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(rng.normal(0, DEGREES, 3), degrees=True).as_matrix()
    turn[:3, 3] = middle - turn[:3, :3] @ middle + rng.normal(0, SHIFT_MM, 3)
    index = np.linalg.inv(volume.grid.affine) @ turn @ volume.grid.affine
    # splines, since a linear interpolation would blur, and blur is no atrophy
    moved = ndimage.affine_transform(data, index[:3, :3], index[:3, 3], order=3).clip(0)
    noise = rng.normal(0, NOISE * np.percentile(data[data > 0], 95), moved.shape)
    return np.asarray((moved + noise * (moved > 0)).clip(0), dtype=np.float32)


def make(healthy: Path, people: Sequence[str], output: Path) -> None:
    """Write everybody's visits; those that stand there are kept."""
    subjects = {subject.participant: subject for subject in discover(healthy).subjects}
    labels = label_maps(healthy)
    for number, person in enumerate(tqdm(people, desc="visits", unit="person")):
        volume, known = read_volume(subjects[person].reference), read_volume(labels[person]).data.astype(np.int32)
        for session, share in LOST.items():
            place = output / person / session / "anat" / f"{person}_{session}_T1w.nii.gz"
            if place.exists():
                continue
            data = shrink_striatum(volume.data, known, volume.grid, share).data if share else volume.data
            place.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([number, list(LOST).index(session)])
            write_map(place, visit(volume, data.astype(np.float32), rng), volume)


def changes(table: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Later visit to participant to region to the change of its volume in percent, of a ``changes.csv``."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    with open(table, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["error"]:
                raise SystemExit(f"{row['participant']} {row['later']}: {row['error']}")
            own = found.setdefault(row["later"], {}).setdefault(row["participant"], {})
            own[row["region"]] = float(row["change_percent"])
    return found


def metrics_of(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """What became of each simulated loss, by visit."""

    def mean_of(session: str, names: Sequence[str]) -> Array64:
        return np.array([np.mean([own[name] for name in names]) for own in found[session].values()])

    same, *_ = found
    told: dict[str, Any] = {"people": len(found[same])}
    everyone = np.arange(len(found[same]))
    for session in found:
        striatum = mean_of(session, list(STRIATUM))
        apart = [abs(own[name]) for own in found[session].values() for name in OTHERS]
        told[session] = {
            "lost": LOST[session],
            **{
                name: {"mean": float(values.mean()), "sd": float(values.std(ddof=1))}
                for name, values in (("caudate", mean_of(session, CAUDATES)), ("putamen", mean_of(session, PUTAMINA)))
            },
            "others_mean_size": float(np.mean(apart)),
            "auroc": None if session == same else auroc(-striatum, -mean_of(same, list(STRIATUM)), everyone),
        }
    return told


def page(told: dict[str, Any]) -> str:
    """The table in Markdown."""
    heads = ("lost since the first visit", "caudate, measured", "putamen, measured",
             "other deep structures, size of the change", "AUROC of the mean change of the four")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for session in list(LOST)[1:]:
        own = told[session]
        cells = [f"{own[name]['mean']:+.1f} % (SD {own[name]['sd']:.1f})" for name in ("caudate", "putamen")]
        sure = "" if own["auroc"] is None else f"{own['auroc']:.2f}"
        cells = [f"{100 * own['lost']:.0f} %", *cells, f"{own['others_mean_size']:.1f} %", sure]
        lines.append(f"| {' | '.join(cells)} |".replace("-", "\N{MINUS SIGN}"))
    return "\n".join(lines) + "\n"


def run(healthy: Path, bundle: Path, output: Path, limit: int | None = None) -> dict[str, Any]:
    """Make, detect, compare and measure."""
    people = json.loads((bundle / "models" / "split.json").read_text(encoding="utf-8"))["test"][:limit]
    make(healthy, people, output / "visits")
    summary = detect(output / "visits", bundle, output / "maps", "cpu", {"existing": "resume"})
    if summary.failures:
        raise SystemExit("\n".join(summary.failures))
    outcome = compare_visits(output / "maps", output / "changes", overwrite=True, bundle=str(bundle))
    print(outcome.words)
    return metrics_of(changes(output / "changes" / "changes.csv"))


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--bundle", default="brain_t1")
    parser.add_argument("--limit", type=int, help="participants at most, for a quick look")
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    told = run(words.healthy, find_bundle(words.bundle), words.output, words.limit)
    write_json(words.output / "metrics.json", told)
    write_text(words.output / "table.md", page(told))
    print(page(told))


if __name__ == "__main__":
    main()

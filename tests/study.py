"""Studies as ``mri3d detect`` leaves them, of made maps and sidecars, with the bundle that they say made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mri3d.bundle import describe
from mri3d.grid import Affine, Grid
from mri3d.reporting.names import SIDECAR, TABLE, path_of
from mri3d.reporting.table import COLUMNS, write_results
from mri3d.volumes.atomic import write_json
from tests.helpers import head_grid, rotation_about
from tests.maps import Made, write_maps

GRID = head_grid("LPS", (6.0, 6.0, 8.0), degrees=12.0)
"""Oblique, and not isotropic."""

REGIONS = {"Left Caudate": 4.0, "Right Caudate": 4.1, "Brain Stem": 21.0}
"""Name to volume in ml of someone whose z is 0."""


def template_to_source() -> Affine:
    """Somewhere else and of another size than the template."""
    affine = np.eye(4)
    affine[:3, :3] = rotation_about((1, 0, 2), 15.0) * 0.97
    affine[:3, 3] = (4.0, -2.0, 3.0)
    return affine


@dataclass(frozen=True)
class Scored:
    """One scan of a study.

    Args:
        key: as of a subject; tells participant and session.
        z: of regions, by name; 0 for the others.
        score: the subject's.
        lesions: in the world of the scan, see :class:`tests.maps.Made`.
        seed: of the noise in its z-map.
        sidecar: what its sidecar says in place of what it would.
    """

    key: str
    z: Mapping[str, float | None] = field(default_factory=dict)
    score: float = 3.0
    lesions: Sequence[tuple[tuple[float, float, float], float]] = ()
    seed: int = 0
    sidecar: Mapping[str, Any] = field(default_factory=dict)


def write_study(root: Path, scans: Sequence[Scored], bundle: Path, grid: Grid = GRID) -> Path:
    """Write the results of a study."""
    for scan in scans:
        made = Made(scan.key, scan.lesions, seed=scan.seed)
        write_maps(root, [made], grid, **_sidecar(root, scan, bundle))
    write_table(root, [scan.key for scan in scans])
    return root


def write_table(root: Path, keys: Sequence[str]) -> None:
    """The table of these scans."""
    names = ({"subject": key.split("/")[-1], "input": f"{key}.nii.gz", "status": "ok"} for key in keys)
    write_results(root / TABLE, [dict.fromkeys(COLUMNS) | of for of in names])


def _sidecar(root: Path, scan: Scored, bundle: Path) -> dict[str, Any]:
    regions = [
        {"index": index, "name": name, "volume_ml": ml * np.exp(0.08 * (scan.z.get(name, 0.0) or 0.0)),
         "z": scan.z.get(name, 0.0), "p": None, "q": None, "mean_z": 0.8, "peak_z": 2.0, "fraction": 0.0}
        for index, (name, ml) in enumerate(REGIONS.items(), start=1)
    ]  # fmt: skip
    return {
        "inputs": {"T1w": {"path": str(root.parent / "in" / f"{scan.key}.nii.gz")}},
        "bundle": describe(bundle),
        "score": scan.score,
        "regions": regions,
        "brain_ml": 1400.0 + 10 * scan.seed,
        "template_to_source": template_to_source().tolist(),
        **scan.sidecar,
    }


def change_sidecar(root: Path, key: str, **changes: Any) -> None:
    """Change what a sidecar says; None takes an entry out."""
    path = path_of(root, key, SIDECAR)
    made = json.loads(path.read_text(encoding="utf-8")) | changes
    write_json(path, {name: value for name, value in made.items() if name not in changes or value is not None})


def write_bundle(
    root: Path, trained: Sequence[str] = (), calibrated: Sequence[str] = (), controls: Sequence[Any] | None = None
) -> Path:
    """What a bundle tells of whom it has seen."""
    write_json(root / "configs" / "metadata.json", {"version": "1.0.0"})
    (root / "configs" / "inference.yaml").write_text(f"name: {root.name}\n")
    split = {"train": list(trained), "validation": [], "calibration": list(calibrated), "test": []}
    write_json(root / "models" / "split.json", split)
    if controls is not None:
        write_json(root / "models" / "controls.json", list(controls))
    return root


def write_participants(path: Path, rows: Mapping[str, Mapping[str, Any]]) -> Path:
    """A ``participants.tsv``."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = ["\t".join(["participant_id", *columns])]
    lines += ["\t".join([name, *(str(row.get(column, "n/a")) for column in columns)]) for name, row in rows.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path

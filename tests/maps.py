"""Folders as ``mri3d detect`` writes them, made without a model: z-maps of noise with lesions in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.reporting.names import SIDECAR, TABLE, ending_of, path_of
from mri3d.reporting.table import COLUMNS, write_results
from mri3d.scoring.components import find_components
from mri3d.volumes.atomic import write_json
from tests.helpers import ellipsoid, head_grid, write_nifti

GRID = head_grid("LPS", (5.0, 5.0, 6.0), degrees=10.0)
VOXEL_THRESHOLD, MIN_ML = 4.0, 0.3
THRESHOLDS = {"mean+1std": 4.5, "mean+3std": 5.5}
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Made:
    """One subject of a made folder.

    Args:
        key: as of a :class:`mri3d.volumes.subject.Subject`.
        lesions: centre and radius in mm of each; none for a healthy subject.
        contrast: what lesions add to z.
        seed: of the noise.
        participant: whom it shows; the key's name up to its first ``_`` when left out.
    """

    key: str
    lesions: Sequence[tuple[tuple[float, float, float], float]] = ()
    contrast: float = 6.0
    seed: int = 0
    participant: str = ""

    def truth(self, grid: Grid = GRID) -> BoolArray:
        """True in the lesions."""
        index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
        at = grid.world(index)
        balls = [np.linalg.norm(at - centre, axis=-1) < radius for centre, radius in self.lesions]
        return np.asarray(np.any(balls, axis=0)) if balls else np.zeros(grid.shape, bool)

    def zscore(self, brain: BoolArray, grid: Grid = GRID) -> npt.NDArray[np.float32]:
        """Absolute smooth noise of standard deviation 1, and the lesions."""
        noise = ndimage.gaussian_filter(np.random.default_rng(self.seed).normal(size=grid.shape), 0.7)
        bright = ndimage.gaussian_filter(self.truth(grid).astype(float), 0.5) * self.contrast
        return np.asarray((np.abs(noise / noise.std() + bright) + 1e-3) * brain, dtype=np.float32)


def write_maps(root: Path, subjects: Sequence[Made], grid: Grid = GRID, **changes: Any) -> Path:
    """Write maps, sidecars and the table; ``changes`` go into every sidecar."""
    rows = []
    for subject in subjects:
        brain = ellipsoid(grid, 0.9)
        zscore = subject.zscore(brain, grid)
        anomaly, components = find_components(zscore, grid, VOXEL_THRESHOLD, MIN_ML)
        maps = {"error": zscore / 30, "zscore": zscore, "anomaly": anomaly.astype(np.uint8)}
        for kind, data in maps.items():
            path = path_of(root, subject.key, ending_of(kind))
            write_nifti(path, grid, data, dtype=np.uint8 if kind == "anomaly" else np.float32)
        score = float(np.sort(zscore[brain])[-20:].mean())
        name = subject.key.split("/")[-1]
        sidecar = {
            "subject": name,
            "participant": subject.participant or name.split("_")[0],
            "inputs": {"T1w": {"path": f"/nowhere/{subject.key}.nii.gz"}},
            "settings": {"min_ml": MIN_ML},
            "score": score,
            "decision": "anomalous" if score > THRESHOLDS["mean+3std"] else "normal",
            "thresholds": THRESHOLDS,
            "voxel_threshold": VOXEL_THRESHOLD,
            "anomalous_ml": sum(component.volume_ml for component in components),
            "fidelity": {"mse": 0.001 * (1 + subject.seed), "psnr": 30.0, "ssim": 0.9},
            "maps": sorted(maps),
            "bundle": {"name": "made", "version": "0.0.0", "sha256": "0" * 64},
        }
        write_json(path_of(root, subject.key, SIDECAR), {**sidecar, **changes})
        rows.append(dict.fromkeys(COLUMNS) | {"subject": name, "input": f"{subject.key}.nii.gz", "status": "ok"})
    write_results(root / TABLE, rows)
    return root


def write_truths(root: Path, subjects: Sequence[Made], grid: Grid = GRID) -> Path:
    """A mask ``NAME_mask.nii.gz`` a subject, empty for a healthy one."""
    for subject in subjects:
        write_nifti(root / f"{subject.key}_mask.nii.gz", grid, subject.truth(grid).astype(np.uint8), dtype=np.uint8)
    return root

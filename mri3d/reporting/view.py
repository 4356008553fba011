"""What the viewer of a subject's page shows: the volumes, small enough to lie within a script.

A page that is opened from disk may not read other files, but it may load scripts; so the volumes go into one,
``NAME_view.js``. Scan and maps are cut to the brain with some millimetres around it and stored in 256 steps, on their
own voxels as long as these are not much finer than the eye needs. The maps beside it are what counts.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine

from mri3d.grid import Affine, Grid
from mri3d.reporting.names import SIMPLE_VIEW, VIEW, path_of
from mri3d.resources import viewer_dir
from mri3d.scoring.detection import Detection
from mri3d.volumes.atomic import write_text

AROUND_MM = 12.0
"""What is shown around the brain."""

FINEST_MM = 0.8
"""Voxels of half this size or less are passed over, so that none shown is larger than this unless it was before."""

MOST_Z = 12.75
"""The largest z that is told from larger ones, in steps of a twentieth."""

NIIVUE = "niivue.umd.js"


@dataclass(frozen=True, eq=False)
class Layer:
    """A volume of the viewer.

    Args:
        role: ``scan``, ``recon``, ``zscore``, ``anomaly`` or ``brain``, as ``viewer.js`` knows them.
        label: what it is called.
        content: the volume as NIfTI, uint8 with slope and intercept.
    """

    role: str
    label: str
    content: bytes

    def as_dict(self) -> dict[str, str]:
        """As ``viewer.js`` takes it, the volume as base64 of .nii.gz."""
        # neither a name nor a time, so that equal volumes are equal text
        packed = gzip.compress(self.content, compresslevel=6, mtime=0)
        text = base64.b64encode(packed).decode("ascii")
        return {"role": self.role, "label": self.label, "name": f"{self.label}.nii.gz", "base64": text}


@lru_cache(maxsize=1)
def has_niivue() -> bool:
    """Whether NiiVue was at hand when mri3d was installed."""
    return (viewer_dir() / NIIVUE).is_file()


def write_view(detection: Detection, root: Path, key: str) -> None:
    """Write the volumes of a subject's viewer, or, without NiiVue, the simpler viewer of nilearn with its own."""
    layers = tuple(_layers(detection))
    if has_niivue():
        view = {
            "volumes": [layer.as_dict() for layer in layers],
            "threshold": detection.voxel_threshold,
            "components": [asdict(component) for component in detection.components],
        }
        write_text(path_of(root, key, VIEW), f"var mri3dView = {json.dumps(view, allow_nan=False)};\n")
    else:
        write_text(path_of(root, key, SIMPLE_VIEW), _simple_view(layers, detection.voxel_threshold))


def _layers(detection: Detection) -> Iterator[Layer]:
    """The scan first, then what lies over it."""
    volume, model = detection.volume, detection.model
    corners = _box_corners(detection.brain, volume.grid)
    reference = next(iter(detection.subject.images))
    yield Layer("scan", reference, _grey(*_cut(volume.data, volume.grid, corners)))
    for name, other in detection.others.items():
        # in the reference's world, where the viewer's crosshair lives
        grid = Grid(other.grid.shape, np.linalg.inv(detection.coregistrations[name].to_moving) @ other.grid.affine)
        yield Layer("scan", name, _grey(*_cut(other.data, grid, corners)))
    to_source = model.to_source @ model.grid.affine
    yield Layer("recon", "reconstruction", _stored(model.reconstruction, to_source, 0.0, _top(model.reconstruction)))
    yield Layer("brain", "brain", _stored(*_cut(detection.brain, volume.grid, corners), 0.0, 255.0))
    if detection.zscore is not None:
        zscore, affine = _cut(detection.zscore, volume.grid, corners)
        yield Layer("zscore", "zscore", _stored(zscore, affine, 0.0, MOST_Z))
    if detection.anomaly is not None:
        yield Layer("anomaly", "anomaly", _stored(*_cut(detection.anomaly, volume.grid, corners), 0.0, 255.0))


def _box_corners(brain: npt.NDArray[np.bool_], grid: Grid) -> npt.NDArray[np.float64]:
    """(8, 3) corners, in world coordinates, of the brain's box with what is shown around it."""
    inside = np.argwhere(brain)
    around = AROUND_MM / np.array(grid.spacing)
    low, high = inside.min(axis=0) - around, inside.max(axis=0) + around
    return grid.world(np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T)


def _cut(data: npt.NDArray[Any], grid: Grid, corners: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], Affine]:
    """The voxels within the corners, of fine ones every second and so on, and where they lie."""
    at = apply_affine(np.linalg.inv(grid.affine), corners)
    last = np.array(grid.shape) - 1
    low, high = (np.clip(end, 0, last).astype(int) for end in (np.floor(at.min(axis=0)), np.ceil(at.max(axis=0))))
    steps = np.maximum(1, np.floor(FINEST_MM / np.array(grid.spacing))).astype(int)
    affine = grid.affine @ np.diag([*steps.astype(float), 1.0])
    affine[:3, 3] = grid.world(low)
    box = tuple(slice(start, stop + 1, step) for start, stop, step in zip(low, high, steps, strict=True))
    return data[box], affine


def _grey(data: npt.NDArray[Any], affine: Affine) -> bytes:
    """A scan from its darkest to its brightest, but for a thousandth of its voxels at either end."""
    low, high = np.quantile(data, (0.001, 0.999))
    return _stored(data, affine, float(low), float(high))


def _top(data: npt.NDArray[Any]) -> float:
    return float(max(np.quantile(data, 0.999), 1e-3))


def _stored(data: npt.NDArray[Any], affine: Affine, low: float, high: float) -> bytes:
    """Values between two ends in 256 steps, as a NIfTI file."""
    slope = max(high - low, 1e-6) / 255
    image = nib.Nifti1Image(np.rint((np.clip(data, low, high) - low) / slope).astype(np.uint8), affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(slope, low)
    image.header["cal_min"], image.header["cal_max"] = low, high
    return bytes(image.to_bytes())


def _simple_view(layers: Sequence[Layer], threshold: float | None) -> str:
    """nilearn's page of the z-map over the scan, which needs nothing else; of the scan alone where there is none."""
    from nilearn.plotting import view_img

    images = {layer.role: nib.Nifti1Image.from_bytes(layer.content) for layer in reversed(layers)}
    shown = images.get("zscore", images["scan"])
    page = view_img(
        shown,
        bg_img=images["scan"],
        threshold=threshold if "zscore" in images and threshold is not None else None,
        cmap="hot" if "zscore" in images else "gray",
        symmetric_cmap=False,
        title="z",
    )
    return str(page.get_standalone())

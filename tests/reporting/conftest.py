"""Heads drawn in world space, so that what is left in the head is left in every storage order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mri3d.grid import Grid
from mri3d.scoring.detection import Component, Detection, ModelSpace, Score
from mri3d.volumes.subject import Subject
from mri3d.volumes.volume import BoolArray, FloatArray, Volume

LESION_MM = (-30.0, 20.0, 15.0)  # left, anterior and superior of the brain's middle


# Handed out by fixtures, since a test module cannot import from one conftest.py among several.
@pytest.fixture(scope="session")
def lesion_mm() -> tuple[float, float, float]:
    """Where the lesion of ``make_detection`` lies, world coordinates."""
    return LESION_MM


@pytest.fixture(scope="session")
def head_grid() -> Callable[..., Grid]:
    """Builds a grid: storage order, spacing in mm in that order, tilt in degrees."""
    return _head_grid


@pytest.fixture(scope="session")
def ball() -> Callable[..., BoolArray]:
    """Builds an ellipsoid: grid, centre and radii in mm."""
    return _ball


def _head_grid(axcodes: str = "RAS", spacing: float | tuple[float, float, float] = 3.0, tilt: float = 0.0) -> Grid:
    """A grid around the world's origin in the given order, tilted by some degrees about two axes."""
    sizes = np.broadcast_to(spacing, 3)
    orientation = nib.orientations.axcodes2ornt(axcodes)
    affine = np.eye(4)
    for axis, (anatomical, sign) in enumerate(orientation):
        affine[:3, axis] = 0.0
        affine[int(anatomical), axis] = sign * sizes[axis]
    turn = nib.eulerangles.euler2mat(np.radians(tilt), np.radians(tilt), 0.0)
    affine[:3, :3] = turn @ affine[:3, :3]
    extents = np.array([180.0, 220.0, 190.0])
    x, y, z = (int(extents[int(a)] // sizes[axis]) for axis, (a, _) in enumerate(orientation))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
    return Grid((x, y, z), affine)


def _ball(grid: Grid, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> BoolArray:
    """An ellipsoid given in world mm."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    return np.asarray((((grid.world(index) - centre) / radii) ** 2).sum(axis=-1) <= 1.0)


def _head(grid: Grid) -> tuple[FloatArray, BoolArray]:
    """A scalp, a brain with ventricles in it, and the brain's mask."""
    scalp, skull = _ball(grid, (0, 0, 0), (80, 100, 85)), _ball(grid, (0, 0, 5), (72, 90, 74))
    brain, white = _ball(grid, (0, 0, 5), (66, 84, 68)), _ball(grid, (0, 0, 5), (55, 72, 56))
    ventricles = _ball(grid, (-9, 0, 10), (6, 25, 12)) | _ball(grid, (9, 0, 10), (6, 25, 12))
    data = 900.0 * scalp - 850.0 * skull + 450.0 * brain + 250.0 * white - 550.0 * ventricles
    return data.astype(np.float32), brain


@pytest.fixture
def make_detection() -> Callable[..., Detection]:
    """Builds a calibrated detection on a grid, with one lesion at ``LESION_MM``; ``changes`` replace its fields."""

    def make(grid: Grid | None = None, name: str = "sub-01_T1w", **changes: Any) -> Detection:
        grid = grid or _head_grid()
        data, brain = _head(grid)
        lesion = _ball(grid, LESION_MM, (9, 9, 9))
        zscore = np.where(lesion, 9.0, 0.5 * brain).astype(np.float32)
        model_grid = Grid.centred((40, 48, 40), 4.0, (0.0, 0.0, 5.0))
        model_data, model_mask = _head(model_grid)
        image = np.where(model_mask, model_data / 800.0, 0.0).astype(np.float32)
        path = Path("study") / f"{name}.nii.gz"
        volume_ml = float(np.count_nonzero(lesion) * grid.voxel_ml)
        detection = Detection(
            subject=Subject(name, name, PurePosixPath("."), {"T1w": path}),
            volume=Volume(data, grid, nib.Nifti1Image(data, grid.affine).header, path),
            brain=brain,
            brain_source="deepbet",
            alignment_dice=0.93,
            alignment_correlation=0.47,
            error=(zscore / 30).astype(np.float32),
            zscore=zscore,
            anomaly=lesion,
            voxel_threshold=4.0,
            score=Score(0.0534567, "anomalous", 0.041, {"mean+1std": 0.035, "mean+3std": 0.041}, 1 / 21, 1 / 21),
            components=(Component(1, volume_ml, 9.0, LESION_MM, 9.0),),
            model=ModelSpace(model_grid, image, image, model_mask),
            seconds={"read": 0.5, "model": 1.25},
        )
        return replace(detection, **changes)

    return make


@pytest.fixture
def template() -> FloatArray:
    """A template on the model grid of ``make_detection``."""
    data, mask = _head(Grid.centred((40, 48, 40), 4.0, (0.0, 0.0, 5.0)))
    return np.where(mask, data / 800.0, 0.0).astype(np.float32)

"""Whole brains for end-to-end tests, drawn from the anatomy that ships with a bundle."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mri3d.bundle import ANATOMY_BUNDLE, find_bundle
from mri3d.commands.demo import sample
from mri3d.grid import Grid
from mri3d.transforms.lesion import lesion_shape, with_lesion
from mri3d.volumes.anatomy import Anatomy
from tests.helpers import write_nifti

FOV = (150.0, 190.0, 160.0)
CENTRE = (0.0, -14.0, 8.0)
SMALLER_HEAD = np.diag([1.1, 1.1, 1.1, 1.0])


@lru_cache(maxsize=1)
def anatomy() -> Anatomy:
    return Anatomy.load(find_bundle(ANATOMY_BUNDLE) / "models" / "anatomy.nii.gz")


def brain_on(grid: Grid, seed: int = 0, lesion: bool = False) -> npt.NDArray[np.int16]:
    """A brain that does not exist, on any grid around it; the same seed gives the same anatomy."""
    rng = np.random.default_rng(seed)
    brain = anatomy().draw(rng, spread=0.7)
    if lesion:
        brain = with_lesion(brain, lesion_shape(anatomy().grid))
    return sample(brain, anatomy().grid, grid, SMALLER_HEAD, rng)


def write_brain(path: Path, grid: Grid, data: npt.NDArray[np.int16]) -> Path:
    """Write a stripped brain, ``NAME.nii.gz``, and its mask beside it, which saves the extraction."""
    mask = path.with_name(path.name.replace(".nii.gz", "_brainmask.nii.gz"))
    write_nifti(mask, grid, data > 0, dtype=np.uint8)
    return write_nifti(path, grid, data, dtype=np.int16)

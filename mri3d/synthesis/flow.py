"""Fluid that moves: pulsation along the arteries at the base of the brain."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.synthesis.tissue import Tissue
from mri3d.synthesis.tissue_map import TissueMap
from mri3d.transforms.corruption import smooth_noise
from mri3d.transforms.resampling import crop_to
from mri3d.volumes.volume import FloatArray

BASE = (Tissue.BRAIN_STEM, Tissue.VENTRAL, Tissue.OPTIC_CHIASM)
REACH_MM = 25.0
"""How far from the base the movement dies away."""

STRENGTH = (0.05, 0.5)
"""Share of the fluid that moves beside the base; one is drawn for a scan of a head."""

MOST = 0.8


def moving_fluid(tissue: TissueMap, grid: Grid, rng: np.random.RandomState) -> FloatArray:
    """The share of each voxel's fluid that moves while it is scanned, 0 to 1.

    In the cisterns fluid pulsates with the heart, so that a spin echo loses some of it and an inversion does not meet
    all of it: T2w are darker there and FLAIR brighter than in the ventricles (Lisanti et al. 2007, AJR 188:716). How
    strongly and how far is ours, such that cisterns look as they do in scans; the unevenness also stands for the
    vessels and nerves in them.

    Args:
        tissue: (X, Y, Z).
        grid: where it lies.
        rng: source of chance.
    """
    share = np.zeros(tissue.shape, dtype=np.float32)
    strength = rng.uniform(*STRENGTH)
    base = np.isin(tissue, BASE)
    if not base.any():
        return share
    spacing = np.array(grid.spacing)
    box, part = crop_to(base, grid, int(np.ceil(2 * REACH_MM / spacing.min())))
    away = ndimage.distance_transform_edt(~base[box], sampling=grid.spacing)
    uneven = smooth_noise(part.shape, max(1.5, 4.0 / spacing.min()), rng).numpy()
    moving = strength * np.exp(-((away / REACH_MM) ** 2)) * np.clip(1 + 0.6 * uneven, 0, None)
    share[box] = np.clip(moving, 0, MOST) * (tissue[box] == Tissue.CSF)
    return share

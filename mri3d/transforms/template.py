"""The template's brain on other grids in its space."""

from __future__ import annotations

from functools import lru_cache

from mri3d.grid import Grid
from mri3d.transforms.resampling import resample
from mri3d.volumes.alignment import load_template
from mri3d.volumes.volume import FloatArray


@lru_cache(maxsize=1)
def template_on(grid: Grid) -> FloatArray:
    """The template's brain image on another grid in its space, (X, Y, Z); do not write to it, it is shared."""
    template = load_template()
    return resample(template.image, template.grid, grid)

"""The mean z-map of each group in the template's space, and their picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from mri3d.errors import Mri3dError
from mri3d.reporting.montage import Montage, Tile, draw_montage
from mri3d.reporting.panels import Overlay
from mri3d.reporting.results import Result
from mri3d.transforms.resampling import crop_to, resample_within
from mri3d.volumes.alignment import load_template
from mri3d.volumes.nifti import MNI152, write_image
from mri3d.volumes.volume import BoolArray, FloatArray

SMOOTHING = 1.5
"""Standard deviation, in voxels of the template, of the smoothing by which the planes of the picture are chosen."""

AROUND = 6
"""Voxels around the template's brain within which a mean is taken."""

SHOWN = 1.2
"""Mean from which on there is colour, well above what is usual."""

USUAL = 0.8
"""Mean of the z-map of healthy people: that of the size of a normally distributed number."""


@dataclass(frozen=True, eq=False)
class MeanMap:
    """A group's mean z-map on the template's grid.

    Args:
        values: (X, Y, Z) mean over the people whose brain reaches there; 0 where that is less than half of them.
        people: how many there are.
    """

    values: FloatArray
    people: int

    @property
    def inside(self) -> BoolArray:
        """Where it is known."""
        return np.asarray(self.values > 0)


def mean_map(
    results: Iterable[Result], progress: Callable[[], object] = lambda: None
) -> tuple[MeanMap | None, tuple[str, ...]]:
    """Bring z-maps to the template, each by one interpolation from the scan's grid, and take their mean.

    Args:
        results: a scan a person; they have z-maps.
        progress: called after each.

    Returns:
        The mean, None without a single map; and why some could not be read.
    """
    template = load_template()
    box, grid = crop_to(template.brain, template.grid, AROUND)
    total, count = np.zeros(grid.shape), np.zeros(grid.shape, dtype=np.int32)
    people, failures = 0, []
    for result in results:
        try:
            zscore, brain, source = result.read_maps()
            world = np.array(result.sidecar["template_to_source"], dtype=np.float64)
            values, inside = resample_within(zscore, brain, source, grid, world)
            total, count, people = total + values, count + inside, people + 1
        except Mri3dError as error:
            failures.append(str(error))
        progress()
    if not people:
        return None, tuple(failures)
    known = (2 * count >= people) & (count > 0)
    values = np.zeros(template.grid.shape, dtype=np.float32)
    values[box] = np.where(known, total / np.maximum(count, 1), 0)
    return MeanMap(values, people), tuple(failures)


def write_mean_map(path: Path, found: MeanMap, group: str) -> None:
    """Write a mean map as NIfTI in MNI152 space."""
    description = f"mri3d mean |z| of {found.people} people, group {group}"
    write_image(path, found.values, load_template().grid, description, MNI152)


def draw_mean_maps(maps: Mapping[str, MeanMap], reference: str, path: Path) -> tuple[float, float, float]:
    """Draw all groups' mean maps over the template, in the planes through where one departs most from the reference.

    Args:
        maps: group to its map.
        reference: the group the others are compared with; may have no map.
        path: PNG to write.

    Returns:
        The point that the planes go through, in mm of MNI152.
    """
    template = load_template()
    x, y, z = (float(mm) for mm in template.grid.world(_farthest(maps, reference)))
    highest = max(float(np.percentile(of.values[of.inside], 99.9)) if of.inside.any() else 0.0 for of in maps.values())
    high = max(2.0, round(highest, 1))
    tiles = [
        Tile(
            f"{group}, n = {found.people}",
            template.image,
            template.grid,
            limits=(0.0, 1.0),
            overlay=Overlay(found.values, SHOWN, SHOWN + 0.4 * (high - SHOWN), high, "mean z", False),
            scale="mean z",
        )
        for group, found in maps.items()
    ]
    words = (
        f"Mean of the absolute z of each voxel over the people of a group, on the MNI152 template. Healthy people have "
        f"{USUAL:g} on average; below {SHOWN:g} there is no colour. The planes go through the place where a group "
        f"departs most from {reference}, at {x:.0f}, {y:.0f}, {z:.0f} mm, however little that is."
    )
    draw_montage(Montage("Mean z-maps", words, tiles, 1, (x, y, z), row_inches=3.0), path)
    return x, y, z


def _farthest(maps: Mapping[str, MeanMap], reference: str) -> tuple[int, int, int]:
    """The voxel at which a group's map lies farthest above the reference's, or above what is usual."""
    against = maps.get(reference)
    best, place = -np.inf, (0, 0, 0)
    for group, found in maps.items():
        if group == reference and len(maps) > 1:
            continue
        usual = against.values if against is not None and group != reference else USUAL
        inside = found.inside & (against.inside if against is not None else True)
        above = ndimage.gaussian_filter(np.where(inside, found.values - usual, 0), SMOOTHING)
        i, j, k = np.unravel_index(int(above.argmax()), above.shape)
        if above[i, j, k] > best:
            best, place = float(above[i, j, k]), (int(i), int(j), int(k))
    return place

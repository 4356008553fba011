"""Label maps of regions in the template's space, with the names of what they label."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mri3d.errors import UsageError, some
from mri3d.grid import Grid
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.nifti import read_volume, write_image

Labels = npt.NDArray[np.int32]

COLUMNS = ("index", "name")
"""Of the table of names, as BIDS has them for a ``dseg.tsv``."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """Which region each voxel of the template's space belongs to.

    Args:
        labels: (X, Y, Z) int32, 0 where there is none.
        grid: where the voxels lie, in template space (MNI152, RAS, mm).
        names: of every number that is labelled; numbers that label no voxel are left out.
    """

    labels: Labels
    grid: Grid
    names: Mapping[int, str]

    def on(self, grid: Grid) -> Labels:
        """The labels at the voxels of another grid in template space, each that of the nearest voxel; 0 beyond."""
        if grid.matches(self.grid):
            return self.labels
        to_own = grid.index_affine_to(self.grid)
        moved = ndimage.affine_transform(
            self.labels, to_own[:3, :3], to_own[:3, 3], output_shape=grid.shape, order=0, mode="constant"
        )
        return np.asarray(moved, dtype=np.int32)

    def save(self, path: Path) -> None:
        """Write ``NAME.nii.gz`` and, beside it, its names, ``NAME.tsv``."""
        kind = np.uint8 if self.labels.max() < 256 else np.int16
        write_image(path, self.labels.astype(kind), self.grid, "mri3d regions")
        with atomic_write(table_of(path)) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(sorted(self.names.items()))

    @classmethod
    def load(cls, path: Path) -> Atlas:
        """Read a label map in template space with its table of names, ``NAME_dseg.nii.gz`` with ``NAME_dseg.tsv``.

        Raises:
            InputError: the map is no readable NIfTI volume.
            UsageError: it holds other than whole numbers from 0, or the table is missing, is none, lacks a name or has
                one twice.
        """
        volume = read_volume(path)
        labels = np.asarray(np.round(volume.data), dtype=np.int32)
        if (np.abs(volume.data - labels) > 1e-3).any() or labels.min() < 0:
            raise UsageError(path, "a label map of whole numbers from 0 on", "other values", "Give a label map")
        names = _read_names(table_of(path))
        used = [int(number) for number in np.unique(labels) if number]
        missing = [str(number) for number in used if number not in names]
        if missing:
            remedy = "Add the lines"
            raise UsageError(table_of(path), f"a name for every label of {path.name}", _none_for(missing), remedy)
        twice = next((name for name, count in Counter(names[number] for number in used).items() if count > 1), None)
        if twice is not None:
            expected = f"a name of its own for every label of {path.name}"
            raise UsageError(table_of(path), expected, f"{twice} more than once", "Mend the table")
        return cls(labels, volume.grid, {number: names[number] for number in used})


def table_of(path: Path) -> Path:
    """Where the names of a label map stand (BIDS): beside it, with the ending ``.tsv``."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")


def network_beside(path: Path) -> Path:
    """Where the weights lie that measure structures of a label map: beside it, with the ending ``.pt``."""
    return table_of(path).with_suffix(".pt")


def _none_for(numbers: list[str]) -> str:
    return f"none for {some(numbers)}"


def _read_names(path: Path) -> dict[int, str]:
    expected = f"a table of the labels' names with the columns {' and '.join(COLUMNS)}, separated by tabs"
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        names = {int(row["index"]): row["name"].strip() for row in rows}
    except OSError as error:
        raise UsageError(path, expected, str(error.strerror), "Put it beside the label map") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(path, expected, f"{error!r}", "Mend the table") from error
    if len(names) < len(rows) or not all(names.values()):
        raise UsageError(path, expected, "a number twice, or one without a name", "Mend the table")
    return names

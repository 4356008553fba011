"""Export axial slices for studies in 2D, and put their maps back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mri3d.errors import Mri3dError, UsageError
from mri3d.grid import Grid
from mri3d.reporting.names import path_of
from mri3d.reporting.output import check_inside
from mri3d.reporting.table import write_table
from mri3d.transforms.slicing import SliceStack, from_slices, to_slices
from mri3d.volumes.atomic import atomic_write, write_json
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.subject import Subject
from mri3d.workflow import find_subjects

INDEX = "slices.csv"
COLUMNS = ("file", "subject", "participant", "slice", "x_mm", "y_mm", "z_mm", "source")


def export(source: Path, output: Path, modalities: Sequence[str], overwrite: bool = False) -> tuple[int, list[str]]:
    """Write the slices of every volume in ``source``, and an index of them.

    A slice is ``NAME_slices/slice_KKK.npy``, float32 (128, 128) in [0, 1]; ``NAME_slices.json`` tells how to put it
    back, and ``slices.csv`` lists all.

    Args:
        source: a volume, folder or datalist.
        output: where to.
        modalities: what belongs to a subject; the first is sliced.
        overwrite: replace the slices of an earlier export.

    Returns:
        How many slices were written, and a line for each volume that could not be used.

    Raises:
        UsageError: nothing to slice, slices that stand there already, or a link that leads out of the output.
    """
    subjects = find_subjects(source, modalities)
    check_inside(output, subjects)
    standing = [path for path in (output / INDEX, *output.rglob("*_slices/slice_*.npy")) if path.exists()]
    if standing and not overwrite:
        raise UsageError(output, "a folder without slices", standing[0].name, "Use --overwrite, or name another folder")
    for old in standing:
        old.unlink()
    rows: list[dict[str, Any]] = []
    failures = []
    for subject in tqdm(subjects, desc="slice", unit="volume"):
        try:
            rows += _write(subject, to_slices(read_volume(subject.reference)), output)
        except Mri3dError as error:
            failures.append(str(error))
    write_table(output / INDEX, rows, COLUMNS)
    return len(rows), failures


def _write(subject: Subject, stack: SliceStack, output: Path) -> list[dict[str, Any]]:
    """A volume's slices and record; the rows of the index."""
    rows = []
    for index in stack.kept:
        path = path_of(output, subject.key, "_slices") / f"slice_{index:03}.npy"
        with atomic_write(path) as place, place.open("wb") as file:
            np.save(file, stack.data[..., index])
        centre = stack.grid.world([(n - 1) / 2 for n in stack.grid.shape[:2]] + [index])
        rows.append(
            {"file": path.relative_to(output).as_posix(), "subject": subject.name, "participant": subject.participant,
             "slice": index, **{f"{axis}_mm": float(mm) for axis, mm in zip("xyz", centre, strict=True)},
             "source": str(subject.reference)}
        )  # fmt: skip
    write_json(
        path_of(output, subject.key, "_slices.json"),
        {
            "source": str(subject.reference.resolve()),
            "grid": stack.grid.as_dict(),
            "grid_note": "pixel [i, j] of slice k lies at affine @ [i, j, k, 1], in mm (RAS) of the source",
            "slices": list(stack.kept),
            "intensity": {"0": stack.scale[0], "1": stack.scale[1]},
        },
    )
    return rows


def put_back(record: Path | str, slices: Mapping[int, npt.NDArray[Any]], output: Path | str) -> None:
    """Write slices, or maps of them, as one NIfTI volume on the grid of the volume they were cut from.

    Args:
        record: the ``NAME_slices.json`` of an export.
        slices: (128, 128) arrays by slice number; 0 where there is none.
        output: the file, ending in .nii or .nii.gz.

    Raises:
        UsageError: the record is none, or a slice is not of its stack.
        InputError: the volume is there no more, or unfit.
    """
    try:
        made = json.loads(Path(record).read_text(encoding="utf-8"))
        grid, source = Grid(tuple(made["grid"]["shape"]), np.array(made["grid"]["affine"])), Path(made["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(record, "the record of a sliced volume", f"{error!r}", "Run mri3d slices again") from error
    volume = read_volume(source)
    try:
        data = from_slices({k: np.asarray(v, np.float32) for k, v in slices.items()}, grid, volume.grid)
    except ValueError as error:
        raise UsageError(record, "slices of its own", str(error), "Give 128 x 128 arrays by slice number") from error
    write_map(Path(output), data, volume, "mri3d slices, put back")

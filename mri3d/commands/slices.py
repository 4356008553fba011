"""Export axial slices for studies in 2D, and put their maps back."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mri3d.errors import Mri3dError, UsageError
from mri3d.grid import Grid
from mri3d.reporting.names import path_of
from mri3d.reporting.ownership import refuse_link_out, refuse_standing, writable
from mri3d.reporting.subject_files import versions
from mri3d.reporting.table import write_table
from mri3d.transforms.slicing import SliceStack, from_slices, slice_grid, to_slices
from mri3d.volumes.atomic import atomic_write, write_json
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.subject import Subject
from mri3d.workflow import find_subjects

logger = logging.getLogger(__name__)

INDEX, FOLDER, RECORD, SLICES = "slices.csv", "_slices", "_slices.json", "slice_*.npy"
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
    keys = {subject.key for subject in subjects} | set(_indexed(output / INDEX))
    _refuse_standing(output, keys, overwrite)
    with writable(output):
        for key in keys:
            _clear(output, key)
        (output / INDEX).unlink(missing_ok=True)
        rows: list[dict[str, Any]] = []
        failures = []
        for subject in tqdm(subjects, desc="slice", unit="volume"):
            try:
                volume = read_volume(subject.reference)
                for warning in volume.warnings:
                    logger.warning("%s: %s", subject.reference, warning)
                rows += _write(subject, to_slices(volume), volume.warnings, output)
            except Mri3dError as error:
                failures.append(str(error))
        write_table(output / INDEX, rows, COLUMNS)
    return len(rows), failures


def _refuse_standing(output: Path, keys: Iterable[str], overwrite: bool) -> None:
    """Refuse to replace an earlier export unasked, files of others always, and to follow links out of the output."""
    if (output / INDEX).exists() and not overwrite:
        raise UsageError(output / INDEX, "no file there yet", "one", "Use --overwrite, or name another folder")
    for key in keys:
        folder = path_of(output, key, FOLDER)
        refuse_link_out(folder, output)
        refuse_standing(sorted(folder.glob(SLICES)), path_of(output, key, RECORD), overwrite)


def _indexed(index: Path) -> list[str]:
    """Keys of the volumes whose slices an earlier export's index lists; none where there is no index.

    Raises:
        UsageError: it is none of ours.
    """
    if not index.exists():
        return []
    with index.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise UsageError(index, "a file of mri3d", "one that it did not write", "Choose another output folder")
        return [PurePosixPath(row["file"]).parent.as_posix().removesuffix(FOLDER) for row in rows]


def _clear(output: Path, key: str) -> None:
    """Take away a volume's earlier slices; the record, which tells whose they are, goes last."""
    folder = path_of(output, key, FOLDER)
    for path in folder.glob(SLICES):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    path_of(output, key, RECORD).unlink(missing_ok=True)


def _write(subject: Subject, stack: SliceStack, warnings: Sequence[str], output: Path) -> list[dict[str, Any]]:
    """A volume's record and slices; the rows of the index."""
    write_json(
        path_of(output, subject.key, RECORD),
        {
            "source": str(subject.reference.resolve()),
            "grid": stack.grid.as_dict(),
            "grid_note": "pixel [i, j] of slice k lies at affine @ [i, j, k, 1], in mm (RAS) of the source",
            "slices": list(stack.kept),
            "intensity": {"0": stack.scale[0], "1": stack.scale[1]},
            "warnings": list(warnings),
            "versions": versions(),
        },
    )
    rows = []
    for index in stack.kept:
        path = path_of(output, subject.key, FOLDER) / f"slice_{index:03}.npy"
        with atomic_write(path) as place, place.open("wb") as file:
            np.save(file, stack.data[..., index])
        centre = stack.grid.world([(n - 1) / 2 for n in stack.grid.shape[:2]] + [index])
        rows.append(
            {"file": path.relative_to(output).as_posix(), "subject": subject.name, "participant": subject.participant,
             "slice": index, **{f"{axis}_mm": float(mm) for axis, mm in zip("xyz", centre, strict=True)},
             "source": str(subject.reference)}
        )  # fmt: skip
    return rows


def put_back(record: Path | str, slices: Mapping[int, npt.ArrayLike], output: Path | str) -> None:
    """Write slices, or maps of them, as one NIfTI volume on the grid of the volume they were cut from.

    Args:
        record: the ``NAME_slices.json`` of an export.
        slices: (128, 128) arrays of finite numbers by slice number; 0 where there is none.
        output: the file, ending in .nii or .nii.gz, where no file is yet.

    Raises:
        UsageError: the record is none, a slice is not of its stack, the volume is another than was sliced, or the
            output stands already.
        InputError: the volume is there no more, or unfit.
    """
    output = Path(output)
    if not output.name.endswith((".nii", ".nii.gz")) or os.path.lexists(output):
        found = "a file that is there" if os.path.lexists(output) else output.name
        raise UsageError(output, "a new file ending in .nii or .nii.gz", found, "Choose another name")
    try:
        made = json.loads(Path(record).read_text(encoding="utf-8"))
        grid, source = Grid(tuple(made["grid"]["shape"]), np.array(made["grid"]["affine"])), Path(made["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(record, "the record of a sliced volume", f"{error!r}", "Run mri3d slices again") from error
    volume = read_volume(source)
    if not slice_grid(volume.canonical(volume.data)[1]).matches(grid):
        raise UsageError(source, "the volume that was sliced", "one on another grid", "Run mri3d slices again")
    try:
        data = from_slices({int(k): np.asarray(v, np.float32) for k, v in slices.items()}, grid, volume.grid)
    except (ValueError, TypeError, AttributeError) as error:
        remedy = "Give 128 x 128 arrays of finite numbers by slice number"
        raise UsageError(record, "slices of its own", str(error), remedy) from error
    write_map(output, data, volume, "mri3d slices, put back")

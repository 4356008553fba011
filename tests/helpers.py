"""Head-like volumes on any grid, and NIfTI files of them in any storage."""

from __future__ import annotations

import gzip
from pathlib import Path, PurePosixPath
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from mri3d.grid import Affine, Grid
from mri3d.volumes.subject import Subject
from mri3d.volumes.volume import Volume

FloatArray = npt.NDArray[np.float32]


def head_grid(
    axcodes: str = "RAS",
    spacing: tuple[float, float, float] = (6.0, 6.0, 6.0),
    degrees: float = 0.0,
    fov: tuple[float, float, float] = (186.0, 234.0, 210.0),
    centre: tuple[float, float, float] = (3.0, -17.0, 12.0),
) -> Grid:
    """A grid around a head.

    Args:
        axcodes: where the voxel axes point to, such as ``PSR``.
        spacing: mm along these axes.
        degrees: rotation of the axes about the world's (1, 2, 3) direction.
        fov: field of view in mm along right, anterior and superior.
        centre: its middle in mm, which is no symmetric place.
    """
    ornt = nib.orientations.axcodes2ornt(tuple(axcodes))
    axes = np.zeros((3, 3))
    axes[ornt[:, 0].astype(int), range(3)] = ornt[:, 1]
    shape = tuple(round(float(np.abs(axes[:, i]) @ fov) / spacing[i]) for i in range(3))
    rotation = rotation_about((1, 2, 3), degrees)
    affine = np.eye(4)
    affine[:3, :3] = rotation @ axes * spacing
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid((shape[0], shape[1], shape[2]), affine)


def rotation_about(axis: npt.ArrayLike, degrees: float) -> npt.NDArray[np.float64]:
    """The (3, 3) rotation by ``degrees`` about ``axis``."""
    x, y, z = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    cross, angle = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]), np.deg2rad(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def head(grid: Grid, seed: int = 0) -> FloatArray:
    """A head in world space, sampled on ``grid``: scalp, skull, grey and white matter, a bright spot on the left.

    It is centred at (0, -15, 10) mm and the same head on every grid, so that orientation errors show.
    """
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    at = grid.world(index) - (0.0, -15.0, 10.0)
    size = np.linalg.norm(at / (66.0, 84.0, 62.0), axis=-1)  # 1 on the brain's surface
    folds = 8 * np.sin(at / 7.0).sum(axis=-1)
    layers = [size < 0.75, size < 1.0, size < 1.1, size < 1.2]
    image = np.select(layers, [150 + folds, 95 + folds, 15, 120], 0.0)
    image[np.linalg.norm(at - (-35.0, 20.0, 10.0), axis=-1) < 14] = 250
    return np.asarray(np.abs(image + np.random.default_rng(seed).normal(0, 3, grid.shape)), dtype=np.float32)


def write_nifti(
    path: Path,
    grid: Grid | None = None,
    data: npt.NDArray[Any] | None = None,
    *,
    dtype: npt.DTypeLike = np.float32,
    slope: tuple[float, float] = (1.0, 0.0),
    codes: tuple[int, int] = (1, 1),
    qform: Affine | None = None,
    units: str = "mm",
    version: int = 1,
    big_endian: bool = False,
    trailing: int = 0,
    **fields: Any,
) -> Path:
    """Write ``data`` (a head by default) on ``grid`` and return ``path``.

    Args:
        path: where to, .nii or .nii.gz.
        grid: where the voxels lie, in ``units``.
        data: voxel values before ``slope`` is taken out.
        dtype: the stored type.
        slope: scale slope and intercept.
        codes: of sform and qform; 0 leaves that one out.
        qform: an affine for the qform where it differs from the sform.
        units: ``mm``, ``meter``, ``micron`` or ``unknown``.
        version: 1 or 2.
        big_endian: the byte order.
        trailing: how many dimensions of 1 to append.
        fields: header fields to set last, right or wrong (``pixdim=...``); nibabel is not asked.
    """
    grid = grid or head_grid()
    data = head(grid) if data is None else data
    stored = (data - slope[1]) / slope[0] if slope != (1.0, 0.0) else data
    if np.issubdtype(dtype, np.integer):
        stored = np.round(stored)
    kind = nib.Nifti2Header if version == 2 else nib.Nifti1Header
    header = kind(endianness=">" if big_endian else "<")
    header.set_data_dtype(dtype)
    header.set_data_shape(data.shape + (1,) * trailing)
    header.set_qform(grid.affine if qform is None else qform, codes[1])
    header.set_sform(grid.affine, codes[0])
    if not codes[0]:
        for row in ("srow_x", "srow_y", "srow_z"):
            header[row] = 0
    header["pixdim"][1:4] = grid.spacing
    header.set_xyzt_units(units)
    header["scl_slope"], header["scl_inter"] = slope
    header["magic"] = header.single_magic
    header["vox_offset"] = header.single_vox_offset
    for field, value in fields.items():
        header[field] = value
    voxels = np.asarray(stored).astype(header.get_data_dtype()).tobytes(order="F")
    content = header.binaryblock + b"\0" * 4 + voxels
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1) if path.name.lower().endswith(".gz") else content)
    return path


def volume_of(data: npt.NDArray[Any], grid: Grid, path: Path | str = "head.nii.gz") -> Volume:
    """A volume as the gate would hand it on, without a file."""
    header = nib.Nifti1Header()
    header.set_data_shape(grid.shape)
    header.set_sform(grid.affine, 1)
    return Volume(np.asarray(data, dtype=np.float32), grid, header, Path(path))


def subject_of(path: Path | str = "head.nii.gz", mask: Path | None = None, participant: str = "") -> Subject:
    """A subject of one T1w file."""
    name = Path(path).name.removesuffix(".gz").removesuffix(".nii")
    return Subject(name, participant or name, PurePosixPath(), {"T1w": Path(path)}, mask)


def ellipsoid(grid: Grid, scale: float = 1.0) -> npt.NDArray[np.bool_]:
    """The brain of :func:`head` in world space, 1440 ml at ``scale`` 1, sampled on ``grid``."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    at = grid.world(index) - (0.0, -15.0, 10.0)
    return np.asarray(np.linalg.norm(at / (66.0, 84.0, 62.0), axis=-1) < scale)

"""The NIfTI gate: a file in, a checked `Volume` out, and maps back out on the very same grid."""

from __future__ import annotations

import gzip
import itertools
import logging
import math
import zlib
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import HeaderDataError

from mri3d.errors import ContentError, GeometryError, UnreadableFileError
from mri3d.grid import Affine, Grid
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.volume import FloatArray, Volume

GIB = 2**30
MIN_SLICES = 8
MAX_DEFLATE_RATIO = 1032  # one byte of gzip holds at most this many: a tiny file cannot keep a huge promise
SHEAR_REFUSED = 1e-3  # cosine of the angle between two voxel axes
SHEAR_OF_ITK = 1e-4  # above this ITK refuses to open a file
SPACING_TOLERANCE = 0.01  # relative difference of pixdim and the sform's columns
FORMS_APART_MM = 1.0
MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # by NIfTI code; one that is unknown counts as mm, as everywhere
SCANNER, MNI152 = 1, 4  # codes of sform and qform

_log = logging.getLogger(__name__)


def read_volume(path: Path, max_bytes: int = 4 * GIB, constant_allowed: bool = False) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file (.nii, .nii.gz) that holds one volume of real numbers.

    The header is judged before memory is taken for voxels, and no more is decompressed than it promises.
    World coordinates follow the sform where it is coded, else the qform, and are in mm whatever the file's unit.

    Args:
        path: the file.
        max_bytes: the largest size allowed, of the voxels as stored and of their float32 copy alike.
        constant_allowed: whether all voxels may be equal, as in the mask of a subject without a lesion.

    Raises:
        UnreadableFileError: not a whole NIfTI file, not one 3D volume, not real numbers, or too large.
        GeometryError: an affine that is singular, sheared or contradicts itself.
        ContentError: voxels that are not finite, all equal, or of too few slices.
    """
    try:
        with _open(path) as stream:
            header = _read_header(path, stream)
            shape = _check_shape(path, header)
            _check_storage(path, header, shape, max_bytes)
            grid, warnings = _read_grid(path, header, shape)
            data = _read_voxels(stream, header).reshape(shape)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFileError(
            path, "a whole, readable NIfTI file", str(error), "Copy or export the file again"
        ) from error
    _check_content(path, data, constant_allowed)
    return Volume(data, grid, header, path, warnings)


def write_map(path: Path, data: npt.NDArray[Any], like: Volume, description: str = "") -> None:
    """Write ``data`` on the grid of ``like``, whole or not at all.

    Stored shape, affine, sform, qform, their codes and the units are those of the source file. Header extensions
    are left behind: they describe the source's voxels and may name the patient.

    Args:
        path: where to, ending in .nii or .nii.gz.
        data: (X, Y, Z) array of ``like``'s shape; float32, uint8 or bool, which is stored as uint8.
        like: the volume the map was made from.
        description: up to 79 ASCII characters for the header.

    Raises:
        ValueError: ``data`` has another shape or type.
    """
    if data.shape != like.grid.shape:
        raise ValueError(f"a map has the shape of its source, {like.grid.shape}, not {data.shape}")
    if data.dtype == np.bool_:
        data = data.view(np.uint8)
    if data.dtype not in (np.float32, np.uint8):
        raise ValueError(f"a map is float32, uint8 or bool, not {data.dtype}")
    header = like.header.copy()
    header.set_data_dtype(data.dtype)
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"] = description.encode("ascii", "replace")[:79]
    kind: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    # No affine beside the header: nibabel then leaves sform, qform and their codes alone; slope and offset it resets.
    _save(path, kind(data.reshape(header.get_data_shape()), None, header))


def write_image(path: Path, data: npt.NDArray[Any], grid: Grid, description: str = "", code: int = SCANNER) -> None:
    """Write voxels that come from no file, whole or not at all.

    sform and qform are the grid's, and the unit is mm.

    Args:
        path: where to, ending in .nii or .nii.gz.
        data: (X, Y, Z) int16, uint8 or float32 of the grid's shape.
        grid: where they lie.
        description: up to 79 ASCII characters for the header.
        code: of sform and qform, which space the grid is in: :data:`SCANNER` or :data:`MNI152`.

    Raises:
        ValueError: ``data`` has another shape or type.
    """
    if data.shape != grid.shape or data.dtype not in (np.int16, np.uint8, np.float32):
        expected = f"int16, uint8 or float32 of shape {grid.shape}"
        raise ValueError(f"an image is {expected}, not {data.dtype} of {data.shape}")
    image = nib.Nifti1Image(data, grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, code)
    image.set_qform(grid.affine, code)
    image.header["descrip"] = description.encode("ascii", "replace")[:79]
    _save(path, image)


def _save(path: Path, image: Any) -> None:
    with atomic_write(path) as part, part.open("wb") as file:
        if _named_gz(path):
            # Neither a name nor a time goes into the file, so that equal maps are equal files.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)


def _named_gz(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> IO[bytes]:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise UnreadableFileError(path, "a file", found, "Check the name and that the file is there")
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise UnreadableFileError(path, "a name ending in .nii or .nii.gz", path.name, "Convert the file to NIfTI")
    with path.open("rb") as stream:
        start = stream.read(540)
    gzipped = start.startswith(b"\x1f\x8b")
    if start and gzipped != _named_gz(path):
        expected, other = ("gzip-compressed", ".nii") if _named_gz(path) else ("uncompressed", ".nii.gz")
        remedy = f"Rename the file to end in {other} if it is NIfTI, else export it again"
        raise UnreadableFileError(path, f"{expected} NIfTI", _describe(start), remedy)
    return cast(IO[bytes], gzip.open(path)) if gzipped else path.open("rb")


def _describe(start: bytes) -> str:
    """What a file is, judged by its first bytes, for someone who takes it for NIfTI."""
    if not start:
        return "an empty file"
    if start.startswith(b"\x1f\x8b"):
        return "gzip-compressed data"
    if start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0":
        return "uncompressed NIfTI"
    if start[344:348] == b"ni1\0" or start[4:8] == b"ni2\0":
        return "the header of a .hdr/.img pair"
    if start[128:132] == b"DICM":
        return "a DICOM file"
    if start.lstrip().startswith(b"<"):
        return "a web page or XML"
    return "text" if start.isascii() and b"\0" not in start else "something else"


def _read_header(path: Path, stream: IO[bytes]) -> nib.Nifti1Header:
    """The header without its extensions, of either version and byte order; only trifles are set right in it."""
    start = stream.read(540)
    kind: Any
    if start[344:348] == b"n+1\0":
        kind, size = nib.Nifti1Header, 348
    elif start[4:12] == b"n+2\0\r\n\x1a\n":
        kind, size = nib.Nifti2Header, 540
    else:
        raise UnreadableFileError(path, "a single-file NIfTI-1 or NIfTI-2", _describe(start), "Export the file again")
    if len(start) < size:
        raise EOFError("a header that is cut short")
    endianness = "<" if int.from_bytes(start[:4], "little") == size else ">"
    header: nib.Nifti1Header = kind(start[:size], endianness=endianness, check=False)

    if header["vox_offset"] == 0:
        header["vox_offset"] = header.single_vox_offset
    offset, spacing = float(header["vox_offset"]), header["pixdim"][1:4]
    if not (math.isfinite(offset) and offset >= header.single_vox_offset):
        expected = f"voxels from byte {header.single_vox_offset} on"
        raise UnreadableFileError(path, expected, f"vox_offset {offset:g}", "Export the file again")
    # nibabel would put 1 for a size of zero and drop a sign, by which ITK flips the axis.
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise GeometryError(path, "positive voxel sizes", f"pixdim {spacing.tolist()}", "Export the file again")
    try:
        header.check_fix(_log)
    except HeaderDataError as error:
        raise UnreadableFileError(path, "a valid NIfTI header", str(error), "Export the file again") from error
    return header


def _check_shape(path: Path, header: nib.Nifti1Header) -> tuple[int, int, int]:
    ndim, *dims = (int(n) for n in header["dim"])
    stored = dims[: max(ndim, 0)]
    if not 1 <= ndim <= 7 or min(stored) < 1:
        raise UnreadableFileError(path, "1 to 7 positive dimensions", f"dim {[ndim, *dims]}", "Export the file again")
    if ndim < 3 or max(stored[3:], default=1) > 1:
        remedy = "Give one volume a file; fslsplit or fslroi take a series apart"
        raise UnreadableFileError(path, "one 3D volume", f"dimensions {stored}", remedy)
    if min(stored[:3]) < MIN_SLICES:
        raise ContentError(path, f"at least {MIN_SLICES} slices along each axis", f"{stored[:3]}", "Give a 3D scan")
    return stored[0], stored[1], stored[2]


def _check_storage(path: Path, header: nib.Nifti1Header, shape: tuple[int, int, int], max_bytes: int) -> None:
    """Refuse types that are no real number, and sizes that do not fit into memory or into the file."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        name = nib.nifti1.data_type_codes.label[int(header["datatype"])]
        remedy = "Convert colours to grey, and complex numbers to their magnitude"
        raise UnreadableFileError(path, "real numbers", f"data type {name}", remedy)
    count = math.prod(shape)
    needed = int(header["vox_offset"]) + count * dtype.itemsize
    if max(needed, 4 * count) > max_bytes:
        found = f"{max(needed, 4 * count) / GIB:.1f} GiB in the header's dimensions {list(shape)}"
        raise UnreadableFileError(path, f"at most {max_bytes / GIB:.1f} GiB", found, "Check or downsample the file")
    size = path.stat().st_size
    if needed > size * (MAX_DEFLATE_RATIO if _named_gz(path) else 1):
        remedy = "Copy or export the file again, it is cut short"
        raise UnreadableFileError(path, f"{needed} bytes as the header says", f"a file of {size} bytes", remedy)


def _read_grid(path: Path, header: nib.Nifti1Header, shape: tuple[int, int, int]) -> tuple[Grid, tuple[str, ...]]:
    """The grid in mm and what is odd about it; refuses what viewers would read in two ways."""
    try:
        sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError) as error:
        raise GeometryError(path, "a qform that is a rotation", str(error), "Export the file again") from error
    mm = MM_PER_UNIT.get(int(header["xyzt_units"]) % 8, 1.0)
    best = next(form for form in (sform, qform, header.get_base_affine()) if form is not None)
    affine = np.asarray(best, dtype=np.float64) * [[mm], [mm], [mm], [1.0]]
    try:
        grid = Grid(shape, affine)
    except ValueError as error:
        raise GeometryError(path, "a usable affine", str(error), "Export the file again") from error

    spacing = np.array(grid.spacing)
    cosines = np.abs((affine[:3, :3] / spacing).T @ (affine[:3, :3] / spacing) - np.eye(3)).max()
    if cosines > SHEAR_REFUSED:
        found = f"a sheared affine (cosine {cosines:.2g})"
        raise GeometryError(path, "voxel axes at right angles", found, "Resample the volume onto a rectangular grid")
    pixdim = mm * np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if (np.abs(pixdim - spacing) > SPACING_TOLERANCE * spacing).any():
        found = f"pixdim {pixdim.round(4).tolist()} mm but {spacing.round(4).tolist()} mm in the sform"
        raise GeometryError(path, "one voxel size", found, "Export the file again, viewers would disagree about it")

    warnings = []
    if cosines > SHEAR_OF_ITK:
        warnings.append(f"the affine is slightly sheared (cosine {cosines:.2g}); ITK viewers will not open the maps")
    if sform is None and qform is None:
        warnings.append("neither sform nor qform is coded; left and right are a guess")
    if sform is not None and qform is not None:
        apart = mm * _farthest(sform, qform, shape)
        if apart > FORMS_APART_MM:
            warnings.append(f"sform and qform place voxels up to {apart:.1f} mm apart; the sform is used")
    return grid, tuple(warnings)


def _farthest(one: Affine, other: Affine, shape: tuple[int, int, int]) -> float:
    """The largest distance between the places two affines give a voxel; it is reached in a corner."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape))])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())


def _read_voxels(stream: IO[bytes], header: nib.Nifti1Header) -> FloatArray:
    try:
        data = header.data_from_fileobj(stream)
    except HeaderDataError as error:  # a slope without an intercept
        raise OSError(str(error)) from error
    stream.read(1)  # the byte after the last voxel: gzip compares its checksum once it sees the end
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is refused
        return np.asarray(data, dtype=np.float32)


def _check_content(path: Path, data: FloatArray, constant_allowed: bool) -> None:
    broken = data.size - np.count_nonzero(np.isfinite(data))
    if broken:
        found = f"{broken} of {data.size} that are NaN or infinite"
        raise ContentError(path, "finite voxels", found, "Export the file again or fill these voxels")
    if not constant_allowed and data.min() == data.max():
        raise ContentError(path, "an image", f"{data.flat[0]:g} in every voxel", "Check how the file was made")

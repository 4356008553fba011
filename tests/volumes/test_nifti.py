"""The gate refuses what must not be scored, and maps lie exactly where their source lies."""

from __future__ import annotations

import gzip
import re
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from mri3d.errors import ContentError, GeometryError, InputError, UnreadableFileError
from mri3d.grid import Grid
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.volume import Volume
from tests.helpers import head, head_grid, rotation_about, write_nifti

SMALL = head_grid(spacing=(12, 13, 14))
SHIFTED = head_grid(spacing=(12, 13, 14), degrees=20, centre=(0, 5, -9)).affine

STORAGES: dict[str, dict[str, Any]] = {
    "RAS": {"grid": head_grid("RAS")},
    "LAS": {"grid": head_grid("LAS")},
    "PSR": {"grid": head_grid("PSR")},
    "oblique": {"grid": head_grid("RAS", degrees=15)},
    "oblique LPI": {"grid": head_grid("LPI", spacing=(5, 6, 7), degrees=15)},
    "anisotropic": {"grid": head_grid("RAS", spacing=(0.9, 0.9, 5), fov=(50, 40, 60))},
    "qform only": {"codes": (0, 1), "grid": head_grid("LAS", degrees=15)},
    "sform only": {"codes": (4, 0), "grid": head_grid("LAS", degrees=15)},
    "codes differ": {"codes": (4, 2)},
    "forms differ": {"codes": (2, 1), "grid": SMALL, "qform": SHIFTED},
    "no form": {"codes": (0, 0)},
    "int16 with slope": {"dtype": np.int16, "slope": (0.25, -40.0)},
    "uint8": {"dtype": np.uint8},
    "uint16": {"dtype": np.uint16},
    "int32": {"dtype": np.int32},
    "float64": {"dtype": np.float64},
    "big-endian": {"dtype": np.int16, "big_endian": True},
    "4D of one volume": {"trailing": 1},
    "5D of one volume": {"trailing": 2},
    "NIfTI-2": {"version": 2, "codes": (4, 1)},
    "NIfTI-2 big-endian 4D": {"version": 2, "big_endian": True, "trailing": 1},
    "metres": {"units": "meter", "grid": Grid(SMALL.shape, np.diag([1e-3, 1e-3, 1e-3, 1]) @ SMALL.affine)},
    "microns": {"units": "micron", "grid": Grid(SMALL.shape, np.diag([1e3, 1e3, 1e3, 1]) @ SMALL.affine)},
    "units unknown": {"units": "unknown"},
    "cal and descrip": {"cal_min": 5, "cal_max": 90, "descrip": b"ANON SMITH"},
}


@pytest.fixture(params=[".nii", ".nii.gz"])
def ending(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def itk_geometry(path: Path) -> np.ndarray:
    image = sitk.ReadImage(str(path))
    return np.concatenate([image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()])


def assert_same_space(map_path: Path, source_path: Path) -> None:
    """Both nibabel and ITK say that every voxel of the map lies where the source's does."""
    made, source = nib.load(map_path), nib.load(source_path)
    assert type(made) is type(source)
    assert made.shape == source.shape
    for name in ("get_best_affine", "get_sform", "get_qform", "get_xyzt_units", "get_zooms", "get_dim_info"):
        assert np.array_equal(getattr(made.header, name)(), getattr(source.header, name)()), name
    for field in ("sform_code", "qform_code", "srow_x", "quatern_b", "qoffset_x", "pixdim", "xyzt_units", "toffset"):
        assert np.array_equal(made.header[field], source.header[field]), field
    if not isinstance(source, nib.Nifti2Image):  # ITK 5.4 reads no NIfTI-2
        np.testing.assert_array_equal(itk_geometry(map_path), itk_geometry(source_path))


@pytest.mark.parametrize("storage", STORAGES)
def test_a_map_lies_where_its_source_lies(tmp_path: Path, storage: str, ending: str) -> None:
    source = write_nifti(tmp_path / f"source{ending}", **STORAGES[storage])
    volume = read_volume(source)
    values = np.random.default_rng(1).normal(size=volume.grid.shape).astype(np.float32)
    for name, data in (("zscore", values), ("anomaly", values > 1), ("label", (values > 1).astype(np.uint8))):
        target = tmp_path / f"{name}{ending}"
        write_map(target, data, volume, "mri3d z-map")
        assert_same_space(target, source)
        image = nib.load(target)
        assert image.get_data_dtype().newbyteorder("=") == (np.float32 if name == "zscore" else np.uint8)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj).reshape(data.shape), data)
        on_disk = (gzip.open if ending == ".nii.gz" else open)(target, "rb").read()
        header = type(image.header)(on_disk[: image.header.sizeof_hdr])
        assert (header["scl_slope"], header["scl_inter"], header["cal_min"], header["cal_max"]) == (1, 0, 0, 0)
        assert header["descrip"] == b"mri3d z-map"
        assert len(on_disk) == header["vox_offset"] + data.size * image.get_data_dtype().itemsize
    assert read_volume(tmp_path / f"zscore{ending}").grid.matches(volume.grid, 0)


@pytest.mark.parametrize("storage", STORAGES)
def test_values_and_places_are_those_of_nibabel(tmp_path: Path, storage: str) -> None:
    path = write_nifti(tmp_path / "source.nii.gz", **STORAGES[storage])
    volume, image = read_volume(path), nib.load(path)
    np.testing.assert_array_equal(volume.data, image.get_fdata(dtype=np.float32).reshape(volume.grid.shape))
    assert volume.data.dtype == np.float32 and volume.data.dtype.isnative
    mm = {"metres": 1e3, "microns": 1e-3}.get(storage, 1.0)
    np.testing.assert_allclose(volume.grid.affine, np.diag([mm, mm, mm, 1]) @ image.affine, atol=1e-5)
    assert volume.path == path


@pytest.mark.parametrize("storage", ["metres", "microns", "RAS", "oblique LPI", "qform only"])
def test_the_grid_is_in_mm_as_itk_has_it(tmp_path: Path, storage: str) -> None:
    path = write_nifti(tmp_path / "source.nii", **STORAGES[storage])
    image, grid = sitk.ReadImage(str(path)), read_volume(path).grid
    for index in ((0, 0, 0), (1, 2, 3), (7, 5, 2)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(grid.world(index), (-x, -y, z), atol=1e-3)


@pytest.mark.parametrize(
    ("storage", "warning"),
    [
        ("RAS", None),
        ("codes differ", None),
        ("forms differ", r"sform and qform place voxels up to \d+\.\d mm apart; the sform is used"),
        ("no form", "neither sform nor qform is coded"),
    ],
)
def test_oddities_are_warned_of(tmp_path: Path, storage: str, warning: str | None) -> None:
    warnings = read_volume(write_nifti(tmp_path / "source.nii", **STORAGES[storage])).warnings
    assert len(warnings) == (warning is not None)
    if warning:
        assert re.search(warning, warnings[0])


def test_forms_within_a_millimetre_and_slight_shear(tmp_path: Path) -> None:
    near = SMALL.affine + np.array([[0, 0, 0, 0.9], [0] * 4, [0] * 4, [0] * 4])
    assert not read_volume(write_nifti(tmp_path / "near.nii", SMALL, qform=near)).warnings
    path = write_nifti(tmp_path / "slight.nii", sheared(5e-4), codes=(1, 0))
    assert "sheared" in read_volume(path).warnings[0]
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(path))


def test_the_distance_of_the_forms_is_in_mm(tmp_path: Path) -> None:
    metres = STORAGES["metres"]["grid"]
    off = metres.affine + np.array([[0, 0, 0, 0.025], [0] * 4, [0] * 4, [0] * 4])
    (warning,) = read_volume(write_nifti(tmp_path / "m.nii", metres, units="meter", qform=off)).warnings
    assert "25.0 mm" in warning


def test_capital_endings_and_extensions(tmp_path: Path) -> None:
    image = nib.Nifti1Image(head(SMALL), SMALL.affine)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"patient: Smith"))
    nib.save(image, tmp_path / "a.nii.gz")
    path = (tmp_path / "a.nii.gz").rename(tmp_path / "A.NII.GZ")
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data, head(SMALL))
    write_map(tmp_path / "map.nii", volume.data, volume)
    assert b"Smith" not in (tmp_path / "map.nii").read_bytes()
    assert (tmp_path / "map.nii").stat().st_size == 352 + 4 * volume.data.size
    assert_same_space(tmp_path / "map.nii", path)


def test_a_qfac_of_zero_counts_as_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_nifti(tmp_path / "qfac.nii", SMALL, codes=(0, 1), pixdim=[0, *SMALL.spacing, 0, 0, 0, 0])
    volume = read_volume(path)
    assert volume.grid.matches(SMALL)
    write_map(tmp_path / "map.nii", volume.data, volume)
    np.testing.assert_array_equal(itk_geometry(tmp_path / "map.nii"), itk_geometry(path))


def sheared(cosine: float) -> Grid:
    shear = np.eye(4)
    shear[0, 1] = cosine
    return Grid(
        SMALL.shape, SMALL.affine @ np.linalg.inv(np.diag([*SMALL.spacing, 1])) @ shear @ np.diag([12, 13, 14, 1])
    )


# -- what is refused ---------------------------------------------------------------------------------------------------


def saved(name: str = "bad.nii", **storage: Any) -> Callable[[Path], Path]:
    return lambda folder: write_nifti(folder / name, storage.pop("grid", SMALL), **storage)


def raw(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def cut(name: str, keep: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write_nifti(folder / name, SMALL)
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
        return path

    return make


def patched(name: str, change: Callable[[bytearray], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        content = bytearray(write_nifti(folder / name, SMALL).read_bytes())
        change(content)
        (folder / name).write_bytes(content)
        return folder / name

    return make


def put(fmt: str, offset: int, *values: float) -> Callable[[Path], Path]:
    return patched("bad.nii", lambda content: struct.pack_into(fmt, content, offset, *values))


def flip(at: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content[at] ^= 0xFF

    return change


def with_voxels(**voxels: float) -> Callable[[Path], Path]:
    data = head(SMALL)
    data.flat[[5, 77, 300][: int(voxels["count"])]] = voxels["value"]
    return saved(data=data)


HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
NIFTI = nib.Nifti1Image(head(SMALL), SMALL.affine).to_bytes()
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
NAN_ROW = [np.nan, 0, 0, 0]

REFUSED: dict[str, tuple[type[InputError], str, Callable[[Path], Path]]] = {
    "missing": (UnreadableFileError, "found nothing", lambda folder: folder / "no.nii"),
    "folder": (UnreadableFileError, "found a folder", lambda folder: folder),
    "other ending": (UnreadableFileError, "ending in .nii", raw("scan.mgz", NIFTI)),
    "empty": (UnreadableFileError, "an empty file", raw("bad.nii", b"")),
    "empty gz": (UnreadableFileError, "an empty file", raw("bad.nii.gz", b"")),
    "empty inside gz": (UnreadableFileError, "an empty file", raw("bad.nii.gz", gzip.compress(b""))),
    "text": (UnreadableFileError, "found text", raw("bad.nii", b"version https://git-lfs.github.com/spec/v1\n" * 20)),
    "html": (UnreadableFileError, "a web page", raw("bad.nii", HTML)),
    "html gz": (UnreadableFileError, "a web page", raw("bad.nii.gz", HTML)),
    "html inside gz": (UnreadableFileError, "a web page", raw("bad.nii.gz", gzip.compress(HTML))),
    "dicom": (UnreadableFileError, "a DICOM file", raw("bad.nii", b"\0" * 128 + b"DICM" + b"\0" * 500)),
    "noise": (UnreadableFileError, "something else", raw("bad.nii", bytes(range(128, 256)) * 9)),
    "gz that is none": (UnreadableFileError, "uncompressed NIfTI.*end in .nii ", raw("bad.nii.gz", NIFTI)),
    "nii that is gzipped": (UnreadableFileError, "end in .nii.gz", raw("bad.nii", gzip.compress(NIFTI))),
    "header of a pair": (UnreadableFileError, "pair", put("4s", 344, b"ni1\0")),  # type: ignore[arg-type]
    "only a header": (UnreadableFileError, "cut short", raw("bad.nii", NIFTI[:352])),
    "half a header": (UnreadableFileError, "something else", raw("bad.nii", NIFTI[:200])),
    "half a NIfTI-2 header": (
        UnreadableFileError,
        "header that is cut short",
        raw("bad.nii", nib.Nifti2Image(head(SMALL), SMALL.affine).to_bytes()[:400]),
    ),
    "truncated": (UnreadableFileError, "cut short", cut("bad.nii", 0.9)),
    "truncated by a byte": (UnreadableFileError, "cut short", raw("bad.nii", NIFTI[:-1])),
    "truncated gz": (UnreadableFileError, "whole", cut("bad.nii.gz", 0.6)),
    "gz cut within its checksum": (UnreadableFileError, "whole", cut("bad.nii.gz", 0.9999)),
    "gz of a truncated file": (UnreadableFileError, "whole", raw("bad.nii.gz", gzip.compress(NIFTI[:-500]))),
    "gz with a wrong checksum": (UnreadableFileError, "CRC", patched("bad.nii.gz", flip(-6))),
    "gz with a flipped byte": (UnreadableFileError, "whole", patched("bad.nii.gz", flip(4000))),
    "negative dimension": (UnreadableFileError, "positive dimensions", put("<h", 42, -24)),
    "zero dimension": (UnreadableFileError, "positive dimensions", put("<h", 46, 0)),
    "ndim 9": (UnreadableFileError, "1 to 7", put("<h", 40, 9)),
    "ndim 0": (UnreadableFileError, "1 to 7", put("<h", 40, 0)),
    "ndim negative": (UnreadableFileError, "1 to 7", put("<h", 40, -3)),
    "one slice as 2D": (UnreadableFileError, "one 3D volume", saved(data=head(SMALL)[:, :, 3])),
    "five volumes": (UnreadableFileError, "one 3D volume", saved(data=np.stack([head(SMALL)] * 5, axis=3))),
    "three vectors in 5D": (UnreadableFileError, "one 3D", saved(data=np.stack([head(SMALL)] * 3, 3)[:, :, :, None])),
    "RGB": (UnreadableFileError, "RGB", saved(data=np.zeros(SMALL.shape, RGB), dtype=RGB)),
    "complex": (UnreadableFileError, "complex64", saved(dtype=np.complex64)),
    "complex128": (UnreadableFileError, "complex128", saved(dtype=np.complex128)),
    "unknown data type": (UnreadableFileError, "valid NIfTI header", put("<h", 70, 17)),
    "bits": (UnreadableFileError, "valid NIfTI header", put("<h", 70, 1)),
    "voxels within the header": (UnreadableFileError, "vox_offset", put("<f", 108, 100.0)),
    "offset NaN": (UnreadableFileError, "vox_offset", put("<f", 108, np.nan)),
    "offset infinite": (UnreadableFileError, "vox_offset", put("<f", 108, -np.inf)),
    "offset beyond the end": (UnreadableFileError, "cut short", put("<f", 108, 1e6)),
    "offset far beyond": (UnreadableFileError, "GiB", put("<f", 108, 1e30)),
    "slope without intercept": (UnreadableFileError, "whole", put("<2f", 112, 2.0, np.nan)),
    "voxel size zero": (GeometryError, "positive voxel sizes", put("<f", 80, 0.0)),
    "voxel size negative": (GeometryError, "positive voxel sizes", put("<f", 80, -12.0)),
    "voxel size NaN": (GeometryError, "positive voxel sizes", put("<f", 84, np.nan)),
    "affine NaN": (GeometryError, "usable affine", saved(srow_x=NAN_ROW)),
    "affine infinite": (GeometryError, "usable affine", saved(srow_y=[0, np.inf, 0, 0])),
    "affine zero": (GeometryError, "usable affine", saved(srow_z=[0, 0, 0, 0])),
    "affine singular": (GeometryError, "usable affine", saved(srow_z=[12, 0, 0, 0], srow_x=[12, 0, 0, 0])),
    "qform offset NaN": (GeometryError, "usable affine", saved(codes=(0, 1), qoffset_x=np.nan)),
    "qform no rotation": (GeometryError, "rotation", saved(codes=(0, 1), quatern_b=0.9, quatern_c=0.9)),
    "shear": (GeometryError, "right angles", saved(grid=sheared(2e-3), codes=(1, 0))),
    "pixdim unlike sform": (GeometryError, "one voxel size", saved(pixdim=[1, 12, 13, 14.2, 0, 0, 0, 0])),
    "NaN voxels": (ContentError, "2 of ", with_voxels(count=2, value=np.nan)),
    "infinite voxel": (ContentError, "1 of ", with_voxels(count=1, value=-np.inf)),
    "beyond float32": (ContentError, "3 of ", saved(data=np.where(head(SMALL) > 249, 1e300, 1), dtype=np.float64)),
    "all zero": (ContentError, "0 in every voxel", saved(data=np.zeros(SMALL.shape))),
    "constant": (ContentError, "7 in every voxel", saved(data=np.full(SMALL.shape, 7), dtype=np.uint8)),
    "seven slices": (ContentError, "at least 8 slices", saved(data=head(SMALL)[:, :7])),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(tmp_path: Path, kind: str) -> None:
    error, words, make = REFUSED[kind]
    path = make(tmp_path)
    with pytest.raises(error, match=words) as caught:
        read_volume(path)
    assert type(caught.value) is error
    assert str(path) in str(caught.value)
    assert caught.value.expected and caught.value.found and caught.value.remedy


def test_an_unlisted_permission_is_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nifti(tmp_path / "a.nii", SMALL)

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(UnreadableFileError, match="Permission denied"):
        read_volume(path)


def promise(path: Path, shape: tuple[int, int, int], code: int = 16) -> Path:
    """A file that holds nothing but the header of a float32 volume of ``shape``."""
    header = bytearray(NIFTI[:352])
    struct.pack_into("<4h", header, 40, 3, *shape)
    struct.pack_into("<2h", header, 70, code, {16: 32, 2: 8}[code])
    path.write_bytes(gzip.compress(bytes(header)) if path.suffix == ".gz" else bytes(header))
    return path


@pytest.mark.parametrize(
    ("shape", "words"),
    [((30000, 30000, 30), "100.6 GiB"), ((32767, 32767, 32767), "GiB"), ((1000, 1000, 1000), "cut short")],
)
def test_a_huge_promise_costs_nothing(tmp_path: Path, shape: tuple[int, int, int], words: str, ending: str) -> None:
    path = promise(tmp_path / f"huge{ending}", shape)
    assert path.stat().st_size < 400
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(UnreadableFileError, match=words):
        read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - began < 1 and peak < 2**20


def test_the_size_limit_counts_stored_and_float32_bytes(tmp_path: Path) -> None:
    voxels = int(np.prod(SMALL.shape))
    for dtype, needed in ((np.uint8, 4 * voxels), (np.float32, 4 * voxels + 352), (np.float64, 8 * voxels + 352)):
        path = write_nifti(tmp_path / "a.nii.gz", SMALL, dtype=dtype)
        read_volume(path, max_bytes=needed)
        with pytest.raises(UnreadableFileError, match="at most"):
            read_volume(path, max_bytes=needed - 1)


def test_no_more_is_decompressed_than_the_header_promises(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(NIFTI + bytes(64 * 2**20), 1))
    tracemalloc.start()
    volume = read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(volume.data, head(SMALL))
    assert peak < 2**20


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[1:], "shape"),
        (lambda data: data.astype(np.float64), "float64"),
        (lambda data: data.astype(np.int16), "int16"),
    ],
)
def test_a_wrong_map_is_not_written(tmp_path: Path, change: Callable[[Any], Any], words: str) -> None:
    volume = read_volume(write_nifti(tmp_path / "a.nii", SMALL))
    with pytest.raises(ValueError, match=words):
        write_map(tmp_path / "map.nii", change(volume.data), volume)
    assert not (tmp_path / "map.nii").exists()


def test_writing_twice_gives_the_same_bytes_and_leaves_the_source_alone(tmp_path: Path) -> None:
    source = write_nifti(tmp_path / "a.nii.gz", SMALL, dtype=np.int16, slope=(0.5, 3))
    before = source.read_bytes()
    volume = read_volume(source)
    header = volume.header.binaryblock
    for name in ("one.nii.gz", "two.nii.gz"):
        write_map(tmp_path / "new" / name, volume.data, volume)
    one, two = (path.read_bytes() for path in sorted((tmp_path / "new").iterdir()))
    assert one == two and one[4:8] == bytes(4), "no time of writing"
    assert source.read_bytes() == before and volume.header.binaryblock == header


def test_a_map_is_written_without_a_second_copy_of_it(tmp_path: Path, ending: str) -> None:
    volume = read_volume(write_nifti(tmp_path / "a.nii", head_grid(spacing=(2, 2, 2))))
    noise = np.random.default_rng(0).normal(size=volume.grid.shape).astype(np.float32)  # does not compress
    for data in (noise, np.asarray(noise > 0)):
        tracemalloc.start()
        write_map(tmp_path / f"map{ending}", data, volume)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.75 * data.nbytes


unit = st.floats(-1, 1).filter(lambda value: abs(value) > 1e-3)


@settings(max_examples=40, deadline=None)
@given(
    axis=st.tuples(unit, unit, unit),
    degrees=st.floats(-180, 180),
    spacing=st.tuples(*[st.floats(0.3, 8)] * 3),
    signs=st.tuples(*[st.sampled_from((-1, 1))] * 3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    shape=st.tuples(*[st.integers(8, 12)] * 3),
    dtype=st.sampled_from((np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64)),
    codes=st.sampled_from(((1, 1), (0, 1), (2, 0), (4, 3))),
    version=st.sampled_from((1, 2)),
    big_endian=st.booleans(),
)
def test_any_grid_and_type_survives(
    tmp_path_factory: pytest.TempPathFactory,
    axis: tuple[float, float, float],
    degrees: float,
    spacing: tuple[float, float, float],
    signs: tuple[int, int, int],
    origin: tuple[float, float, float],
    shape: tuple[int, int, int],
    dtype: Any,
    codes: tuple[int, int],
    version: int,
    big_endian: bool,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    affine = np.eye(4)
    affine[:3, :3] = rotation_about(axis, degrees) * spacing * np.array(signs)
    affine[:3, 3] = origin
    grid = Grid(shape, affine)
    data = np.random.default_rng(0).integers(0, 100, shape)
    storage = {"dtype": dtype, "codes": codes, "version": version, "big_endian": big_endian}
    volume = read_volume(write_nifti(folder / "source.nii", grid, data, **storage))
    assert volume.grid.matches(grid, 5e-3)
    np.testing.assert_array_equal(volume.data, data)

    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    write_map(folder / "map.nii", values, volume)
    back: Volume = read_volume(folder / "map.nii")
    assert back.grid.matches(volume.grid, 0)
    np.testing.assert_array_equal(back.data, values)

"""`mri3d slices`: arrays, an index, and the way back onto the source's own grid."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from mri3d.cli import main
from mri3d.commands.slices import put_back
from mri3d.errors import UsageError
from tests.helpers import head, head_grid, write_nifti

GRID = head_grid("LPS", (3.0, 3.0, 4.0), 9.0)
FOREIGN = "sub-01/anat/sub-01_T1w_slices/slice_001.npy"


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    for name in ("sub-01/anat/sub-01_T1w", "sub-02/anat/sub-02_T1w"):
        write_nifti(tmp_path / "in" / f"{name}.nii.gz", GRID, head(GRID, seed=len(name)))
    return tmp_path / "in"


def run(*words: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, ["slices", *map(str, words)])
    assert result.exit_code == exit_code, result.output
    return result.output


def test_every_slice_is_listed_and_lies_where_the_index_says(healthy: Path, tmp_path: Path):
    run(healthy, "-o", tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "slices.csv").open()))
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.npy"))
    assert sorted(row["file"] for row in rows) == files
    assert {row["participant"] for row in rows} == {"sub-01", "sub-02"}
    for row in rows[:: len(rows) // 5]:
        data = np.load(tmp_path / "out" / row["file"])
        assert (data.shape, data.dtype) == ((128, 128), np.float32)
        assert 0 <= data.min() < data.max() <= 1
        record = json.loads((tmp_path / "out" / f"{Path(row['file']).parent}.json").read_text())
        affine, middle = np.array(record["grid"]["affine"]), [63.5, 63.5, int(row["slice"]), 1]
        assert (affine @ middle)[:3] == pytest.approx([float(row[f"{axis}_mm"]) for axis in "xyz"], abs=1e-3)


def test_maps_of_slices_go_back_onto_the_source_s_grid(healthy: Path, tmp_path: Path):
    run(healthy, "-o", tmp_path / "out")
    stem = tmp_path / "out" / "sub-01" / "anat" / "sub-01_T1w_slices"
    slices = {int(path.stem[-3:]): np.load(path) for path in stem.glob("*.npy")}
    put_back(stem.with_suffix(".json"), slices, str(tmp_path / "back.nii.gz"))
    source = nib.load(healthy / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    back = nib.load(tmp_path / "back.nii.gz")
    assert back.shape == source.shape
    assert (back.affine == source.affine).all()
    assert (int(back.header["sform_code"]), int(back.header["qform_code"])) == (
        int(source.header["sform_code"]), int(source.header["qform_code"]),
    )  # fmt: skip
    record = json.loads(stem.with_suffix(".json").read_text())
    low, high = record["intensity"]["0"], record["intensity"]["1"]
    # LPS is stored from the left, from behind and from below: its third axis is that of the slices
    known = sorted(slices)[1:-1]
    wanted = np.clip((source.get_fdata() - low) / (high - low), 0, 1)
    found = back.get_fdata()[..., known].ravel()
    below, same, above = (np.corrcoef(wanted[..., np.add(known, s)].ravel(), found)[0, 1] for s in (-1, 0, 1))
    assert same > 0.98
    assert max(below, above) < 0.97  # a slice off would be seen
    with pytest.raises(UsageError, match="slices of its own"):
        put_back(stem.with_suffix(".json"), {3: np.zeros((4, 4))}, tmp_path / "no.nii.gz")
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(UsageError, match="record of a sliced volume"):
        put_back(tmp_path / "no.json", slices, tmp_path / "no.nii.gz")


def test_a_bad_volume_is_named_and_the_others_are_sliced(healthy: Path, tmp_path: Path):
    (healthy / "sub-03_T1w.nii.gz").write_bytes(b"no image")
    output = run(healthy, "-o", tmp_path / "out", exit_code=1)
    assert "sub-03_T1w.nii.gz" in output
    rows = list(csv.DictReader((tmp_path / "out" / "slices.csv").open()))
    assert {row["participant"] for row in rows} == {"sub-01", "sub-02"}


def test_slices_that_stand_there_are_kept_unless_told_otherwise(healthy: Path, tmp_path: Path):
    run(healthy, "-o", tmp_path / "out")
    assert "Use --overwrite" in run(healthy, "-o", tmp_path / "out", exit_code=2)
    (healthy / "sub-02" / "anat" / "sub-02_T1w.nii.gz").unlink()
    run(healthy, "-o", tmp_path / "out", "--overwrite")
    rows = list(csv.DictReader((tmp_path / "out" / "slices.csv").open()))
    assert len(rows) == len(list((tmp_path / "out").rglob("*.npy"))) > 0
    assert {row["participant"] for row in rows} == {"sub-01"}


def test_an_export_that_was_cut_off_is_replaced_only_when_told(healthy: Path, tmp_path: Path):
    out = tmp_path / "out"
    run(healthy, "-o", out)
    (out / "slices.csv").unlink()
    next(out.rglob("*.npy")).unlink()
    assert "Use --overwrite" in run(healthy, "-o", out, exit_code=2)
    run(healthy, "-o", out, "--overwrite")
    assert len(list(csv.DictReader((out / "slices.csv").open()))) == len(list(out.rglob("*.npy")))


@pytest.mark.parametrize("name", ["slices.csv", "sub-01/anat/sub-01_T1w_slices.json", FOREIGN])
def test_files_of_others_are_never_replaced(healthy: Path, tmp_path: Path, name: str):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("{}")
    assert name in run(healthy, "-o", out, "--overwrite", exit_code=2)
    assert (out / name).read_text() == "{}"
    assert sum(path.is_file() for path in out.rglob("*")) == 1


def test_what_others_put_beside_slices_stays(healthy: Path, tmp_path: Path):
    out = tmp_path / "out"
    run(healthy, "-o", out)
    (out / "mine_slices").mkdir()
    for path in (out / "mine_slices" / "slice_001.npy", out / "sub-01" / "anat" / "sub-01_T1w_slices" / "notes.txt"):
        path.write_text("mine")
    run(healthy, "-o", out, "--overwrite")
    assert (out / "mine_slices" / "slice_001.npy").read_text() == "mine"
    assert (out / "sub-01" / "anat" / "sub-01_T1w_slices" / "notes.txt").read_text() == "mine"


def test_a_linked_folder_of_slices_is_not_followed(healthy: Path, tmp_path: Path):
    elsewhere, place = tmp_path / "elsewhere", tmp_path / "out" / "sub-01" / "anat"
    elsewhere.mkdir()
    place.mkdir(parents=True)
    (place / "sub-01_T1w_slices").symlink_to(elsewhere)
    assert "a link to" in run(healthy, "-o", tmp_path / "out", exit_code=2)
    assert not list(elsewhere.iterdir())


def test_a_place_that_cannot_be_written_is_told_of(healthy: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub-01").write_text("a file")
    output = run(healthy, "-o", tmp_path / "out", exit_code=2)
    assert "a folder that can be written to" in output and "Traceback" not in output


def exported(healthy: Path, tmp_path: Path) -> tuple[Path, int, Path]:
    """The record of the first volume, the number of one of its slices, and the volume."""
    run(healthy, "-o", tmp_path / "out")
    record = tmp_path / "out" / "sub-01" / "anat" / "sub-01_T1w_slices.json"
    return record, json.loads(record.read_text())["slices"][0], healthy / "sub-01" / "anat" / "sub-01_T1w.nii.gz"


def test_maps_never_replace_a_file_least_of_all_the_scan(healthy: Path, tmp_path: Path):
    record, index, source = exported(healthy, tmp_path)
    before = source.read_bytes()
    for place in (source, tmp_path / "map.png"):
        with pytest.raises(UsageError, match="a new file ending in"):
            put_back(record, {index: np.zeros((128, 128))}, place)
    assert source.read_bytes() == before and not (tmp_path / "map.png").exists()


def test_a_volume_that_is_another_now_is_refused(healthy: Path, tmp_path: Path):
    record, index, source = exported(healthy, tmp_path)
    image = nib.load(source)
    moved = np.diag([1.0, 1.0, 1.0, 1.0])
    moved[0, 3] = 5.0
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved @ image.affine), source)
    with pytest.raises(UsageError, match="another grid"):
        put_back(record, {index: np.zeros((128, 128))}, tmp_path / "map.nii.gz")


def test_slices_by_words_as_json_has_them_go_back_too(healthy: Path, tmp_path: Path):
    record, index, _ = exported(healthy, tmp_path)
    for number, key in enumerate((index, str(index))):
        put_back(record, {key: np.ones((128, 128)).tolist()}, tmp_path / f"{number}.nii.gz")
    one, other = (nib.load(tmp_path / f"{number}.nii.gz").get_fdata() for number in (0, 1))
    assert one.max() > 0.5 and (one == other).all()


@pytest.mark.parametrize("slices", [
    {"first": np.zeros((128, 128))}, [np.zeros((128, 128))], {10: np.zeros((64, 64))},
    {10: np.full((128, 128), np.nan)}, {10_000: np.zeros((128, 128))}, {None: np.zeros((128, 128))},
])  # fmt: skip
def test_what_is_no_slice_is_refused(healthy: Path, tmp_path: Path, slices: object):
    record, _, _ = exported(healthy, tmp_path)
    with pytest.raises(UsageError, match="128 x 128 arrays"):
        put_back(record, slices, tmp_path / "map.nii.gz")
    assert not (tmp_path / "map.nii.gz").exists()


def test_doubts_about_left_and_right_are_told(healthy: Path, tmp_path: Path):
    path = healthy / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    image = nib.load(path)
    image.header.set_sform(None, 0)
    image.header.set_qform(None, 0)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)
    assert "left and right are a guess" in run(path, "-o", tmp_path / "out")
    record = tmp_path / "out" / "sub-01_T1w_slices.json"
    assert "left and right are a guess" in json.loads(record.read_text())["warnings"][0]


def test_a_link_does_not_lead_out_of_the_output(healthy: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub-01").symlink_to(healthy / "sub-01")
    assert "a link to" in run(healthy, "-o", tmp_path / "out", exit_code=2)
    assert not list(healthy.rglob("*.npy"))


def test_sidecars_beside_the_volumes_stay_as_they_are(healthy: Path):
    sidecar = healthy / "sub-01" / "anat" / "sub-01_T1w.json"
    sidecar.write_text('{"EchoTime": 0.004}')
    run(healthy, "-o", healthy)
    assert sidecar.read_text() == '{"EchoTime": 0.004}'
    run(healthy, "-o", healthy, "--overwrite")

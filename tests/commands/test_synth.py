"""`mri3d synth`: a data set that other commands can read, the same from the same seed, and nobody's files replaced."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from mri3d.cli import main
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume
from tests.heads import labels_of_head
from tests.helpers import head_grid, write_nifti

GRID = head_grid("LIA", (4.0, 4.0, 4.0), 7.0)
MODALITIES = ("T1w", "T2w", "FLAIR")


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    for name in ("a", "deeper/b"):
        write_nifti(folder / f"{name}_dseg.nii.gz", GRID, labels_of_head(GRID)[0], dtype=np.int16)
    return folder


@pytest.fixture(scope="module")
def made(maps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "out"
    run(maps, "-o", output, "--count", 3, "--seed", 1, "--spacing", 3)
    return output


def run(*words: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, ["synth", *map(str, words)])
    assert result.exit_code == exit_code, result.output
    assert "Traceback" not in result.output
    return result.output


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_data_set_is_one_that_the_other_commands_find(made: Path):
    found = discover(made, MODALITIES)
    assert [subject.participant for subject in found.subjects] == ["sub-syn001", "sub-syn002", "sub-syn003"]
    assert all(set(subject.images) == set(MODALITIES) for subject in found.subjects)
    about = json.loads((made / "dataset_description.json").read_text())
    assert {"Name", "BIDSVersion", "GeneratedBy"} <= set(about) and "simulated" in about["Name"]
    rows = list(csv.DictReader((made / "participants.tsv").open(), delimiter="\t"))
    assert [row["source"] for row in rows] == ["a_dseg.nii.gz", "deeper/b_dseg.nii.gz", "a_dseg.nii.gz"]
    assert all(20 <= float(row["age"]) <= 85 for row in rows)
    assert len({row["seed"] for row in rows}) == 3
    assert not [name for name in files(made) if ".mri3d-" in name]


def test_each_scan_is_int16_on_a_grid_of_its_own_with_its_sequence_beside_it(made: Path):
    grids = []
    for modality in MODALITIES:
        path = made / "sub-syn001" / "anat" / f"sub-syn001_{modality}.nii.gz"
        image, volume = nib.load(path), read_volume(path)
        assert image.get_data_dtype() == np.int16 and not volume.warnings
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert volume.data.max() > 100
        sidecar = json.loads(path.with_name(f"sub-syn001_{modality}.json").read_text())
        assert sidecar["Simulated"] is True
        assert sidecar["SliceThickness"] == pytest.approx(volume.grid.spacing[2], abs=1e-3)
        assert 0.002 < sidecar["EchoTime"] < 0.2 and 0.01 < sidecar["RepetitionTime"] < 12
        assert (2.0 < sidecar["InversionTime"] < 3.0) if modality == "FLAIR" else True
        grids.append(volume.grid)
    labels = nib.load(made / "derivatives" / "labels" / "sub-syn001" / "anat" / "sub-syn001_dseg.nii.gz")
    assert set(np.unique(labels.dataobj)) == {0, 2, 3, 4, 16, 24, 43, 507, 511, 515}
    assert len({grid.shape for grid in grids}) == 3


def test_the_labels_lie_where_the_scans_show_them(made: Path):
    folder = made / "derivatives" / "labels"
    for name in ("sub-syn001", "sub-syn002"):
        labels = read_volume(folder / name / "anat" / f"{name}_dseg.nii.gz")
        fluid, white = (labels.grid.world(np.argwhere(np.isin(labels.data, kind))) for kind in ((4, 43), (2,)))
        for modality in MODALITIES:
            volume = read_volume(made / name / "anat" / f"{name}_{modality}.nii.gz")
            inverse = np.linalg.inv(volume.grid.affine)
            values = []
            for points in (fluid, white):
                index = np.round(points @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
                values.append(np.median(volume.data[tuple(index.T)]))
            assert values[0] > 1.5 * values[1] if modality == "T2w" else values[0] < 0.7 * values[1], modality


def test_a_subject_depends_on_the_seed_and_its_number_alone(maps: Path, made: Path, tmp_path: Path):
    words = ("--spacing", 3)
    run(maps, "-o", tmp_path / "fewer", "--count", 2, "--seed", 1, *words)
    run(maps, "-o", tmp_path / "other", "--count", 1, "--seed", 2, *words)
    whole, fewer, other = files(made), files(tmp_path / "fewer"), files(tmp_path / "other")
    shared = [name for name in fewer if name != "participants.tsv"]
    assert len(shared) == 2 + 2 * 7
    assert all(fewer[name] == whole[name] for name in shared)
    assert all(other[name] != whole[name] for name in other if "sub-syn001_" in name)
    assert len({whole[f"sub-syn00{k}/anat/sub-syn00{k}_T1w.nii.gz"] for k in (1, 2, 3)}) == 3


def test_only_what_is_asked_for_is_made(maps: Path, tmp_path: Path):
    run(maps / "a_dseg.nii.gz", "-o", tmp_path, "--modalities", "FLAIR", "--no-thick", "--stripped", "--spacing", 3)
    images = [path for path in tmp_path.rglob("*.nii.gz") if "derivatives" not in path.parts]
    assert [path.name for path in images] == ["sub-syn001_FLAIR.nii.gz"]
    volume = read_volume(images[0])
    assert volume.grid.spacing == pytest.approx((3, 3, 3), abs=1e-5)
    # a stripped brain is cut out with a margin, and nothing else is in the picture
    assert 0.1 < (volume.data > 0).mean() < 0.6
    assert not volume.data[0].any() and not volume.data[:, :, -1].any()


def test_a_data_set_that_stands_there_is_replaced_only_when_told(maps: Path, tmp_path: Path):
    words = (maps, "-o", tmp_path, "--modalities", "T1w", "--spacing", 4)
    run(*words, "--count", 2)
    before = files(tmp_path)
    assert "Use --overwrite" in run(*words, "--count", 1, exit_code=2)
    assert files(tmp_path) == before
    (tmp_path / "sub-syn002" / "anat" / "notes.txt").write_text("mine")
    run(*words, "--count", 1, "--overwrite")
    after = files(tmp_path)
    assert after.pop("sub-syn002/anat/notes.txt") == b"mine"
    assert not [name for name in after if "sub-syn002" in name]
    assert after["sub-syn001/anat/sub-syn001_T1w.nii.gz"] == before["sub-syn001/anat/sub-syn001_T1w.nii.gz"]


def test_a_run_that_was_cut_off_is_replaced_only_when_told(maps: Path, tmp_path: Path):
    words = (maps, "-o", tmp_path, "--modalities", "T1w", "--spacing", 4, "--count", 1)
    run(*words)
    (tmp_path / "participants.tsv").unlink()
    assert "Use --overwrite" in run(*words, exit_code=2)
    run(*words, "--overwrite")
    assert (tmp_path / "participants.tsv").exists()


@pytest.mark.parametrize(
    "name", ["dataset_description.json", "participants.tsv", "sub-syn001/anat/sub-syn001_T1w.nii.gz"]
)
def test_files_of_others_are_never_replaced(maps: Path, tmp_path: Path, name: str):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert "Choose another output folder" in run(maps, "-o", tmp_path, "--overwrite", exit_code=2)
    assert files(tmp_path) == {name: b"{}"}


def test_a_link_does_not_lead_out_of_the_output(maps: Path, tmp_path: Path):
    words = (maps, "-o", tmp_path / "out", "--modalities", "T1w", "--spacing", 4, "--count", 1)
    run(*words)
    elsewhere = tmp_path / "elsewhere" / "anat"
    elsewhere.mkdir(parents=True)
    (elsewhere / "sub-syn009_T1w.nii.gz").write_text("mine")
    (tmp_path / "out" / "sub-syn009").symlink_to(elsewhere.parent)
    assert "a link to" in run(*words, "--overwrite", exit_code=2)
    assert (elsewhere / "sub-syn009_T1w.nii.gz").read_text() == "mine"


def test_label_maps_in_the_output_are_not_written_over(maps: Path, tmp_path: Path):
    run(maps, "-o", tmp_path, "--modalities", "T1w", "--spacing", 4, "--count", 1)
    before = files(tmp_path)
    words = run(tmp_path / "derivatives" / "labels", "-o", tmp_path, "--overwrite", exit_code=2)
    assert "does not hold what is read" in words
    assert files(tmp_path) == before


def test_what_is_no_label_map_is_named_and_the_others_are_used(tmp_path: Path):
    folder = tmp_path / "in"
    labels = labels_of_head(GRID)[0]
    write_nifti(folder / "1_good.nii.gz", GRID, labels, dtype=np.int16)
    write_nifti(folder / "2_image.nii.gz", GRID, labels * 0.37)
    write_nifti(folder / "3_unknown.nii.gz", GRID, np.where(labels == 16, 998, labels), dtype=np.int16)
    (folder / "4_broken.nii.gz").write_bytes(b"no image")
    words = run(folder, "-o", tmp_path / "out", "--modalities", "T1w", "--spacing", 4, exit_code=1)
    for told in ("2_image.nii.gz: expected whole numbers", "3_unknown.nii.gz", "found 998", "4_broken.nii.gz"):
        assert told in words
    rows = list(csv.DictReader((tmp_path / "out" / "participants.tsv").open(), delimiter="\t"))
    assert [row["participant_id"] for row in rows] == ["sub-syn001"]
    assert not (tmp_path / "out" / "sub-syn002").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--modalities", "T1w,CT"), "found CT"), (("--modalities", ","), "found none"),
        (("--count", "0"), "x>=1"), (("--spacing", "0"), "0.3<=x<=5.0"), (("--seed", "-1"), "x>=0"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused_before_anything_is_written(maps: Path, tmp_path: Path, words: tuple, told: str):
    assert told in run(maps, "-o", tmp_path / "out", *words, exit_code=2)
    assert not (tmp_path / "out").exists()


def test_nothing_to_simulate_from_is_told(tmp_path: Path):
    assert "a label map (.nii, .nii.gz)" in run(tmp_path / "nowhere", "-o", tmp_path / "out", exit_code=2)
    (tmp_path / "empty").mkdir()
    assert "a label map (.nii, .nii.gz)" in run(tmp_path / "empty", "-o", tmp_path / "out", exit_code=2)


def test_real_scans_come_beside_what_is_simulated_of_their_labels(tmp_path: Path):
    head = labels_of_head(GRID)[0]
    for person in ("sub-7", "sub-9"):
        write_nifti(tmp_path / "labels" / person / f"{person}_dseg.nii.gz", GRID, head, dtype=np.int16)
    for person in ("sub-9", "sub-11"):
        write_nifti(tmp_path / "scans" / person / "anat" / f"{person}_T1w.nii", GRID, 7.0 * head, dtype=np.int16)
    (tmp_path / "scans" / "participants.tsv").write_text("participant_id\tage\nsub-9\t61.5\n")
    words = (tmp_path / "labels", "-o", tmp_path / "out", "--beside", tmp_path / "scans", "--spacing", 3)
    assert "1 subject, simulated" in run(*words)
    (subject,) = discover(tmp_path / "out", MODALITIES).subjects
    assert subject.participant == "sub-syn9" and list(subject.images) == list(MODALITIES)
    own = tmp_path / "scans" / "sub-9" / "anat" / "sub-9_T1w.nii"
    assert subject.images["T1w"].read_bytes() == own.read_bytes()
    assert json.loads((subject.images["T1w"].parent / "sub-syn9_T1w.json").read_text())["Simulated"] is False
    (row,) = csv.DictReader((tmp_path / "out" / "participants.tsv").open(), delimiter="\t")
    assert (row["participant_id"], row["age"]) == ("sub-syn9", "61.5")
    kept = nib.load(tmp_path / "out/derivatives/labels/sub-syn9/anat/sub-syn9_dseg.nii.gz")
    canonical = nib.as_closest_canonical(nib.load(tmp_path / "labels/sub-9/sub-9_dseg.nii.gz"))
    where = np.argwhere(canonical.get_fdata() > 0)[::50]
    there = np.round(nib.affines.apply_affine(np.linalg.inv(kept.affine) @ canonical.affine, where)).astype(int)
    assert (kept.get_fdata()[tuple(there.T)] == canonical.get_fdata()[tuple(where.T)]).all()  # nothing is deformed
    run(*words, "--overwrite")
    assert len(list((tmp_path / "out").glob("sub-syn*"))) == 1
    told = run(tmp_path / "labels", "-o", tmp_path / "scans", "--beside", tmp_path / "scans", exit_code=2)
    assert "a folder that does not hold what is read" in told
    assert "--stripped" in run(*words, "--overwrite", "--stripped", exit_code=2)
    (tmp_path / "scans" / "participants.tsv").unlink()
    run(*words, "--overwrite")
    (row,) = csv.DictReader((tmp_path / "out" / "participants.tsv").open(), delimiter="\t")
    assert row["age"] == "n/a"  # nobody knows it
    write_nifti(tmp_path / "labels" / "again" / "sub-9_run-2_dseg.nii.gz", GRID, head, dtype=np.int16)
    assert "one file for sub-9" in run(*words, "--overwrite", exit_code=2)
    (tmp_path / "labels" / "again" / "sub-9_run-2_dseg.nii.gz").unlink()
    (tmp_path / "scans" / "sub-9" / "anat" / "sub-9_T1w.nii").rename(tmp_path / "scans" / "sub-12_T1w.nii")
    assert "none of them" in run(*words, "--overwrite", exit_code=2)

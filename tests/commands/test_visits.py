"""Visits of a person: the change lies at its place on the first grid, and who fails does not stop the others."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mri3d.grid import Affine, Grid
from tests.brains import CENTRE, FOV, brain_on
from tests.command_line import mri3d
from tests.helpers import ellipsoid, head_grid, rotation_about, write_nifti
from tests.study import GRID, Scored, change_sidecar, write_bundle, write_study, write_table

FIRST = head_grid("LPS", (4.0, 4.0, 5.0), 8.0, FOV, CENTRE)
LATER = head_grid("RAS", (4.0, 4.0, 4.0), -5.0, FOV, CENTRE)
OLD, NEW = ((-24.0, 0.0, 24.0), 13.0), ((26.0, -34.0, 14.0), 13.0)
KEYS = [f"sub-01/ses-{label}/anat/sub-01_ses-{label}_T1w" for label in ("2", "10")]


def moved() -> Affine:
    """Where the head lies at the later visit: it has turned and shifted in the scanner."""
    affine = np.eye(4)
    affine[:3, :3] = rotation_about((1, 2, 3), 9.0)
    affine[:3, 3] = (7.0, -5.0, 9.0)
    return affine


def write_visit(root: Path, bundle: Path, key: str, grid: Grid, lies: Affine, lesions: list[object], seed: int) -> None:
    """A scan and its results; lesions are in the head's own coordinates."""
    z = {"Left Caudate": -0.5 * seed}
    write_study(root / "out", [Scored(key, z, lesions=lesions, seed=seed)], bundle, grid)  # type: ignore[arg-type]
    there = Grid(grid.shape, lies @ grid.affine)
    for path in (root / "out" / key).parent.glob("*.nii.gz"):
        image = nib.load(path)  # type: ignore[attr-defined]
        write_nifti(path, there, np.asarray(image.dataobj), dtype=image.get_data_dtype())
    scan = root / "in" / f"{key}.nii.gz"
    write_nifti(scan, there, brain_on(grid), dtype=np.int16, codes=(2, 1), units="mm")
    change_sidecar(root / "out", key, inputs={"T1w": {"path": str(scan), "bytes": scan.stat().st_size}})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Someone in whom a lesion is gone at the later visit and another has come, and someone whose scan is lost."""
    root = tmp_path_factory.mktemp("visits")
    bundle = write_bundle(root / "bundle")
    write_visit(root, bundle, KEYS[0], FIRST, np.eye(4), [OLD], 1)
    write_visit(root, bundle, KEYS[1], LATER, moved(), [NEW], 2)
    lost = [Scored(f"sub-02/ses-{label}/anat/sub-02_ses-{label}_T1w") for label in "12"]
    single = Scored("sub-03/ses-1/anat/sub-03_ses-1_T1w")
    write_study(root / "out", [*lost, single], bundle)
    write_table(root / "out", [*KEYS, *(of.key for of in (*lost, single))])
    return root


@pytest.fixture(scope="module")
def compared(study: Path) -> tuple[Path, str]:
    said = mri3d("compare", study / "out", "--visits", "-o", study / "report", exit_code=1)
    return study / "report", said.output


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_change_lies_at_its_place_on_the_first_grid(study: Path, compared: tuple[Path, str]) -> None:
    image = nib.load(compared[0] / "sub-01_ses-10_change.nii.gz")  # type: ignore[attr-defined]
    source = nib.load(study / "in" / f"{KEYS[0]}.nii.gz")  # type: ignore[attr-defined]
    assert np.array_equal(image.affine, source.affine) and image.shape == source.shape
    for name in ("sform_code", "qform_code", "xyzt_units", "pixdim"):
        assert np.array_equal(image.header[name], source.header[name]), name
    data = np.asarray(image.dataobj)
    assert data.dtype == np.float32
    for (centre, _), extreme, sign in ((NEW, data > 3, 1), (OLD, data < -3, -1)):
        middle = FIRST.world(np.argwhere(extreme).mean(axis=0))
        assert np.linalg.norm(middle - centre) < 3, sign
        assert extreme.sum() * FIRST.voxel_ml == pytest.approx(4 / 3 * np.pi * 1.3**3, rel=0.4)
    outside = ~ellipsoid(FIRST, 1.0)
    assert not data[outside].any()
    rest = np.linalg.norm(np.stack([FIRST.world(np.argwhere(data != 0))] * 2) - np.array([[NEW[0]], [OLD[0]]]), axis=-1)
    assert abs(data[data != 0][(rest > 22).all(axis=0)].mean()) < 0.1


def test_regions_change_too(compared: tuple[Path, str]) -> None:
    rows = [row for row in read(compared[0] / "changes.csv") if row["participant"] == "sub-01"]
    left = rows[0]
    assert (left["region"], left["first"], left["later"], left["days"]) == ("Left Caudate", "ses-2", "ses-10", "")
    assert float(left["z_change"]) == pytest.approx(-0.5)
    assert float(left["change_percent"]) == pytest.approx(100 * np.expm1(-0.04), abs=0.01)
    assert left["change_percent_a_year"] == "" and left["error"] == ""
    told = json.loads((compared[0] / "compare.json").read_text(encoding="utf-8"))
    assert told["pairs"][0]["registration"]["moved_mm"] > 8
    assert told["made"]["order of visits"].startswith("session labels")


def test_who_fails_is_a_line_and_the_others_go_on(compared: tuple[Path, str]) -> None:
    (row,) = (row for row in read(compared[0] / "changes.csv") if row["participant"] == "sub-02")
    assert "sub-02_ses-1_T1w.nii.gz" in row["error"] and "Put the scan back" in row["error"]
    assert "2 people, 2 later visits, 1 of them failed" in compared[1]
    assert "failed: sub-02 ses-2" in compared[1]
    page = (compared[0] / "report.html").read_text(encoding="utf-8")
    assert "sub-01: ses-10 against ses-2" in page and "Not compared" in page and "sub-03" not in page
    assert {path.name for path in compared[0].iterdir()} == {
        "changes.csv", "compare.json", "report.html", "sub-01_ses-10_change.nii.gz", "sub-01_ses-10_change.png",
    }  # fmt: skip


def test_a_visit_that_may_be_of_somebody_else_is_told(study: Path, compared: tuple[Path, str], tmp_path: Path) -> None:
    """A scan in which the head is all but lost in noise has as little in common with the first as another head's."""
    shutil.copytree(study / "out", tmp_path / "out")
    noise = np.random.default_rng(1).normal(0, 300, LATER.shape)
    hidden = np.clip(brain_on(LATER) + noise, 0, None)
    scan = write_nifti(tmp_path / "t1.nii.gz", Grid(LATER.shape, moved() @ LATER.affine), hidden, dtype=np.int16)
    change_sidecar(tmp_path / "out", KEYS[1], inputs={"T1w": {"path": str(scan)}})
    write_table(tmp_path / "out", KEYS)
    said = mri3d("compare", tmp_path / "out", "--visits", "-o", tmp_path / "r").output
    words = "sub-01 ses-10 has no more in common with the first visit"
    assert words in said and words in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "in common" not in compared[1]


def test_dates_put_visits_in_order_and_give_changes_a_year(study: Path, tmp_path: Path) -> None:
    """By its dates ses-10 came first; its scan is lost on the way, which fails the pair but not the dates."""
    shutil.copytree(study, tmp_path / "s")
    root = tmp_path / "s"
    for key in KEYS:
        scan = root / "in" / f"{key}.nii.gz"
        change_sidecar(root / "out", key, inputs={"T1w": {"path": str(scan), "bytes": scan.stat().st_size}})
    lines = ["session_id\tacq_time", "ses-2\t2021-01-01T10:00:00", "ses-10\t2019-01-01"]
    (root / "in" / "sub-01" / "sub-01_sessions.tsv").write_text("\n".join(lines))
    write_table(root / "out", KEYS)
    mri3d("compare", root / "out", "--visits", "-o", tmp_path / "r")
    left = read(tmp_path / "r" / "changes.csv")[0]
    assert (left["first"], left["later"]) == ("ses-10", "ses-2")
    assert float(left["days"]) == pytest.approx(731.4, abs=0.1)
    assert float(left["change_percent"]) == pytest.approx(100 * np.expm1(0.04), abs=0.01)
    assert float(left["change_percent_a_year"]) == pytest.approx(100 * np.expm1(0.02), abs=0.01)


def test_a_scan_that_was_changed_is_not_taken(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "out", tmp_path / "out")
    scan = study / "in" / f"{KEYS[1]}.nii.gz"
    change_sidecar(tmp_path / "out", KEYS[1], inputs={"T1w": {"path": str(scan), "bytes": 12}})
    write_table(tmp_path / "out", KEYS)
    said = mri3d("compare", tmp_path / "out", "--visits", "-o", tmp_path / "r", exit_code=1).output
    assert f"{scan}: expected the scan that was scored, of 12 bytes" in said


def test_what_was_not_scored_and_whom_the_bundle_saw_is_said(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "out", tmp_path / "out")
    write_table(tmp_path / "out", KEYS)
    table = tmp_path / "out" / "results.csv"
    lines = table.read_text().splitlines()
    failed = lines[1].replace("ses-2", "ses-1").replace(",ok,", ",failed,") + "no brain"
    table.write_text("\n".join([*lines, failed]) + "\n")
    split = study / "bundle" / "models" / "split.json"
    before = split.read_text()
    split.write_text(before.replace('"train": []', '"train": ["sub-01"]'))
    try:
        words = ("compare", tmp_path / "out", "--visits", "--bundle", study / "bundle", "-o", tmp_path / "r")
        said = mri3d(*words, exit_code=1).output
    finally:
        split.write_text(before)
    assert "sub-01: the bundle was trained on this participant" in said
    assert "failed: sub-01 ses-1: was not scored: no brain" in said
    assert "ses-1 of sub-01 was not scored: changes count from ses-2." in said
    assert (tmp_path / "r" / "sub-01_ses-10_change.nii.gz").exists()


def renamed(root: Path, key: str, session: str) -> str:
    """A visit's results under another session; without one in the subject's own folder."""
    name = "sub-01" + (f"_ses-{session}" if session else "")
    new = f"sub-01/{f'ses-{session}/' if session else ''}anat/{name}_T1w"
    for path in list((root / "out" / key).parent.glob(f"{Path(key).name}*")):
        place = root / "out" / new
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place.with_name(path.name.replace(Path(key).name, place.name)))
    scan = root / "in" / f"{new}.nii.gz"
    scan.parent.mkdir(parents=True, exist_ok=True)
    (root / "in" / f"{key}.nii.gz").rename(scan)
    change_sidecar(root / "out", new, inputs={"T1w": {"path": str(scan), "bytes": scan.stat().st_size}})
    return new


def test_words_for_sessions_and_half_known_dates_are_told_of(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "s")
    root = tmp_path / "s"
    keys = [renamed(root, key, label) for key, label in zip(KEYS, ("screening", "month12"), strict=True)]
    write_table(root / "out", keys)
    said = mri3d("compare", root / "out", "--visits", "-o", tmp_path / "r").output
    assert "called by words stand in the order of the alphabet, sub-01 (month12, screening): give" in said
    assert "Not all dates" not in said
    lines = ["session_id\tacq_time", "ses-screening\t2021-01-01", "ses-month12\t15/03/2022"]
    (root / "in" / "sub-01" / "sub-01_sessions.tsv").write_text("\n".join(lines))
    again = mri3d("compare", root / "out", "--visits", "-o", tmp_path / "r", "--overwrite").output
    assert "Not all dates can be read, so that session labels count, of sub-01: give" in again
    told = json.loads((tmp_path / "r" / "compare.json").read_text(encoding="utf-8"))
    assert len([note for note in told["notes"] if "acq_time" in note]) == 2


def test_a_scan_without_a_session_is_told_of(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "s")
    root = tmp_path / "s"
    bare = renamed(root, KEYS[0], "")
    other = "sub-02/ses-{}/anat/sub-02_ses-{}_T1w"
    write_table(root / "out", [bare, KEYS[1], *(other.format(label, label) for label in "12")])
    said = mri3d("compare", root / "out", "--visits", "-o", tmp_path / "r", exit_code=1).output
    assert f"{bare} counts for nothing, since it has no session (ses-)." in said


def test_one_visit_each_is_wrong_usage(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "out", tmp_path / "out")
    write_table(tmp_path / "out", [KEYS[0], "sub-03/ses-1/anat/sub-03_ses-1_T1w"])
    said = mri3d("compare", tmp_path / "out", "--visits", "-o", tmp_path / "r", exit_code=2).output
    assert "someone with two sessions" in said and "2 people with one session each" in said
    assert GRID.shape and not (tmp_path / "r").exists()

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from mri3d.errors import ContentError, Mri3dError
from mri3d.reporting.table import COLUMNS, Row, failed_row, read_results, row_of, write_results
from mri3d.scoring.detection import Detection, Score
from mri3d.volumes.subject import Subject

NASTY = "a, \"b\"; \u00e9\u6f22 = 'c'"


def subject(path: Path | str, name: str = "x", folder: str = ".") -> Subject:
    return Subject(name, name, PurePosixPath(folder), {"T1w": Path(path)})


def failed(of: Subject, message: str, root: Path, seconds: float | None = None) -> Row:
    return failed_row(of, Mri3dError(of.reference, "a head", message, "Look at it"), root, seconds)


def test_row_of_a_scored_subject(make_detection: Callable[..., Detection]) -> None:
    row = row_of(make_detection(warnings=("First.\nStill first.", "Second.")), Path("study"))
    assert tuple(row) == (*COLUMNS, "key")
    assert (row["subject"], row["input"], row["status"], row["decision"]) == (
        "sub-01_T1w",
        "sub-01_T1w.nii.gz",
        "ok",
        "anomalous",
    )
    assert row["seconds"] == pytest.approx(1.75)
    assert row["warnings"] == "First. Still first. | Second."
    assert row["error"] is None


def test_what_is_unknown_is_an_empty_cell(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    score = Score(0.5, "uncalibrated", None, {}, None, None)
    detection = make_detection(score=score, zscore=None, anomaly=None, voxel_threshold=None, components=())
    write_results(tmp_path / "results.csv", [row_of(detection, Path("study"))])
    lines = (tmp_path / "results.csv").read_bytes().decode().split("\r\n")
    assert lines[1] == "sub-01_T1w,sub-01_T1w.nii.gz,ok,uncalibrated,0.5,,,,1.75,,"


def test_the_table_survives_the_disk(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    name = NASTY + "\nnew line"
    subjects = subject(tmp_path / "a b" / f"{name}.nii.gz", name, "a b")
    rows = [
        row_of(make_detection(subject=subjects, warnings=(NASTY,)), tmp_path),
        failed(subjects, NASTY, tmp_path, 0.25),
    ]
    write_results(tmp_path / "results.csv", rows)
    first, second = read_results(tmp_path / "results.csv")
    assert second == rows[1]
    assert first["score"] == 0.0534567
    assert first | {"p_value": rows[0]["p_value"], "anomalous_ml": rows[0]["anomalous_ml"]} == rows[0]
    assert first["p_value"] == 0.047619


def test_lines_end_as_rfc_4180_has_it(tmp_path: Path) -> None:
    write_results(tmp_path / "results.csv", [failed(subject("x.nii"), "no\r\nbrain", Path("."))])
    content = (tmp_path / "results.csv").read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n") == 2
    assert content.endswith(b'found no brain. Look at it."\r\n')


def test_a_file_name_that_is_no_utf_8_does_not_stop_the_table(tmp_path: Path) -> None:
    write_results(tmp_path / "results.csv", [failed(subject("caf\udce9.nii", "caf\udce9"), "bad", Path("."))])
    assert read_results(tmp_path / "results.csv")[0]["subject"] == "caf\\udce9"


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("study/a/x.nii.gz", "study", "a/x.nii.gz"),
        ("study/x.nii.gz", "study/x.nii.gz", "x.nii.gz"),
        ("study/../study/a/x.nii.gz", "study", "a/x.nii.gz"),
        ("/elsewhere/x.nii.gz", "study", "/elsewhere/x.nii.gz"),
        ("study-2/x.nii.gz", "/study", None),
        ("study/=1+1.nii", "study", "./=1+1.nii"),
        ("study/@a/x.nii", "study", "./@a/x.nii"),
        ("study/a/=1+1.nii", "study", "a/=1+1.nii"),
    ],
)
def test_input_is_relative_to_the_root_when_below_it(path: str, root: str, expected: str | None) -> None:
    found = failed(subject(path), "bad", Path(root))["input"]
    assert found == (expected or Path(path).absolute().as_posix())


def test_the_place_of_an_error_is_named_unless_it_is_the_input() -> None:
    two = Subject("x", "x", PurePosixPath("."), {"T1w": Path("x_T1w.nii"), "T2w": Path("x_T2w.nii")})
    own = ContentError(Path("x_T1w.nii"), "a brain", "noise", "Look at it")
    other = ContentError(Path("x_T2w.nii"), "a brain", "noise", "Look at it")
    assert failed_row(two, own, Path("."))["error"] == "expected a brain, found noise. Look at it."
    assert str(failed_row(two, other, Path("."))["error"]).startswith("x_T2w.nii: expected")
    assert failed_row(two, own, Path("."))["status"] == "failed"


@pytest.mark.parametrize("folder", [".", "sub-01/anat"])
def test_the_key_comes_back_from_the_file(folder: str, tmp_path: Path) -> None:
    row = failed(subject(tmp_path / folder / "x.nii.gz", folder=folder), "bad", tmp_path)
    write_results(tmp_path / "results.csv", [row])
    assert read_results(tmp_path / "results.csv")[0]["key"] == row["key"]


def test_table_and_page_need_no_matplotlib() -> None:
    code = "import sys, mri3d.reporting.report, mri3d.reporting.table; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

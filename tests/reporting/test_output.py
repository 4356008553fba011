"""What stands in an output folder is whole, of this run or of one that would have done the very same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from mri3d.errors import ContentError, UsageError
from mri3d.grid import Grid
from mri3d.reporting import output as module
from mri3d.reporting import subject_files
from mri3d.reporting.names import SIMPLE_VIEW, VIEW
from mri3d.reporting.output import OutputFolder
from mri3d.reporting.table import read_results
from mri3d.reporting.view import has_niivue
from mri3d.scoring.detection import Detection
from mri3d.transforms.case import Case
from mri3d.volumes.nifti import write_map
from mri3d.volumes.subject import Subject

BUNDLE = {"name": "demo", "version": "1", "sha256": "ab12"}
SETTINGS = {"min_ml": 0.5, "keep_reconstruction": False}
MAPS = ("error", "zscore", "anomaly")


class Study:
    """Subjects with files that only have an identity, and runs over them that need no model."""

    def __init__(self, root: Path, make: Callable[..., Detection]) -> None:
        self.root, self.out, self.make = root, root / "out", make
        self.subjects: list[Subject] = []

    def add(self, name: str, mask: bool = False) -> Subject:
        path, mask_path = self.root / "in" / f"{name}.nii.gz", self.root / "in" / f"{name}_mask.nii.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        if mask:
            mask_path.write_text(name)
        subject = Subject(name, name, PurePosixPath("."), {"T1w": path}, mask_path if mask else None)
        self.subjects.append(subject)
        return subject

    def folder(self, existing: str = "refuse", **changes: Any) -> OutputFolder:
        options = {"bundle": BUNDLE, "device": "cpu", "settings": SETTINGS} | changes
        return OutputFolder(self.out, self.root / "in", self.subjects, existing=existing, **options)

    def detection(self, subject: Subject, **changes: Any) -> Detection:
        grid = Grid((40, 48, 40), np.diag([4.0, 4.0, 4.0, 1.0]))
        return self.make(grid, **({"subject": subject} | changes))

    def score(self, folder: OutputFolder, subject: Subject, **changes: Any) -> None:
        detection = self.detection(subject, **changes)
        folder.save(detection)
        folder.record(Case(subject), detection)

    def fail(self, folder: OutputFolder, subject: Subject) -> None:
        error = ContentError(subject.reference, "a head", "noise", "Look at it")
        folder.record(Case(subject, error=error), None)

    def names(self) -> set[str]:
        return {path.name for path in self.out.iterdir()}


@pytest.fixture
def study(tmp_path: Path, make_detection: Callable[..., Detection], monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(subject_files, "draw_subject", lambda detection, path, template: path.write_bytes(b"png"))
    monkeypatch.setattr(subject_files, "template_on", lambda grid: None)
    return Study(tmp_path, make_detection)


def files(name: str, *maps: str) -> set[str]:
    view = VIEW if has_niivue() else SIMPLE_VIEW
    return {f"{name}.json", f"{name}.png", f"{name}{view}", *(f"{name}_{kind}.nii.gz" for kind in maps)}


def test_a_subject_that_fails_keeps_nothing_of_an_earlier_run(study: Study) -> None:
    a, b = study.add("a"), study.add("b")
    first = study.folder()
    for subject in (a, b):
        study.score(first, subject)
    (study.out / "a_notes.txt").touch()
    again = study.folder("overwrite")
    study.fail(again, a)
    assert study.names() == files("b", *MAPS) | {"a_notes.txt", "results.csv"}, "b has not been reached"
    study.fail(again, b)
    again.finish()
    assert study.names() == {"a_notes.txt", "results.csv", "run.json", "report.html"}


def test_results_do_not_follow_a_link_out_of_the_folder(study: Study) -> None:
    elsewhere = study.root / "data"
    elsewhere.mkdir()
    study.subjects.append(replace(study.add("sub-01_T1w"), folder=PurePosixPath("sub-01")))
    study.out.mkdir(exist_ok=True)
    (study.out / "sub-01").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="a folder within the output, found a link to"):
        study.folder("overwrite")
    assert not list(elsewhere.iterdir())


def test_a_subject_that_fails_keeps_its_warnings(study: Study) -> None:
    a = study.add("a")
    folder = study.folder()
    error = ContentError(a.reference, "a head", "noise", "Look at it")
    folder.record(Case(a, error=error, warnings=("The scan ends within the brain.", "Left is a guess.")), None)
    folder.finish()
    row = read_results(study.out / "results.csv")[0]
    assert (row["status"], row["warnings"]) == ("failed", "The scan ends within the brain. | Left is a guess.")
    assert "Left is a guess." in (study.out / "report.html").read_text(encoding="utf-8")


def test_a_warning_stands_in_table_sidecar_and_report(study: Study) -> None:
    a = study.add("a")
    folder = study.folder()
    study.score(folder, a, warnings=("The scan ends within the brain.",))
    folder.finish()
    assert read_results(study.out / "results.csv")[0]["warnings"] == "The scan ends within the brain."
    assert json.loads((study.out / "a.json").read_text(encoding="utf-8"))["warnings"] == [
        "The scan ends within the brain."
    ]
    assert "The scan ends within the brain." in (study.out / "report.html").read_text(encoding="utf-8")


def test_a_run_with_failures_can_end_with_an_exit_code(study: Study) -> None:
    a, b = study.add("a"), study.add("b")
    folder = study.folder()
    study.score(folder, a)
    folder.exit_if_failed()
    study.fail(folder, b)
    with pytest.raises(SystemExit, match=r"1 of 2 subjects failed; .*results\.csv"):
        folder.exit_if_failed()


def test_a_map_that_is_no_longer_written_does_not_outlive_its_run(study: Study) -> None:
    a = study.add("a")
    study.score(study.folder(), a, reconstruction=np.zeros((40, 48, 40), np.float32))
    assert study.names() == files("a", *MAPS, "recon") | {"results.csv"}
    study.score(study.folder("overwrite"), a, anomaly=None, components=(), voxel_threshold=None)
    assert study.names() == files("a", "error", "zscore") | {"results.csv"}


@pytest.mark.parametrize("written", [0, 1, 2])
def test_killed_while_overwriting_it_does_not_resume_with_maps_of_two_runs(
    study: Study, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    a = study.add("a")
    study.score(study.folder(), a)
    left = iter(range(written))

    def killed(*arguments: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        write_map(*arguments)

    monkeypatch.setattr(subject_files, "write_map", killed)
    with pytest.raises(KeyboardInterrupt):
        study.folder("overwrite").save(study.detection(a))
    assert study.folder("resume").pending == (a,)
    assert len(study.names()) == written + 1, "beside the table, nothing of the earlier run"


def test_a_subject_that_fails_while_it_is_written_keeps_nothing(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    a = study.add("a")
    folder = study.folder()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject_files, "draw_subject", full)
    with pytest.raises(UsageError, match="No space left") as caught:
        folder.save(study.detection(a))
    assert len(study.names()) == len(MAPS)
    folder.record(Case(a, error=caught.value), None)
    assert study.names() == {"results.csv"}
    assert "written to" in str(read_results(study.out / "results.csv")[0]["error"])


def test_nothing_is_touched_before_a_subject_is_done(study: Study) -> None:
    study.score(study.folder(), study.add("a"))
    before = {path: path.stat().st_mtime_ns for path in study.out.iterdir()}
    with pytest.raises(UsageError, match="results of a"):
        study.folder("refuse")
    study.folder("overwrite")
    study.folder("resume", settings={})
    assert {path: path.stat().st_mtime_ns for path in study.out.iterdir()} == before


def test_what_would_be_done_again_in_the_same_way_is_resumed(study: Study) -> None:
    a, b = study.add("a", mask=True), study.add("b")
    first = study.folder()
    study.score(first, a)
    study.fail(first, b)
    again = study.folder("resume")
    assert again.pending == (b,)
    old, new = first.rows["a"], again.rows["a"]
    assert new | {"seconds": None} == old | {"seconds": None}


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"min_ml": 2.0, "keep_reconstruction": False}},
        {"settings": {"min_ml": 0.5, "keep_reconstruction": True}},
        {"settings": {}},
        {"bundle": BUNDLE | {"sha256": "cd34"}},
    ],
)
def test_other_options_are_done_again(study: Study, changes: dict[str, Any]) -> None:
    a = study.add("a")
    study.score(study.folder(), a)
    assert study.folder("resume", **changes).pending == (a,)


def test_covariates_of_a_mended_table_are_done_again(study: Study) -> None:
    a, settings = study.add("a"), {"covariates": ["age"]}
    folder = study.folder(settings=settings)
    table = folder.source / "participants.tsv"
    table.write_text("participant_id\tage\na\t30\n")
    study.score(study.folder(settings=settings), a)
    assert study.folder("resume", settings=settings).pending == ()
    table.write_text("participant_id\tage\na\t61\n")
    assert study.folder("resume", settings=settings).pending == (a,)
    assert study.folder("resume", settings={"covariates": []}).pending == (a,)


def test_another_mask_is_done_again(study: Study) -> None:
    a = study.add("a", mask=True)
    assert a.mask is not None
    study.score(study.folder(), a)
    assert study.folder("resume").pending == ()
    os.utime(a.mask, ns=(0, 0))
    assert study.folder("resume").pending == (a,)
    study.subjects = [replace(a, mask=None)]
    assert len(study.folder("resume").pending) == 1


@pytest.mark.parametrize("ending", [".png", ".json", "_anomaly.nii.gz"])
def test_a_subject_that_lacks_a_file_is_done_again(study: Study, ending: str) -> None:
    a = study.add("a")
    study.score(study.folder(), a)
    (study.out / f"a{ending}").unlink()
    assert study.folder("resume").pending == (a,)


@pytest.mark.parametrize("content", ["[]", "{}", "no json", '{"bundle": {"sha256": "ab12"}, "seconds": 3}'])
@pytest.mark.parametrize("existing", ["refuse", "resume", "overwrite"])
def test_a_sidecar_that_mri3d_did_not_write_is_never_replaced(study: Study, content: str, existing: str) -> None:
    study.add("a")
    study.out.mkdir()
    (study.out / "a.json").write_text(content)
    with pytest.raises(UsageError, match="did not write"):
        study.folder(existing)
    assert (study.out / "a.json").read_text() == content


def test_a_picture_beside_the_input_is_never_replaced(study: Study) -> None:
    study.out = study.root / "in"
    study.add("a")
    (study.out / "a.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="did not write"):
        study.folder("overwrite")


@pytest.mark.parametrize("existing", ["resume", "overwrite"])
def test_results_of_other_subjects_are_not_lost_from_the_table(study: Study, existing: str) -> None:
    a = study.add("a")
    study.score(study.folder(), a)
    study.subjects = []
    study.add("b")
    with pytest.raises(UsageError, match="results of a, which the input does not hold"):
        study.folder(existing)


def test_a_datalist_in_the_output_folder_is_never_replaced(study: Study) -> None:
    a = study.add("a")
    study.out.mkdir()
    for name in ("run.json", "results.csv", "a.json"):
        with pytest.raises(UsageError):
            OutputFolder(study.out, study.out / name, [a], bundle=BUNDLE, device="cpu", existing="overwrite")


@pytest.mark.parametrize("content", ["x,y\r\n1,2\r\n", "", "subject,input,status\r\na,b\r\n"])
def test_a_table_of_something_else_does_not_stop_a_run_from_being_resumed(study: Study, content: str) -> None:
    a, b = study.add("a"), study.add("b")
    study.score(study.folder(), a)
    (study.out / "results.csv").write_text(content)
    again = study.folder("resume")
    assert again.pending == (b,)
    again.finish()
    assert read_results(study.out / "results.csv")[0]["score"] == 0.0534567


def test_the_line_of_a_resumed_subject_is_that_of_its_maps(study: Study) -> None:
    a = study.add("a")
    study.score(study.folder(), a)
    other = replace(study.detection(a).score, value=0.9)
    study.folder("overwrite").save(study.detection(a, score=other))  # and killed before the table is written
    assert study.folder("resume").rows["a"]["score"] == 0.9


def test_an_unknown_word_is_not_taken_for_overwrite(study: Study) -> None:
    study.add("a")
    with pytest.raises(UsageError, match="refuse or resume or overwrite"):
        study.folder("resum")


def test_a_subject_called_run_is_refused_and_one_in_a_folder_is_not(study: Study) -> None:
    run = study.add("run")
    with pytest.raises(UsageError, match=r"run\.nii\.gz.*run\.json"):
        study.folder()
    study.subjects = [replace(run, folder=PurePosixPath("sub"))]
    assert len(study.folder().pending) == 1


def test_an_input_is_never_replaced(study: Study) -> None:
    study.out = study.root / "in"
    study.add("a")
    study.folder()
    study.add("a_error")
    with pytest.raises(UsageError, match=r"replace .*a_error\.nii\.gz"):
        study.folder()


def test_a_folder_that_cannot_be_written_is_told_as_such(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    a = study.add("a")
    study.out.touch()
    folder = study.folder()
    with pytest.raises(UsageError, match="can be written to"):
        folder.save(study.detection(a))
    with pytest.raises(UsageError, match="can be written to"):
        study.fail(folder, a)
    with pytest.raises(UsageError, match="can be written to"):
        folder.finish()


def test_a_name_without_room_for_an_ending_fails_alone(study: Study) -> None:
    long = study.add("n" * 245)
    folder = study.folder()
    with pytest.raises(UsageError, match="too long"):
        folder.save(study.detection(long))
    study.fail(folder, long)
    folder.finish()
    assert study.names() == {"results.csv", "run.json", "report.html"}


def test_the_sidecar_tells_what_the_maps_rest_on(study: Study) -> None:
    a = study.add("a", mask=True)
    study.score(study.folder(), a)
    made = json.loads((study.out / "a.json").read_text(encoding="utf-8"))
    assert made["settings"] == SETTINGS
    assert made["mask"]["path"] == str(a.mask)
    assert made["inputs"]["T1w"]["bytes"] == 1
    assert made["maps"] == sorted(MAPS)
    assert (made["alignment_dice"], made["alignment_correlation"]) == (0.93, 0.47)
    assert np.array(made["template_to_source"]).shape == (4, 4)
    assert module.TABLE in study.names()


def test_results_of_two_subjects_never_share_a_file(study: Study) -> None:
    study.subjects += [study.add("a"), study.add("a_modalities")]
    with pytest.raises(UsageError, match="results with names of their own"):
        study.folder()


def test_a_viewer_that_is_gone_is_made_again(study: Study) -> None:
    a = study.add("a")
    study.score(study.folder(), a)
    assert study.folder("resume").pending == ()
    (study.out / f"a{VIEW if has_niivue() else SIMPLE_VIEW}").unlink()
    assert study.folder("resume").pending == (a,)


def test_a_run_that_goes_on_has_no_report_of_the_one_before(study: Study) -> None:
    a = study.add("a")
    first = study.folder()
    study.score(first, a)
    first.finish()
    again = study.folder("overwrite")
    assert (study.out / "report.html").exists()
    study.score(again, a)
    assert not (study.out / "report.html").exists() and not (study.out / "run.json").exists()


@pytest.mark.parametrize("name", ["run.json", "report.html"])
def test_a_report_of_others_is_not_replaced(study: Study, name: str) -> None:
    study.add("a")
    study.out.mkdir(exist_ok=True)
    (study.out / name).write_text("mine")
    for existing in ("refuse", "overwrite", "resume"):
        with pytest.raises(UsageError, match="a file that it did not write"):
            study.folder(existing)
    assert (study.out / name).read_text() == "mine"

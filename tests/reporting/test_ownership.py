"""Files of others stay, ours are replaced when that is asked for, and never through a link."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mri3d.errors import UsageError
from mri3d.reporting.names import plain_words
from mri3d.reporting.ownership import PageFolder, recorded_files, refuse_standing, writable


def folder_in(root: Path) -> PageFolder:
    return PageFolder(root, "look", "look.json", ("look.html", "figures/*.png"))


def write_results(root: Path) -> None:
    (root / "figures").mkdir(parents=True, exist_ok=True)
    (root / "look.json").write_text(json.dumps({"made": {"command": "look"}}))
    for name in ("look.html", "figures/a.png", "figures/notes.txt"):
        (root / name).write_text("text")


def test_an_empty_folder_and_one_that_is_not_there_are_free(tmp_path: Path) -> None:
    folder_in(tmp_path).refuse_standing(overwrite=False)
    folder_in(tmp_path / "new").refuse_standing(overwrite=False)


def test_results_are_replaced_only_when_asked_for_and_nothing_else_is(tmp_path: Path) -> None:
    write_results(tmp_path)
    with pytest.raises(UsageError, match="Use --overwrite"):
        folder_in(tmp_path).refuse_standing(overwrite=False)
    folder_in(tmp_path).refuse_standing(overwrite=True)
    folder_in(tmp_path).clear()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"]


@pytest.mark.parametrize("made", ['{"made": {"command": "other"}}', '{"made": 1}', "[]", "no JSON"])
def test_a_record_of_others_is_left_alone(tmp_path: Path, made: str) -> None:
    write_results(tmp_path)
    (tmp_path / "look.json").write_text(made)
    with pytest.raises(UsageError, match=r"look\.json of another origin"):
        folder_in(tmp_path).refuse_standing(overwrite=True)
    folder_in(tmp_path).clear()
    assert (tmp_path / "look.html").exists()


@pytest.mark.parametrize("name", ["look.html", "figures/b.png", "results.csv"])
def test_a_file_of_others_without_our_record_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / name).write_text("another's")
    with pytest.raises(UsageError, match=f"{name} of another origin"):
        folder_in(tmp_path).refuse_standing(overwrite=True)


def test_a_linked_folder_of_figures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="figures of another origin"):
        folder_in(tmp_path / "out").refuse_standing(overwrite=True)


def test_a_subjects_files_are_known_by_their_sidecar(tmp_path: Path) -> None:
    image, sidecar = tmp_path / "a.nii.gz", tmp_path / "a.json"
    refuse_standing([image], sidecar, overwrite=False)
    image.write_text("image")
    with pytest.raises(UsageError, match="did not write"):
        refuse_standing([image], sidecar, overwrite=True)
    sidecar.write_text('{"versions": {"mri3d": "0.1.0"}}')
    refuse_standing([image], sidecar, overwrite=True)
    with pytest.raises(UsageError, match="Use --overwrite"):
        refuse_standing([image], sidecar, overwrite=False)


def test_a_place_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="a folder that can be written to"), writable(tmp_path / "file"):
        (tmp_path / "file" / "below").mkdir(parents=True)


def test_names_become_words_for_files_that_no_file_system_confuses() -> None:
    words = plain_words(["HD", "hd", "H/D", "../x", "Tourette's (früh)", "", "a_b"])
    assert words["HD"] == "HD" and words["a_b"] == "a_b" and words["../x"] == "x"
    assert len({word.casefold() for word in words.values()}) == 7
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", word) for word in words.values())


def test_a_record_tells_of_files_beside_it_alone(tmp_path: Path) -> None:
    record = tmp_path / "compare.json"
    assert recorded_files(record) == ()
    record.write_text('{"files": ["a_change.nii.gz", "../b.png", "/etc/passwd", "c*.png", ".hidden"]}')
    assert recorded_files(record) == ("a_change.nii.gz",)
    record.write_text('{"files": 3}')
    assert recorded_files(record) == ()

"""Ten faults in a data set are named, and nothing else is; the files that tell of it."""

from __future__ import annotations

import csv
import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mri3d.checking import turned
from mri3d.cli import main
from mri3d.commands import check as module
from mri3d.grid import Grid
from mri3d.transforms import processes
from tests.brains import CENTRE, FOV, brain_on, write_brain
from tests.facts import facts_of
from tests.helpers import head_grid, write_nifti

GRID = head_grid("RAS", (2.0, 2.0, 2.0), 0.0, FOV, CENTRE)
SOUND = 8
FAULTS = {
    "copy": ("error", "duplicate"),
    "truncated": ("error", "file"),
    "mask": ("error", "label map"),
    "lps": ("note", "orientation"),
    "t2": ("error", "contrast"),
    "zerovoxel": ("error", "geometry"),
    "nan": ("error", "content"),
    "series": ("error", "file"),
    "turned": ("error", "turned"),
    "constant": ("error", "content"),
    "coarse": ("note", "spacing"),
    "small": ("note", "brain volume"),
}


def _plant(folder: Path) -> None:
    """Sound volumes, and one with each fault."""

    def write(name: str, data: np.ndarray, grid: Grid = GRID, **changes) -> Path:
        return write_nifti(folder / f"{name}_T1w.nii.gz", grid, data, **changes)

    brains = [brain_on(GRID, seed) for seed in range(SOUND + 4)]
    def write_with_mask(name: str, data: np.ndarray, grid: Grid = GRID) -> None:
        """A mask of the user's saves the extraction."""
        write_brain(folder / f"{name}_T1w.nii.gz", grid, data)

    write("a0", brains[0], dtype=np.int16)
    for number in range(1, SOUND):
        write_with_mask(f"a{number}", brains[number])
    write_nifti(folder / "copy_T1w.nii", GRID, brains[2], dtype=np.float32, codes=(0, 1))
    whole = write("truncated", brains[SOUND], dtype=np.int16)
    whole.write_bytes(whole.read_bytes()[:20000])
    write("mask", brains[0] > 0, dtype=np.uint8)
    lps = head_grid("LPS", (2.0, 2.0, 2.0), 0.0, FOV, CENTRE)
    write_with_mask("lps", brain_on(lps, SOUND + 1), lps)
    write("t2", np.where(brains[SOUND + 2] > 0, 1300 - brains[SOUND + 2].clip(0, 1200), 0), dtype=np.int16)
    write("zerovoxel", brains[SOUND], dtype=np.int16, pixdim=[1, 0, 2, 2, 1, 1, 1, 1])
    holes = brains[SOUND].astype(np.float32)
    holes[30, 40, 30:33] = np.nan
    write("nan", holes)
    write("series", np.stack([brains[SOUND]] * 3, axis=-1), dtype=np.int16)
    write("turned", brains[SOUND + 3][:, ::-1, ::-1], dtype=np.int16)
    write("constant", np.full(GRID.shape, 7), dtype=np.int16)
    coarse = head_grid("RAS", (2.0, 2.0, 3.0), 0.0, FOV, CENTRE)
    write_with_mask("coarse", brain_on(coarse, SOUND + 4), coarse)
    # three quarters of the volume, by voxels that are too small by less than another size is told from
    small = Grid(GRID.shape, GRID.affine * [[0.91], [0.91], [0.91], [1]])
    write_with_mask("small", brain_on(GRID, SOUND + 5), small)


def _run(*words: object):
    return CliRunner().invoke(main, ["check", *map(str, words)])


def _table(folder: Path) -> list[dict[str, str]]:
    with (folder / "check.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_planted_faults_are_all_named_and_nothing_else_is(tmp_path, monkeypatch):
    monkeypatch.setattr(turned, "TRIED", 1)  # the drawn head's own way is the first; a T2w head would try them all
    _plant(tmp_path / "in")
    result = _run(tmp_path / "in", "-o", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    made = json.loads((tmp_path / "out" / "check.json").read_text(encoding="utf-8"))
    found = {(each["subject"][:-4], each["severity"], each["what"]) for each in made["findings"]}
    assert found == {(name, *what) for name, what in FAULTS.items()}
    rows = {row["subject"][:-4]: row for row in _table(tmp_path / "out")}
    assert {name for name, row in rows.items() if row["status"] == "ok"} == {f"a{i}" for i in range(SOUND)}
    assert all(name in result.output and what in result.output for name, (_, what) in FAULTS.items())
    assert rows["truncated"]["orientation"] == "" and rows["lps"]["orientation"] == "LPS"
    assert Image.open(tmp_path / "out" / "contact_sheet.png").size[0] > 2000
    assert "turned" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Examination without brain extraction and registration, which take seconds."""

    def examine(subject, device):
        from mri3d.checking.facts import Examined
        from mri3d.transforms.case import Case
        from mri3d.transforms.dataset import Guarded
        from mri3d.transforms.source import LoadVolumes

        case = Guarded([LoadVolumes()])({"case": Case(subject)})["case"]
        facts = facts_of(subject.name, error=case.error)
        return Examined(type(facts)(subject, facts.stored, facts.brain, None, case.error), case.volume, None)

    monkeypatch.setattr(module, "examine", examine)
    monkeypatch.setattr(processes, "workers", lambda volumes, device: 1)
    yield


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        write_nifti(tmp_path / "in" / f"{name}.nii.gz")
    return tmp_path / "in"


def test_a_sound_data_set_ends_with_0_and_writes_nothing_unasked(quick, sound, tmp_path):
    result = _run(sound)
    assert result.exit_code == 0, result.output
    assert "2 volumes: no errors, no notes." in result.output
    assert "compared from 10 sound volumes on; here are 2" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
    assert {path.name for path in sound.iterdir()} == {"one.nii.gz", "two.nii.gz"}


def test_an_error_ends_with_1_and_the_others_are_checked(quick, sound, tmp_path):
    (sound / "bad.nii.gz").write_bytes(b"")
    result = _run(sound, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "error  bad: file" in result.output and "Traceback" not in result.output
    assert [row["status"] for row in _table(tmp_path / "out")] == ["error", "ok", "ok"]
    quiet = _run(sound, "-q")
    assert quiet.exit_code == 1
    assert [line.split(":")[2].strip() for line in quiet.output.splitlines() if line.startswith("mri3d")] == ["bad"]


def test_a_datalist_and_a_single_file_are_inputs(quick, sound, tmp_path):
    (tmp_path / "list.csv").write_text("image\nin/one.nii.gz\n")
    for source in (tmp_path / "list.csv", sound / "one.nii.gz"):
        result = _run(source, "-o", tmp_path / source.stem)
        assert result.exit_code == 0 and "1 volume: no errors" in result.output
    assert _table(tmp_path / "list")[0]["input"] == "in/one.nii.gz"


def test_people_and_what_was_passed_over_are_told(quick, sound):
    (sound / "participants.tsv").write_text("participant_id\tage\none\t30\nthree\t40\n")
    (sound / "derivatives").mkdir()
    write_nifti(sound / "one_mask.nii.gz")
    told = " ".join(_run(sound).output.split())
    assert "none for three" in told and "volumes of two that it does not name" in told
    assert "derivatives (a derivatives folder" in told and "(a mask or label map)" in told


def test_an_earlier_check_is_replaced_on_request_alone(quick, sound, tmp_path):
    out = tmp_path / "out"
    assert _run(sound, "-o", out).exit_code == 0
    (out / "contact_sheet-2.png").write_bytes(b"an earlier page")
    (out / "mine.txt").write_text("kept")
    refused = _run(sound, "-o", out)
    assert refused.exit_code == 2 and "--overwrite" in refused.output
    assert _run(sound, "-o", out, "--overwrite").exit_code == 0
    names = {"check.csv", "check.json", "contact_sheet.png", "report.html", "mine.txt"}
    assert {path.name for path in out.iterdir()} == names


@pytest.mark.parametrize("name", ["report.html", "check.csv", "check.json", "contact_sheet.png", "results.csv"])
def test_files_of_others_are_never_replaced(quick, sound, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text('{"made": 1}')
    for words in ((), ("--overwrite",)):
        result = _run(sound, "-o", tmp_path / "out", *words)
        assert result.exit_code == 2 and name in result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_wrong_usage_is_told_before_any_work(tmp_path):
    assert _run(tmp_path / "nothing").exit_code == 2
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(struct.pack("<i", 348)))
    result = _run(tmp_path, "--device", "tpu")
    assert result.exit_code == 2 and "--device tpu" in result.output

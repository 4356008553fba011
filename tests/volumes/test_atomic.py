"""A file appears whole or not at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mri3d.volumes import atomic
from mri3d.volumes.atomic import atomic_write, write_json, write_text


@pytest.mark.parametrize("name", ["a.nii.gz", "sub-01_T1w_zscore.nii", "results.csv", "v1.2.json", "plain"])
def test_the_temporary_file_lies_beside_hidden_and_with_the_same_ending(tmp_path: Path, name: str) -> None:
    target = tmp_path / "new" / "folder" / name
    with atomic_write(target) as part:
        assert part.parent == target.parent and part.name.startswith(".")
        assert part.name.endswith("".join(target.suffixes[-2:]))
        assert not target.exists()
        part.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("begun", [True, False])
def test_an_error_leaves_the_old_file_and_no_debris(tmp_path: Path, error: type[BaseException], begun: bool) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_write(target) as part:
        if begun:
            part.write_text("ne")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_forgetting_to_write_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_kill_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.nii.gz"
    target.write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path; from mri3d.volumes.atomic import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as part:\n"
        "    part.write_text('ne'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(atomic.__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", code, str(target)], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["a.nii.gz"]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_write(target) as one, atomic_write(target) as two:
        one.write_text("one")
        two.write_text("two")
        assert one != two
    assert target.read_text() == "one"  # the last to finish


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "x̂ ± µ\n")
    assert (tmp_path / "a.txt").read_bytes() == "x̂ ± µ\n".encode()


def test_json_is_plain(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"z": np.float32(0.5), "n": np.int64(3), "yes": np.bool_(True), "peak": np.array([1.5, -2.0])})
    assert json.loads(target.read_text()) == {"z": 0.5, "n": 3, "yes": True, "peak": [1.5, -2.0]}
    assert target.read_text().startswith('{\n  "z": 0.5,\n')


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), np.float32("nan"), np.array([1, np.inf]), object()])
def test_json_refuses_what_it_does_not_know(tmp_path: Path, value: object) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises((ValueError, TypeError)):
        write_json(target, {"value": value})
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]

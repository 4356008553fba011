"""Ctrl-C ends a run with one line and an exit code of its own, and what was done is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from torch.utils.data import Dataset

from mri3d.cli import main
from mri3d.commands import demo
from mri3d.reporting.panels import save_png
from mri3d.reporting.table import read_results
from mri3d.transforms import processes
from mri3d.transforms.processes import in_processes
from tests.serving.server import write_scan

ROOT = Path(__file__).parents[1]


def interrupted(ready: Callable[[], bool], *words: object) -> list[str]:
    """Start a command, press Ctrl-C once it is ready, and again once it has said so; what it says without bars."""
    command = [sys.executable, "-m", "mri3d.cli", *map(str, words), "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT)
    deadline = time.monotonic() + 240
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # a terminal tells the whole group, worker processes too
    patience = threading.Timer(120, process.kill)
    patience.start()
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if "interrupted" in line:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
    patience.cancel()
    assert process.wait() == 130, told
    return [line for line in told.splitlines() if line.strip() and "%|" not in line]


def test_detect_keeps_the_subjects_that_are_done(tmp_path: Path, quick_bundle: Path):
    for seed in range(6):
        write_scan(tmp_path / "in" / f"sub-{seed}_T1w.nii.gz", seed)
    table = tmp_path / "out" / "results.csv"
    words = ("detect", tmp_path / "in", "-o", tmp_path / "out", "--bundle", quick_bundle)
    assert interrupted(table.exists, *words) == ["mri3d: interrupted; go on with --resume"]
    done = read_results(table)
    assert 1 <= len(done) < 6
    assert all((tmp_path / "out" / f"{row['subject']}_zscore.nii.gz").exists() for row in done)


def test_train_has_no_words_from_its_worker_processes(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for number in range(30):
        (tmp_path / "in" / f"sub-{number:02}_T1w.nii.gz").write_text("no volume, and not reached")
    cache = tmp_path / "bundle" / "training" / "cache"

    def ready() -> bool:
        time.sleep(0.5)  # workers take seconds to load their libraries
        return cache.exists()

    told = interrupted(ready, "train", tmp_path / "in", "-o", tmp_path / "bundle")
    assert told == ["mri3d: interrupted; go on with --resume"]


@pytest.fixture
def hearing() -> Iterator[None]:
    """Puts back what a command that was interrupted leaves: it hears nothing more."""
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.usefixtures("hearing")
def test_what_cannot_be_resumed_is_not_said_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def press(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", press)
    result = CliRunner().invoke(main, ["demo", "-o", str(tmp_path)])
    assert result.exit_code == 130
    assert result.output == "mri3d: interrupted\n"


class Pressed(Artist):
    """Something to draw in which Ctrl-C is pressed, and lost as Matplotlib's compiled code loses it."""

    def draw(self, renderer: object) -> None:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)


def test_an_interrupt_while_a_picture_is_drawn_is_not_lost(tmp_path: Path):
    figure = Figure(figsize=(1, 1))
    figure.add_artist(Pressed())
    with pytest.raises(KeyboardInterrupt):
        save_png(figure, tmp_path / "picture.png")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Pressing(Dataset[bool]):
    """Ctrl-C is pressed as it goes to a process that is being started; an element says whether it is deaf there."""

    def __init__(self, presses: int) -> None:
        self.presses = presses

    def __reduce__(self) -> tuple[type[Pressing], tuple[int]]:
        for _ in range(self.presses):
            os.kill(os.getpid(), signal.SIGINT)
        return Pressing, (0,)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> bool:
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_an_interrupt_while_processes_start_is_heard_here_and_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "workers", lambda volumes, device: 2)
    with pytest.raises(KeyboardInterrupt):
        list(in_processes(Pressing(1), 2, torch.device("cpu"), "press"))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert list(in_processes(Pressing(0), 2, torch.device("cpu"), "press")) == [True, True]


def test_an_interrupt_that_is_to_end_python_does_so_after_what_held_it():
    """As the default action of the operating system, which no Python function tells."""
    words = "import os, signal; from mri3d.interrupts import held; signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    words += "with held():\n    os.kill(os.getpid(), signal.SIGINT)\n    print('held', flush=True)\nprint('on')"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.returncode) == ("held\n", -signal.SIGINT)

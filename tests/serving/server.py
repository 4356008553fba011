"""A server in a process of its own, as users start it, and scans to send to it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.quick_bundle import SUBJECTS, make_quick_bundle
from benchmarks.serving import ServerProcess
from tests.brains import CENTRE, FOV, brain_on
from tests.helpers import head_grid, write_nifti

GRID = head_grid("LPS", (4.0, 4.0, 4.0), 12.0, FOV, CENTRE)
WAIT = {"Prefer": "wait=60"}


def write_scan(path: Path, seed: int, lesion: bool = False) -> Path:
    """A stripped brain, different for every seed."""
    return write_nifti(path, GRID, brain_on(GRID, seed, lesion), dtype=np.int16)


def write_flair(path: Path, seed: int) -> Path:
    """The same brain in another contrast."""
    brain = brain_on(GRID, seed)
    return write_nifti(path, GRID, np.where(brain > 0, 1400 - brain.clip(0, 1300), 0), dtype=np.int16)


def make_bundle(root: Path, modalities: tuple[str, ...] = ("T1w",)) -> Path:
    """A bundle that scores in a tenth of a second; of several modalities it goes on without the others."""
    for seed in range(SUBJECTS):
        write_scan(root / "healthy" / f"sub-{seed:02}_T1w.nii.gz", seed)
        if "FLAIR" in modalities:
            write_flair(root / "healthy" / f"sub-{seed:02}_FLAIR.nii.gz", seed)
    return make_quick_bundle(root / "quick", root / "healthy", modalities, missing=len(modalities) > 1)


class Server(ServerProcess):
    """``mri3d serve`` on a free port; see there."""

    def client(self, **options: Any) -> httpx.Client:
        """A client of it."""
        return httpx.Client(base_url=self.url, timeout=90, trust_env=False, **options)

    def send_raw(self, content: bytes, seconds: float = 20.0) -> bytes:
        """Send bytes and nothing more, and return what comes back until the connection is closed or time is up."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=seconds) as connection:
            connection.sendall(content)
            received = b""
            try:
                while part := connection.recv(65536):
                    received += part
            except TimeoutError:
                pass
        return received

    def files(self) -> set[str]:
        """What is in the state's folder, SQLite's own files and the lock left out."""
        names = {Path(folder, name).relative_to(self.state).as_posix()
                 for folder, inner, files in os.walk(self.state) for name in (*inner, *files)}  # fmt: skip
        return {name for name in names if not name.startswith(("jobs.sqlite", "lock"))}


def finished(client: httpx.Client, job: str, seconds: float = 90.0) -> dict[str, Any]:
    """A job once it is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        view: dict[str, Any] = client.get(job).raise_for_status().json()
        if view["status"] in ("done", "failed"):
            return view
        time.sleep(0.1)
    raise AssertionError(f"not over after {seconds} s: {view}")

"""Many clients at one server: is every answer right and its own, how long do they wait, how much memory does it take?

    python -m benchmarks.serving -o OUT [--uploads 200] [--clients 32] [--kill] [--bundle B]

Each client sends a brain that nobody else sends, follows its job, fetches the z-map, and takes the next one; a client
that is told to come back later does. Each score and z-map is held against what the detector gives in this process. With
--kill the server is killed (SIGKILL) when half of the uploads are accepted, and started again on the same state: every
job that was accepted must then be done, or be said to be lost. Without --bundle a quick one is made, which skips brain
extraction and registration, so that the server's own part shows. OUT gets ``metrics.json`` and the server's log.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np

from benchmarks.quick_bundle import SUBJECTS, make_quick_bundle
from mri3d.bundle import ANATOMY_BUNDLE, find_bundle
from mri3d.commands.demo import sample
from mri3d.detector import Detector
from mri3d.grid import Grid
from mri3d.volumes.anatomy import Anatomy
from mri3d.volumes.atomic import write_json
from mri3d.volumes.nifti import write_image

GRID = Grid.centred((40, 48, 42), 4.0, (0.0, -14.0, 8.0))
QUEUE = 16
"""Fewer than there are clients, so that some are told to come back."""

POLL_SECONDS = 0.3


class ServerProcess:
    """``mri3d serve`` in a process of its own.

    Args:
        bundle: what it serves.
        state: its folder; the log lies beside it.
        words: further options; without a port any that is free.
    """

    def __init__(self, bundle: Path, state: Path, *words: object) -> None:
        self.state, self.log = state, state.with_name(f"{state.name}.log")
        command = [sys.executable, "-m", "mri3d.cli", "serve", "--bundle", bundle, "--state", state, "--port", 0]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*map(str, command), "--device", "cpu", "-v", *map(str, words)],
                stdout=subprocess.PIPE, stderr=log, text=True, cwd=Path(__file__).parents[1],
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("Serving "):
            raise SystemExit(f"the server did not start: {self.log.read_text()}")
        self.url = line.rpartition(" ")[2].strip()

    def kill(self) -> None:
        """As a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As an administrator would; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@dataclass
class Measured:
    """What was seen, in seconds and bytes.

    Args:
        accepted: from the start of an upload to its 202.
        asked: of each look at a job.
        done: from the start of an upload to the end of its job, all waiting included.
        outcomes: each job's status by its number, ``wrong`` where the answer is another's.
        told_to_wait: how often a client was told to come back.
        resident: the server's memory, looked at every second.
        accepted_before: how many jobs had been accepted when the server was killed.
    """

    accepted: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    outcomes: dict[int, str] = field(default_factory=dict)
    told_to_wait: int = 0
    resident: list[float] = field(default_factory=list)
    accepted_before: int = 0

    def summary(self) -> dict[str, Any]:
        """As it is written."""
        words = list(self.outcomes.values())
        return {
            "jobs": {word: words.count(word) for word in sorted(set(words))},
            "accepted_before_kill": self.accepted_before,
            "told_to_wait": self.told_to_wait,
            "seconds_to_accept": _percentiles(self.accepted),
            "seconds_to_ask": _percentiles(self.asked),
            "seconds_to_done": _percentiles(self.done),
            "resident_mib": {"first": self.resident[0] / 2**20, "most": max(self.resident) / 2**20},
        }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(seconds, share)), 4) for share in (50, 99)}


class Crowd:
    """Clients that share a heap of scans.

    Args:
        url: the server.
        scans: one for each upload.
        expected: score and z-map of each.
    """

    def __init__(self, url: str, scans: list[Path], expected: list[tuple[float, Any]]) -> None:
        self._url, self._scans, self._expected = url, scans, expected
        self._next: Iterator[int] = iter(range(len(scans)))
        self.measured = Measured()

    async def run(self, clients: int, kill: Any = None) -> None:
        """Send everything.

        Args:
            clients: how many at a time.
            kill: called, in a thread, when half of the uploads are accepted.
        """
        watching = asyncio.create_task(self._watch())
        killing = asyncio.create_task(self._kill_at_half(kill)) if kill else None
        await asyncio.gather(*(self._client() for _ in range(clients)))
        watching.cancel()
        if killing is not None:
            await killing

    async def _client(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=120, trust_env=False) as client:
            for number in self._next:
                start = time.perf_counter()
                view = await self._follow(client, await self._send(client, number))
                self.measured.done.append(time.perf_counter() - start)
                right = view["status"] != "done" or await self._is_right(client, number, view)
                lost = (view["error"] or {}).get("type") == "urn:mri3d:lost"
                self.measured.outcomes[number] = ("lost" if lost else view["status"]) if right else "wrong"

    async def _send(self, client: httpx.AsyncClient, number: int) -> dict[str, Any]:
        while True:
            start = time.perf_counter()
            answer = await _patient(client, "POST", "/v1/detect", files={"file": self._scans[number].read_bytes()})
            if answer.status_code != 429:
                self.measured.accepted.append(time.perf_counter() - start)
                job: dict[str, Any] = answer.raise_for_status().json()
                return job
            self.measured.told_to_wait += 1
            await asyncio.sleep(float(answer.headers["retry-after"]))

    async def _follow(self, client: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
        while job["status"] in ("queued", "running"):
            await asyncio.sleep(POLL_SECONDS)
            start = time.perf_counter()
            job = (await _patient(client, "GET", f"/v1/jobs/{job['id']}")).raise_for_status().json()
            self.measured.asked.append(time.perf_counter() - start)
        return job

    async def _is_right(self, client: httpx.AsyncClient, number: int, view: dict[str, Any]) -> bool:
        score, zscore = self._expected[number]
        content = (await _patient(client, "GET", view["result"]["maps"]["zscore"])).raise_for_status().content
        found = nib.Nifti1Image.from_bytes(gzip.decompress(content)).get_fdata(dtype=np.float32)
        return bool(view["result"]["score"] == score and (found == zscore).all())

    async def _watch(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=120, trust_env=False) as client:
            while True:
                text = (await _patient(client, "GET", "/metrics")).text
                lines = (line for line in text.splitlines() if line.startswith("process_resident_memory_bytes"))
                self.measured.resident += [float(line.split()[1]) for line in lines]
                await asyncio.sleep(1)

    async def _kill_at_half(self, kill: Any) -> None:
        while len(self.measured.accepted) < len(self._scans) / 2:
            await asyncio.sleep(0.05)
        self.measured.accepted_before = len(self.measured.accepted)
        await asyncio.to_thread(kill)


async def _patient(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """An answer, also of a server that has to be started again first."""
    end = time.monotonic() + 180
    while True:
        try:
            return await client.request(method, path, **options)
        except httpx.TransportError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.5)


def draw_scans(folder: Path, count: int, first: int) -> list[Path]:
    """Stripped brains of nobody, each another."""
    anatomy, paths = Anatomy.load(find_bundle(ANATOMY_BUNDLE) / "models" / "anatomy.nii.gz"), []
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        brain = sample(anatomy.draw(rng, spread=0.7), anatomy.grid, GRID, np.diag([1.1, 1.1, 1.1, 1.0]), rng)
        paths.append(folder / f"sub-{seed:04}_T1w.nii.gz")
        write_image(paths[-1], brain, GRID)
    return paths


def measure(bundle: Path, scans: list[Path], clients: int, kill: bool, root: Path) -> Measured:
    """Start a server, send it everything, and end it."""
    detector = Detector.load(bundle, "cpu")
    found = [detector.detect(scan) for scan in scans]
    crowd_of = [(each.score.value, each.zscore) for each in found]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    servers = [ServerProcess(bundle, root / "state", "--queue", QUEUE, "--port", port)]

    def restart() -> None:
        servers[-1].kill()
        servers.append(ServerProcess(bundle, root / "state", "--queue", QUEUE, "--port", port))

    crowd = Crowd(servers[0].url, scans, crowd_of)
    try:
        asyncio.run(crowd.run(clients, restart if kill else None))
    finally:
        servers[-1].stop()
    return crowd.measured


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--bundle", type=Path)
    words = parser.parse_args()
    words.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if words.bundle is None:
            draw_scans(root / "healthy", SUBJECTS, 0)
            words.bundle = make_quick_bundle(root / "quick", root / "healthy")
        scans = draw_scans(root / "scans", words.uploads, 1000)
        start = time.perf_counter()
        measured = measure(words.bundle, scans, words.clients, words.kill, root)
        made = {"uploads": words.uploads, "clients": words.clients, "killed": words.kill, **measured.summary()}
        made["seconds"] = round(time.perf_counter() - start, 1)
        (words.output / "server.log").write_text((root / "state.log").read_text())
    write_json(words.output / "metrics.json", made)
    print(json.dumps(made, indent=2))
    if made["jobs"].keys() - {"done", "lost"}:
        raise SystemExit("not every answer was right and its own")


if __name__ == "__main__":
    main()

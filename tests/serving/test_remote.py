"""``mri3d detect --server``: a thin machine gets what it would have made itself."""

from __future__ import annotations

import csv
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mri3d.commands import remote
from tests.brains import brain_on
from tests.command_line import mri3d
from tests.helpers import write_nifti
from tests.serving.server import GRID, Server, write_scan


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "in"
    write_scan(folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz", 1)
    write_scan(folder / "sub-02" / "anat" / "sub-02_T1w.nii", 2, lesion=True)
    (folder / "sub-03_T1w.nii.gz").write_bytes(b"no volume")
    write_nifti(folder / "sub-04_T1w.nii.gz", GRID, -brain_on(GRID, 4).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def there(server: Server, study: Path) -> Path:
    output = study.parent / "there"
    told = mri3d("detect", study, "-o", output, "--server", server.url, exit_code=1).output
    assert "4 subjects: 1 anomalous, 2 failed, 1 normal." in told and "Report: " in told
    return output


@pytest.fixture(scope="module")
def here(bundle: Path, study: Path) -> Path:
    output = study.parent / "here"
    mri3d("detect", study, "-o", output, "--bundle", bundle, "--device", "cpu", exit_code=1)
    return output


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(newline="") as file:
        return [{key: cell for key, cell in line.items() if key != "seconds"} for line in csv.DictReader(file)]


def files(output: Path) -> dict[str, Path]:
    return {path.relative_to(output).as_posix(): path for path in output.rglob("*") if path.is_file()}


def test_the_folder_is_that_of_detect(there: Path, here: Path):
    remote_files, own_files = files(there), files(here)
    assert remote_files.keys() == own_files.keys()
    for name in (name for name in own_files if name.endswith((".nii.gz", "_view.js"))):
        assert remote_files[name].read_bytes() == own_files[name].read_bytes(), name
    for name in (name for name in own_files if name.endswith("_T1w.json")):
        told, own = (json.loads(each[name].read_text()) for each in (remote_files, own_files))
        assert {key for key in own.keys() | told.keys() if own.get(key) != told.get(key)} <= {"seconds"}
    for told, own in zip(rows(there), rows(here), strict=True):
        if own["subject"] == "sub-03_T1w":  # what a server makes of it does not rest on its name
            assert "NIfTI" in told.pop("error") and "NIfTI" in own.pop("error")
        assert told == own


def test_the_run_says_who_computed(there: Path, server: Server):
    assert server.url in json.loads((there / "run.json").read_text())["device"]
    assert "sub-02_T1w" in (there / "report.html").read_text()


def test_what_is_there_is_not_sent_again(there: Path, server: Server, study: Path):
    before = {path: path.stat().st_mtime_ns for path in there.rglob("*.nii.gz")}
    refused = mri3d("detect", study, "-o", there, "--server", server.url, exit_code=2).output
    assert "--resume" in refused
    mri3d("detect", study, "-o", there, "--server", server.url, "--resume", exit_code=1)
    assert {path: path.stat().st_mtime_ns for path in there.rglob("*.nii.gz")} == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--bundle", "brain_t1"), "found --bundle"),
        (("--device", "cpu"), "found --device cpu"),
        (("--recon",), "found --recon"),
        (("--set", "min_ml=1"), "found --set"),
        (("--modalities", "T2w"), "expected T1w"),
        (("--server", "ftp://x"), "an address such as"),
        (("--token-file", "missing"), "token_urlsafe"),
    ],
)
def test_what_the_server_decides_is_not_asked_for(server: Server, study: Path, tmp_path: Path, words: tuple, told: str):
    output = mri3d("detect", study, "-o", tmp_path / "out", "--server", server.url, *words, exit_code=2).output
    assert told in output and "Traceback" not in output
    assert not (tmp_path / "out").exists()


def test_a_mask_of_one_s_own_is_said_not_to_be_sent(server: Server, tmp_path: Path):
    write_scan(tmp_path / "in" / "sub-05_T1w.nii.gz", 5)
    write_nifti(tmp_path / "in" / "sub-05_T1w_brainmask.nii.gz", GRID, brain_on(GRID, 5) > 0, dtype=np.uint8)
    told = mri3d("detect", tmp_path / "in", "-o", tmp_path / "out", "--server", server.url).output
    assert "sub-05_T1w_brainmask.nii.gz is not sent" in told


def test_no_server_is_said_to_be_none(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "TRIES", 2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ("--server", f"http://127.0.0.1:{port}")
    told = mri3d("detect", study, "-o", tmp_path / "out", *words, exit_code=2).output
    assert "expected an answer, found none" in told and "--resume" in told


class Stranger(BaseHTTPRequestHandler):
    """A server that sends what it should not."""

    files: dict[str, bytes] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        model = {
            "name": "b", "version": "1", "sha256": "0", "modalities": ["T1w"], "optional": [], "settings": {},
            "device": "cpu",
        }  # fmt: skip
        name = self.path.rpartition("/files/")[2]
        self._answer(json.dumps({"models": [model]}).encode() if "models" in self.path else self.files[name])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(json.dumps({"id": "x", "status": "done", "result": {"files": [*self.files]}}).encode())

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"scan.json": b"{}", "../../evil.nii.gz": b""}, "a file"),
        ({"scan.json": b"{}", "scan_/../../evil.png": b""}, "a file"),
        ({"scan.json": b"{}", "scan.exe": b""}, "a file"),
        ({"scan.json": b"{}", "scan_view.js": b"var mri3dView = alert(1);\n"}, "a script"),
        ({"scan.png": b""}, "no sidecar"),
    ],
)
def test_a_server_writes_nothing_but_the_files_of_a_detection(tmp_path: Path, files: dict[str, bytes], found: str):
    write_scan(tmp_path / "in" / "sub-05_T1w.nii.gz", 5)
    served = HTTPServer(("127.0.0.1", 0), type("Served", (Stranger,), {"files": files}))
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    try:
        words = ("--server", f"http://127.0.0.1:{served.server_port}")
        told = mri3d("detect", tmp_path / "in", "-o", tmp_path / "out" / "deep", *words, exit_code=2).output
    finally:
        served.shutdown()
        served.server_close()
        thread.join()
    assert f"found {found}" in told and "Traceback" not in told
    assert not list(tmp_path.rglob("*evil*")) and not list((tmp_path / "out").rglob("*.js"))

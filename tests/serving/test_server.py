"""The server as a program meets it: what it answers, what it refuses, and what it leaves on disk."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest

from tests.command_line import mri3d
from tests.helpers import write_nifti
from tests.serving.server import WAIT, Server, finished, write_scan

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def done(server: Server, scan: Path) -> dict:
    with server.client() as client:
        answer = client.post("/v1/detect", files={"file": ("whatever.bin", scan.read_bytes())}, headers=WAIT)
        assert answer.status_code == 200, answer.text
        return answer.json()


def test_a_job_is_promised_then_found_then_done(server: Server, scan: Path):
    with server.client() as client:
        answer = client.post("/v1/detect", files={"T1w": scan.read_bytes()})
        assert answer.status_code == 202 and answer.json()["status"] in ("queued", "running")
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
        view = finished(client, answer.headers["location"])
    assert view["status"] == "done" and view["error"] is None
    assert view["result"]["decision"] in ("normal", "anomalous")


def test_its_maps_are_those_of_the_command_line_byte_for_byte(
    server: Server, bundle: Path, scan: Path, done: dict, tmp_path: Path
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "scan.nii.gz").write_bytes(scan.read_bytes())
    mri3d("detect", tmp_path / "in", "-o", tmp_path / "out", "--bundle", bundle, "--device", "cpu")
    own = json.loads((tmp_path / "out" / "scan.json").read_text())
    with server.client() as client:
        for name, link in done["result"]["files"].items():
            content = client.get(link).raise_for_status().content
            if name == "scan.json":
                served = json.loads(content)
            else:
                assert content == (tmp_path / "out" / name).read_bytes(), name
    assert {f"scan_{kind}.nii.gz" for kind in ("zscore", "anomaly", "error")} < set(done["result"]["files"])
    assert done["result"]["maps"].keys() == {"zscore", "anomaly", "error"}
    different = {key for key in own if own[key] != served[key]}
    assert different <= {"inputs", "seconds"}
    assert served["inputs"] == {"T1w": {"bytes": scan.stat().st_size}}
    for key in ("decision", "score", "threshold", "p_value", "anomalous_ml", "components", "warnings"):
        assert done["result"][key] == own[key]


def test_maps_lie_on_the_scan_s_grid_and_pictures_are_pictures(server: Server, scan: Path, done: dict):
    source = nib.load(scan)
    with server.client() as client:
        answer = client.get(done["result"]["maps"]["zscore"])
        assert answer.headers["content-type"] == "application/gzip"
        found = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
        picture = client.get(done["result"]["picture"])
        sidecar = client.get(done["result"]["sidecar"])
    assert found.shape == source.shape and (found.affine == source.affine).all()
    assert picture.headers["content-type"] == "image/png" and picture.content.startswith(b"\x89PNG")
    assert sidecar.headers["content-type"] == "application/json"


def test_no_answer_names_a_path_of_the_server(server: Server, done: dict):
    with server.client() as client:
        told = json.dumps(done) + client.get(done["result"]["sidecar"]).text + client.get("/metrics").text
    assert str(server.state) not in told and "/home" not in told and str(server.state.parent.name) not in told


def test_the_scan_itself_is_not_kept(server: Server, done: dict):
    kept = {path.name for path in (server.state / "jobs" / done["id"]).iterdir()}
    assert kept == set(done["result"]["files"])


def test_it_says_what_it_is_and_that_it_goes(server: Server, done: dict):
    with server.client() as client:
        (model,) = client.get("/v1/models").json()["models"]
        assert model["name"] == "quick" and model["modalities"] == ["T1w"] and model["optional"] == []
        assert client.get("/health").json() == client.get("/ready").json() == {"status": "ok"}
        metrics = client.get("/metrics").text
        assert 'mri3d_jobs{status="done"}' in metrics and "process_resident_memory_bytes" in metrics
        assert 'mri3d_requests_total{method="POST",route="/v1/detect",status="200"} 1.0' in metrics
        described = client.get("/openapi.json").json()
    examples = described["paths"]["/v1/detect"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    assert examples["status"] == "done"


def test_browsers_are_told_to_trust_nothing_else(server: Server):
    with server.client() as client:
        headers = client.get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example:8080"}, 421),
        ({"Host": "localhost.evil.example"}, 421),
        ({"Host": "["}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused(server: Server, scan: Path, headers: dict, status: int):
    before = server.files()
    with server.client() as client:
        answer = client.post("/v1/detect", files={"file": scan.read_bytes()}, headers=headers)
    assert answer.status_code == status and answer.headers["content-type"] == PROBLEM
    assert server.files() == before


@pytest.mark.parametrize("path", ["/v1/jobs/nothing", "/v1/jobs/../../etc/passwd", "/nothing", "/static/..%2fapp.py"])
def test_what_is_not_there_is_said_not_to_be(server: Server, path: str):
    with server.client() as client:
        answer = client.get(path)
    assert answer.status_code == 404 and answer.json()["status"] == 404


@pytest.mark.parametrize("name", ["../jobs.sqlite", "..%2f..%2fjobs.sqlite", "T1w.nii.gz", "/etc/passwd", "scan.txt"])
def test_no_file_but_those_of_the_job_is_served(server: Server, done: dict, name: str):
    raw = f"GET /v1/jobs/{done['id']}/files/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert server.send_raw(raw.encode()).startswith(b"HTTP/1.1 404")


@lru_cache
def header(*dim: int) -> bytes:
    """The header of a float32 volume of this size."""
    made = nib.Nifti1Header()
    made.set_data_dtype(np.float32)
    made.set_data_shape(dim)
    made.set_sform(np.eye(4), 1)
    made["magic"], made["vox_offset"] = made.single_magic, 352
    return made.binaryblock + bytes(4)


@lru_cache
def claim() -> bytes:
    """A hundred bytes that claim to hold 100 GB."""
    return gzip.compress(header(3000, 3000, 3000), mtime=0)


@lru_cache
def bomb() -> bytes:
    """A megabyte that keeps its promise to hold 256, all of them zero, and goes on after it."""
    return gzip.compress(header(512, 512, 256) + bytes(2**29), 1)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scan.nii", bytes(10**7))
    return buffer.getvalue()


BAD = {
    "empty": (lambda path: b"", "empty"),
    "claim": (lambda path: claim(), "GiB"),
    "bomb": (lambda path: bomb(), "every voxel"),
    "zip": (lambda path: zipped(), "something else"),
    "pickle": (lambda path: pickle.dumps([print, b"x" * 1000]), "something else"),
    "html": (lambda path: b"<!doctype html><title>not a scan</title>" * 20, "a web page"),
    "dicom": (lambda path: bytes(128) + b"DICM" + bytes(1000), "a DICOM file"),
    "text": (lambda path: b"sub-01\t63\n" * 100, "text"),
    "truncated": (lambda path: write_scan(path, 3).read_bytes()[:9000], "ended before"),
    "nan": (lambda path: write_nifti(path, data=np.full((31, 39, 35), np.nan, np.float32)).read_bytes(), "NaN"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", ["scan.nii.gz", "../../../tmp/scan.nii"])
def test_what_is_no_scan_is_refused_with_its_cause_and_leaves_nothing(
    server: Server, tmp_path: Path, kind: str, name: str
):
    make, cause = BAD[kind]
    before = server.files()
    with server.client() as client:
        answer = client.post("/v1/detect", files={"file": (name, make(tmp_path / "bad.nii.gz"))})
    problem = answer.json()
    assert answer.status_code == 422 and answer.headers["content-type"] == PROBLEM
    assert "expected" in problem["detail"] and cause in problem["detail"]
    assert str(server.state) not in answer.text and "incoming" not in answer.text and "passwd" not in answer.text
    assert server.files() == before
    assert not (server.state.parents[2] / "tmp" / "scan.nii").exists()


def test_bombs_do_not_go_off_in_memory(server: Server):
    with server.client() as client:
        before = resident(client)
        for _ in range(3):
            assert client.post("/v1/detect", files={"file": bomb()}).status_code == 422
        assert resident(client) - before < 2**30


def resident(client: httpx.Client) -> float:
    line = next(x for x in client.get("/metrics").text.splitlines() if x.startswith("process_resident_memory_bytes"))
    return float(line.split()[1])


BOUNDARY = b"--b\r\n"
PART = b'Content-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
FORM = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("kind", "body", "status", "cause"),
    [
        (None, b"", 415, "another content type"),
        ("application/json", b"{}", 415, "another content type"),
        ("application/octet-stream", b"\x1f\x8b", 415, "another content type"),
        ("multipart/form-data", b"--b--\r\n", 400, "boundary"),
        (f"multipart/form-data; boundary={'b' * 300}", b"", 400, "boundary"),
        (FORM, b"", 400, "last boundary"),
        (FORM, b"no form at all", 400, "malformed"),
        (FORM, BOUNDARY + PART + b"data", 400, "last boundary"),
        (FORM, b"--b--\r\n", 422, "no file"),
        (FORM, BOUNDARY + PART.replace(b"file", b"bundle") + b"x\r\n--b--\r\n", 422, "fields file, T1w"),
        (FORM, (BOUNDARY + PART + b"x\r\n") * 2 + b"--b--\r\n", 422, "several"),
        (FORM, BOUNDARY + b"X: " + b"x" * 10**6, 400, "malformed"),
        (FORM, (BOUNDARY + b"\r\nx\r\n") + b"--b--\r\n", 422, "another field"),
    ],
)
def test_what_is_no_form_is_refused_with_its_cause(server: Server, kind: str, body: bytes, status: int, cause: str):
    before = server.files()
    with server.client() as client:
        answer = client.post("/v1/detect", content=body, headers={"content-type": kind} if kind else {})
    assert answer.status_code == status, answer.text
    assert cause in answer.json()["detail"]
    assert server.files() == before


def test_a_client_that_goes_away_leaves_nothing(server: Server):
    before = server.files()
    head = f"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: 99999\r\n\r\n"
    server.send_raw(head.encode() + BOUNDARY + PART + b"data", seconds=0.5)
    for _ in range(50):
        if server.files() == before:
            break
        with server.client() as client:
            client.get("/health")
    assert server.files() == before


def test_ten_gigabytes_are_refused_before_one_is_read(server: Server):
    head = f"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: {10**10}\r\n\r\n"
    answer = server.send_raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 413") and b"expected at most 512 MiB" in answer
    waiting = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n")
    assert server.send_raw(waiting.encode()).startswith(b"HTTP/1.1 413")


def test_what_is_asked_for_is_not_in_the_log(server: Server, tmp_path: Path):
    with server.client() as client:
        client.get("/v1/jobs/Mueller_Anna?name=secret")
        client.post("/v1/detect", files={"file": ("Mueller_Anna.nii.gz", b"Mueller_Anna")})
    told = server.log.read_text()
    assert "Mueller_Anna" not in told and "secret" not in told


def test_each_of_many_clients_gets_its_own_answer(server: Server, bundle: Path, tmp_path: Path):
    seeds = range(100, 106)
    for seed in seeds:
        write_scan(tmp_path / "in" / f"sub-{seed}_T1w.nii.gz", seed, lesion=bool(seed % 2))
    mri3d("detect", tmp_path / "in", "-o", tmp_path / "out", "--bundle", bundle, "--device", "cpu")

    def ask(seed: int) -> tuple[int, bytes, float]:
        with server.client() as client:
            content = (tmp_path / "in" / f"sub-{seed}_T1w.nii.gz").read_bytes()
            answer = client.post("/v1/detect", files={"file": content})
            assert answer.status_code == 202, answer.text
            result = finished(client, answer.headers["location"])["result"]
            return seed, client.get(result["maps"]["zscore"]).content, result["score"]

    with ThreadPoolExecutor(len(seeds)) as pool:
        for seed, zscore, score in pool.map(ask, seeds):
            assert zscore == (tmp_path / "out" / f"sub-{seed}_T1w_zscore.nii.gz").read_bytes()
            assert score == json.loads((tmp_path / "out" / f"sub-{seed}_T1w.json").read_text())["score"]

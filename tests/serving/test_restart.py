"""A server that is killed: every job it accepted is done afterwards, or said to be lost."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from mri3d.serving.settings import ATTEMPTS
from tests.serving.server import Server, finished, write_scan


def leave_running(table: Path) -> str:
    """A job that ran whenever the server was killed."""
    with sqlite3.connect(table) as connection:
        line = ("deadly", 99, "running", '["T1w"]', ATTEMPTS, time.time())
        sql = "INSERT INTO jobs (id, place, status, modalities, attempts, created) VALUES (?, ?, ?, ?, ?, ?)"
        connection.execute(sql, line)
    connection.close()
    return "deadly"


def test_every_accepted_job_outlives_a_crash(bundle: Path, tmp_path: Path):
    server = Server(bundle, tmp_path / "state")
    scans = [write_scan(tmp_path / f"{seed}.nii.gz", seed).read_bytes() for seed in range(5)]
    with server.client() as client:
        jobs = [client.post("/v1/detect", files={"file": scan}).headers["location"] for scan in scans]
        finished(client, jobs[0])
        half = client.build_request("POST", "/v1/detect", files={"file": scans[0]})
    head = "POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\nContent-Type: "
    head += f"{half.headers['content-type']}\r\n\r\n"
    server.send_raw(head.encode() + half.read()[:500], seconds=0.2)
    server.kill()
    deadly = leave_running(tmp_path / "state" / "jobs.sqlite")

    server = Server(bundle, tmp_path / "state")
    try:
        assert not [name for name in server.files() if name.startswith("incoming/")]
        with server.client() as client:
            views = [client.get(job).json() for job in jobs[:1]] + [finished(client, job) for job in jobs[1:]]
            assert {view["status"] for view in views} == {"done"}
            lost = client.get(f"/v1/jobs/{deadly}").json()
            assert lost["status"] == "failed" and lost["error"]["type"] == "urn:mri3d:lost"
            scores = [view["result"]["score"] for view in views]
            assert len(set(scores)) == len(scans)  # each its own
            for view in views:
                assert client.get(view["result"]["maps"]["zscore"]).status_code == 200
    finally:
        assert server.stop() in (0, -15, 143)

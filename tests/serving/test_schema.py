"""What OpenAPI promises is what the server does, whatever it is sent."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

from tests.serving.server import Server

LEFT_OUT = "positive_data_acceptance"
"""Random bytes are of the right type for a scan, and are refused for what they are."""


def test_no_answer_breaks_the_schema_and_none_is_an_error_of_the_server(server: Server, tmp_path: Path):
    command = [
        Path(sysconfig.get_path("scripts")) / "schemathesis", "run", f"{server.url}/openapi.json",
        "--checks", "all", "--exclude-checks", LEFT_OUT, "--max-examples", "20", "--seed", "1", "--no-color",
        "--phases", "examples,coverage,fuzzing",
    ]  # fmt: skip
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

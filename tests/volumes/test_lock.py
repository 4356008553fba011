"""A lock is one process's, and ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from mri3d.volumes.lock import Lock

HOLD = """
import os, sys, time
from pathlib import Path
from mri3d.volumes.lock import Lock
lock = Lock(Path(sys.argv[1]))
assert lock.acquire()
if hasattr(os, "fork") and os.fork() == 0:  # as a worker process that outlives the one that holds the lock
    time.sleep(60)
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_one_at_a_time(tmp_path: Path):
    first, second = Lock(tmp_path / "new" / "lock"), Lock(tmp_path / "new" / "lock")
    assert first.acquire() and not second.acquire()
    first.release()
    with second:
        assert not first.acquire(wait=0.1)
    assert first.acquire()
    first.release()
    first.release()


def test_it_ends_with_its_process_though_a_child_lives_on(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline()
    lock = Lock(tmp_path / "lock")
    assert not lock.acquire()
    os.kill(process.pid, 9)
    process.wait()
    began = time.monotonic()
    assert lock.acquire(wait=10) and time.monotonic() - began < 10
    lock.release()
    os.killpg(process.pid, 9)

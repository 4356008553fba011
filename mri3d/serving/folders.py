"""The folder of a server's state: uploads on their way in, a folder a job, the table of jobs."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from mri3d.errors import UsageError
from mri3d.volumes.lock import Lock

TABLE, LOCK, INCOMING, JOBS = "jobs.sqlite", "lock", "incoming", "jobs"


class StateFolder:
    """A private folder that one server at a time uses; no name in it comes from outside.

    Args:
        root: the folder; made where it is missing.

    Raises:
        UsageError: it holds something else, or another server uses it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if root.exists() and (not root.is_dir() or (any(root.iterdir()) and not (root / TABLE).exists())):
            remedy = "Name another folder with --state"
            raise UsageError(root, "an empty folder or a server's state", "something else", remedy)
        for folder in (root, root / INCOMING, root / JOBS):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = Lock(root / LOCK)
        if not self._lock.acquire():
            remedy = "Stop that server, or give this one a folder of its own with --state"
            raise UsageError(root, "a state that no other server uses", "one in use", remedy)

    @property
    def table(self) -> Path:
        """Where the table of jobs lies."""
        return self.root / TABLE

    def of_job(self, job_id: str) -> Path:
        """The folder of a job, whose id is our own."""
        return self.root / JOBS / job_id

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """A folder for the files of an upload, which are gone afterwards unless they were kept."""
        folder = self.root / INCOMING / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, folder: Path, job_id: str) -> None:
        """Make the files of an upload those of a job, for good once this returns."""
        folder.rename(self.of_job(job_id))
        for parent in (self.of_job(job_id), self.root / JOBS, self.root / INCOMING):
            _sync(parent)

    def remove(self, job_id: str) -> None:
        """Take a job's files away."""
        shutil.rmtree(self.of_job(job_id), ignore_errors=True)

    def tidy(self, known: Collection[str]) -> None:
        """Take away what a crash has left: uploads that nobody waits for, and files of no known job."""
        for folder in (self.root / INCOMING).iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.root / JOBS).iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def release(self) -> None:
        """Let another server use it."""
        self._lock.release()


def _sync(folder: Path) -> None:
    """Have the names in a folder on disk, where the system knows how."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

"""Locks between processes, which end with their process however it ends."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType


class Lock:
    """A lock on a file, held by one process at a time.

    It is SQLite's exclusive lock on an empty database: the same on every system, given back by the system itself when
    a process is killed, and not inherited by its worker processes, which may outlive it by seconds.

    Args:
        path: the file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def acquire(self, wait: float = 0.0) -> bool:
        """Whether the lock is held now, after at most ``wait`` seconds."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=wait, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            connection.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return False
            raise
        self._connection = connection
        return True

    def release(self) -> None:
        """Let others have it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Lock:
        # in steps, since SQLite does not hear Ctrl-C while it waits
        while not self.acquire(wait=1.0):
            pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

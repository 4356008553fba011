"""The table of jobs, in SQLite: what was accepted is known again after any crash."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, place INTEGER NOT NULL, status TEXT NOT NULL, modalities TEXT NOT NULL,
    attempts INTEGER NOT NULL, created REAL NOT NULL, started REAL, finished REAL, result TEXT, error TEXT)
"""
_COLUMNS = "id, place, status, modalities, attempts, created, started, finished, result, error"


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """A line of the table.

    Args:
        id: unguessable, and the name of its folder.
        place: counts up, so that jobs are done in the order in which they were accepted.
        status: where it stands.
        modalities: what was sent, the reference first.
        attempts: how often it was begun.
        created: when it was accepted, in seconds since 1970, as are the others.
        started: when it was begun last.
        finished: when it was done or had failed.
        result: of a job that is done.
        error: the problem of one that failed.
    """

    id: str
    place: int
    status: Status
    modalities: tuple[str, ...]
    attempts: int
    created: float
    started: float | None
    finished: float | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in (Status.DONE, Status.FAILED)


class JobStore:
    """The jobs of one server; safe to use from any thread.

    Args:
        path: the database, made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        # what the answer 202 has promised must outlive a loss of power too
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(_TABLE)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def accept(self, job_id: str, modalities: Sequence[str], capacity: int) -> bool:
        """Put a job at the end of the queue; False, and nothing is done, where as many wait as may."""
        line = (job_id, Status.QUEUED, json.dumps(list(modalities)), time.time(), Status.QUEUED, capacity)
        changed = self._change(
            "INSERT INTO jobs (id, place, status, modalities, attempts, created) "
            "SELECT ?, (SELECT COALESCE(MAX(place), 0) + 1 FROM jobs), ?, ?, 0, ? "
            "WHERE (SELECT COUNT(*) FROM jobs WHERE status = ?) < ?",
            line,
        )
        return changed == 1

    def get(self, job_id: str) -> Job | None:
        """A job, or None where there is none, or none any more."""
        rows = self._read(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def ahead(self, job: Job) -> int:
        """How many jobs are to be done before a queued one."""
        sql = "SELECT COUNT(*) FROM jobs WHERE place < ? AND status IN (?, ?)"
        return int(self._read(sql, (job.place, Status.QUEUED, Status.RUNNING))[0][0])

    def counts(self) -> dict[Status, int]:
        """How many jobs stand where."""
        found = dict(self._read("SELECT status, COUNT(*) FROM jobs GROUP BY status"))
        return {status: int(found.get(status, 0)) for status in Status}

    def known(self) -> set[str]:
        """The ids of all jobs."""
        return {row[0] for row in self._read("SELECT id FROM jobs")}

    def all_over(self) -> list[Job]:
        """The jobs that are done or have failed."""
        sql = f"SELECT {_COLUMNS} FROM jobs WHERE status IN (?, ?)"
        return [_job(row) for row in self._read(sql, (Status.DONE, Status.FAILED))]

    def claim(self) -> Job | None:
        """Begin the job that has waited longest, if there is one; only one thread does so."""
        sql = f"SELECT {_COLUMNS} FROM jobs WHERE status = ? ORDER BY place LIMIT 1"
        rows = self._read(sql, (Status.QUEUED,))
        if not rows:
            return None
        job = _job(rows[0])
        sql = "UPDATE jobs SET status = ?, started = ?, attempts = attempts + 1 WHERE id = ?"
        self._change(sql, (Status.RUNNING, time.time(), job.id))
        return self.get(job.id)

    def finish(self, job_id: str, result: Mapping[str, Any]) -> None:
        """A job is done."""
        sql = "UPDATE jobs SET status = ?, finished = ?, result = ? WHERE id = ?"
        self._change(sql, (Status.DONE, time.time(), json.dumps(dict(result)), job_id))

    def fail(self, job_id: str, error: Mapping[str, Any]) -> None:
        """A job has failed."""
        sql = "UPDATE jobs SET status = ?, finished = ?, error = ? WHERE id = ?"
        self._change(sql, (Status.FAILED, time.time(), json.dumps(dict(error)), job_id))

    def give_back(self, job_id: str) -> None:
        """A job that was begun waits again, as if it had not been."""
        sql = "UPDATE jobs SET status = ?, started = NULL, attempts = attempts - 1 WHERE id = ? AND status = ?"
        self._change(sql, (Status.QUEUED, job_id, Status.RUNNING))

    def recover(self, attempts: int, lost: Mapping[str, Any]) -> None:
        """After a crash: what was running waits again, or has failed where it was begun too often.

        Args:
            attempts: how often a job may be begun.
            lost: the problem of one that was.
        """
        sql = "UPDATE jobs SET status = ?, finished = ?, error = ? WHERE status = ? AND attempts >= ?"
        self._change(sql, (Status.FAILED, time.time(), json.dumps(dict(lost)), Status.RUNNING, attempts))
        sql = "UPDATE jobs SET status = ?, started = NULL WHERE status = ?"
        self._change(sql, (Status.QUEUED, Status.RUNNING))

    def expire(self, before: float) -> list[str]:
        """Forget the jobs that were over before a time.

        Returns:
            Their ids.
        """
        sql = "DELETE FROM jobs WHERE finished < ? AND status IN (?, ?) RETURNING id"
        return [row[0] for row in self._read(sql, (before, Status.DONE, Status.FAILED))]

    def seconds_a_job(self) -> float | None:
        """How long the last jobs took on average; None where none was done yet."""
        last = "SELECT started, finished FROM jobs WHERE status = ? ORDER BY finished DESC LIMIT 10"
        found = self._read(f"SELECT AVG(finished - started) FROM ({last})", (Status.DONE,))[0][0]
        return None if found is None else float(found)

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _change(self, sql: str, values: Sequence[Any]) -> int:
        with self._lock:
            return self._connection.execute(sql, values).rowcount


def _job(row: Sequence[Any]) -> Job:
    job_id, place, status, modalities, attempts, created, started, finished, result, error = row
    return Job(
        job_id, place, Status(status), tuple(json.loads(modalities)), attempts, created, started, finished,
        None if result is None else json.loads(result), None if error is None else json.loads(error),
    )  # fmt: skip

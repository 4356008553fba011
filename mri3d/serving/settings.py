"""What a server is started with, and the limits that nobody has asked to change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MIB = 2**20

MAX_VOLUME_BYTES = 512 * MIB
"""Largest volume in memory, as stored and as float32 alike; a head at 0.5 mm has about 200 MiB."""

FORM_BYTES = 64 * 1024
"""What a form may have beside its files: boundaries and the headers of its parts."""

LEAST_BYTES, LEAST_SECONDS = 64 * 1024, 10.0
"""An upload that brings less than this in that time is given up."""

HEADER_SECONDS = 10.0
"""The time within which the head of a request must have come."""

LONGEST_WAIT = 60.0
"""How long an answer is held back at most for a client that prefers to wait."""

GATES = 2
"""How many uploads are decompressed and checked at a time; each may take some times `MAX_VOLUME_BYTES`."""

ATTEMPTS = 2
"""How often a job is begun; one that was running at every one of these crashes is given up."""


@dataclass(frozen=True)
class Settings:
    """What a server is started with.

    Args:
        state: the folder of uploads, results and the table of jobs.
        token: what clients have to know; None lets anybody in who reaches the server.
        queue: how many jobs may wait.
        max_upload_mb: the largest request in MiB.
        upload_timeout: seconds that an upload may take.
        keep_hours: how long results are kept.
    """

    state: Path
    token: str | None = None
    queue: int = 32
    max_upload_mb: int = 512
    upload_timeout: float = 300.0
    keep_hours: float = 24.0

    @property
    def max_upload_bytes(self) -> int:
        """The largest file, or all files of a subject together."""
        return self.max_upload_mb * MIB

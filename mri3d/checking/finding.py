"""What a check says of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "note"]


@dataclass(frozen=True)
class Finding:
    """Something a user should know of a data set.

    Args:
        subject: the volume, by its subject's key; empty where it is the data set's.
        severity: ``error`` where something must be mended before the volume is used, ``note`` where it should be
            looked at.
        what: the kind of finding in a word or two, such as ``duplicate``.
        expected: what should have been there.
        found: what was there.
        remedy: what the user can do, a whole sentence without its full stop.
    """

    subject: str
    severity: Severity
    what: str
    expected: str
    found: str
    remedy: str

    @property
    def words(self) -> str:
        """The message without the place."""
        return f"expected {self.expected}, found {self.found}. {self.remedy}."

"""Refusals, and how they are told: RFC 9457, ``application/problem+json``."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from mri3d.errors import Mri3dError

MEDIA_TYPE = "application/problem+json"


class Refusal(Exception):
    """A request that is not done.

    Args:
        status: the HTTP status.
        kind: what it is, in kebab case; clients may tell problems apart by it.
        detail: what was expected, what was found and what to do, without any path of this machine.
        headers: of the answer.
    """

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, kind)
        self.status, self.kind, self.detail, self.headers = status, kind, detail, dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer that tells it."""
        body = problem(self.kind, self.status, self.detail)
        return JSONResponse(body, self.status, self.headers, media_type=MEDIA_TYPE)


def problem(kind: str, status: int, detail: str) -> dict[str, Any]:
    """A problem as it is written in JSON."""
    return {"type": f"urn:mri3d:{kind}", "title": _title(status), "status": status, "detail": detail}


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def kind_of(error: Mri3dError) -> str:
    """The kind of one of our errors: ``UnreadableFileError`` is ``unreadable-file``."""
    if type(error) is Mri3dError:
        return "unexpected"
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")

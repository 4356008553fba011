"""From a request's body to checked files: never more is read, kept or decompressed than is allowed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from anyio import to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from mri3d.errors import InputError
from mri3d.scoring.modality_sets import ModalitySet
from mri3d.serving.model import ENDINGS, Model, words_of
from mri3d.serving.problems import Refusal, kind_of
from mri3d.serving.settings import FORM_BYTES, LEAST_BYTES, LEAST_SECONDS, MAX_VOLUME_BYTES, MIB, Settings
from mri3d.volumes.nifti import read_volume

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

BATCH = MIB
"""How much is gathered before it is written, in a thread of its own so that other clients are served meanwhile."""

GZIP = b"\x1f\x8b"


async def receive(request: Request, folder: Path, model: Model, settings: Settings) -> ModalitySet:
    """Write the files of a multipart form into a folder, each under its modality's name.

    Args:
        request: whose body has not been read.
        folder: an empty one.
        model: what it takes.
        settings: the limits.

    Returns:
        The modalities, the reference first.

    Raises:
        Refusal: the body is too large, too slow, no form, or has other fields than the model takes.
    """
    boundary = _boundary(request)
    limit = settings.max_upload_bytes + FORM_BYTES
    if int(request.headers.get("content-length", "0")) > limit:
        raise _too_large(settings)
    form, size = Form(folder, model.fields), 0
    parser = MultipartParser(boundary, form.callbacks)
    try:
        async for chunk in _in_time(request.stream(), settings.upload_timeout):
            size += len(chunk)
            if size > limit:
                raise _too_large(settings)
            parser.write(chunk)
            if form.waiting >= BATCH:
                await to_thread.run_sync(form.write)
        await to_thread.run_sync(form.write)
    except FormParserError:
        raise _no_form("a malformed one") from None
    except OSError:
        detail = "expected room for the upload, found none. Try again later."
        raise Refusal(507, "storage-full", detail) from None
    finally:
        form.close()
    return await to_thread.run_sync(form.modalities, model)


def check(folder: Path, given: ModalitySet) -> None:
    """Let every file of an upload through the gate for volumes, whole.

    Raises:
        Refusal: one is no volume that can be scored.
    """
    for path in (scan for scan in folder.iterdir() if scan.name.endswith(ENDINGS)):
        try:
            read_volume(path, MAX_VOLUME_BYTES)
        except InputError as error:
            raise Refusal(422, kind_of(error), words_of(error, folder, len(given) > 1)) from None


class Form:
    """What a multipart parser finds, written to files.

    Args:
        folder: for the files.
        fields: the names of fields with the modalities that they bring.
    """

    def __init__(self, folder: Path, fields: Mapping[str, str]) -> None:
        self._folder, self._fields = folder, fields
        self._header, self._value, self._name = b"", b"", ""
        self._files: dict[str, BinaryIO] = {}
        self._pending: list[tuple[BinaryIO, bytes]] = []
        self._open: BinaryIO | None = None
        self._whole = False
        self.waiting = 0

    @property
    def callbacks(self) -> MultipartCallbacks:
        """For the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._open_file,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def write(self) -> None:
        """Write what has been gathered."""
        for file, data in self._pending:
            file.write(data)
        self._pending.clear()
        self.waiting = 0

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()

    def modalities(self, model: Model) -> ModalitySet:
        """The modalities that have come, once the files have their endings and are on disk for good.

        Raises:
            Refusal: the form is cut short, or its files are no set that the model takes.
        """
        if not self._whole:
            raise _no_form("one that ends before its last boundary")
        given = tuple(name for name in model.modalities if name in self._files)
        if given not in model.sets:
            wanted = " or ".join(", ".join(names) for names in model.sets)
            found = ", ".join(given) or "no file"
            raise Refusal(422, "modalities", f"expected {wanted}, found {found}. Send a file in each of these fields.")
        for name in given:
            _settle(self._folder / name)
        return given

    def _begin(self) -> None:
        self._header, self._value, self._name, self._open = b"", b"", "", None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header, self._value = b"", b""

    def _open_file(self) -> None:
        modality = self._fields.get(self._name)
        if modality is None:
            detail = f"expected files in the fields {', '.join(self._fields)}, found another field. Leave it out."
            raise Refusal(422, "field", detail)
        if modality in self._files:
            raise Refusal(422, "field", f"expected one file of {modality}, found several. Send one subject a request.")
        # named by our own word for the modality; what the client calls the file is not even looked at
        self._open = self._files[modality] = (self._folder / modality).open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._open is not None
        self._pending.append((self._open, data[start:end]))
        self.waiting += end - start

    def _end(self) -> None:
        self._whole = True


def _settle(path: Path) -> None:
    """Give a file the ending that its first bytes ask for, and have it on disk."""
    with path.open("rb+") as file:
        packed = file.read(len(GZIP)) == GZIP
        os.fsync(file.fileno())
    path.rename(path.with_name(path.name + ENDINGS[0 if packed else 1]))


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        detail = "expected multipart/form-data, found another content type. Send the scan as a form, as curl -F does."
        raise Refusal(415, "media-type", detail)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "media-type", "expected a body that is not encoded, found an encoded one. Send it as it is.")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046
        raise _no_form("none with a boundary of 1 to 70 characters")
    return boundary


async def _in_time(chunks: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The chunks, as long as enough of them come."""
    end, mark, since = time.monotonic() + seconds, time.monotonic(), 0
    while True:
        left = min(end, mark + LEAST_SECONDS) - time.monotonic()
        try:
            chunk = await asyncio.wait_for(anext(chunks), max(left, 0.0))
        except StopAsyncIteration:
            return
        except TimeoutError:
            detail = (
                f"expected {LEAST_BYTES // 1024} KiB or more every {LEAST_SECONDS:g} s and all within {seconds:g} s, "
                "found less. Send it over a faster connection."
            )
            raise Refusal(408, "too-slow", detail) from None
        since += len(chunk)
        if since >= LEAST_BYTES:
            mark, since = time.monotonic(), 0
        yield chunk


def _too_large(settings: Settings) -> Refusal:
    detail = f"expected at most {settings.max_upload_mb} MiB, found more. Send it compressed, or with larger voxels."
    return Refusal(413, "too-large", detail)


def _no_form(found: str) -> Refusal:
    remedy = "Send the scan as a file in a form, as curl -F does"
    return Refusal(400, "form", f"expected a whole multipart form, found {found}. {remedy}.")

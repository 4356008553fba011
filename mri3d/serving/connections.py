"""Connections that are slow, or that are answered before they have said all."""

from __future__ import annotations

import asyncio
import contextlib
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mri3d.serving.settings import HEADER_SECONDS, MIB

LINGER_SECONDS, LINGER_BYTES = 2.0, 32 * MIB
"""How long and how much is read and thrown away of a body that is refused."""


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which waits for the head of a request for a while and not for ever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on, unless a request is whole or one is being answered."""
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._forget()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._forget()
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class Linger:
    """Lets a client that is still sending read why it is refused.

    A connection that is closed while the client sends is reset, and many clients then lose the answer. So once the
    answer is out, some of the body is read and thrown away before the end of the answer is told.

    Args:
        app: who answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; read the rest of its body where the answer came before its end."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        ended = asked = early = False

        async def watched() -> Message:
            nonlocal ended, asked
            asked = True
            message = await receive()
            ended = ended or not message.get("more_body", False)
            return message

        async def answer(message: Message) -> None:
            nonlocal early
            if message["type"] == "http.response.start" and not ended:
                early = True
                MutableHeaders(scope=message)["connection"] = "close"
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            # a client that waits for 100 Continue and was not asked to go on sends nothing
            if not (early and last) or (not asked and "expect" in Headers(scope=scope)):
                await send(message)
                return
            await send({**message, "more_body": True})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_drain(receive), LINGER_SECONDS)
            await send({"type": "http.response.body", "body": b""})

        await self._app(scope, watched, answer)


async def _drain(receive: Receive) -> None:
    size, end = 0, time.monotonic() + LINGER_SECONDS
    while size < LINGER_BYTES and time.monotonic() < end:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

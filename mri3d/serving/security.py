"""Who is let in: the token, the names this server goes by, and what browsers are told."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mri3d.serving.problems import Refusal

OPEN = ("/", "/health", "/ready", "/openapi.json")
OPEN_BELOW = "/static/"
"""What needs no token: nothing in it is of any subject."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Refuses whom it does not know, before anything of a request but its head is read.

    Without a token the server answers to this machine's own names alone, so that a page of another site cannot reach
    it by a name that has come to mean this machine (DNS rebinding). What changes anything must not be asked for by
    the page of another site, which a browser tells in ``Origin`` and ``Sec-Fetch-Site``.

    Args:
        app: whom it guards.
        token: what clients have to know.
        host: the address that the server listens on.
    """

    def __init__(self, app: ASGIApp, token: str | None, host: str) -> None:
        self._app, self._names = app, {"localhost", "127.0.0.1", "::1", host.lower()}
        self._digest = None if token is None else _digest(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except Refusal as refusal:
                await refusal.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), str(scope["path"])
        if self._digest is None and _name_of(headers.get("host", "")) not in self._names:
            detail = "expected a name of this machine, such as localhost, found another. Open the server by that name."
            raise Refusal(421, "host", detail)
        if self._digest is not None and path not in OPEN and not path.startswith(OPEN_BELOW):
            self._check_token(headers)
        if scope["method"] not in SAFE_METHODS:
            _check_origin(headers)

    def _check_token(self, headers: Headers) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        known = self._digest is not None and hmac.compare_digest(_digest(token.strip()), self._digest)
        if scheme.lower() != "bearer" or not known:
            found = "none" if not token else "another"
            detail = f"expected the server's token, found {found}. Send it in the header Authorization: Bearer TOKEN."
            raise Refusal(401, "token", detail, {"WWW-Authenticate": "Bearer"})


def _check_origin(headers: Headers) -> None:
    """Refuse what the page of another site asks for; programs send neither header."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if (origin is not None and _place_of(origin) != headers.get("host", "")) or site not in ("none", "same-origin"):
        detail = "expected a request from this server's own page, found one from another. Open the server's page."
        raise Refusal(403, "origin", detail)


def _place_of(origin: str) -> str | None:
    """The host of an Origin header, with its port; None where it is no origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name_of(host: str) -> str:
    """The name or address in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _digest(token: str) -> bytes:
    """What is compared: of one length whatever the token's, so that its length does not show either."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class SecurityHeaders:
    """Tells browsers to trust nothing but this server's own files, and caches to keep no results.

    Args:
        app: whose answers get the headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and add the headers to its answer."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)

"""Serve a bundle over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from mri3d.errors import UsageError
from mri3d.serving.access import is_loopback, read_token
from mri3d.serving.app import create_app
from mri3d.serving.connections import PatientProtocol
from mri3d.serving.model import Model
from mri3d.serving.service import Service
from mri3d.serving.settings import Settings

CONNECTIONS = 512
"""At once; beyond it a client is told to come back."""

ENDED = 128 + signal.SIGINT


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    Args:
        host: name or address.
        port: 0 takes any that is free.
    """

    host: str
    port: int


def default_state() -> Path:
    """The folder that the system keeps for what programs want to find again."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mri3d"


def token_for(address: Address, token_file: Path | None) -> str | None:
    """The token that clients have to know; none is needed where only this machine reaches the server.

    Raises:
        UsageError: other machines reach it and there is no token, or the file holds none.
    """
    if token_file is not None:
        return read_token(token_file)
    if is_loopback(address.host):
        return None
    remedy = "Give a file with a token, or listen on 127.0.0.1"
    raise UsageError(f"--host {address.host}", "--token-file, since other machines reach it", "none", remedy)


def serve(root: Path, device: str, address: Address, settings: Settings, say: Callable[[str], None]) -> None:
    """Load a bundle and serve it until the process is told to end.

    Args:
        root: the bundle.
        device: see :func:`mri3d.workflow.pick_device`.
        address: where to listen.
        settings: see there.
        say: is told where the server is, once it answers.

    Raises:
        UsageError: the address is taken, the state is in use, or there is no such device.
        BundleError: the bundle's parts do not belong together.
    """
    os.umask(0o077)  # scans and results are nobody else's
    with _listen(address) as listening:
        service = Service(Model(root, device), settings)
        config = uvicorn.Config(
            create_app(service, address.host),
            http=PatientProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
        name = f"[{address.host}]" if ":" in address.host else address.host
        say(f"Serving {service.model.bundle['name']} at http://{name}:{listening.getsockname()[1]}")
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            service.state.release()
            if service.worker.running:
                say("Ended; the job that runs is done after the next start")
                sys.stdout.flush()
                # Python's own way out would pull its floor from under the compiled code that works on, and abort
                os._exit(ENDED)


def _listen(address: Address) -> socket.socket:
    try:
        family, *_, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family, backlog=CONNECTIONS)
    except OSError as error:
        where = f"--host {address.host} --port {address.port}"
        raise UsageError(where, "an address that is free", str(error), "Choose another port") from None

"""What decides who reaches a server: the address that it listens on, and the token. Clients need it too."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from mri3d.errors import UsageError

SHORTEST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Whether an address, or every address of a name, is reached from this machine alone.

    Raises:
        UsageError: there is no such name.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        remedy = "Use 127.0.0.1, or an address of this machine"
        raise UsageError(f"--host {host}", "an address of this machine", str(error), remedy) from None
    return all(ipaddress.ip_address(str(address[4][0]).partition("%")[0]).is_loopback for address in found)


def read_token(path: Path) -> str:
    """The token in a file; white space around it does not count.

    Raises:
        UsageError: there is none, or one that could be guessed.
    """
    remedy = f"Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))' > {path}"
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise UsageError(path, "a file with a token", "none that can be read", remedy) from None
    if len(token) < SHORTEST_TOKEN or not all("!" <= letter <= "~" for letter in token):
        expected = f"a token of {SHORTEST_TOKEN} or more letters, digits and signs without spaces"
        raise UsageError(path, expected, f"one of {len(token)} characters", remedy)
    return token

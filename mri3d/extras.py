"""Packages that only some commands and settings need, each with the extra it comes with."""

from __future__ import annotations

from importlib.util import find_spec

from mri3d.errors import UsageError


def need(package: str, extra: str, what: str) -> None:
    """Refuse what needs a package that is not installed.

    Args:
        package: its import name.
        extra: the extra of mri3d that installs it.
        what: the command, option or key that needs it.

    Raises:
        UsageError: it is missing.
    """
    if find_spec(package) is None:
        raise UsageError(what, f"the package {package}", "none", f"Install it: pip install 'mri3d[{extra}]'")

"""One bundle for all, and one server for the tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.server import Server, write_scan


@pytest.fixture(scope="session")
def bundle(quick_bundle: Path) -> Path:
    return quick_bundle


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A brain with a lesion."""
    return write_scan(tmp_path_factory.mktemp("scan") / "sub-77_T1w.nii.gz", 77, lesion=True)


@pytest.fixture(scope="session")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Open to this machine, as it is without options."""
    started = Server(bundle, tmp_path_factory.mktemp("server") / "state")
    yield started
    started.stop()

"""Parallel tests share the machine: each worker takes its part of the cores, and whole volumes come first."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything loads the libraries that read them; commands that a test starts inherit them.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
for _name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(_name, str(max(1, (os.cpu_count() or 1) // _WORKERS)))

# A shell starts what it runs in the background deaf to Ctrl-C, and so would be all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of this folder itself run whole volumes for minutes; begun last, they would leave other workers idle."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.fixture(scope="session", autouse=True)
def _one_process() -> Iterator[None]:
    """Volumes are prepared in the test's own process: others take longer to start than the work takes, and each worker
    has its part of the cores already. Commands in processes of their own start what they start for users."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mri3d.transforms.processes.MAX_WORKERS", 1)
        yield

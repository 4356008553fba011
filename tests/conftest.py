"""Parallel tests share the machine: each worker takes its part of the cores, and whole volumes come first."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before anything loads the libraries that read them; commands that a test starts inherit them. A worker inherits what
# the process that started it has set for itself, so that it sets its own: threads that wait for each other on too few
# cores made a training of a second take two minutes.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_SHARE = str(max(1, (os.cpu_count() or 1) // _WORKERS))
for _name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[_name] = _SHARE if _WORKERS > 1 else os.environ.get(_name, _SHARE)

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


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of this run share; see ``tests.shared.once``."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def healthy(of_all_workers: Path) -> Path:
    """``tests.shared.PEOPLE`` as stripped brains, each with its mask; beside the folder ``cache`` is for all."""
    from tests.shared import draw_healthy, once

    return once(of_all_workers, "healthy", draw_healthy)


@pytest.fixture(scope="session")
def trained(healthy: Path, of_all_workers: Path) -> Callable[[str], Path]:
    """Gives the small bundle of a recipe; do not write to it."""
    from tests.shared import once, train

    def of(recipe: str) -> Path:
        return once(of_all_workers, recipe, lambda folder: train(recipe, folder / "small", healthy)) / "small"

    return of


@pytest.fixture(scope="session")
def quick_bundle(of_all_workers: Path) -> Path:
    """A bundle that scores in half a second; a process that uses it needs ``benchmarks`` on its path."""
    from tests.serving.server import make_bundle
    from tests.shared import once

    return once(of_all_workers, "quick", make_bundle) / "quick"


@pytest.fixture(scope="session")
def without_regions(of_all_workers: Path) -> Path:
    """The default bundle without its regions."""
    from tests.shared import copy_without_regions, once

    return once(of_all_workers, "brain_t1", copy_without_regions)

"""From healthy volumes to a calibrated bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from mri3d import recipe as recipes
from mri3d.bundle import CALIBRATION, CONTROLS, FOLDS, INITIAL, REGIONS, SPLIT, STATISTICS, weights_of
from mri3d.commands.preflight import Training, asked, check, refuse_another
from mri3d.errors import Mri3dError, UsageError
from mri3d.recipe import DEFAULT_RECIPE, literal
from mri3d.training.checkpoint import CHECKPOINT
from mri3d.workflow import open_workflow, pick_device, plain_errors, set_device


def train(task: Training) -> tuple[str, ...]:
    """Build a bundle from a recipe, train it on healthy volumes and calibrate it.

    Returns:
        A line for each volume that could not be used.

    Raises:
        UsageError: a bundle stands there already, or there is nothing to resume; there are too few people.
        BundleError: the bundle to start from has no weights, or those of another network.
    """
    with begun(task):
        if (task.root / FOLDS).exists():
            raise UsageError(task.root, "--folds as when it was started", "none", "Give --folds with --resume")
        if (task.root / CONTROLS).exists():
            raise UsageError(task.root, "a training to go on with", "one that is done", "Use the bundle")
        workflow = open_training(task.source, task.root, task.device)
        with plain_errors():
            workflow.run()
    return finish(task.root)


@contextmanager
def begun(task: Training) -> Iterator[None]:
    """The bundle that is to be trained, built or found; a failure before there is anything to keep takes it away.

    Raises:
        UsageError: see :func:`train`.
        BundleError: see :func:`train`.
    """
    pick_device(task.device)
    new = not task.root.exists()
    remedy = "Name another folder, replace it with --overwrite, or go on with a training by --resume"
    stands = refuse_if_there(task.root, task.existing, remedy)
    if task.existing == "resume":
        if not stands:
            raise UsageError(task.root, "a bundle whose training was started", "none", "Leave --resume out")
        refuse_another(task)
    else:
        _build(task, stands)
    try:
        yield
    except Mri3dError:
        kept = (task.root / "training" / CHECKPOINT, *(task.root / "training" / "cache").glob("*"))
        if new and not any(path.exists() for path in kept):
            shutil.rmtree(task.root)
        raise


def _build(task: Training, stands: bool) -> None:
    """Write the bundle's configs; whatever can be refused is refused before that."""
    recipe, keys = task.recipe or DEFAULT_RECIPE, {"seed": 0, "modalities": ["T1w"], **asked(task)}
    weights = None if task.init is None else weights_of(task.init)
    if task.init is not None and task.recipe is None:
        recipe, kept = recipes.recorded(task.init)
        keys = {**kept, **keys}
    check(task, recipes.merge(recipe, keys)["train"])
    if stands:
        clear(task.root)
    recipes.build(recipe, task.root, keys)
    if weights is not None:
        (task.root / "training").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, task.root / INITIAL)


def refuse_if_there(root: Path, existing: str, remedy: str) -> bool:
    """Whether a bundle stands at ``root``.

    Raises:
        UsageError: it does, and ``existing`` is ``refuse``.
    """
    stands = (root / "configs" / "train.yaml").exists()
    if stands and existing == "refuse":
        raise UsageError(root, "no bundle there yet", "one", remedy)
    return stands


def open_training(source: Path, root: Path, device: str, overrides: Mapping[str, Any] | None = None) -> ConfigWorkflow:
    """The ``train`` workflow of a bundle that was built."""
    return open_workflow(root, "train", {"dataset_dir": literal(source), **set_device(device), **(overrides or {})})


def finish(root: Path) -> tuple[str, ...]:
    """Take away what only the training needed; a line for each volume that could not be used."""
    # a bundle is shared, its training subjects' brains are not
    shutil.rmtree(root / "training" / "cache", ignore_errors=True)
    forget_folds(root)
    (root / INITIAL).unlink(missing_ok=True)
    excluded = json.loads((root / "training" / "excluded.json").read_text(encoding="utf-8"))
    return tuple(f"{entry['subject']}: {entry['cause']}" for entry in excluded)


def clear(root: Path) -> None:
    """Take away what a former training left, so that nothing of it is mistaken for the new one's."""
    for name in ("model.pt", *STATISTICS, CALIBRATION, *REGIONS):
        (root / "models" / name).unlink(missing_ok=True)
    for name in (CHECKPOINT, "history.csv", "curve.png", "excluded.json"):
        (root / "training" / name).unlink(missing_ok=True)
    shutil.rmtree(root / "training" / "tracking", ignore_errors=True)
    for path in (SPLIT, CONTROLS, INITIAL):
        (root / path).unlink(missing_ok=True)
    forget_folds(root)


def forget_folds(root: Path) -> None:
    """Take away what cross-fitting kept of its folds: their networks, and their subjects' residuals."""
    for folder in (root / "training").glob("fold-*"):
        shutil.rmtree(folder, ignore_errors=True)
    (root / FOLDS).unlink(missing_ok=True)

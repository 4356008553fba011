"""From healthy volumes to a calibrated bundle."""

from __future__ import annotations

import filecmp
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from mri3d import recipe as recipes
from mri3d.bundle import find_bundle
from mri3d.errors import BundleError, Mri3dError, UsageError
from mri3d.recipe import DEFAULT_RECIPE, literal
from mri3d.scoring.calibrate import MIN_SUBJECTS
from mri3d.training.checkpoint import CHECKPOINT
from mri3d.training.split import check_people
from mri3d.volumes.participants import read_ages
from mri3d.workflow import find_subjects, open_workflow, pick_device, plain_errors, set_device

logger = logging.getLogger(__name__)

FOLDS = "folds.json"
"""How many folds a cross-fitting has, in the bundle's ``training`` while it lasts."""

INITIAL = "initial.pt"
"""The weights a training starts from, in the bundle's ``training``."""


@dataclass(frozen=True)
class Training:
    """What is to be trained, and on what.

    Args:
        source: healthy volumes.
        root: folder of the bundle.
        recipe: a recipe's name, or a YAML file. None is the recipe of ``init`` or else the default one.
        device: see :func:`mri3d.workflow.pick_device`.
        overrides: recipe keys to new values; they become part of the bundle.
        seed: of the split, the initial weights and the augmentation; None is 0.
        modalities: channels and their order; None is ``T1w``.
        existing: what to do with a bundle that is there: ``refuse``, ``resume`` or ``overwrite``. A resumed training
            keeps to what it was begun with.
        init: a trained bundle of the same network and preprocessing to start from, in place of random weights.
        folds: how many folds score everyone out of fold; None trains once, on a part of the people.
    """

    source: Path
    root: Path
    recipe: str | None = None
    device: str = "auto"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    modalities: Sequence[str] | None = None
    existing: str = "refuse"
    init: Path | None = None
    folds: int | None = None


def train(task: Training) -> tuple[str, ...]:
    """Build a bundle from a recipe, train it on healthy volumes and calibrate it.

    Returns:
        A line for each volume that could not be used.

    Raises:
        UsageError: a bundle stands there already, or there is nothing to resume; there are too few people.
        BundleError: the bundle to start from has no weights, or those of another network.
    """
    with begun(task):
        if (task.root / "training" / FOLDS).exists():
            raise UsageError(task.root, "--folds as when it was started", "none", "Give --folds with --resume")
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
    stands = refuse_if_there(task.root, task.existing)
    if task.existing == "resume":
        if not stands:
            raise UsageError(task.root, "a bundle whose training was started", "none", "Leave --resume out")
        _refuse_another(task)
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
    recipe, keys = task.recipe or DEFAULT_RECIPE, {"seed": 0, "modalities": ["T1w"], **_asked(task)}
    weights = None if task.init is None else weights_of(task.init)
    if task.init is not None and task.recipe is None:
        recipe, kept = recipes.recorded(task.init)
        keys = {**kept, **keys}
    _check(task, recipes.merge(recipe, keys)["train"])
    if stands:
        clear(task.root)
    recipes.build(recipe, task.root, keys)
    if weights is not None:
        (task.root / "training").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, task.root / "training" / INITIAL)


def _asked(task: Training) -> dict[str, Any]:
    """The config keys that are set for this training; an ensemble takes over its members' networks."""
    keys = dict(task.overrides)
    if task.seed is not None:
        keys["seed"] = task.seed
    if task.modalities is not None:
        keys["modalities"] = list(task.modalities)
    if keys.get("training.members"):
        members = [find_bundle(member) for member in keys["training.members"]]
        keys["training.members"] = [literal(member) for member in members]
        keys["network_def.members"] = [recipes.network_of(member) for member in members]
    return keys


def _check(task: Training, config: Mapping[str, Any]) -> None:
    """Refuse, before any work, what could not be trained."""
    if len(config["modalities"]) != 1:
        raise UsageError("--modalities", "one modality", ",".join(config["modalities"]), "Train a bundle for each")
    if not config["network_def"].get("members", True):
        remedy = '--set "training.members=[BUNDLE, BUNDLE]"'
        raise UsageError("training.members", "the trained bundles that the ensemble is made of", "none", remedy)
    for bundle in (*(config["training"].get("members") or ()), task.init):
        if bundle is not None:
            recipes.refuse_other_preparation(Path(bundle), config)
    people = [subject.participant for subject in find_subjects(task.source, config["modalities"])]
    shares, seed, ages = config["training"]["shares"], config["seed"], read_ages(task.source)
    check_people(people, shares, seed, ages, MIN_SUBJECTS, task.folds)


def _refuse_another(task: Training) -> None:
    """Hold a resumed training to what it was begun with.

    Raises:
        UsageError: something else is asked for now.
    """
    made = recipes.record_of(task.root)
    wanted = [(key, made["overrides"].get(key), value) for key, value in _asked(task).items()]
    if task.recipe is not None:
        wanted.append(("recipe", made["recipe"], recipes.name_of(task.recipe)))
    for key, begun_with, value in wanted:
        if value != begun_with:
            option = f"--set {key}" if key in task.overrides else f"--{key}"
            expected = f"what the training was begun with: {begun_with if begun_with is not None else 'none'}"
            raise UsageError(option, expected, str(value), "Leave it out, or begin anew with --overwrite")
    initial = task.root / "training" / INITIAL
    if task.init is not None and not (initial.exists() and filecmp.cmp(weights_of(task.init), initial, shallow=False)):
        raise UsageError("--init", "what the training was begun with", str(task.init), "Leave it out, or --overwrite")


def refuse_if_there(root: Path, existing: str) -> bool:
    """Whether a bundle stands at ``root``.

    Raises:
        UsageError: it does, and ``existing`` is ``refuse``.
    """
    stands = (root / "configs" / "train.yaml").exists()
    if stands and existing == "refuse":
        remedy = "Name another folder, replace it with --overwrite, or go on with a training by --resume"
        raise UsageError(root, "no bundle there yet", "one", remedy)
    return stands


def weights_of(bundle: Path) -> Path:
    """A bundle's weights.

    Raises:
        BundleError: it has none.
    """
    weights = bundle / "models" / "model.pt"
    if not weights.is_file():
        raise BundleError(weights, "the weights of a trained bundle", "none", "Train it first: mri3d train")
    return weights


def open_training(source: Path, root: Path, device: str, overrides: Mapping[str, Any] | None = None) -> ConfigWorkflow:
    """The ``train`` workflow of a bundle that was built."""
    return open_workflow(root, "train", {"dataset_dir": literal(source), **set_device(device), **(overrides or {})})


def finish(root: Path) -> tuple[str, ...]:
    """Take away what only the training needed; a line for each volume that could not be used."""
    # a bundle is shared, its training subjects' brains are not
    shutil.rmtree(root / "training" / "cache", ignore_errors=True)
    forget_folds(root)
    (root / "training" / INITIAL).unlink(missing_ok=True)
    excluded = json.loads((root / "training" / "excluded.json").read_text(encoding="utf-8"))
    return tuple(f"{entry['subject']}: {entry['cause']}" for entry in excluded)


def clear(root: Path) -> None:
    """Take away what a former training left, so that nothing of it is mistaken for the new one's."""
    statistics = ("residual_mean.nii.gz", "residual_std.nii.gz", "calibration.json")
    models = ("model.pt", *statistics, "split.json", "controls.json")
    training = (CHECKPOINT, "history.csv", "curve.png", "excluded.json", INITIAL)
    for folder, names in (("models", models), ("training", training)):
        for name in names:
            (root / folder / name).unlink(missing_ok=True)
    forget_folds(root)


def forget_folds(root: Path) -> None:
    """Take away what cross-fitting kept of its folds: their networks, and their subjects' residuals."""
    for folder in (root / "training").glob("fold-*"):
        shutil.rmtree(folder, ignore_errors=True)
    (root / "training" / FOLDS).unlink(missing_ok=True)

"""What is to be trained, and what it is refused for before any work."""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mri3d import recipe as recipes
from mri3d.bundle import INITIAL, SPLIT, find_bundle, weights_of
from mri3d.errors import UsageError
from mri3d.recipe import literal
from mri3d.scoring.calibrate import MIN_SUBJECTS, check_quantile
from mri3d.scoring.scorer import Scorer
from mri3d.training.split import Split, check_people, split_participants
from mri3d.training.tracking import check_tracking
from mri3d.volumes.participants import read_ages
from mri3d.workflow import find_subjects

logger = logging.getLogger(__name__)


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


def asked(task: Training) -> dict[str, Any]:
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


def check(task: Training, config: Mapping[str, Any]) -> None:
    """Refuse what could not be trained or calibrated.

    Args:
        task: what is asked for.
        config: the ``train`` config that it would have.

    Raises:
        UsageError: settings, people or other bundles that do not fit.
        BundleError: another bundle that it builds on is not whole.
    """
    check_settings(config)
    modalities = config["modalities"]
    people = [subject.participant for subject in find_subjects(task.source, modalities, complete=True)]
    shares, seed, ages = config["training"]["shares"], config["seed"], read_ages(task.source)
    check_people(people, shares, seed, ages, MIN_SUBJECTS, task.folds)
    _check_members(task, config, people)
    if task.init is not None:
        _refuse_itself(task.init, task.root)
        recipes.refuse_other_preparation(task.init, config)
        if recipes.network_of(task.init) != config["network_def"]:
            expected = f"a network like that of {task.init}, whose weights it starts from"
            found = str(config["network_def"]["_target_"]).rpartition(".")[2] + " or other settings of it"
            raise UsageError("--init", expected, found, "Leave --recipe and --set network_def... out")
        calibrated = people if task.folds else split_participants(people, shares, seed, ages).calibration
        tell_of_known(calibrated, task.init)


def check_settings(config: Mapping[str, Any]) -> None:
    """Refuse settings of a ``train`` config that nothing could be trained with.

    Raises:
        UsageError: one of them.
    """
    modalities, shares = config["modalities"], config["training"]["shares"]
    if not isinstance(modalities, list) or not modalities or len({*modalities}) < len(modalities):
        found = ",".join(modalities) if isinstance(modalities, list) else str(modalities)
        expected = "modalities such as T1w,T2w,FLAIR, the reference first and each once"
        raise UsageError("--modalities", expected, found or "none", "Name what a subject has")
    if not isinstance(shares, Mapping):
        expected = "a share for each of train, validation and calibration"
        raise UsageError("training.shares", expected, str(shares), "Mend it")
    if config["scorer"]["_target_"] == f"{Scorer.__module__}.{Scorer.__qualname__}":
        Scorer(**{key: value for key, value in config["scorer"].items() if key != "_target_"})
    check_quantile(config["voxel_quantile"])
    if "epochs" in config["training"]:
        check_tracking(config["training"]["tracking"])
    for key, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("learning_rate", 0)):
        value = config["training"].get(key, least)
        kinds = (int, float) if key == "learning_rate" else (int,)
        if type(value) not in kinds or value < least:
            expected = f"a {'number' if least == 0 else 'whole number'} from {least} on"
            raise UsageError(f"training.{key}", expected, str(value), "Mend it")


def _check_members(task: Training, config: Mapping[str, Any], people: Sequence[str]) -> None:
    network = config["network_def"]
    if "members" in network and not network["members"]:
        remedy = '--set "training.members=[BUNDLE, BUNDLE]"'
        raise UsageError("training.members", "the trained bundles that the ensemble is made of", "none", remedy)
    for bundle in map(Path, config["training"]["members"] or ()):
        _refuse_itself(bundle, task.root)
        weights_of(bundle)
        recipes.refuse_other_preparation(bundle, config)
        known = known_to(bundle)
        if task.folds and set(people) & {*known.train, *known.validation}:
            expected, remedy = "members that have seen none of the people", "Leave --folds out"
            raise UsageError(bundle, expected, "one that has", remedy)


def _refuse_itself(bundle: Path, root: Path) -> None:
    if bundle.resolve() == root.resolve():
        expected = "another folder than that of a bundle it is made from"
        raise UsageError("--output", expected, str(root), "Name a new one")


def known_to(bundle: Path) -> Split:
    """Who served what when a bundle was trained; nobody where it does not tell."""
    return Split.load(bundle / SPLIT) if (bundle / SPLIT).exists() else Split((), (), ())


def tell_of_known(people: Sequence[str], bundle: Path) -> None:
    """Warn of people to calibrate on who bear names of those that a bundle's weights were trained on."""
    known = known_to(bundle)
    seen = sorted(set(people) & {*known.train, *known.validation})
    if seen:
        logger.warning(
            "%d of the %d controls bear names of people the bundle was trained on, such as %s: if they are the same "
            "people, thresholds come out too low", len(seen), len(set(people)), seen[0],
        )  # fmt: skip


def refuse_another(task: Training) -> None:
    """Hold a resumed training to what it was begun with.

    Raises:
        UsageError: something else is asked for now.
    """
    config = recipes.config_of(task.root, "train")
    wanted = [(key, recipes.value_at(config, key), value) for key, value in asked(task).items()]
    if task.recipe is not None:
        wanted.append(("recipe", recipes.record_of(task.root)["recipe"], recipes.name_of(task.recipe)))
    for key, begun_with, value in wanted:
        if recipes.over(begun_with, value) != begun_with:
            option = f"--set {key}" if key in task.overrides else f"--{key}"
            expected = f"what the training was begun with: {begun_with if begun_with is not None else 'none'}"
            raise UsageError(option, expected, str(value), "Leave it out, or begin anew with --overwrite")
    initial = task.root / INITIAL
    if task.init is not None and not (initial.exists() and filecmp.cmp(weights_of(task.init), initial, shallow=False)):
        raise UsageError("--init", "what the training was begun with", str(task.init), "Leave it out, or --overwrite")

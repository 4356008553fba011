"""Search for the settings of a recipe that do best on validation subjects."""

from __future__ import annotations

import gc
import logging
import math
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from mri3d import recipe as recipes
from mri3d.bundle import SPLIT
from mri3d.commands.preflight import Training, asked, check, check_settings
from mri3d.commands.train import open_training
from mri3d.errors import Mri3dError, UsageError
from mri3d.recipe import DEFAULT_RECIPE, literal
from mri3d.reporting.study_files import draw_history, draw_importance, write_trials
from mri3d.search.objective import OBJECTIVES, Objective
from mri3d.search.space import Choice, Range, Space, parse_space
from mri3d.search.study import Claim, Study
from mri3d.search.watch import Watch
from mri3d.training.checkpoint import CHECKPOINT
from mri3d.training.prepare import Prepared
from mri3d.training.split import Split
from mri3d.volumes.atomic import write_json, write_text
from mri3d.volumes.discovery import discover
from mri3d.volumes.lock import Lock
from mri3d.workflow import pick_device, plain_errors

logger = logging.getLogger(__name__)

SEARCHED = ("network_def", "training", "scorer")
"""Where the keys that can be searched stand; others would change the data or who serves what."""

SHARED = ("training.shares", "training.members", "training.tracking")
"""What all trials have in common even so."""

BEST = "best.yaml"
PICTURES = ("history.png", "importance.png")
STATES = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Summary:
    """What a search came to.

    Args:
        words: for people.
        failures: a line for each volume that could not be used and each trial that broke down.
    """

    words: str
    failures: tuple[str, ...]


def tune(task: Training, trials: int, objective: str) -> Summary:
    """Train a recipe again and again with settings that a study proposes, until so many trials are done.

    Every trial is an ordinary training without its calibration; all share one split and one preprocessing. Calibration
    and test subjects are preprocessed, so that the split is that of a later training, and play no other part.

    Args:
        task: what is to be trained, with the study's folder as ``root``; ``existing`` is ``refuse`` or ``resume``.
        trials: how many trials the study is to have, those of earlier and other processes included.
        objective: ``lesions`` or ``reconstruction``, see :mod:`mri3d.search.objective`.

    Raises:
        UsageError: the recipe has no search section or one that does not fit, data or settings cannot be trained with,
            or the study is another one.
    """
    pick_device(task.device)
    plan = _plan(task, objective)
    if trials > plan.space.size:
        remedy = "Ask for fewer, or widen the search section; what --set sets is not searched"
        found = f"at most {plan.space.size}, as many as there are combinations"
        raise UsageError("--trials", found, str(trials), remedy)
    check(task, plan.config)
    new, direction, seed = not task.root.exists(), plan.objective.direction, plan.config["seed"]
    study = Study(task.root, plan.space, direction, seed, _identity(task, plan), task.existing == "resume")
    runner = _Runner(task, plan, study)
    try:
        while (claim := study.claim(trials)) is not None:
            logger.info("trial %d of %d: %s", claim.number, trials, _told(claim.values))
            runner.run(claim)
            _write(study, plan)
            _tell(study, claim.number, trials)
    except Mri3dError:
        if new and not study.outcomes() and not any((task.root / "cache").glob("*")):
            shutil.rmtree(task.root)  # there is nothing to keep
        raise
    return _summary(study, trials, runner)


@dataclass(frozen=True)
class _Plan:
    """What all trials have in common.

    Args:
        recipe: its name or file.
        keys: config keys that are set for all trials.
        config: the ``train`` config that they give.
        word: the objective on the command line.
        objective: what is measured.
        space: what is searched.
    """

    recipe: str
    keys: Mapping[str, Any]
    config: Mapping[str, Any]
    word: str
    objective: Objective
    space: Space


def _plan(task: Training, objective: str) -> _Plan:
    recipe, keys = task.recipe or DEFAULT_RECIPE, {"seed": 0, "modalities": ["T1w"], **asked(task)}
    config, measure = recipes.merge(recipe, keys)["train"], OBJECTIVES[objective]()
    if objective == "reconstruction" and "epochs" not in config["training"]:
        expected = "a recipe that learns by gradients, for its validation loss"
        raise UsageError(f"--recipe {recipe}", expected, "one that does not", "Use --objective lesions")
    return _Plan(recipe, keys, config, objective, measure, _space(recipe, keys, config, measure))


def _identity(task: Training, plan: _Plan) -> dict[str, Any]:
    """What must be the same whenever a study is gone on with."""
    return {
        "recipe": recipes.name_of(plan.recipe),
        "objective": plan.word,
        "search": plan.space.as_yaml(),
        "config": {key: value for key, value in plan.config.items() if key != "imports"},
        "volumes": _volumes(task.source, plan.config["modalities"]),
    }


def _space(recipe: str, keys: Mapping[str, Any], config: Mapping[str, Any], objective: Objective) -> Space:
    """The recipe's space without the keys that are set, once every value in it is known to have a place."""
    space = parse_space(recipes.search_of(recipe))
    searched = tuple(parameter for parameter in space.parameters if parameter.key not in keys)
    for parameter in space.parameters:
        _check_parameter(parameter, config)
    for parameter in searched:
        if _below(parameter.key, objective.fixed):
            expected = f"no key that the {objective.name} is made of, or that leaves it as it is"
            remedy = "Use --objective lesions, or fix the key with --set"
            raise UsageError(f"search: {parameter.key}", expected, parameter.key, remedy)
    if not searched:
        raise UsageError("--set", "a key of the search section left to search", "none", "Set fewer of them")
    return Space(searched)


def _check_parameter(parameter: Choice | Range, config: Mapping[str, Any]) -> None:
    """Refuse a key that is not there or not to be searched, and values that nothing can be trained with."""
    key, where = parameter.key, f"search: {parameter.key}"
    if "." not in key or key.partition(".")[0] not in SEARCHED or _below(key, SHARED):
        expected = f"a key of {', '.join(SEARCHED)} that is not {', '.join(SHARED)}, with dots between levels"
        raise UsageError(where, expected, key, "Set it for all trials with --set")
    old = recipes.value_at(config, key)
    for value in parameter.examples():
        if isinstance(value, str) and isinstance(old, int | float):
            raise UsageError(where, "numbers", f"the word {value!r}", "YAML wants 1.0e-3 in place of 1e-3")
        tried = deepcopy(dict(config))
        if not recipes.replace_key(tried, key, value):
            raise recipes.unknown_key(key, [config])
        check_settings(tried)


def _below(key: str, places: Any) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in places)


def _volumes(source: Path, modalities: list[str]) -> dict[str, str]:
    """What tells data apart: every scan with its size."""
    files = {subject.key: subject.reference for subject in discover(source, modalities).subjects}
    return {key: f"{path.stat().st_size} bytes" if path.exists() else "missing" for key, path in files.items()}


class _Runner:
    """Runs trials, with what they share.

    Args:
        task: see :func:`tune`.
        plan: what they have in common.
        study: that they belong to.
    """

    def __init__(self, task: Training, plan: _Plan, study: Study) -> None:
        self.task, self.plan, self.study = task, plan, study
        self.prepared: Prepared | None = None

    def run(self, claim: Claim) -> None:
        """Train one, and tell the study what it is worth.

        Raises:
            UsageError: it broke down, and no trial has come to a value yet: the fault is hardly its settings'.
            Mri3dError: the volumes cannot be used; the trial is left to be tried again.
        """
        try:
            with plain_errors():
                value = self._train(claim)
        except Exception as error:  # whatever a network of odd settings may raise
            if self.prepared is None and isinstance(error, Mri3dError):
                raise
            logger.debug("trial %d failed", claim.number, exc_info=True)
            kind = "" if isinstance(error, Mri3dError) else f"{type(error).__name__}: "
            cause = " ".join(f"{kind}{error}".split())
            self.study.fail(claim, cause)
            if all(outcome.state == "failed" for outcome in self.study.outcomes()):
                remedy = "Mend the recipe, its search section or --set, and begin a new study"
                raise UsageError(f"trial {claim.number}", "a training that runs", cause, remedy) from error
        else:
            if value is None:
                self.study.prune(claim)
            elif math.isfinite(value):
                self.study.complete(claim, value)
            else:
                self.study.fail(claim, f"the {self.plan.objective.name} is not finite")
        gc.collect()  # networks and cached volumes of the trial hang together in circles

    def _train(self, claim: Claim) -> float | None:
        """The value of a trial; None where it was pruned."""
        folder, split = folder_of(self.task.root, claim.number), self.task.root / "split.json"
        recipes.build(self.plan.recipe, folder, {**self.plan.keys, **claim.values})
        if split.exists():
            write_json(folder / SPLIT, Split.load(split).as_dict())
        parser = open_training(self.task.source, folder, self.task.device, self._shared()).parser
        self._prepare(parser, split)
        # the weights a trial starts from must not depend on what was prepared or trained just before
        set_determinism(parser.get_parsed_content("seed"))
        worth = self._run(parser, claim)
        (folder / "training" / CHECKPOINT).unlink(missing_ok=True)
        return worth

    def _shared(self) -> dict[str, Any]:
        """What is set when a trial is opened, and is no part of its bundle."""
        own = {} if "cache_dir" in self.plan.keys else {"cache_dir": literal(self.task.root / "cache")}
        return own if self.prepared is None else {**own, "prepared": self.prepared}

    def _prepare(self, parser: ConfigParser, split: Path) -> None:
        """Bring the volumes onto the model grid, or wait for the process that does, and keep who serves what."""
        if self.prepared is None:
            with Lock(self.task.root / "locks" / "cache"):
                self.prepared = parser.get_parsed_content("prepared")
                if not split.exists():
                    write_json(split, parser.get_parsed_content("split").as_dict())

    def _run(self, parser: ConfigParser, claim: Claim) -> float | None:
        pruned = False

        def ends(epoch: int, value: float) -> bool:
            nonlocal pruned
            claim.trial.report(value, epoch)
            pruned = math.isfinite(value) and claim.trial.should_prune()
            return pruned or not math.isfinite(value)

        trainer = parser.get_parsed_content("train#trainer")
        if isinstance(trainer, Engine):  # else there is nothing to learn by gradients, and no epochs
            Watch(lambda: self.plan.objective.of_epoch(parser), ends).attach(trainer)
        trainer.run()
        return None if pruned else self.plan.objective.of_training(parser)


def folder_of(root: Path, number: int) -> Path:
    """Where the training of a trial lies."""
    return root / "trials" / f"{number:03}"


def _write(study: Study, plan: _Plan) -> None:
    """Bring table, pictures and the best recipe to what the study knows by now."""
    root, objective = study.folder, plan.objective
    with Lock(root / "locks" / "files"):
        outcomes, best, importance = study.outcomes(), study.best(), study.importance()
        write_trials(outcomes, list(study.space.as_yaml()), root / "trials.csv")
        draw_history(outcomes, objective.name, objective.direction == "minimize", root / PICTURES[0])
        if importance:
            complete = sum(outcome.state == "complete" for outcome in outcomes)
            draw_importance(importance, objective.name, complete, root / PICTURES[1])
        if best is not None:
            # what is of this machine, or an option of train, is no part of a recipe
            own = {key: value for key, value in plan.keys.items() if key not in ("seed", "modalities", "cache_dir")}
            worth = f"{objective.name} {best.value:.6g}"
            told = f"# {recipes.name_of(plan.recipe)} with the settings of trial {best.number}: {worth}"
            write_text(root / BEST, f"{told}\n{recipes.with_settings(plan.recipe, {**own, **best.values})}")


def _tell(study: Study, number: int, trials: int) -> None:
    done, best = next(one for one in study.outcomes() if one.number == number), study.best()
    epochs = f" after {done.epochs} epochs" if done.epochs else ""
    ending = done.cause if done.state == "failed" else f"{done.value:.5g}{epochs}"
    beside = f"; best so far {best.value:.5g}, trial {best.number}" if best is not None else ""
    logger.info("trial %d of %d %s: %s%s", number, trials, done.state, ending, beside)


def _told(values: Mapping[str, Any]) -> str:
    words = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in values.items()}
    return ", ".join(f"{key}={word}" for key, word in words.items())


def _summary(study: Study, trials: int, runner: _Runner) -> Summary:
    outcomes, best, root = study.outcomes(), study.best(), study.folder
    states = [f"{count} {state}" for state in STATES if (count := sum(one.state == state for one in outcomes))]
    lines = [f"{len(outcomes)} trials: {', '.join(states)}"]
    if len(outcomes) < trials:
        lines.append(f"{trials - len(outcomes)} are still run by other processes")
    if best is not None:
        seed, name = runner.plan.keys["seed"], runner.plan.objective.name
        modality = "" if runner.task.modalities is None else f" --modalities {','.join(runner.task.modalities)}"
        lines += [
            f"Best: trial {best.number}, {name} {best.value:.5g}, with {_told(best.values)}",
            f"Table: {root / 'trials.csv'}",
            f"Pictures: {', '.join(str(path) for path in (root / PICTURES[0], root / PICTURES[1]) if path.exists())}",
            f"Train it: mri3d train {runner.task.source} -o BUNDLE --recipe {root / BEST} --seed {seed}{modality}",
        ]
    unusable = () if runner.prepared is None else runner.prepared.failures
    failures = [f"{subject}: {cause}" for subject, cause in unusable]
    failures += [f"trial {one.number}: {one.cause}" for one in outcomes if one.state == "failed"]
    return Summary("\n".join(lines), tuple(failures))

"""A study: what was asked of it, its trials in a database, and which process runs which of them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL

from mri3d.errors import UsageError
from mri3d.reporting.study_files import Outcome
from mri3d.search.space import Space
from mri3d.volumes.atomic import write_json
from mri3d.volumes.lock import Lock

DATABASE, ASKED = "study.db", "study.json"
NAME = "mri3d"

STARTUP = 5
"""Trials drawn at random before the sampler learns from them, and complete ones before any is pruned."""

WARM_UP = 3
"""Epochs that every trial gets: a small learning rate starts slowly."""

NUMBER, CAUSE = "number", "cause"
"""What we keep with a trial: which of the N it is, and why it broke down; one that failed without is to be repeated."""


@dataclass(frozen=True, eq=False)
class Claim:
    """A trial that this process is to run.

    Args:
        number: which one, from 1 on.
        values: config keys to the values it tries.
        trial: Optuna's, to report to.
        lock: held until the trial is over.
    """

    number: int
    values: Mapping[str, Any]
    trial: optuna.Trial = field(repr=False)
    lock: Lock = field(repr=False)


class Study:
    """Trials that several processes share, one after the other or at once.

    Every trial has a number from 1 on. A trial whose process ended without its result is tried again with the same
    values and under the same number, so that a study of N trials ends with N. A number's random proposals depend on
    the seed, on itself and on the results so far alone: a study that was killed goes on as if it had not been.

    Args:
        folder: where it lies.
        space: what is searched.
        direction: whether the smallest or the largest value is the best.
        seed: of the proposals.
        asked: what must be the same whenever the study is gone on with, as JSON values.
        resume: go on with a study; else there must be none.

    Raises:
        UsageError: there is one, or none, or another was asked for.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        direction: Literal["minimize", "maximize"],
        seed: int,
        asked: Mapping[str, Any],
        resume: bool,
    ) -> None:
        self.folder, self.space, self.direction, self.seed = folder, space, direction, seed
        self._lock = Lock(folder / "locks" / "study")
        keep_to(folder, asked, resume)
        # its log would stand between our lines
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        url = URL.create("sqlite", database=str(folder / DATABASE)).render_as_string()
        with self._lock:
            storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
            pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARM_UP)
            self._study = optuna.create_study(
                storage=storage, pruner=pruner, study_name=NAME, direction=direction, load_if_exists=True
            )

    def claim(self, trials: int) -> Claim | None:
        """The next trial to run; None where ``trials``, at most the size of the space, are done or under way."""
        with self._lock:
            self._give_back()
            numbers = {_number(trial) for trial in self._attempts()}
            # in the order in which Optuna hands them out, which need not be that of their numbers
            waiting = self._study.get_trials(states=(TrialState.WAITING,))
            if not waiting and len(numbers) >= trials:
                return None
            number = _number(waiting[0]) if waiting else max(numbers, default=0) + 1
            lock = self._lock_of(number)
            if not lock.acquire(wait=60):
                raise UsageError(lock.path, f"trial {number} free to run", "another process at it", "Try again later")
            trial, values = self._propose(number, new=not waiting)
            for step, value in self._reported(number).items():
                trial.report(value, step)
            return Claim(number, values, trial, lock)

    def _propose(self, number: int, new: bool) -> tuple[optuna.Trial, dict[str, Any]]:
        """A trial with its values; a ``new`` one repeats none: training again would come to the same."""
        tried = [self.space.decode(trial.params) for trial in self._attempts()] if new else []
        seed = zlib.crc32(f"{self.seed}/{number}".encode())
        self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)
        trial = self._study.ask()
        values = self.space.suggest(trial)
        if values in tried:
            self._study.tell(trial, state=TrialState.FAIL)
            self._study.enqueue_trial(self._untried(tried, seed), user_attrs={NUMBER: number})
            trial = self._study.ask()
            values = self.space.suggest(trial)
        trial.set_user_attr(NUMBER, number)
        return trial, values

    def _untried(self, tried: list[dict[str, Any]], seed: int) -> dict[str, Any]:
        """What a trial stores of values drawn at random that are not in ``tried``."""
        drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
        while self.space.suggest(drawn.ask()) in tried:
            pass
        return dict(drawn.get_trials(deepcopy=False)[-1].params)

    def complete(self, claim: Claim, value: float) -> None:
        """A trial came to its end with a value."""
        self._study.tell(claim.trial, value)
        self._over(claim)

    def prune(self, claim: Claim) -> None:
        """A trial was ended since it was worse than the median of the others."""
        self._study.tell(claim.trial, state=TrialState.PRUNED)
        self._over(claim)

    def fail(self, claim: Claim, cause: str) -> None:
        """A trial broke down; it counts, and is not tried again."""
        claim.trial.set_user_attr(CAUSE, cause)
        self._study.tell(claim.trial, state=TrialState.FAIL)
        self._over(claim)

    def _over(self, claim: Claim) -> None:
        claim.lock.release()
        claim.lock.path.unlink(missing_ok=True)

    def outcomes(self) -> tuple[Outcome, ...]:
        """The trials that are over, by number."""
        return tuple(self._outcome(trial) for trial in self._attempts() if trial.state.is_finished())

    def best(self) -> Outcome | None:
        """The best of the complete trials; None before there is one."""
        complete = [outcome for outcome in self.outcomes() if outcome.state == "complete"]
        sign = 1 if self.direction == "minimize" else -1
        return min(complete, key=lambda outcome: sign * outcome.value, default=None)

    def importance(self) -> dict[str, float]:
        """Share of the objective's variance that each key explains (fANOVA, Hutter et al. 2014, PMLR 32:754).

        Keys that did not vary among complete trials are left out; empty before two of different value.
        """
        complete = [outcome for outcome in self.outcomes() if outcome.state == "complete"]
        if len({outcome.value for outcome in complete}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
        shares = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        varied = [key for key in self.space.as_yaml() if len({str(outcome.values[key]) for outcome in complete}) > 1]
        return {key: shares.get(key, 0.0) for key in varied}

    def _outcome(self, trial: FrozenTrial) -> Outcome:
        steps = trial.intermediate_values
        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        value = trial.value if trial.state == TrialState.COMPLETE else steps[max(steps)] if steps else None
        seconds = trial.duration.total_seconds() if trial.duration is not None else 0.0
        return Outcome(
            number=_number(trial),
            state=states[trial.state],
            value=float("nan") if value is None else value,
            values=self.space.decode(trial.params),
            epochs=max(steps, default=0),
            seconds=seconds,
            cause=str(trial.user_attrs.get(CAUSE, "")),
        )

    def _attempts(self) -> list[FrozenTrial]:
        """Every number's last attempt, but for those whose process died with them."""
        trials = [trial for trial in self._study.get_trials() if NUMBER in trial.user_attrs]
        counted = [trial for trial in trials if trial.state != TrialState.FAIL or CAUSE in trial.user_attrs]
        last = {_number(trial): trial for trial in counted}
        return [last[number] for number in sorted(last)]

    def _reported(self, number: int) -> dict[int, float]:
        """What earlier attempts at a trial have reported: its training goes on from there."""
        trials = [trial for trial in self._study.get_trials() if trial.user_attrs.get(NUMBER) == number]
        return {step: value for trial in trials for step, value in trial.intermediate_values.items()}

    def _give_back(self) -> None:
        """Let the trials of processes that have died be tried again."""
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            if NUMBER not in trial.user_attrs:  # its process died before it had one
                self._study.tell(trial.number, state=TrialState.FAIL)
                continue
            lock = self._lock_of(_number(trial))
            if lock.acquire():
                # it may have ended between being listed and being locked
                if self._study.trials[trial.number].state == TrialState.RUNNING:
                    self._try_again(trial)
                lock.release()

    def _try_again(self, trial: FrozenTrial) -> None:
        again = {_number(other) for other in self._study.get_trials(states=(TrialState.WAITING,))}
        if _number(trial) not in again:
            # killed before it had its values, it still has those it was to be tried with
            values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            self._study.enqueue_trial(values, user_attrs={NUMBER: _number(trial)})
        self._study.tell(trial.number, state=TrialState.FAIL)

    def _lock_of(self, number: int) -> Lock:
        return Lock(self.folder / "locks" / f"{number:03}")


def _number(trial: FrozenTrial) -> int:
    return int(trial.user_attrs[NUMBER])


def keep_to(folder: Path, asked: Mapping[str, Any], resume: bool) -> None:
    """Hold a study that is gone on with to what was asked of it at first.

    Args:
        folder: of the study.
        asked: what must not change, as JSON values.
        resume: whether the study must be there, or must not.

    Raises:
        UsageError: it is there without ``resume`` or is not there with it, or something else was asked of it.
    """
    path = folder / ASKED
    if path.exists() and not resume:
        raise UsageError(folder, "no study there yet", "one", "Name another folder, or go on with it by --resume")
    if not path.exists():
        if resume:
            raise UsageError(folder, "a study to go on with", "none", "Leave --resume out")
        write_json(path, dict(asked))
        return
    begun = json.loads(path.read_text(encoding="utf-8"))
    for key, value in json.loads(json.dumps(asked)).items():
        if begun.get(key) != value:
            name, expected, found = _difference(key, begun.get(key), value)
            remedy = "Ask for the same, or name another folder"
            raise UsageError(folder, f"{name} as the study was begun with: {expected}", found, remedy)


def _difference(name: str, old: Any, new: Any) -> tuple[str, str, str]:
    """The first place in which two JSON values differ, and what stands there."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            if old.get(key) != new.get(key):
                return _difference(f"{name} {key}", old.get(key), new.get(key))
    expected, found = ("none" if value is None else str(value) for value in (old, new))
    return name, expected, found

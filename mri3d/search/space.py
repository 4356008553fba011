"""The space that a search for good settings goes through, as a recipe's ``search`` section describes it.

A section names config keys, each with what it may be: a list of choices, or a range::

    search:
      training.learning_rate: [0.001, 0.0005, 0.0001]
      network_def.channels: [[16, 32, 64], [24, 48, 96]]
      network_def.latent_channels: {low: 2, high: 32, log: true}
      training.epochs: {low: 10, high: 60, step: 10}

A range holds both its ends. It is of whole numbers where both are whole; ``log`` spreads it evenly in the logarithm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mri3d.errors import UsageError

WHERE = "search"
RANGE_KEYS = ("low", "high", "step", "log")
Number = int | float


class Trial(Protocol):
    """What proposes values; an Optuna trial is one."""

    def suggest_categorical(self, name: str, choices: Any, /) -> Any:
        """One of the choices."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """A whole number."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """A number."""


@dataclass(frozen=True)
class Choice:
    """A key that takes one of several values.

    Args:
        key: config key, with ``.`` between levels.
        options: any YAML values, at least two, no two of them equal.
    """

    key: str
    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.options) < 2 or len(set(self._words())) < len(self.options):
            expected = "two or more different choices"
            raise UsageError(f"{WHERE}: {self.key}", expected, str(list(self.options)), "Fix one value with --set")

    def _words(self) -> list[str]:
        # JSON, since a proposer's choices are numbers and words, and a value may be a list
        try:
            return [json.dumps(option, sort_keys=True, allow_nan=False) for option in self.options]
        except (TypeError, ValueError) as error:
            raise UsageError(f"{WHERE}: {self.key}", "plain YAML values", str(error), "Mend the recipe") from error

    def suggest(self, trial: Trial) -> Any:
        """The value a trial gets."""
        return self.decode(trial.suggest_categorical(self.key, self._words()))

    def decode(self, stored: Any) -> Any:
        """The value behind what a trial stores."""
        return json.loads(stored)

    @property
    def size(self) -> float:
        """How many values there are."""
        return len(self.options)

    def examples(self) -> tuple[Any, ...]:
        """All values."""
        return self.options

    def as_yaml(self) -> Any:
        """What :func:`parse_space` reads."""
        return list(self.options)


@dataclass(frozen=True)
class Range:
    """A key that takes a number between two.

    Args:
        key: config key, with ``.`` between levels.
        low: smallest value; above 0 where ``log``.
        high: largest value.
        step: distance of the values; None is 1 for whole numbers, and none for others.
        log: whether values are spread evenly in their logarithm; goes without a ``step``.
    """

    key: str
    low: Number
    high: Number
    step: Number | None = None
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            number = type(value) in (int, float) and math.isfinite(value)
            if not number and not (name == "step" and value is None):
                raise self._unfit(f"a number for {name}", f"{value!r}", "Mend it; YAML wants 1.0e-3 in place of 1e-3")
        if type(self.log) is not bool:
            raise self._unfit("true or false for log", f"{self.log!r}", "Mend it")
        if not self.low < self.high:
            raise self._unfit("low below high", f"{self.low} and {self.high}", "Mend the range")
        if self.step is not None and not (0 < self.step <= self.high - self.low):
            raise self._unfit("a step above 0 and within the range", str(self.step), "Mend it")
        if self.whole and type(self.step) is float:
            raise self._unfit("a whole step between whole numbers", str(self.step), "Mend it")
        if self.log and (self.low <= 0 or self.step is not None):
            raise self._unfit("a logarithmic range above 0 and without step", str(self.as_yaml()), "Mend it")

    def _unfit(self, expected: str, found: str, remedy: str) -> UsageError:
        return UsageError(f"{WHERE}: {self.key}", expected, found, remedy)

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return type(self.low) is int and type(self.high) is int

    @property
    def size(self) -> float:
        """How many values there are; infinite without a step."""
        step = 1 if self.whole and self.step is None else self.step
        return math.inf if step is None else int((self.high - self.low) / step + 1e-9) + 1

    def suggest(self, trial: Trial) -> Number:
        """The value a trial gets."""
        if self.whole:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.key, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(self.key, float(self.low), float(self.high), step=self.step, log=self.log)

    def decode(self, stored: Any) -> Any:
        """The value behind what a trial stores."""
        return stored

    def examples(self) -> tuple[Any, ...]:
        """Both ends."""
        return self.low, self.high

    def as_yaml(self) -> Any:
        """What :func:`parse_space` reads."""
        rest = ({"step": self.step} if self.step is not None else {}) | ({"log": True} if self.log else {})
        return {"low": self.low, "high": self.high, **rest}


@dataclass(frozen=True)
class Space:
    """All keys that are searched, in the order of the recipe."""

    parameters: tuple[Choice | Range, ...]

    @property
    def size(self) -> float:
        """How many combinations of values there are; infinite where a range is continuous."""
        return math.prod(parameter.size for parameter in self.parameters)

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A value for every key."""
        return {parameter.key: parameter.suggest(trial) for parameter in self.parameters}

    def decode(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The values behind what a trial stores."""
        return {parameter.key: parameter.decode(stored[parameter.key]) for parameter in self.parameters
                if parameter.key in stored}  # fmt: skip

    def as_yaml(self) -> dict[str, Any]:
        """The ``search`` section that gives this space."""
        return {parameter.key: parameter.as_yaml() for parameter in self.parameters}


def parse_space(section: Any) -> Space:
    """Read a ``search`` section.

    Raises:
        UsageError: it is no mapping, or an entry is neither choices nor a range.
    """
    if not isinstance(section, Mapping) or not section:
        found = "none" if section is None else str(section)
        raise UsageError(WHERE, "config keys with choices or ranges", found, "Add them to a recipe of yours")
    return Space(tuple(_parse(str(key), entry) for key, entry in section.items()))


def _parse(key: str, entry: Any) -> Choice | Range:
    if isinstance(entry, list):
        return Choice(key, tuple(entry))
    if isinstance(entry, Mapping) and {"low", "high"} <= set(entry) <= set(RANGE_KEYS):
        return Range(key, **entry)
    expected = "a list of choices, or {low: ..., high: ...} with step or log if need be"
    raise UsageError(f"{WHERE}: {key}", expected, str(entry), "Mend the recipe")

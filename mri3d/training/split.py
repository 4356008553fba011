"""Which healthy subject serves what: training, validation, calibration, test."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from mri3d.errors import UsageError
from mri3d.volumes.atomic import write_json

REQUIRED = ("train", "validation", "calibration")
"""The parts without which there is no training."""

PARTS = (*REQUIRED, "test")


@dataclass(frozen=True)
class Split:
    """Participants by part; no one is in two."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    calibration: tuple[str, ...]
    test: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, list[str]]:
        """The split as JSON-ready lists."""
        return {part: list(getattr(self, part)) for part in PARTS}

    @classmethod
    def load(cls, path: Path) -> Split:
        """Read the JSON file of a split."""
        return cls(**{part: tuple(names) for part, names in json.loads(path.read_text(encoding="utf-8")).items()})


def split_participants(
    participants: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    ages: Mapping[str, float] | None = None,
    needed: Sequence[str] = REQUIRED,
) -> Split:
    """Split people, not files, into parts of the given shares that are alike in age.

    People are ordered by age (where known; by chance otherwise) and dealt out along that order, each to the part
    that is furthest behind its share, so that every part covers all ages.

    Args:
        participants: one entry a file or a person; repetitions count once.
        shares: part to share, which sum up to 1: ``train``, ``validation``, ``calibration`` and ``test``.
        seed: of the order among people of unknown or equal age.
        ages: participant to age in years.
        needed: parts that must not be empty.

    Raises:
        UsageError: unknown parts, shares that do not sum up to 1, or too few people for a part.
    """
    if set(shares) - set(PARTS) or min(shares.values(), default=0) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        expected = f"shares of {', '.join(PARTS)} that sum up to 1"
        raise UsageError("split", expected, str(dict(shares)), "Mend the recipe")
    parts = _deal(participants, {part: shares.get(part, 0) for part in PARTS}, seed, ages)
    for part in needed:
        if not parts[part]:
            expected = f"at least one participant for {part}"
            raise UsageError("split", expected, f"{len(set(participants))} in all", "Give more volumes")
    return Split(**{part: tuple(sorted(names)) for part, names in parts.items()})


def deal_folds(
    participants: Sequence[str], folds: int, seed: int, ages: Mapping[str, float] | None = None
) -> tuple[tuple[str, ...], ...]:
    """Deal people into folds of equal size that are alike in age.

    Args:
        participants: see :func:`split_participants`, as ``seed`` and ``ages``.
        folds: how many.
        seed: see there.
        ages: see there.

    Raises:
        UsageError: fewer than two folds, or fewer people than folds.
    """
    people = len(set(participants))
    if not 2 <= folds <= people:
        raise UsageError("--folds", f"a number from 2 to the {people} participants", str(folds), "Choose another")
    dealt = _deal(participants, {str(number): 1 / folds for number in range(folds)}, seed, ages)
    return tuple(tuple(sorted(names)) for names in dealt.values())


def check_people(
    participants: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    ages: Mapping[str, float] | None,
    least: int,
    folds: int | None = None,
) -> None:
    """See to it that there are enough people, before any work is done.

    Args:
        participants: see :func:`split_participants`, as ``shares``, ``seed`` and ``ages``.
        shares: see there.
        seed: see there.
        ages: see there.
        least: people that a calibration takes.
        folds: where everyone is scored out of fold, how many folds; the shares then do not matter.

    Raises:
        UsageError: there are too few.
    """
    people = set(participants)
    if folds is not None:
        if len(people) < least:
            raise _too_few(people, least, least, "Give volumes of more people")
        for fold in deal_folds(participants, folds, seed, ages):
            split_training(sorted(people - set(fold)), shares, seed, ages)
    elif len(split_participants(participants, shares, seed, ages).calibration) < least:
        sizes = (_deal(list(map(str, range(n))), shares, seed, None)["calibration"] for n in count(len(people)))
        needed = next(n for n, part in enumerate(sizes, start=len(people)) if len(part) >= least)
        remedy = "Give volumes of more people, or let all of them serve with train --folds 5"
        raise _too_few(people, needed, least, remedy)


def _too_few(people: Collection[str], needed: int, least: int, remedy: str) -> UsageError:
    expected = f"at least {needed} people, of whom {least} calibrate"
    return UsageError("training data", expected, f"{len(people)} people", remedy)


def split_training(
    participants: Sequence[str], shares: Mapping[str, float], seed: int, ages: Mapping[str, float] | None = None
) -> Split:
    """Who trains and who validates where nobody here calibrates, in the proportion of ``shares``.

    The arguments and errors are those of :func:`split_participants`.
    """
    parts = ("train", "validation")
    whole = sum(shares[part] for part in parts)
    return split_participants(participants, {part: shares[part] / whole for part in parts}, seed, ages, needed=parts)


def _deal(
    participants: Sequence[str], shares: Mapping[str, float], seed: int, ages: Mapping[str, float] | None
) -> dict[str, list[str]]:
    """Deal people out along their order of age, each to the part that is furthest behind its share."""
    people = sorted(set(participants))
    order = np.random.default_rng(seed).permutation(len(people))
    known = ages or {}
    middle = float(np.median(list(known.values()))) if known else 0.0
    ranked = sorted((people[i] for i in order), key=lambda person: known.get(person, middle))
    parts: dict[str, list[str]] = {part: [] for part in shares}
    for dealt, person in enumerate(ranked, start=1):
        part = max(shares, key=lambda name: shares[name] * dealt - len(parts[name]))
        parts[part].append(person)
    return parts


def keep_split(
    path: Path | str,
    participants: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    ages: Mapping[str, float] | None = None,
    least_calibrated: int = 1,
) -> Split:
    """The split that a bundle keeps: the stored one where there is one, so that a resumed training mixes nobody up.

    Args:
        path: JSON file of the split; written where it is missing.
        participants: see :func:`split_participants`.
        shares: see :func:`split_participants`.
        seed: see :func:`split_participants`.
        ages: see :func:`split_participants`.
        least_calibrated: people that a calibration takes.

    Raises:
        UsageError: the stored split is one of other people, too few are left to calibrate; else see
            :func:`split_participants`.
    """
    path = Path(path)
    if path.exists():
        stored = Split.load(path)
        for part in REQUIRED:
            if not set(getattr(stored, part)) & set(participants):
                raise UsageError(
                    path,
                    f"a split of these {len(set(participants))} participants",
                    f"nobody of them in its part {part}",
                    "Build a new bundle from these volumes with mri3d train",
                )
        split = stored
    else:
        split = split_participants(participants, shares, seed, ages)
    usable = len(set(split.calibration) & set(participants))
    if usable < least_calibrated:
        remedy = "Give more volumes, or all of them a part with train --folds 5, and begin anew"
        raise UsageError(path, f"at least {least_calibrated} people to calibrate", f"{usable} usable ones", remedy)
    if not path.exists():
        write_json(path, split.as_dict())
    return split

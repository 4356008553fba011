"""All rules, applied to a data set."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mri3d.checking.comparison import (
    MIN_COMPARED,
    MIN_REST,
    brain_volumes,
    duplicates,
    orientations,
    participants,
    profiles,
    spacings,
)
from mri3d.checking.facts import Facts
from mri3d.checking.finding import Finding
from mri3d.checking.rules import NOTES, first_error

HEADER_MAY_BE_WHY = ("brain", "alignment")
"""Errors that a wrong orientation or voxel size may lead to."""


def judge(facts: Sequence[Facts], people: Collection[str] | None = None) -> tuple[Finding, ...]:
    """All findings, in the order of the volumes, each one's errors first; the data set's own come last.

    A volume with an error of its own is not compared with others by what was measured of its brain; how it is stored is
    told only where that may be the cause.

    Args:
        facts: of every volume.
        people: whom ``participants.tsv`` names, if there is one.
    """
    errors = [error for each in facts if (error := first_error(each)) is not None]
    unfit = {error.subject for error in errors}
    sound = [each for each in facts if each.subject.key not in unfit]
    stored = _stored(facts)
    found: list[Finding] = [*errors, *duplicates(stored)]
    for each in sound:
        found += [note for rule in NOTES for note in rule(each)]
    explained = {error.subject for error in errors if error.what not in HEADER_MAY_BE_WHY}
    found += [note for rule in (orientations, spacings) for note in rule(stored) if note.subject not in explained]
    found += [*brain_volumes(sound), *profiles(sound)]
    place = {each.subject.key: position for position, each in enumerate(facts)}
    found.sort(key=lambda finding: (place[finding.subject], finding.severity != "error"))
    return (*found, *participants(facts, people))


def _stored(facts: Sequence[Facts]) -> list[Facts]:
    """The images that could be read."""
    return [each for each in facts if each.stored is not None and not each.stored.labels]


def unsaid(facts: Sequence[Facts]) -> tuple[str, ...]:
    """What the volumes are too few to be judged by, whole sentences."""
    told = []
    if len(_stored(facts)) < MIN_REST:
        told.append(f"Orientations and voxel sizes are compared from {MIN_REST} images on.")
    measured = sum(each.brain is not None and first_error(each) is None for each in facts)
    if measured < MIN_COMPARED:
        words = f"Brain volumes and intensities are compared from {MIN_COMPARED} sound volumes on"
        told.append(f"{words}; here are {measured}." if measured else f"{words}; here is none.")
    return tuple(told)

"""Which modalities a subject may come with, and what such a set is called."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

ModalitySet = tuple[str, ...]


def modality_sets(modalities: Sequence[str], missing: bool = False) -> tuple[ModalitySet, ...]:
    """All sets that a bundle has a calibration for, the complete one first.

    Args:
        modalities: what the bundle knows, the reference first; it is in every set.
        missing: whether a subject may lack others.
    """
    reference, *others = modalities
    sizes = range(len(others), -1, -1) if missing else (len(others),)
    return tuple((reference, *some) for size in sizes for some in itertools.combinations(others, size))


def set_name(modalities: Sequence[str]) -> str:
    """What a set is called in a bundle's files: ``T1w+T2w``."""
    return "+".join(modalities)

"""Facts of volumes that need no file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mri3d.checking.facts import LEVELS, Brain, Facts, Stored
from mri3d.volumes.alignment import Alignment
from tests.helpers import subject_of

PROFILE = LEVELS / 98.0
SOUND = Stored((120, 120, 90), (2.0, 2.0, 2.0), "PSR", (1, 1), "int16", 0.0, 900.0, 0, "")


def facts_of(name: str, **changes: Any) -> Facts:
    """A sound volume's facts, but for what is changed, by the name of a field of whichever part has it."""
    stored = {"fingerprint": name, **{key: value for key, value in changes.items() if hasattr(SOUND, key)}}
    fit = Alignment(np.eye(4), changes.get("dice", 0.95), changes.get("correlation", 0.44))
    ml, area, profile = changes.get("ml", 1400.0), changes.get("cut_cm2", 0.0), changes.get("profile", PROFILE)
    brain = Brain(ml, "deepbet", area, fit, profile)
    rest = {key: value for key, value in changes.items() if key in ("turn", "error")}
    return Facts(subject_of(f"{name}.nii.gz"), replace(SOUND, **stored), brain, **rest)


def many(count: int) -> list[Facts]:
    """Sound volumes that differ a little, as people do: brains of 1300 to 1500 ml."""
    spread = np.linspace(-1, 1, count)
    return [
        facts_of(f"sub-{i:02}_T1w", ml=1400 + 100 * step, profile=PROFILE * (1 + 0.02 * step))
        for i, step in enumerate(spread)
    ]

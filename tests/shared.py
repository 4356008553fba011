"""What several files of tests use: made by the real commands, once a run, by whichever worker comes first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mri3d.bundle import DEFAULT_BUNDLE, REGIONS, find_bundle
from mri3d.recipe import merge
from mri3d.volumes.lock import Lock
from tests.brains import CENTRE, FOV, brain_on, write_brain
from tests.command_line import mri3d
from tests.helpers import head_grid

GRID = head_grid("RAS", (4.0, 4.0, 4.0), 0.0, FOV, CENTRE)
PEOPLE = tuple(f"sub-{seed:02}" for seed in range(12))
PREPARATION = {"grid.spacing": 5.0, "grid.shape": [32, 48, 32], "bias_correction": False}
"""Whoever prepares the healthy brains by these keys finds them prepared from the second time on: see ``cache_of``."""

SMALL = {
    "network_def.channels": [4, 4, 4, 4],
    "network_def.components": 3,
    "network_def.depth": 10,
    "network_def.decoder_channels": [4, 4, 4, 4, 4],
    "training.epochs": 1,
    "training.shares": {"train": 0.4, "validation": 0.1, "calibration": 0.5, "test": 0.0},
    **PREPARATION,
    "bundle_atlas": None,
}
"""Keys that make training a matter of seconds, for the recipes that have them."""


def once(folder: Path, name: str, make: Callable[[Path], object]) -> Path:
    """A folder's subfolder that ``make`` fills, unless another worker has; do not write to it."""
    place, done = folder / name, folder / f"{name}.done"
    with Lock(folder / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            make(place)
            done.touch()
    return place


def draw_healthy(folder: Path) -> None:
    """Stripped brains on a coarse grid, each with its mask beside it."""
    for seed, name in enumerate(PEOPLE):
        write_brain(folder / f"{name}_T1w.nii.gz", GRID, brain_on(GRID, seed))


def cache_of(healthy: Path) -> Path:
    """Where all keep what they have prepared of the healthy brains."""
    return healthy.parent / "cache"


def settings_of(recipe: str) -> list[str]:
    """Of :data:`SMALL` the keys that a recipe has."""
    config = merge(recipe, {})["train"]
    kept = {}
    for key, value in SMALL.items():
        place, _, name = key.rpartition(".")
        if name in (config[place] if place else config):
            kept[key] = value
    return words_for(kept)


def train(recipe: str, root: Path, healthy: Path, *words: object) -> Path:
    """Train a small bundle."""
    given = ("--recipe", recipe, "--device", "cpu", "--set", f"cache_dir={cache_of(healthy)}")
    mri3d("train", healthy, "-o", root, *given, *settings_of(recipe), *words)
    return root


def copy_without_regions(folder: Path) -> None:
    """The default bundle as one that measures no regions, which take seconds a subject on its grid."""
    shutil.copytree(find_bundle(DEFAULT_BUNDLE), folder, dirs_exist_ok=True)
    for name in REGIONS:
        (folder / "models" / name).unlink()


def words_for(settings: dict[str, Any]) -> list[str]:
    """Settings as words of the command line."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]

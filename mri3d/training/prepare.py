"""Bring healthy subjects onto the model grid once, and keep the result for every epoch and every restart."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.transforms.transform import Transform
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mri3d import __version__
from mri3d.errors import UsageError
from mri3d.transforms.case import Item
from mri3d.transforms.dataset import SubjectDataset
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.subject import Subject

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """Preprocessed subjects.

    Args:
        files: (participant, cache file) of each that succeeded.
        failures: (subject, cause) of each that did not.
    """

    files: tuple[tuple[str, Path], ...]
    failures: tuple[tuple[str, str], ...]

    @property
    def participants(self) -> tuple[str, ...]:
        """The participant of every file, in order."""
        return tuple(participant for participant, _ in self.files)

    def of(self, participants: Sequence[str]) -> list[dict[str, str]]:
        """The files of these people, as items for :class:`LoadPrepared`."""
        wanted = set(participants)
        return [{"prepared": str(path)} for participant, path in self.files if participant in wanted]

    def load(self, participants: Sequence[str]) -> list[Item]:
        """The items of these people in memory."""
        return [LoadPrepared()(item) for item in self.of(participants)]


class LoadPrepared(Transform):
    """Read one cache file: ``image`` (1, *grid.shape) float32 and ``mask`` (1, *grid.shape) bool."""

    def __call__(self, item: dict[str, str]) -> Item:
        """Replace ``prepared`` by the tensors it names."""
        stored = torch.load(item["prepared"], weights_only=True)
        return {"image": stored["image"].float(), "mask": stored["mask"]}


def prepare(dataset: SubjectDataset, cache_dir: Path | str) -> Prepared:
    """Preprocess every subject that the cache does not hold yet, on all processors.

    A file is known by its path, size and time of change together with the preprocessing's settings, so that a changed
    file or recipe is never served from an old cache.

    Args:
        dataset: of the healthy subjects.
        cache_dir: folder of the cache; made if missing.

    Raises:
        UsageError: not one subject could be preprocessed.
    """
    cache = Path(cache_dir)
    cache.mkdir(parents=True, exist_ok=True)
    settings = dataset.chain.settings()
    paths = [cache / f"{_key(subject, settings)}.pt" for subject in dataset.data]
    todo = [index for index, path in enumerate(paths) if not path.exists()]
    failures = dict(_fill(dataset, paths, todo))
    for subject, cause in failures.items():
        logger.warning("%s is left out of training: %s", subject, cause)
    files = tuple(
        (subject.participant, path) for subject, path in zip(dataset.data, paths, strict=True) if path.exists()
    )
    if not files:
        cause = next(iter(failures.values()), "no volume")
        raise UsageError("training data", "at least one usable volume", cause, "Mend the volumes")
    return Prepared(files, tuple(failures.items()))


def _key(subject: Subject, settings: Any) -> str:
    files = [path for path in (subject.reference, subject.mask) if path is not None]
    stats = [os.stat(path) for path in files if path.exists()]  # a missing one fails at the gate, with its name
    parts = [__version__, str(subject.reference.resolve()), [(s.st_size, s.st_mtime_ns) for s in stats], settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


class _Fill(Dataset[tuple[str, str]]):
    """Preprocesses and stores in the worker, so that only the outcome crosses the process border."""

    def __init__(self, dataset: SubjectDataset, paths: Sequence[Path], todo: Sequence[int]) -> None:
        self.dataset, self.paths, self.todo = dataset, paths, todo

    def __len__(self) -> int:
        return len(self.todo)

    def __getitem__(self, position: int) -> tuple[str, str]:
        index = self.todo[position]
        item = self.dataset[index]
        case = item["case"]
        if case.error is not None:
            return case.subject.key, str(case.error)
        with atomic_write(self.paths[index]) as path:
            torch.save({"image": item["image"].half(), "mask": item["mask"]}, path)
        return case.subject.key, ""


def _fill(dataset: SubjectDataset, paths: Sequence[Path], todo: Sequence[int]) -> list[tuple[str, str]]:
    if not todo:
        return []
    workers = min(len(todo), os.cpu_count() or 1)
    loader = DataLoader(
        _Fill(dataset, paths, todo),
        batch_size=None,
        num_workers=workers if workers > 1 else 0,
        multiprocessing_context="spawn" if workers > 1 else None,  # a forked torch may hang in its thread pool
    )
    outcomes = tqdm(loader, total=len(todo), desc="preprocess", unit="volume")
    return [(subject, cause) for subject, cause in outcomes if cause]

"""Bring healthy subjects onto the model grid once, and keep the result for every epoch and every restart."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose
from monai.transforms.transform import Transform
from torch.utils.data import Dataset

from mri3d import __version__
from mri3d.errors import InputError, Mri3dError, PreprocessingError, UsageError
from mri3d.transforms.case import Item
from mri3d.transforms.dataset import SubjectDataset
from mri3d.transforms.processes import in_processes
from mri3d.volumes.atomic import atomic_write, write_json
from mri3d.volumes.subject import Subject

logger = logging.getLogger(__name__)

STORED = ("image", "mask", "template_to_source")
"""What a cache file holds of a subject."""


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
        return [
            {"prepared": str(path), "participant": participant}
            for participant, path in self.files
            if participant in wanted
        ]

    def load(self, participants: Sequence[str]) -> list[Item]:
        """The items of these people in memory, with ``participant`` and ``template_to_source`` (4, 4)."""
        return [{**_read(item["prepared"]), "participant": item["participant"]} for item in self.of(participants)]


class LoadPrepared(Transform):
    """Read one cache file: ``image`` (C, *grid.shape) float32 and ``mask`` (C, *grid.shape) bool."""

    def __call__(self, item: dict[str, str]) -> Item:
        """The tensors that ``prepared`` names, and nothing else: a batch of them is tensors alone."""
        stored = _read(item["prepared"])
        return {"image": stored["image"], "mask": stored["mask"]}


def _read(path: str) -> Item:
    stored: Item = torch.load(path, weights_only=True)
    return {**stored, "image": stored["image"].float()}


class Fixed(Transform):
    """Random transforms that do the same to a subject every time, so that losses of different epochs compare.

    Args:
        transforms: of MONAI, on dictionaries.
    """

    def __init__(self, transforms: Sequence[Callable[[Item], Item]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, item: Item) -> Item:
        """Apply the transforms with a random state drawn from the image itself."""
        seed = zlib.crc32(torch.as_tensor(item["image"]).contiguous().numpy().tobytes())
        # copies: training's own keep their random state, and a cache is filled by several threads at once
        chain = Compose(copy.deepcopy(self.transforms)).set_random_state(seed)
        # some of MONAI's change the image in place
        return dict(chain({**item, "image": torch.as_tensor(item["image"]).clone()}))


def prepare(
    dataset: SubjectDataset,
    cache_dir: Path | str,
    device: torch.device | str = "cpu",
    report: Path | str | None = None,
) -> Prepared:
    """Preprocess every subject that the cache does not hold yet, in several processes.

    A file is known by its path, size and time of change together with the preprocessing's settings, so that a changed
    file or recipe is never served from an old cache. Unfit volumes are left out and named; an error that is not the
    subject's own, such as a lack of memory, ends the training instead of making it smaller.

    Args:
        dataset: of the healthy subjects.
        cache_dir: folder of the cache; made if missing.
        device: where the chain runs; a GPU takes fewer processes.
        report: JSON file for what was left out, a list of ``subject`` and ``cause``.

    Raises:
        UsageError: not one subject could be preprocessed.
        Mri3dError: a step broke off for a reason that is not the subject's.
    """
    cache = Path(cache_dir)
    cache.mkdir(parents=True, exist_ok=True)
    settings = dataset.chain.settings()
    paths = [cache / f"{_key(subject, settings)}.pt" for subject in dataset.data]
    todo = [index for index, path in enumerate(paths) if not path.exists()]
    errors = _fill(dataset, paths, todo, torch.device(device))
    failures = tuple((subject, str(error)) for subject, error in errors)
    for subject, cause in failures:
        logger.warning("%s is left out of training: %s", subject, cause)
    if report is not None:
        write_json(Path(report), [{"subject": subject, "cause": cause} for subject, cause in failures])
    files = tuple(
        (subject.participant, path) for subject, path in zip(dataset.data, paths, strict=True) if path.exists()
    )
    if not files:
        expected = "at least one usable volume"
        if not errors:
            raise UsageError("training data", expected, "no volume at all", "Give healthy volumes")
        first = errors[0][1]
        found = f"{len(errors)} that are not, the first {first.where}: expected {first.expected}, found {first.found}"
        raise UsageError("training data", expected, found, first.remedy)
    return Prepared(files, failures)


def _key(subject: Subject, settings: Any) -> str:
    files = [path for path in (*subject.images.values(), subject.mask) if path is not None]
    stats = [os.stat(path) for path in files if path.exists()]  # a missing one fails at the gate, with its name
    places, states = [str(path.resolve()) for path in files], [(s.st_size, s.st_mtime_ns) for s in stats]
    parts = [__version__, STORED, places, states, settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


class _Fill(Dataset[tuple[str, Mri3dError | None]]):
    """Preprocesses and stores in the worker, so that only the outcome crosses the process border."""

    def __init__(self, dataset: SubjectDataset, paths: Sequence[Path], todo: Sequence[int]) -> None:
        self.dataset, self.paths, self.todo = dataset, paths, todo

    def __len__(self) -> int:
        return len(self.todo)

    def __getitem__(self, position: int) -> tuple[str, Mri3dError | None]:
        index = self.todo[position]
        item = self.dataset[index]
        case = item["case"]
        if case.error is not None:
            return case.subject.key, case.error
        with atomic_write(self.paths[index]) as path:
            torch.save(_stored(item), path)
        return case.subject.key, None


def _stored(item: Item) -> Item:
    affine = torch.from_numpy(item["case"].alignment.template_to_source.copy())
    return {"image": item["image"].half(), "mask": item["mask"], "template_to_source": affine}


def _fill(
    dataset: SubjectDataset, paths: Sequence[Path], todo: Sequence[int], device: torch.device
) -> list[tuple[str, Mri3dError]]:
    """Fill the cache; the subjects that failed, and why."""
    if not todo:
        return []
    failures: list[tuple[str, Mri3dError]] = []
    for subject, error in in_processes(_Fill(dataset, paths, todo), len(todo), device, "preprocess"):
        if error is not None and not isinstance(error, InputError | PreprocessingError):
            raise error
        if error is not None:
            failures.append((subject, error))
    return failures

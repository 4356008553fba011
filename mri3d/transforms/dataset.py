"""Subjects as a dataset in which a failure is an item, so that one bad file does not end a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from monai.data import Dataset
from monai.transforms import Compose

from mri3d.errors import Mri3dError
from mri3d.grid import Grid
from mri3d.transforms.case import Case, Item
from mri3d.volumes.subject import Subject

tracebacks = logging.getLogger("mri3d.debug")
"""A logger of its own, so that ``--debug`` can show tracebacks and ``-v`` need not."""

PREPROCESSING_VERSION = 2
"""Raise it when a stage's result changes, so that no calibration and no cache made before is taken for it."""


class Guarded(Compose):
    """A chain of stages that notes an error in the item's case instead of raising it.

    An item that has failed passes through untouched.
    """

    def __call__(self, input_: Item, *_: Any, **__: Any) -> Item:  # type: ignore[override]
        """Apply the chain until its end or the first error."""
        item = input_
        for transform in self.transforms:
            case: Case = item["case"]
            if case.error is not None:
                break
            start = time.perf_counter()
            try:
                item = transform(item)
            except Exception as error:  # one volume's surprise must not cost the others their result
                name = getattr(transform, "name", type(transform).__name__)
                case = case.spent(name, time.perf_counter() - start)
                item = {**item, "case": replace(case, error=_named(error, case.subject, transform))}
        return item

    def settings(self) -> list[Any]:
        """The version of the code, the stages and their parameters, JSON-ready.

        Two chains with equal settings give equal items.

        Private attributes, such as the device a stage runs on, do not count.
        """
        stages = [
            [type(transform).__name__, {k: _plain(v) for k, v in sorted(vars(transform).items()) if k[0] != "_"}]
            for transform in self.transforms
        ]
        return [PREPROCESSING_VERSION, *stages]


def _plain(value: Any) -> Any:
    return value.as_dict() if isinstance(value, Grid) else value


def _named(error: Exception, subject: Subject, transform: Callable[[Item], Item]) -> Mri3dError:
    if isinstance(error, Mri3dError):
        return error
    tracebacks.debug("unexpected error in %s", subject.reference, exc_info=error)
    return Mri3dError(
        subject.reference,
        f"a volume that {type(transform).__name__} can work on",
        f"{type(error).__name__}: {error}",
        "Please report this with the output of --debug",
    )


class SubjectDataset(Dataset):
    """Items of the line for a list of subjects.

    Args:
        data: the subjects.
        transform: the chain up to the model grid.
        grid: the model grid; an item that failed carries zeros of its shape.
        channels: how many modalities the items have.
    """

    def __init__(
        self, data: Sequence[Subject], transform: Callable[[Item], Item], grid: Grid, channels: int = 1
    ) -> None:
        super().__init__(list(data))
        self.chain = transform if isinstance(transform, Guarded) else Guarded([transform])
        self.grid, self.channels = grid, channels

    def __getitem__(self, index: int) -> Item:  # type: ignore[override]
        """The item of one subject: ``case``, ``image`` (C, *grid.shape) float32, ``mask`` likewise, bool."""
        item = self.chain({"case": Case(self.data[index])})
        if item["case"].error is not None:
            item["image"] = torch.zeros((self.channels, *self.grid.shape))
            item["mask"] = torch.zeros((self.channels, *self.grid.shape), dtype=torch.bool)
        return item


def collate(items: Sequence[Item]) -> dict[str, Any]:
    """A batch: tensors stacked, all else in a list with an entry an item."""
    return {
        key: torch.stack([item[key] for item in items])
        if isinstance(items[0][key], torch.Tensor)
        else [item[key] for item in items]
        for key in items[0]
    }


class Each(Compose):
    """The way back of :func:`collate`: a chain applied to every item of a batch.

    MONAI's own decollation takes tensors, numbers and strings apart, but not a case.
    """

    def __call__(self, input_: dict[str, Any], *_: Any, **__: Any) -> dict[str, list[Any]]:  # type: ignore[override]
        """Apply the chain; every entry of the result is a list with an element an item, None where it has none."""
        present = {key: values for key, values in input_.items() if values is not None}
        items = [{key: values[i] for key, values in present.items()} for i in range(len(present["case"]))]
        for transform in self.transforms:
            items = [transform(item) for item in items]
        return {key: [item.get(key) for item in items] for key in {key for item in items for key in item}}

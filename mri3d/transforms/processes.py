"""One subject after another, in several processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mri3d.interrupts import deaf_children

T = TypeVar("T")

MAX_WORKERS = 8
"""Processes at most; each holds a volume and deepbet's networks."""

MAX_WORKERS_GPU = 2
"""The same on any GPU, whose memory they share."""


def in_processes(dataset: Dataset[T], count: int, device: torch.device, description: str) -> Iterator[T]:
    """The elements of a dataset, made in several processes, in order and with a progress bar.

    Args:
        dataset: of elements that are small enough to cross from process to process.
        count: how many it has.
        device: where they are made; a GPU takes fewer processes.
        description: what the progress bar says.
    """
    processes = workers(count, device)
    loader = DataLoader(
        dataset,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=processes if processes > 1 else 0,
        multiprocessing_context="spawn" if processes > 1 else None,  # a forked torch may hang in its thread pool
    )
    # or each would print its traceback; this process ends them
    with deaf_children() if processes > 1 else nullcontext():
        elements = iter(loader)
    yield from tqdm(elements, total=count, desc=description, unit="volume")


def _as_it_is(element: T) -> T:
    """In place of torch's own, which makes tensors of arrays."""
    return element


def workers(volumes: int, device: torch.device) -> int:
    """How many processes work on some volumes."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(volumes, own, MAX_WORKERS if device.type == "cpu" else MAX_WORKERS_GPU)

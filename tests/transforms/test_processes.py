"""Subjects in several processes."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from mri3d.transforms import processes
from mri3d.transforms.processes import in_processes

MAX_WORKERS = processes.MAX_WORKERS  # before the fixture that all tests share makes it one


class Numbered(Dataset[tuple[int, np.ndarray]]):
    """Elements that torch would turn into tensors by itself."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[int, np.ndarray]:
        return index, np.full(3, index)


@pytest.mark.parametrize("count", [1, 2])
def test_elements_come_in_order_and_as_they_were_made(monkeypatch: pytest.MonkeyPatch, count):
    monkeypatch.setattr(processes, "workers", lambda volumes, device: count)
    elements = list(in_processes(Numbered(), 5, torch.device("cpu"), "count"))
    assert [number for number, _ in elements] == list(range(5))
    assert all(type(element) is tuple and type(element[1]) is np.ndarray for element in elements)


@pytest.mark.parametrize(
    ("volumes", "processors", "device", "workers"),
    [(100, 4, "cpu", 4), (3, 4, "cpu", 3), (100, 64, "cpu", 8), (100, 64, "cuda:1", 2), (1, 64, "cuda", 1)],
)
def test_processes_fit_the_machine(monkeypatch: pytest.MonkeyPatch, volumes, processors, device, workers):
    monkeypatch.setattr(processes, "MAX_WORKERS", MAX_WORKERS)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)), raising=False)
    assert processes.workers(volumes, torch.device(device)) == workers
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS and Windows have none
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert processes.workers(volumes, torch.device(device)) == workers

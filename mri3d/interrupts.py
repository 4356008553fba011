"""Ctrl-C, where Python by itself would lose it or tell of it many times."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def _ours() -> bool:
    return threading.current_thread() is threading.main_thread()  # which alone may say what a signal does


@contextmanager
def ignored() -> Iterator[None]:
    """Ctrl-C does nothing, nor in processes that are started meanwhile."""
    if not _ours():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


@contextmanager
def held() -> Iterator[None]:
    """Ctrl-C is heard at the end.

    For code that has much to clean up, such as a plotting library: an interrupt in the callback of a weak reference
    ends nothing, and in compiled code it comes out as some other error.
    """
    if not _ours():
        yield
        return
    pressed: list[tuple[int, FrameType | None]] = []
    former: Any = signal.signal(signal.SIGINT, lambda number, frame: pressed.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        if pressed and callable(former):
            former(*pressed[0])

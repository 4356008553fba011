"""Ctrl-C, where Python by itself would lose it or tell of it many times."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


def _ours() -> bool:
    return threading.current_thread() is threading.main_thread()  # which alone may say what a signal does


@contextmanager
def held() -> Iterator[None]:
    """Ctrl-C is heard at the end.

    For code that has much to clean up, such as a plotting library: an interrupt in the callback of a weak reference
    ends nothing, and in compiled code it comes out as some other error.
    """
    if not _ours():
        yield
        return
    pressed: list[int] = []
    former = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        if pressed:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that are started meanwhile never hear Ctrl-C, and the thread that may hear it does so at the end.

    They inherit the signal as blocked. Were it ignored in its place, one pressed meanwhile would be lost.
    """
    with held():
        if not hasattr(signal, "pthread_sigmask"):  # Windows, which has no such inheritance
            yield
            return
        resource_tracker.ensure_running()  # its own start, otherwise at the first process's, unblocks the signal
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

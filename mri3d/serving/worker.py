"""The thread that does the jobs, one after another."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

from mri3d.errors import Mri3dError
from mri3d.serving.folders import StateFolder
from mri3d.serving.jobs import Job, JobStore
from mri3d.serving.model import Model, results_in, scans_in, words_of
from mri3d.serving.problems import kind_of, problem

logger = logging.getLogger(__name__)
tracebacks = logging.getLogger("mri3d.debug")

IDLE_SECONDS = 1.0
PATIENCE = 4.0
"""How long a running job is waited for when the server ends; Docker kills after 10."""


class Worker:
    """Does what is queued until it is stopped.

    Args:
        model: what scores.
        jobs: what there is to do.
        state: where the files are.
        observe: is told of every job that is over: ``done`` or ``failed``, and its seconds.
    """

    def __init__(self, model: Model, jobs: JobStore, state: StateFolder, observe: Callable[[str, float], None]) -> None:
        self._model, self._jobs, self._state, self._observe = model, jobs, state, observe
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._running: str | None = None
        # a job may run for a minute, and must not keep the process from ending
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There is a job."""
        self._wake.set()

    @property
    def ended(self) -> bool:
        """Whether jobs were done and are no more."""
        return self._thread.ident is not None and not self.alive

    @property
    def alive(self) -> bool:
        """Whether jobs are being done."""
        return self._thread.is_alive() and not self._stopping.is_set()

    @property
    def running(self) -> bool:
        """Whether there is work in progress, which nothing can interrupt."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Begin no other job, and wait a little for the one that runs; if it takes longer, the next start does it."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE)
        if self.running and self._running is not None:
            self._jobs.give_back(self._running)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                idle = not self._do_next()
            except (sqlite3.Error, OSError) as error:  # as of a full disk, which may have room again
                logger.error("the table of jobs: %s", error)
                idle = True
            if idle:
                self._wake.wait(IDLE_SECONDS)
                self._wake.clear()

    def _do_next(self) -> bool:
        """Do the job that has waited longest; False where none waits."""
        if self._running is not None:  # its end could not be written down, so that it waits again
            self._jobs.give_back(self._running)
            self._running = None
        job = self._jobs.claim()
        if job is not None:
            self._running = job.id
            self._do(job)
            self._running = None
        return job is not None

    def _do(self, job: Job) -> None:
        """One job to its end; whatever happens to it is told in its line of the table."""
        folder, start = self._state.of_job(job.id), time.perf_counter()
        error = None
        result: dict[str, Any] = {}
        try:
            result = {**self._model.detect(folder, job.modalities), "files": results_in(folder)}
        except Mri3dError as failed:
            error = problem(kind_of(failed), 422, words_of(failed, folder, len(job.modalities) > 1))
        except Exception as surprise:  # one job's surprise must not cost the others theirs
            tracebacks.debug("unexpected error in a job", exc_info=surprise)
            detail = f"expected a volume that can be scored, found {type(surprise).__name__}. Please report this."
            error = problem("unexpected", 500, detail)
        seconds = time.perf_counter() - start
        if error is None:
            # only then, since a job that a crash interrupts here is done again
            self._jobs.finish(job.id, result)
            self._forget_scans(job)
        else:
            self._jobs.fail(job.id, error)
            self._state.remove(job.id)
        outcome = "done" if error is None else "failed"
        logger.info("job %s in %.1f s", outcome, seconds)
        self._observe(outcome, seconds)

    def _forget_scans(self, job: Job) -> None:
        """The scans have served; only what was made of them is kept."""
        for path in scans_in(self._state.of_job(job.id), job.modalities):
            path.unlink(missing_ok=True)

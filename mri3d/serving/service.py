"""What a server consists of, from its start to its end, without HTTP."""

from __future__ import annotations

import math
import secrets
import time
from pathlib import Path

from mri3d.scoring.modality_sets import ModalitySet
from mri3d.serving.folders import StateFolder
from mri3d.serving.jobs import Job, JobStore, Status
from mri3d.serving.metrics import Metrics
from mri3d.serving.model import Model, scans_in
from mri3d.serving.problems import Refusal, problem
from mri3d.serving.settings import ATTEMPTS, Settings
from mri3d.serving.worker import Worker

LOST = problem(
    "lost",
    500,
    f"expected to finish the job, found that the server ended {ATTEMPTS} times while it ran. Send the scan again, and "
    "report this if it happens once more.",
)


class Service:
    """The model, the jobs and their files.

    Args:
        model: what scores.
        settings: see there.

    Raises:
        UsageError: the state's folder cannot be used.
    """

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.state = StateFolder(settings.state)
        self.jobs = JobStore(self.state.table)
        self.jobs.recover(ATTEMPTS, LOST)
        self.state.tidy(self.jobs.known())
        for job in self.jobs.all_over():  # a crash may have come before their scans were taken away
            for path in scans_in(self.state.of_job(job.id), job.modalities):
                path.unlink(missing_ok=True)
        self.metrics = Metrics(model.bundle, settings.queue, self.jobs.counts)
        self.worker = Worker(model, self.jobs, self.state, self.metrics.job_over)

    def stop(self) -> None:
        """End; what is queued or still runs waits for the next start. The state stays this process's own."""
        self.worker.stop()
        if not self.worker.running:
            self.jobs.close()

    def refuse_if_full(self, arriving: int) -> None:
        """Refuse what could not be queued, or kept until it is.

        Args:
            arriving: how many uploads are on their way in.

        Raises:
            Refusal: as many jobs wait, or uploads arrive, as jobs may wait; or none is done any more.
        """
        if self.worker.ended:
            raise Refusal(503, "not-ready", "expected a server that does jobs, found one that ends. Try again later.")
        if max(arriving, self.jobs.counts()[Status.QUEUED]) >= self.settings.queue:
            raise self._full()

    def accept(self, upload: Path, given: ModalitySet) -> Job:
        """Make checked files a job; once this returns, it survives a crash.

        Args:
            upload: the folder of the files, which are moved.
            given: their modalities.

        Raises:
            Refusal: the queue has filled up meanwhile.
        """
        job_id = secrets.token_hex(16)
        self.state.keep(upload, job_id)
        if not self.jobs.accept(job_id, given, self.settings.queue):
            self.state.remove(job_id)
            raise self._full()
        self.worker.wake()
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        """A job.

        Raises:
            Refusal: there is none.
        """
        job = self.jobs.get(job_id)
        if job is None:
            detail = f"expected the id of a job, found none of that id. Results are kept for {self._kept}."
            raise Refusal(404, "no-job", detail)
        return job

    def file(self, job_id: str, name: str) -> Path:
        """A file of a job that is done.

        Args:
            job_id: the job.
            name: one of those that the job's result lists; any other is refused before it comes near a path.

        Raises:
            Refusal: there is no such job or file, or the job is not done.
        """
        job = self.job(job_id)
        if not job.over:
            raise Refusal(409, "not-done", f"expected a job that is done, found one that is {job.status}. Ask later.")
        known: list[str] = (job.result or {}).get("files", [])
        if name not in known:
            raise Refusal(404, "no-file", "expected the name of one of the job's files, found another. See its result.")
        return self.state.of_job(job.id) / name

    def expire(self) -> None:
        """Take away what has been kept long enough."""
        for job_id in self.jobs.expire(time.time() - 3600 * self.settings.keep_hours):
            self.state.remove(job_id)

    @property
    def _kept(self) -> str:
        return f"{self.settings.keep_hours:g} hours"

    def _full(self) -> Refusal:
        seconds = max(1, math.ceil(self.jobs.seconds_a_job() or 5.0))
        detail = f"expected fewer than {self.settings.queue} waiting jobs, found as many. Try again in {seconds} s."
        return Refusal(429, "queue-full", detail, {"Retry-After": str(seconds)})

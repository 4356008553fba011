"""What Prometheus is told, and what the log is: routes, statuses and times, nothing of what was asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mri3d.serving.jobs import Status
from mri3d.serving.problems import Refusal

logger = logging.getLogger(__name__)
tracebacks = logging.getLogger("mri3d.debug")

JOB_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300)


class Metrics:
    """The numbers of one server.

    Args:
        bundle: name, version and hash of the model.
        capacity: how many jobs may wait.
        counts: how many jobs stand where, asked at every look.
    """

    def __init__(self, bundle: Mapping[str, str], capacity: int, counts: Callable[[], Mapping[Status, int]]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Jobs(counts))
        Info("mri3d_model", "The bundle that is served.", registry=self.registry).info(dict(bundle))
        Gauge("mri3d_queue_capacity", "Jobs that may wait.", registry=self.registry).set(capacity)
        self.requests = Counter(
            "mri3d_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram("mri3d_request_seconds", "Time to the answer.", ("route",), registry=self.registry)
        self._job_seconds = Histogram(
            "mri3d_job_seconds", "Time a job was worked on.", ("outcome",), registry=self.registry, buckets=JOB_SECONDS
        )

    def job_over(self, outcome: str, seconds: float) -> None:
        """A job is done or has failed."""
        self._job_seconds.labels(outcome).observe(seconds)

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self.registry)


class _Jobs(Collector):
    """How many jobs stand where, as the table has it."""

    def __init__(self, counts: Callable[[], Mapping[Status, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("mri3d_jobs", "Jobs in the table.", labels=["status"])
        for status, count in self._counts().items():
            family.add_metric([str(status)], count)
        yield family


class Observe:
    """Counts and times every request, and keeps the server's surprises out of answers and log.

    Args:
        app: who answers.
        metrics: where it is counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start = 0, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            pass  # nobody is left to be answered
        except Exception as error:
            tracebacks.debug("unexpected error in a request", exc_info=error)
            logger.error("unexpected %s in a request", type(error).__name__)
            if not status:
                detail = "expected an answer, found an error of the server. Please report this."
                await Refusal(500, "unexpected", detail).response()(scope, receive, watched)
        finally:
            self._note(scope, status, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # the route and not the path, which the client has chosen and which names a job
        route, method = getattr(scope.get("route"), "path", "none"), scope["method"]
        method = method if method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE") else "other"
        self._metrics.requests.labels(method, route, str(status or "closed")).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        logger.debug("%s %s %s in %.3f s", method, route, status or "closed", seconds)

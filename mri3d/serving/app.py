"""The routes: words in, calls out."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from mri3d import __version__
from mri3d.serving.connections import Linger
from mri3d.serving.jobs import Job
from mri3d.serving.metrics import Observe
from mri3d.serving.page import Page
from mri3d.serving.problems import MEDIA_TYPE, Refusal, problem
from mri3d.serving.schemas import (
    DONE_EXAMPLE,
    FAILED_EXAMPLE,
    QUEUED_EXAMPLE,
    JobView,
    ModelList,
    Problem,
    State,
    job_view,
    model_view,
)
from mri3d.serving.security import Guard, SecurityHeaders
from mri3d.serving.service import Service
from mri3d.serving.settings import GATES, LONGEST_WAIT
from mri3d.serving.uploads import check, receive

TIDY_SECONDS = 60.0
POLL_SECONDS = 0.25
MEDIA_TYPES = {".gz": "application/gzip", ".json": "application/json", ".png": "image/png", ".csv": "text/csv"}
OTHER_TYPE = "application/octet-stream"
"""Of scripts and pages too: they are for a folder of results, and nothing that this server would run."""

ABOUT = """A brain MRI in, a map of what is not normal in it out. Send a scan to `/v1/detect`, ask for the job until it
is done, fetch the maps. Research software, not a medical device: nothing here is a diagnosis."""


def create_app(service: Service, host: str) -> FastAPI:
    """The application of a server.

    Args:
        service: what does the work; begun and ended with the application.
        host: the address that the server listens on.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        tidying = asyncio.create_task(_tidy(service))
        yield
        tidying.cancel()
        await to_thread.run_sync(service.stop)

    app = FastAPI(
        title="mri3d", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.include_router(_jobs(service))
    app.include_router(_operations(service))
    app.include_router(_page())
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(RequestValidationError, _unfit)
    # the last one is the outermost
    app.add_middleware(Guard, token=service.settings.token, host=host)
    app.add_middleware(Observe, metrics=service.metrics)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Linger)
    return app


def _jobs(service: Service) -> APIRouter:
    """What is asked of a subject."""
    router, gates = APIRouter(prefix="/v1", tags=["jobs"], responses=_problems(401, 421)), anyio.CapacityLimiter(GATES)
    # uploads that come in take disk space, too
    arriving = 0

    @router.post(
        "/detect",
        status_code=202,
        response_model=JobView,
        summary="Send a scan",
        responses={
            200: {"model": JobView, "description": "Done", "content": _example(DONE_EXAMPLE)},
            202: {"description": "Accepted", "content": _example(QUEUED_EXAMPLE), "headers": _LOCATION},
            429: {**_problems(429)[429], "headers": _RETRY},
            **_problems(400, 403, 408, 413, 415, 422, 503, 507),
        },
        openapi_extra=_form(service),
    )
    async def detect(
        request: Request, prefer: Annotated[str, Header(description="wait=N: hold the answer back up to N s.")] = ""
    ) -> Response:
        """Queue a scan; one field for each modality, the reference's may be called `file`."""
        nonlocal arriving
        arriving += 1
        try:
            await to_thread.run_sync(service.refuse_if_full, arriving - 1)
            with service.state.incoming() as folder:
                given = await receive(request, folder, service.model, service.settings)
                await to_thread.run_sync(check, folder, given, limiter=gates)
                job = await to_thread.run_sync(service.accept, folder, given)
        finally:
            arriving -= 1
        job = await _wait(service, job, prefer)
        content = job_view(service, job).model_dump(mode="json")
        return JSONResponse(content, 200 if job.over else 202, {"Location": f"/v1/jobs/{job.id}"})

    @router.get("/jobs/{job_id}", summary="How a job stands", responses={**_problems(404), **_job_examples()})
    def job(job_id: str) -> JobView:
        """A job; with its result once it is done, with the cause if it failed."""
        return job_view(service, service.job(job_id))

    @router.get(
        "/jobs/{job_id}/files/{name:path}",
        summary="A map, picture or table",
        response_class=FileResponse,
        responses={
            200: {"description": "The file", "content": {kind: {} for kind in (*MEDIA_TYPES.values(), OTHER_TYPE)}},
            **_problems(404, 409),
        },
    )
    def file(job_id: str, name: str) -> FileResponse:
        """One of the files that the job's result lists."""
        path = service.file(job_id, name)
        return FileResponse(path, media_type=MEDIA_TYPES.get(path.suffix, OTHER_TYPE), filename=path.name)

    return router


def _operations(service: Service) -> APIRouter:
    """What is asked of the server."""
    router = APIRouter(tags=["server"], responses=_problems(421))

    @router.get("/v1/models", summary="What is served", responses=_problems(401))
    def models() -> ModelList:
        """The bundle, what it takes and how large that may be."""
        return ModelList(models=[model_view(service)])

    @router.get("/health", summary="Whether the server answers")
    def health() -> State:
        """It does."""
        return State(status="ok")

    @router.get("/ready", summary="Whether jobs are done", responses=_problems(503))
    def ready() -> State:
        """They are."""
        if not service.worker.alive:
            raise Refusal(503, "not-ready", "expected a server that does jobs, found one that ends. Try again later.")
        return State(status="ok")

    @router.get(
        "/metrics",
        summary="Numbers for Prometheus",
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_problems(401)},
    )
    def metrics() -> Response:
        """Requests, jobs, times, memory."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def _page() -> APIRouter:
    """The page for people, which is no part of the interface."""
    router, page = APIRouter(include_in_schema=False), Page()

    @router.get("/")
    def index() -> Response:
        return page.answer("index.html")

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        return page.answer(name)

    return router


async def _tidy(service: Service) -> None:
    while True:
        await to_thread.run_sync(service.expire)
        await asyncio.sleep(TIDY_SECONDS)


async def _wait(service: Service, job: Job, prefer: str) -> Job:
    """The job, once it is over or the client has waited as long as it prefers to (RFC 7240)."""
    wished = re.search(r"\bwait\s*=\s*(\d{1,4})\b", prefer)
    end = time.monotonic() + min(float(wished[1]) if wished else 0.0, LONGEST_WAIT)
    while not job.over and time.monotonic() < end:
        await asyncio.sleep(POLL_SECONDS)
        job = await to_thread.run_sync(service.job, job.id)
    return job


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response()


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = "expected a route and method of this server, found others. See /openapi.json."
    return Refusal(error.status_code, "no-route", detail, error.headers).response()


async def _unfit(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    places = ", ".join(".".join(map(str, found["loc"])) for found in error.errors())
    detail = f"expected parameters as in /openapi.json, found others ({places}). Mend them."
    return Refusal(422, "parameters", detail).response()


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problems that a route may answer with."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {
            "model": Problem, "description": problem("", status, "")["title"], "content": {MEDIA_TYPE: schema},
        }
        for status in statuses
    }  # fmt: skip


def _example(value: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"example": value}}


def _job_examples() -> dict[int | str, dict[str, Any]]:
    values = {"queued": QUEUED_EXAMPLE, "done": DONE_EXAMPLE, "failed": FAILED_EXAMPLE}
    examples = {name: {"value": value} for name, value in values.items()}
    return {200: {"content": {"application/json": {"examples": examples}}}}


_LOCATION = {"Location": {"description": "The job.", "schema": {"type": "string"}}}
_RETRY = {"Retry-After": {"description": "Seconds until there may be room.", "schema": {"type": "integer"}}}


def _form(service: Service) -> dict[str, Any]:
    """The form of this server's model as OpenAPI has it."""
    model = service.model
    scan = {"type": "string", "format": "binary", "description": "NIfTI, .nii or .nii.gz"}
    optional = dict.fromkeys(model.modalities[1:], scan)
    required = [name for name in model.modalities[1:] if name not in model.optional]
    names = ("file", model.modalities[0])
    forms = [
        {
            "type": "object", "properties": {name: scan, **optional}, "required": [name, *required],
            "additionalProperties": False,
        }
        for name in names
    ]  # fmt: skip
    schema = {"schema": {"anyOf": forms}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": schema}}}

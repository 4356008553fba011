"""What clients are answered, as OpenAPI has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mri3d.serving.jobs import Job, Status
from mri3d.serving.model import NAME
from mri3d.serving.service import LOST, Service
from mri3d.serving.settings import MAX_VOLUME_BYTES

ID = "5f0c6f4e1d3b4a0f9a52d1c3b7e8f6a4"

_COMPONENT: dict[str, Any] = {
    "index": 1, "volume_ml": 4.2, "peak_z": 7.9, "peak_mm": [-31.0, 22.0, 14.0], "mean_z": 4.6,
}  # fmt: skip
_FILES = [
    "scan.json", "scan.png", "scan_anomaly.nii.gz", "scan_error.nii.gz", "scan_regions.csv", "scan_regions.png",
    "scan_view.js", "scan_zscore.nii.gz",
]  # fmt: skip
_LINKS = {name: f"/v1/jobs/{ID}/files/{name}" for name in _FILES}
_RESULT: dict[str, Any] = {
    "decision": "anomalous", "score": 6.1, "threshold": 4.4, "p_value": 0.03, "p_resolution": 0.03,
    "voxel_threshold": 3.29, "anomalous_ml": 4.2, "modalities": ["T1w"], "components": [_COMPONENT], "warnings": [],
    "maps": {kind: _LINKS[f"scan_{kind}.nii.gz"] for kind in ("anomaly", "error", "zscore")},
    "picture": _LINKS["scan.png"], "sidecar": _LINKS["scan.json"], "files": _LINKS,
}  # fmt: skip
_TIMES = {"created": "2026-01-05T10:00:00Z", "started": "2026-01-05T10:00:01Z", "finished": "2026-01-05T10:00:14Z"}
_DONE: dict[str, Any] = {
    "id": ID, "status": "done", **_TIMES, "ahead": None, "result": _RESULT, "error": None,
}  # fmt: skip
_QUEUED: dict[str, Any] = {
    **_DONE, "status": "queued", "started": None, "finished": None, "ahead": 2, "result": None,
}  # fmt: skip


class Problem(BaseModel):
    """What is wrong with a request or a job (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"examples": [LOST]})

    type: str = Field(description="Tells kinds of problems apart.")
    title: str
    status: int
    detail: str = Field(description="What was expected, what was found, what to do.")


class Component(BaseModel):
    """A connected region of the anomaly map."""

    index: int = Field(description="1 for the largest.")
    volume_ml: float
    peak_z: float
    peak_mm: tuple[float, float, float] = Field(description="World coordinates of the scan, RAS.")
    mean_z: float


class Result(BaseModel):
    """What was found in a scan. Maps are NIfTI on the scan's own grid."""

    decision: Literal["normal", "anomalous", "uncalibrated"]
    score: float
    threshold: float | None = Field(description="Scores above it are anomalous.")
    p_value: float | None
    p_resolution: float | None = Field(description="The smallest p-value that the calibration can give.")
    voxel_threshold: float | None = Field(description="Of the z-map.")
    anomalous_ml: float | None
    modalities: list[str]
    components: list[Component]
    warnings: list[str]
    maps: dict[str, str] = Field(description="Links by kind: zscore, anomaly, error.")
    picture: str = Field(description="Link to the heat map over the scan, PNG.")
    sidecar: str = Field(description="Link to all that is known of it, JSON.")
    files: dict[str, str] = Field(description="Links to all files by name.")


class JobView(BaseModel):
    """A job."""

    model_config = ConfigDict(json_schema_extra={"examples": [_QUEUED, _DONE]})

    id: str
    status: Status
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    ahead: int | None = Field(None, description="How many jobs come before one that is queued.")
    result: Result | None = None
    error: Problem | None = Field(None, description="Why it failed.")


class ModelView(BaseModel):
    """The model that is served."""

    name: str
    version: str
    sha256: str
    device: str
    modalities: list[str] = Field(description="Fields of the form; the first, the reference, may also be called file.")
    optional: list[str] = Field(description="Those that a subject may lack.")
    settings: dict[str, str | float | bool | list[str] | None] = Field(
        description="What beside the bundle makes the maps what they are."
    )
    max_upload_bytes: int
    max_volume_bytes: int = Field(description="Of the voxels, decompressed.")
    keep_hours: float = Field(description="How long results are kept.")


class ModelList(BaseModel):
    """The models of this server, which is one."""

    models: list[ModelView]


class State(BaseModel):
    """Whether it goes."""

    status: Literal["ok"]


def link(job_id: str, name: str) -> str:
    """Where a file of a job is."""
    return f"/v1/jobs/{job_id}/files/{name}"


def job_view(service: Service, job: Job) -> JobView:
    """A job as clients see it."""
    return JobView(
        id=job.id,
        status=job.status,
        created=_time(job.created),
        started=None if job.started is None else _time(job.started),
        finished=None if job.finished is None else _time(job.finished),
        ahead=service.jobs.ahead(job) if job.status is Status.QUEUED else None,
        result=None if job.result is None else _result(job.id, job.result),
        error=None if job.error is None else Problem(**job.error),
    )


def model_view(service: Service) -> ModelView:
    """The model as clients see it."""
    model = service.model
    return ModelView(
        **model.bundle,
        device=model.device,
        modalities=list(model.modalities),
        optional=list(model.optional),
        settings=model.settings,
        max_upload_bytes=service.settings.max_upload_bytes,
        max_volume_bytes=MAX_VOLUME_BYTES,
        keep_hours=service.settings.keep_hours,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _result(job_id: str, told: dict[str, Any]) -> Result:
    fields = {name: told[name] for name in Result.model_fields if name in told}
    links = {
        "maps": {kind: link(job_id, f"{NAME}_{kind}.nii.gz") for kind in told["maps"]},
        "picture": link(job_id, f"{NAME}.png"),
        "sidecar": link(job_id, f"{NAME}.json"),
        "files": {name: link(job_id, name) for name in told["files"]},
    }
    return Result(**{**fields, **links})


FAILED_EXAMPLE: dict[str, Any] = {**_DONE, "status": "failed", "result": None, "error": LOST}
DONE_EXAMPLE, QUEUED_EXAMPLE = _DONE, _QUEUED

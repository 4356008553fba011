"""What a server consists of, in this process: jobs that fail, results that expire, a worker that ends."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mri3d.serving.jobs import Job, Status
from mri3d.serving.model import Model
from mri3d.serving.problems import Refusal
from mri3d.serving.service import Service
from mri3d.serving.settings import Settings
from mri3d.workflow import open_workflow
from tests.brains import brain_on
from tests.helpers import write_nifti
from tests.serving.server import GRID, make_bundle, write_flair, write_scan


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Of two modalities, of which a subject may lack the second."""
    return Model(make_bundle(tmp_path_factory.mktemp("several"), ("T1w", "FLAIR")), "cpu")


@pytest.fixture
def service(model: Model, tmp_path: Path) -> Iterator[Service]:
    made = Service(model, Settings(tmp_path / "state", queue=2))
    yield made
    made.stop()
    made.state.release()


def accept(service: Service, write: Callable[[Path], object], *modalities: str) -> Job:
    with service.state.incoming() as folder:
        write(folder)
        return service.accept(folder, modalities or ("T1w",))


def over(service: Service, job: Job) -> Job:
    end = time.monotonic() + 60
    while not (job := service.job(job.id)).over and time.monotonic() < end:
        time.sleep(0.05)
    return job


def test_a_subject_may_lack_what_the_bundle_allows_and_nothing_else(model: Model):
    assert model.sets == (("T1w", "FLAIR"), ("T1w",)) and model.optional == ("FLAIR",)
    assert model.fields == {"file": "T1w", "T1w": "T1w", "FLAIR": "FLAIR"}


def test_sidecars_have_the_settings_of_detect(model: Model):
    root = model._detector.root
    told = open_workflow(root, "inference", {"dataset_dir": str(root)}).parser.get("output")["settings"]
    assert model.settings.keys() == told.keys()


def test_a_job_whose_end_cannot_be_written_down_is_done_again(service: Service, monkeypatch: pytest.MonkeyPatch):
    finish, failures = service.jobs.finish, [sqlite3.OperationalError("the disk is full")]

    def once(*given: Any) -> None:
        if failures:
            raise failures.pop()
        finish(*given)

    monkeypatch.setattr(service.jobs, "finish", once)
    service.worker.start()
    job = over(service, accept(service, lambda folder: write_scan(folder / "T1w.nii.gz", 40)))
    assert job.status == Status.DONE and not failures


def test_a_job_whose_results_cannot_be_listed_fails_alone(service: Service, monkeypatch: pytest.MonkeyPatch):
    def broken(folder: Path) -> list[str]:
        raise OSError("input/output error")

    service.worker.start()
    with monkeypatch.context() as patched:
        patched.setattr("mri3d.serving.worker.results_in", broken)
        job = over(service, accept(service, lambda folder: write_scan(folder / "T1w.nii.gz", 40)))
    assert job.status == Status.FAILED and service.worker.alive


def test_nothing_is_promised_that_nobody_does(service: Service):
    service.worker.start()
    service.refuse_if_full(0)
    service.worker.stop()
    with pytest.raises(Refusal, match="not-ready"):
        service.refuse_if_full(0)


def test_scans_that_a_crash_left_are_gone_after_the_next_start(model: Model, tmp_path: Path):
    settings = Settings(tmp_path / "state", queue=2)
    first = Service(model, settings)
    job = accept(first, lambda folder: write_scan(folder / "T1w.nii.gz", 40))
    first.jobs.finish(job.id, {"files": []})  # and there it ends, before the scan is taken away
    first.jobs.close()
    first.state.release()
    again = Service(model, settings)
    assert not list(again.state.of_job(job.id).iterdir()) and again.job(job.id).status == Status.DONE
    again.stop()
    again.state.release()


def test_several_modalities_are_scored_together_and_alone(service: Service):
    def both(folder: Path) -> None:
        write_scan(folder / "T1w.nii.gz", 40)
        write_flair(folder / "FLAIR.nii.gz", 40)

    service.worker.start()
    together = over(service, accept(service, both, "T1w", "FLAIR"))
    alone = over(service, accept(service, lambda folder: write_scan(folder / "T1w.nii.gz", 40)))
    assert together.status is alone.status is Status.DONE
    assert together.result["modalities"] == ["T1w", "FLAIR"] and "scan_modalities.png" in together.result["files"]
    assert "There is no FLAIR: the score is that of T1w." in alone.result["warnings"]
    assert alone.result["modalities"] == ["T1w"] and "scan_modalities.png" not in alone.result["files"]


def test_a_scan_that_cannot_be_scored_is_a_failed_job_with_its_cause(service: Service):
    negative = -brain_on(GRID, 1).astype(np.float32)
    service.worker.start()
    failed = over(service, accept(service, lambda folder: write_nifti(folder / "T1w.nii", GRID, negative)))
    later = over(service, accept(service, lambda folder: write_scan(folder / "T1w.nii.gz", 2)))
    assert failed.status is Status.FAILED and later.status is Status.DONE
    assert failed.error["detail"].startswith("expected ") and str(service.state.root) not in str(failed.error)
    assert not service.state.of_job(failed.id).exists()
    with pytest.raises(Refusal, match="no-file"):
        service.file(failed.id, "scan.png")


def test_files_of_a_job_are_served_once_it_is_done(service: Service):
    job = accept(service, lambda folder: write_scan(folder / "T1w.nii.gz", 2))
    with pytest.raises(Refusal) as refused:
        service.file(job.id, "scan.png")
    assert refused.value.status == 409
    service.worker.start()
    assert over(service, job).status is Status.DONE
    assert service.file(job.id, "scan.png").is_file()


def test_the_queue_is_bounded_and_a_refused_upload_leaves_nothing(service: Service):
    for seed in range(2):
        accept(service, lambda folder, seed=seed: write_scan(folder / "T1w.nii.gz", seed))
    before = {path.name for path in (service.state.root / "jobs").iterdir()}
    with pytest.raises(Refusal, match="queue-full") as full:
        accept(service, lambda folder: write_scan(folder / "T1w.nii.gz", 9))
    assert full.value.status == 429 and full.value.headers["Retry-After"] == "5"
    assert {path.name for path in (service.state.root / "jobs").iterdir()} == before
    with pytest.raises(Refusal, match="queue-full"):
        service.refuse_if_full(arriving=0)


def test_results_expire(model: Model, tmp_path: Path):
    service = Service(model, Settings(tmp_path / "state", keep_hours=1e-6))
    try:
        service.worker.start()
        job = over(service, accept(service, lambda folder: write_scan(folder / "T1w.nii.gz", 2)))
        time.sleep(0.1)
        service.expire()
        with pytest.raises(Refusal, match="no-job"):
            service.job(job.id)
        assert not service.state.of_job(job.id).exists()
    finally:
        service.stop()
        service.state.release()


def test_a_scan_that_is_gone_is_a_failed_job(service: Service):
    job = accept(service, lambda folder: write_scan(folder / "T1w.nii.gz", 2))
    shutil.rmtree(service.state.of_job(job.id))
    service.worker.start()
    assert "uploaded scan" in over(service, job).error["detail"]

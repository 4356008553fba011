"""The table of jobs and the folder beside it, without a server."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mri3d.errors import UsageError
from mri3d.serving.folders import StateFolder
from mri3d.serving.jobs import JobStore, Status
from mri3d.serving.service import LOST


@pytest.fixture
def jobs(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs.sqlite")


def test_jobs_are_done_in_the_order_of_their_acceptance(jobs: JobStore):
    for name in ("c", "a", "b"):
        assert jobs.accept(name, ["T1w"], 9)
    first, second = jobs.claim(), jobs.claim()
    assert first is not None and second is not None
    assert [first.id, second.id] == ["c", "a"] and first.status is Status.RUNNING and first.attempts == 1
    last = jobs.get("b")
    assert last is not None and jobs.ahead(last) == 2 and last.modalities == ("T1w",)
    jobs.finish("c", {"score": 1.5})
    assert jobs.ahead(last) == 1 and jobs.get("c").result == {"score": 1.5}
    assert jobs.get("nothing") is None


def test_no_more_than_the_queue_holds_are_accepted_however_many_come_at_once(jobs: JobStore):
    with ThreadPoolExecutor(16) as pool:
        accepted = list(pool.map(lambda k: jobs.accept(f"job{k}", ["T1w"], 5), range(100)))
    assert sum(accepted) == jobs.counts()[Status.QUEUED] == 5
    jobs.claim()
    assert jobs.accept("another", ["T1w"], 5) and not jobs.accept("one more", ["T1w"], 5)


def test_after_a_crash_jobs_wait_again_and_those_that_crash_are_given_up(tmp_path: Path):
    for attempt in (1, 2):
        jobs = JobStore(tmp_path / "jobs.sqlite")
        jobs.recover(2, LOST)
        for name in ("deadly", "waiting"):
            jobs.accept(name, ["T1w"], 9) if attempt == 1 else None
        claimed = jobs.claim()
        assert claimed is not None and (claimed.id, claimed.attempts) == ("deadly", attempt)
    jobs = JobStore(tmp_path / "jobs.sqlite")
    jobs.recover(2, LOST)
    deadly, waiting = jobs.get("deadly"), jobs.get("waiting")
    assert deadly.status is Status.FAILED and deadly.error["type"] == "urn:mri3d:lost" and deadly.over
    assert waiting.status is Status.QUEUED


def test_a_job_that_is_given_back_has_not_been_begun(jobs: JobStore):
    jobs.accept("a", ["T1w"], 9)
    jobs.claim()
    jobs.give_back("a")
    jobs.give_back("a")
    assert jobs.get("a").attempts == 0 and jobs.get("a").status is Status.QUEUED


def test_what_is_over_expires_and_what_waits_does_not(jobs: JobStore):
    for name in ("done", "failed", "waiting"):
        jobs.accept(name, ["T1w"], 9)
    jobs.finish(jobs.claim().id, {})
    jobs.fail(jobs.claim().id, LOST)
    assert jobs.expire(time.time() - 60) == []
    assert sorted(jobs.expire(time.time() + 60)) == ["done", "failed"]
    assert jobs.known() == {"waiting"} and jobs.get("done") is None


def test_a_state_has_one_server_and_holds_nothing_else(tmp_path: Path):
    state = StateFolder(tmp_path / "state")
    JobStore(state.table).close()
    with pytest.raises(UsageError, match="in use"):
        StateFolder(tmp_path / "state")
    state.release()
    StateFolder(tmp_path / "state").release()
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("not ours")
    with pytest.raises(UsageError, match="something else"):
        StateFolder(tmp_path / "other")


def test_what_a_crash_leaves_is_taken_away(tmp_path: Path):
    state = StateFolder(tmp_path / "state")
    for name in ("jobs/known", "jobs/unknown", "incoming/half"):
        (state.root / name).mkdir()
        (state.root / name / "T1w.nii.gz").write_bytes(b"x")
    state.tidy({"known"})
    assert {path.name for path in state.root.rglob("*.nii.gz")} == {"T1w.nii.gz"}
    assert (state.root / "jobs" / "known").exists() and len(list(state.root.rglob("*.nii.gz"))) == 1

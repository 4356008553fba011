"""The evaluator's times are those of the subjects' own work."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents

from mri3d.errors import ContentError
from mri3d.reporting.output import OutputFolder
from mri3d.reporting.recording import RecordResults
from mri3d.transforms.case import Case
from mri3d.volumes.subject import Subject


class Recorder:
    """An output folder that only listens."""

    subjects = pending = (None, None)

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}

    def record(self, case: Case, detection: object) -> None:
        self.cases[case.subject.name] = case


def cases() -> list[Case]:
    made = []
    for name in ("whole", "empty"):
        subject = Subject(name, name, PurePosixPath("."), {"T1w": Path(f"{name}.nii")})
        made.append(Case(subject, seconds={"read": 0.25}))
    return [made[0], Case(made[1].subject, seconds={"read": 0.25}, error=ContentError("empty.nii", "a", "b", "C"))]


def followed(image: Any) -> dict[str, Case]:
    """What is recorded of one iteration over :func:`cases`."""

    def step(engine: Engine, batch: dict[str, Any]) -> dict[str, Any]:
        engine.state.output = {"image": image}
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        return cast(dict[str, Any], engine.state.output)

    engine, output = Engine(step), Recorder()
    engine.register_events(*IterationEvents)
    RecordResults(cast(OutputFolder, output)).attach(cast(Any, engine))
    engine.run([{"case": cases()}])
    return output.cases


def test_a_subject_that_failed_spends_no_time_in_the_network() -> None:
    found = followed(torch.zeros(2, 1, 4, 4, 4))
    assert found["whole"].seconds.keys() == {"read", "reconstruct"}
    assert found["empty"].seconds == {"read": 0.25}


@pytest.mark.parametrize("is_cuda", [True, False])
def test_the_clock_is_read_when_the_gpu_is_done(is_cuda: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    followed(SimpleNamespace(is_cuda=is_cuda, device="cuda:1"))
    assert waited == (["cuda:1"] if is_cuda else [])

"""One bad volume is an item with an error, not the end of a run."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mri3d.errors import ContentError, Mri3dError
from mri3d.grid import Grid
from mri3d.transforms import dataset as module
from mri3d.transforms.case import Case, Item, Stage
from mri3d.transforms.dataset import PREPROCESSING_VERSION, Each, Guarded, SubjectDataset, collate
from mri3d.transforms.intensity import NormaliseIntensity
from mri3d.transforms.model_grid import ToModelGrid
from mri3d.transforms.source import FindBrain
from tests.helpers import subject_of

GRID = Grid((4, 5, 6), np.diag([2.0, 2.0, 2.0, 1.0]))


class Fill(Stage):
    """A volume on the grid, of the subject's number."""

    name = "fill"

    def apply(self, item: Item) -> Item:
        number = float(item["case"].subject.name.removeprefix("sub-"))
        item["image"] = torch.full((1, *GRID.shape), number)
        item["mask"] = torch.ones((1, *GRID.shape), dtype=torch.bool)
        return item


class Fail(Stage):
    """Raise for the subjects named."""

    name = "fail"

    def __init__(self, names: tuple[str, ...] = ("sub-2",), error: Exception | None = None) -> None:
        self.names, self.error = names, error or ContentError("sub-2", "a head", "a cat", "Look again")

    def apply(self, item: Item) -> Item:
        if item["case"].subject.name in self.names:
            raise self.error
        return item


class Count(Stage):
    """Note whom it has seen, and take a while."""

    name = "count"

    def __init__(self) -> None:
        self._seen: list[str] = []

    def apply(self, item: Item) -> Item:
        self._seen.append(item["case"].subject.name)
        time.sleep(0.01)
        return item


def item_of(name: str, **entries: Any) -> Item:
    return {"case": Case(subject_of(f"{name}.nii.gz")), **entries}


def test_an_error_is_noted_and_later_stages_pass_the_item_by():
    count = Count()
    chain = Guarded([Fill(), Fail(), count])
    found = chain(item_of("sub-2"))
    assert isinstance(found["case"].error, ContentError)
    assert found["case"].error.found == "a cat"
    assert (found["image"] == 2).all()
    assert set(found["case"].seconds) == {"fill", "fail"}
    assert chain(item_of("sub-3"))["case"].error is None
    assert count._seen == ["sub-3"]


def test_an_item_that_failed_before_passes_a_second_chain_untouched():
    failed = Guarded([Fail()])(item_of("sub-2"))
    assert Guarded([Fill(), Count()])(failed) is failed


def test_an_unexpected_exception_names_file_step_and_reason(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, logger="mri3d.debug"):
        found = Guarded([Fail(error=ZeroDivisionError("by zero"))])(item_of("sub-2"))
    error = found["case"].error
    assert type(error) is Mri3dError
    assert error.where == "sub-2.nii.gz"
    assert "Fail" in error.expected
    assert error.found == "ZeroDivisionError: by zero"
    assert [(record.name, record.levelname) for record in caplog.records] == [("mri3d.debug", "DEBUG")]
    assert "Traceback" in caplog.text
    assert "ZeroDivisionError: by zero" in caplog.text


def test_an_error_a_user_can_mend_has_no_traceback(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, logger="mri3d.debug"):
        Guarded([Fail()])(item_of("sub-2"))
    assert caplog.text == ""


def test_the_time_of_the_stage_that_failed_counts():
    class Slow(Fail):
        def apply(self, item: Item) -> Item:
            time.sleep(0.02)
            return super().apply(item)

    for error in (None, ValueError("odd")):
        found = Guarded([Slow(names=()), Slow(error=error)])(item_of("sub-2"))
        assert 0.04 <= found["case"].seconds["fail"] < 1


def test_an_interrupt_is_no_failure_of_the_volume():
    class Interrupted(Stage):
        name = "interrupted"

        def apply(self, item: Item) -> Item:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Guarded([Interrupted()])(item_of("sub-1"))


def test_seconds_of_a_stage_add_up_and_the_given_item_stays_as_it_was():
    first = item_of("sub-1")
    found = Guarded([Count(), Count(), Fill()])(first)
    assert set(found["case"].seconds) == {"count", "fill"}
    assert 0.02 <= found["case"].seconds["count"] < 1
    assert found["case"].seconds["fill"] < found["case"].seconds["count"]
    assert set(first) == {"case"}
    assert first["case"].seconds == {}


def test_settings_are_plain_and_leave_out_what_is_private():
    one = Guarded([FindBrain("cpu"), ToModelGrid(GRID), NormaliseIntensity(97.0)]).settings()
    other = Guarded([FindBrain("cuda"), ToModelGrid(GRID), NormaliseIntensity(97.0)]).settings()
    assert one == other
    assert one == [
        PREPROCESSING_VERSION,
        ["FindBrain", {}],
        ["ToModelGrid", {"grid": GRID.as_dict()}],
        ["NormaliseIntensity", {"ceiling": 1.5, "percentile": 97.0}],
    ]
    assert json.loads(json.dumps(one)) == one


def test_settings_differ_where_items_would():
    base = [ToModelGrid(GRID), NormaliseIntensity()]
    shifted = Grid(GRID.shape, np.diag([2.0, 2.0, 2.5, 1.0]))
    others = [[ToModelGrid(shifted), base[1]], [base[0], NormaliseIntensity(99.0)], base[::-1], base[:1]]
    settings = [json.dumps(Guarded(chain).settings()) for chain in (base, *others)]
    assert len(set(settings)) == len(settings)


def test_settings_differ_where_the_code_does(monkeypatch: pytest.MonkeyPatch):
    before = Guarded([FindBrain()]).settings()
    monkeypatch.setattr(module, "PREPROCESSING_VERSION", PREPROCESSING_VERSION + 1)
    assert Guarded([FindBrain()]).settings() != before


def test_a_failure_is_an_item_of_zeros_at_its_place():
    subjects = [subject_of(f"sub-{i}.nii.gz") for i in (1, 2, 3)]
    dataset = SubjectDataset(subjects, Guarded([Fill(), Fail()]), GRID)
    items = [dataset[i] for i in range(len(dataset))]
    assert [item["case"].subject.name for item in items] == ["sub-1", "sub-2", "sub-3"]
    assert [float(item["image"].max()) for item in items] == [1, 0, 3]
    assert [bool(item["mask"].any()) for item in items] == [True, False, True]
    assert all(item["image"].shape == item["mask"].shape == (1, *GRID.shape) for item in items)
    assert all((item["image"].dtype, item["mask"].dtype) == (torch.float32, torch.bool) for item in items)
    assert [item["case"].error is None for item in items] == [True, False, True]


def test_a_bare_chain_is_guarded_too():
    dataset = SubjectDataset([subject_of("sub-2.nii.gz")], Fail(), GRID)
    assert dataset[0]["case"].error is not None


def test_a_batch_and_the_way_back():
    subjects = [subject_of(f"sub-{i}.nii.gz") for i in (1, 2, 3)]
    dataset = SubjectDataset(subjects, Guarded([Fill(), Fail()]), GRID)
    items = [dataset[i] for i in range(3)]
    batch = collate(items)
    assert batch["image"].shape == (3, 1, *GRID.shape)
    assert batch["mask"].dtype == torch.bool
    batch["pred"] = batch["image"] + 1
    batch["label"] = None

    class Score(Stage):
        name = "score"

        def apply(self, item: Item) -> Item:
            item["score"] = float((item["pred"] - item["image"] + item["case"].subject.name.count("3")).mean())
            return item

    found = Each([Guarded([Score()])])(batch)
    assert [case.subject.name for case in found["case"]] == ["sub-1", "sub-2", "sub-3"]
    assert [case.error is None for case in found["case"]] == [True, False, True]
    assert found["score"] == [1, None, 2]
    assert "label" not in found
    for mine, theirs in zip(found["image"], items, strict=True):
        assert torch.equal(mine, theirs["image"])


def test_a_case_is_not_shared_between_items():
    case = Case(subject_of("sub-1.nii.gz"))
    found = Guarded([Count()])({"case": replace(case, warnings=("odd",))})
    assert found["case"].warnings == ("odd",)
    assert case.seconds == {}

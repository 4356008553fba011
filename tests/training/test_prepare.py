"""Preprocessing happens once a volume and recipe; a bad volume is left out and named."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import CacheDataset
from monai.transforms import Compose, ScaleIntensityd

from mri3d.errors import Mri3dError, UsageError
from mri3d.grid import Grid
from mri3d.training.prepare import LoadPrepared, Prepared, prepare
from mri3d.transforms import processes
from mri3d.transforms.case import Case, Item, Stage
from mri3d.transforms.dataset import Guarded, SubjectDataset
from mri3d.transforms.intensity import NormaliseIntensity
from mri3d.transforms.model_grid import ToModelGrid
from mri3d.transforms.source import FindBrain, LoadVolumes
from mri3d.volumes.alignment import Alignment
from mri3d.volumes.subject import Subject
from tests.helpers import ellipsoid, head, head_grid, subject_of, write_nifti

MODEL = Grid.centred((18, 22, 18), 9.0, (0.0, -15.0, 10.0))
SOURCE = head_grid("LAS", (9.0, 9.0, 9.0))


class StaysInPlace(Stage):
    """Stands for the registration, which takes a second: the head lies on the template as it is."""

    name = "align"

    def apply(self, item: Item) -> Item:
        case: Case = item["case"]
        return {**item, "case": replace(case, alignment=Alignment(np.eye(4), 1.0, 1.0))}


@pytest.fixture(autouse=True)
def _one_processor(monkeypatch: pytest.MonkeyPatch):
    """No worker processes: they take seconds to start."""
    monkeypatch.setattr(processes, "workers", lambda volumes, device: 1)


@pytest.fixture
def subjects(tmp_path: Path) -> list[Subject]:
    mask = write_nifti(tmp_path / "brain.nii.gz", SOURCE, ellipsoid(SOURCE), dtype=np.uint8)
    files = [
        write_nifti(tmp_path / f"sub-{i}_T1w.nii.gz", SOURCE, (100 * i) * head(SOURCE, seed=i)) for i in range(1, 4)
    ]
    return [subject_of(path, mask, path.name[:5]) for path in files]


def dataset(subjects: list[Subject], *more: Stage, grid: Grid = MODEL) -> SubjectDataset:
    chain = [LoadVolumes(), FindBrain(), StaysInPlace(), ToModelGrid(grid), NormaliseIntensity(), *more]
    return SubjectDataset(subjects, Guarded(chain), grid)


def written(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}


def test_items_come_back_as_they_were_made(subjects, tmp_path: Path):
    source = dataset(subjects)
    found = prepare(source, tmp_path / "new" / "cache")
    assert found.participants == ("sub-1", "sub-2", "sub-3")
    assert found.failures == ()
    for i, item in enumerate(found.load(found.participants)):
        made = source[i]
        assert set(item) == {"image", "mask", "participant", "template_to_source"}
        assert item["participant"] == f"sub-{i + 1}"
        assert (item["image"].dtype, item["mask"].dtype) == (torch.float32, torch.bool)
        assert item["image"].shape == (1, *MODEL.shape)
        assert torch.equal(item["mask"], made["mask"])
        assert torch.allclose(item["image"], made["image"], atol=1e-3)
        assert np.array_equal(item["template_to_source"], made["case"].alignment.template_to_source)
    assert len(written(tmp_path / "new" / "cache")) == 3


def test_items_are_picked_by_person(subjects, tmp_path: Path):
    found = prepare(dataset([*subjects[:2], replace(subjects[2], participant="sub-1")]), tmp_path / "cache")
    assert [Path(item["prepared"]) for item in found.of(["sub-1"])] == [found.files[0][1], found.files[2][1]]
    assert found.of([]) == found.of(["sub-9"]) == []
    assert [item["participant"] for item in found.load(["sub-2", "sub-1"])] == ["sub-1", "sub-2", "sub-1"]


def test_training_gets_tensors_alone(subjects, tmp_path: Path):
    found = prepare(dataset(subjects), tmp_path / "cache")
    chain = Compose([LoadPrepared(), ScaleIntensityd("image")])
    items = CacheDataset(found.of(found.participants), chain, num_workers=None, progress=False)
    assert set(items[0]) == {"image", "mask"}
    assert all(isinstance(value, torch.Tensor) for value in items[0].values())


def test_a_bad_volume_is_left_out_and_named(subjects, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    subjects[1].reference.write_bytes(b"no NIfTI")
    with caplog.at_level(logging.WARNING):
        found = prepare(dataset(subjects), tmp_path / "cache")
    assert found.participants == ("sub-1", "sub-3")
    assert [name for name, _ in found.failures] == ["sub-2_T1w"]
    assert "gzip-compressed NIfTI" in found.failures[0][1]
    assert "sub-2_T1w is left out of training" in caplog.text
    assert len(written(tmp_path / "cache")) == 2


def test_a_volume_that_is_gone_is_left_out_like_any_bad_one(subjects, tmp_path: Path):
    subjects[0].reference.unlink()
    found = prepare(dataset(subjects), tmp_path / "cache")
    assert found.participants == ("sub-2", "sub-3")
    assert found.failures[0][0] == "sub-1_T1w"


def test_a_second_call_works_on_nothing_anew(subjects, tmp_path: Path):
    first = prepare(dataset(subjects), tmp_path / "cache")
    before = written(tmp_path / "cache")
    second = prepare(dataset(subjects), tmp_path / "cache")
    assert written(tmp_path / "cache") == before
    assert second == first


def test_a_bad_volume_is_named_on_every_call_and_taken_once_it_is_mended(subjects, tmp_path: Path):
    good = subjects[1].reference.read_bytes()
    subjects[1].reference.write_bytes(b"no NIfTI")
    for _ in range(2):
        assert len(prepare(dataset(subjects), tmp_path / "cache").failures) == 1
    subjects[1].reference.write_bytes(good)
    assert prepare(dataset(subjects), tmp_path / "cache").participants == ("sub-1", "sub-2", "sub-3")


def test_a_changed_file_is_prepared_anew_and_no_other(subjects, tmp_path: Path):
    first = prepare(dataset(subjects), tmp_path / "cache")
    before = written(tmp_path / "cache")
    write_nifti(subjects[1].reference, SOURCE, head(SOURCE, seed=9) ** 1.5)
    second = prepare(dataset(subjects), tmp_path / "cache")
    assert [a == b for a, b in zip(first.files, second.files, strict=True)] == [True, False, True]
    assert len(written(tmp_path / "cache").keys() - before.keys()) == 1
    assert not torch.equal(first.load(["sub-2"])[0]["image"], second.load(["sub-2"])[0]["image"])


def test_a_touched_mask_misses_the_cache(subjects, tmp_path: Path):
    first = prepare(dataset(subjects[:1]), tmp_path / "cache")
    os.utime(subjects[0].mask, ns=(1, 1))
    assert prepare(dataset(subjects[:1]), tmp_path / "cache").files != first.files


@pytest.mark.parametrize(
    "changed",
    [
        lambda subjects: dataset(subjects, NormaliseIntensity(95.0)),
        lambda subjects: dataset(subjects, grid=Grid.centred((18, 22, 18), 8.5, (0.0, -15.0, 10.0))),
    ],
)
def test_another_recipe_does_not_take_an_old_cache(subjects, tmp_path: Path, changed):
    first = prepare(dataset(subjects), tmp_path / "cache")
    second = prepare(changed(subjects), tmp_path / "cache")
    assert not {path for _, path in first.files} & {path for _, path in second.files}
    assert all(path.exists() for _, path in first.files)


def test_two_copies_of_one_file_are_two_entries(subjects, tmp_path: Path):
    copy = tmp_path / "other" / subjects[0].reference.name
    copy.parent.mkdir()
    copy.write_bytes(subjects[0].reference.read_bytes())
    stat = subjects[0].reference.stat()
    os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = prepare(dataset([subjects[0], subject_of(copy, subjects[0].mask)]), tmp_path / "cache")
    assert len({path for _, path in found.files}) == 2


def test_not_one_usable_volume_is_an_error_that_names_the_cause(subjects, tmp_path: Path):
    for subject in subjects:
        subject.reference.write_bytes(b"no NIfTI")
    with pytest.raises(UsageError, match=r"at least one usable volume, found 3 .*gzip-compressed NIfTI") as caught:
        prepare(dataset(subjects), tmp_path / "cache")
    assert str(subjects[0].reference) in str(caught.value)
    assert ".." not in str(caught.value).replace(str(tmp_path), "")
    assert str(caught.value).count("expected") == 2


def test_what_is_left_out_is_written_down_and_no_longer_once_it_is_mended(subjects, tmp_path: Path):
    good, report = subjects[1].reference.read_bytes(), tmp_path / "training" / "excluded.json"
    subjects[1].reference.write_bytes(b"no NIfTI")
    found = prepare(dataset(subjects), tmp_path / "cache", report=report)
    assert json.loads(report.read_text()) == [{"subject": "sub-2_T1w", "cause": found.failures[0][1]}]
    subjects[1].reference.write_bytes(good)
    prepare(dataset(subjects), tmp_path / "cache", report=str(report))
    assert json.loads(report.read_text()) == []


class RunsOut(Stage):
    """A step that fails for a reason that is not the subject's."""

    name = "runs_out"

    def apply(self, item: Item) -> Item:
        if item["case"].subject.participant == "sub-2":
            raise MemoryError("no room")
        return item


def test_an_error_that_is_not_the_subject_s_ends_the_training(subjects, tmp_path: Path):
    with pytest.raises(Mri3dError, match=r"sub-2_T1w.*MemoryError: no room"):
        prepare(dataset(subjects, RunsOut()), tmp_path / "cache")


def test_such_an_error_crosses_the_process_border(subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "workers", lambda volumes, device: 2)
    bare = SubjectDataset(subjects[1:], Guarded([RunsOut()]), MODEL)
    with pytest.raises(Mri3dError, match=r"sub-2_T1w.*MemoryError: no room"):
        prepare(bare, tmp_path / "cache")


def test_changed_code_does_not_take_an_old_cache(subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = prepare(dataset(subjects), tmp_path / "cache")
    monkeypatch.setattr("mri3d.transforms.dataset.PREPROCESSING_VERSION", 999)
    second = prepare(dataset(subjects), tmp_path / "cache")
    assert not {path for _, path in first.files} & {path for _, path in second.files}


def test_a_prepared_file_runs_no_code(tmp_path: Path):
    torch.save({"image": np.random.default_rng(0), "mask": 1}, tmp_path / "x.pt")
    with pytest.raises(Exception, match="weights_only"):
        LoadPrepared()({"prepared": str(tmp_path / "x.pt")})
    assert Prepared((), ()).participants == ()

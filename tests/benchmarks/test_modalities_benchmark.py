"""The comparison of modalities: who counts as what, and the thresholds on FLAIR as the field has them."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.modalities import Comparison, _thresholded, _without_others, healthy_people, table
from mri3d.bundle import find_bundle
from mri3d.transforms.case import Case
from mri3d.volumes.brain import Brain
from mri3d.volumes.subject import Subject
from tests.helpers import head_grid, volume_of

GRID = head_grid("RAS", (8.0, 8.0, 8.0))
NAMES = ("T1w", "T2w", "FLAIR")


def case() -> Case:
    """FLAIR of whole numbers in a brain that is half of the grid, brighter outside."""
    flair = np.arange(np.prod(GRID.shape), dtype=np.float32).reshape(GRID.shape) + 1
    mask = np.zeros(GRID.shape, bool)
    mask[: GRID.shape[0] // 2] = True
    volumes = {name: volume_of(flair, GRID) for name in NAMES}
    subject = Subject("s", "s", PurePosixPath(), {name: Path(f"s_{name}.nii") for name in NAMES})
    moved = SimpleNamespace(to_moving=np.eye(4))
    return Case(subject, volumes, Brain(mask, "given"), coregistrations={"FLAIR": moved}, modalities=NAMES)


def test_thresholds_on_flair_are_rank_and_multiple_of_the_median_within_the_brain():
    of = case()
    equalised, relative = _thresholded(of)
    inside = of.volumes["FLAIR"].data[of.brain.mask]
    assert equalised[of.brain.mask] == pytest.approx((np.argsort(np.argsort(inside)) + 1) / inside.size)
    assert relative[of.brain.mask] == pytest.approx(inside / np.median(inside))
    assert not equalised[~of.brain.mask].any() and not relative[~of.brain.mask].any()


def test_a_subject_without_the_others_has_neither_their_voxels_nor_their_names():
    tensors = {"image": torch.ones(3, 2, 2, 2), "mask": torch.ones(3, 2, 2, 2, dtype=torch.bool)}
    item = _without_others({"case": case(), **tensors}, ("T1w", "FLAIR"))
    assert item["image"].sum(dim=(1, 2, 3)).tolist() == [8, 0, 8]
    assert item["mask"].any(dim=3).any(dim=2).any(dim=1).tolist() == [True, False, True]
    assert list(item["case"].subject.images) == list(item["case"].volumes) == ["T1w", "FLAIR"]
    assert item["case"].channels == NAMES and not item["case"].complete
    assert list(item["case"].coregistrations) == ["FLAIR"]
    assert not _without_others({"case": case(), **tensors}, ("T1w", "T2w"))["case"].coregistrations


def test_what_cannot_be_compared_is_refused(tmp_path: Path):
    with pytest.raises(SystemExit, match="brain_t1 is no bundle of FLAIR"):
        Comparison(find_bundle("brain_t1"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "split.json").write_text(json.dumps({"test": []}))
    (tmp_path / "sub-1_T1w.nii").touch()
    with pytest.raises(SystemExit, match="nobody in"):
        healthy_people(tmp_path, tmp_path, NAMES, None)


def test_the_table_has_a_row_a_method():
    values = {"voxel_ap": 0.512, "dice_best": 0.5, "dice_normals": 0.25}
    numbers = {key: {"value": value} for key, value in values.items()}
    healthy = {"T1w": {"false_positive_ml": 0.4, "exceedance": 0.0005, "anomalous": 0.0}}
    text = table({"lesions": {"T1w": {"a": numbers, "together": numbers}}, "healthy": healthy, "healthy_people": 7})
    assert "| T1w | 0.51 / 0.50 / 0.25 | 0.51 / 0.50 / 0.25 |" in text
    assert "Healthy (7 people)" in text and "| T1w | 0.40 | 0.050 % | 0.00 |" in text

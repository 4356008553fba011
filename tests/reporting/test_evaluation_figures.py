from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mri3d.evaluation.cohort import Maps, Scan, measure, metrics, numbers
from mri3d.reporting.evaluation_figures import draw_figures

THRESHOLDS = {"mean+1std": 4.0, "mean+3std": 6.0}


@pytest.fixture(autouse=True)
def _no_warnings() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def scan(seed: int, lesion: bool, threshold: float | None = 3.0, masked: bool = True) -> Scan:
    rng = np.random.default_rng(seed)
    truth = np.zeros((12, 12, 12), bool)
    truth[2:5, 2:5, 2 : 5 + seed % 4] = lesion
    brain = np.ones(truth.shape, bool)
    maps = Maps(rng.gamma(1.0, size=truth.shape) + 3 * truth, brain, truth if masked else None, 0.1)
    return measure(f"s{seed}", lesion, 3.0 + 4 * lesion + rng.random(), maps, threshold, 0.1, {}, 0.0)


def drawn(scans: list[Scan], folder: Path, threshold: float | None = 3.0, thresholds: dict[str, float] = THRESHOLDS):
    found = metrics(scans, threshold, thresholds)
    captions = draw_figures(scans, found, [numbers(s, threshold) for s in scans], threshold, thresholds, folder)
    assert {path.name for path in folder.iterdir()} == set(captions)
    for name in captions:
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5
    return set(captions)


ALL = {"scores.png", "voxels.png", "roc.png", "precision_recall.png", "confusion.png", "froc.png", "dice_by_size.png"}


def test_every_question_has_its_figure(tmp_path):
    assert drawn([scan(i, lesion=i % 2 > 0) for i in range(12)], tmp_path) == ALL


def test_a_figure_that_the_data_cannot_give_is_absent(tmp_path):
    healthy = drawn([scan(i, lesion=False) for i in range(3)], tmp_path / "healthy")
    assert healthy == {"scores.png", "voxels.png", "confusion.png"}
    assert drawn([scan(1, lesion=True)], tmp_path / "one") == ALL
    bare = [scan(i, i % 2 > 0, threshold=None) for i in range(4)]
    uncalibrated = drawn(bare, tmp_path / "bare", threshold=None, thresholds={})
    assert uncalibrated == {"scores.png", "roc.png", "precision_recall.png"}
    labels = [scan(i, i % 2 > 0, masked=i % 2 == 0) for i in range(4)]
    assert drawn(labels, tmp_path / "labels") == {
        "scores.png", "voxels.png", "roc.png", "precision_recall.png", "confusion.png",
    }  # fmt: skip


def test_figures_drawn_again_are_the_same(tmp_path):
    scans = [scan(i, lesion=i % 2 > 0) for i in range(8)]
    for folder in ("a", "b"):
        drawn(scans, tmp_path / folder)
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in ALL)

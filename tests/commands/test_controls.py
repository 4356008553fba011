"""A lab's own controls: recalibration, out-of-fold scores, and starting from another bundle's weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mri3d.cli import main
from mri3d.errors import UsageError
from mri3d.resources import atlas_path
from tests.brains import brain_on, write_brain
from tests.command_line import mri3d
from tests.shared import GRID, PEOPLE, PREPARATION, cache_of, words_for

SMALL = {
    "network_def.channels": [4, 4, 4, 4],
    "training.epochs": 1,
    "training.shares": {"train": 0.4, "validation": 0.1, "calibration": 0.5, "test": 0.0},
    **PREPARATION,
    "bundle_atlas": None,
}
"""Regions take a second a subject."""
OTHERS = ["sub-20", "sub-21", "sub-22", "sub-23", "sub-24", "sub-25"]


def make(folder: Path, people: Sequence[str], brightness: float = 1.0) -> Path:
    folder.mkdir()
    for name in people:
        data = (brain_on(GRID, int(name[-2:])) ** brightness).astype(np.int16)
        write_brain(folder / f"{name}_T1w.nii.gz", GRID, data)
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Brains of another scanner, and one bad file."""
    folder = make(tmp_path_factory.mktemp("data") / "others", OTHERS, brightness=1.1)
    (folder / "sub-26_T1w.nii.gz").write_text("no volume")
    return folder


@pytest.fixture(scope="module")
def cached(healthy: Path) -> list[str]:
    return words_for({"cache_dir": str(cache_of(healthy))})


@pytest.fixture(scope="module")
def words(cached: list[str]) -> list[str]:
    return ["--recipe", "cae", *words_for(SMALL), *cached]


@pytest.fixture(scope="module")
def bundle(healthy: Path, words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles") / "bundle"
    mri3d("train", healthy, "-o", root, *words)
    return root


def read(root: Path, name: str) -> object:
    return json.loads((root / "models" / name).read_text())


def test_a_recalibrated_bundle_keeps_the_weights_and_takes_everyone_as_a_control(
    bundle: Path, others: Path, cached: list[str], tmp_path: Path
):
    root = tmp_path / "recalibrated"
    mri3d("calibrate", others, "-o", root, "--bundle", bundle, *cached, "--set", "min_ml=0.7", exit_code=1)
    assert (root / "models" / "model.pt").read_bytes() == (bundle / "models" / "model.pt").read_bytes()
    assert read(root, "split.json")["calibration"] == OTHERS
    assert len(read(root, "calibration.json")["scores"]) == 6
    assert read(root, "calibration.json")["scores"] != read(bundle, "calibration.json")["scores"]
    mri3d("bundle", "verify", root)
    detected = mri3d("detect", others / "sub-20_T1w.nii.gz", "-o", tmp_path / "out", "--bundle", root)
    assert "1 subject: 1 " in detected.output
    assert "min_ml: 0.7" in (root / "configs" / "inference.yaml").read_text()

    again = mri3d("calibrate", others, "-o", root, "--bundle", bundle, exit_code=2)
    assert "--overwrite" in again.output
    assert "another folder" in mri3d("calibrate", others, "-o", bundle, "--bundle", bundle, exit_code=2).output


def test_a_bundle_without_weights_cannot_be_recalibrated_or_started_from(tmp_path: Path, healthy: Path):
    mri3d("bundle", "build", tmp_path / "empty")
    for words in (["calibrate", "--bundle"], ["train", "--init"]):
        result = mri3d(words[0], healthy, "-o", tmp_path / "new", words[1], tmp_path / "empty", exit_code=2)
        assert "weights of a trained bundle" in result.output


def test_training_starts_from_another_bundle_s_weights(bundle: Path, healthy: Path, words: list[str], tmp_path: Path):
    still = [*words, "--set", "training.learning_rate=0.0"]
    mri3d("train", healthy, "-o", tmp_path / "same", *still, "--init", bundle, "--seed", 7)
    one, other = (torch.load(root / "models" / "model.pt", weights_only=True) for root in (bundle, tmp_path / "same"))
    learnt = [name for name in one if name.endswith(("weight", "bias"))]
    assert learnt
    assert all(torch.equal(one[name], other[name]) for name in learnt)
    assert not (tmp_path / "same" / "training" / "initial.pt").exists()

    mismatch = [*words, "--set", "network_def.channels=[4, 4, 4, 8]"]
    result = mri3d("train", healthy, "-o", tmp_path / "other", *mismatch, "--init", bundle, exit_code=2)
    assert "a network like that of" in result.output and not (tmp_path / "other").exists()


def test_weights_of_another_way_onto_the_model_grid_are_refused(
    bundle: Path, healthy: Path, words: list[str], tmp_path: Path
):
    for change, name in (("grid.spacing=4.5", "grid"), ("bias_correction=true", "bias_correction")):
        result = mri3d(
            "train", healthy, "-o", tmp_path / "new", *words, "--set", change, "--init", bundle, exit_code=2
        )
        assert f"a bundle with the {name}" in result.output and str(bundle) in result.output
        assert not (tmp_path / "new").exists()


def test_a_bundle_is_not_made_from_itself(bundle: Path, healthy: Path, words: list[str]):
    before = (bundle / "models" / "model.pt").read_bytes()
    members = ["--recipe", "ensemble", "--set", f"training.members=['{bundle}']", *words[6:]]
    for made_from in ([*words, "--init", bundle], members):
        refused = mri3d("train", healthy, "-o", bundle, *made_from, "--overwrite", exit_code=2)
        assert "another folder than that of a bundle it is made from" in refused.output
    assert (bundle / "models" / "model.pt").read_bytes() == before


def test_weights_that_know_those_they_are_calibrated_on_are_told_of(
    bundle: Path, healthy: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from mri3d.commands import controls
    from mri3d.commands import train as training

    def stop(*_: object, **__: object) -> None:
        raise UsageError("here", "to get this far", "it did", "No more")

    for module in (training, controls):
        monkeypatch.setattr(module, "open_training", stop)
    for asked in (["--seed", 3], ["--folds", 3]):
        told = mri3d("train", healthy, "-o", tmp_path / "new", *words, "--init", bundle, *asked, exit_code=2)
        assert "bear names of people the bundle was trained on" in told.output and "get this far" in told.output


def test_too_few_people_are_told_of_before_any_work(words: list[str], tmp_path: Path):
    few = make(tmp_path / "few", PEOPLE[:9])
    refused = mri3d("train", few, "-o", tmp_path / "new", *words, exit_code=2)
    assert "at least 10 people, of whom 5 calibrate" in refused.output and "found 9 people" in refused.output
    assert "--folds" in refused.output
    assert "preprocess" not in refused.output and not (tmp_path / "new").exists()
    for person in PEOPLE[4:9]:
        (few / f"{person}_T1w.nii.gz").unlink()
        (few / f"{person}_T1w_brainmask.nii.gz").unlink()
    refused = mri3d("train", few, "-o", tmp_path / "new", *words, "--folds", 2, exit_code=2)
    assert "at least 5 people" in refused.output and not (tmp_path / "new").exists()


def test_out_of_fold_everyone_trains_and_everyone_is_scored_by_a_network_that_has_not_seen_them(
    healthy: Path, words: list[str], tmp_path: Path
):
    root = tmp_path / "folds"
    regions = words_for({"bundle_atlas": str(atlas_path())})
    mri3d("train", healthy, "-o", root, *words, *regions, "--folds", 3)
    split, controls = read(root, "split.json"), read(root, "controls.json")
    assert sorted(split["train"] + split["validation"]) == list(PEOPLE)
    assert sorted(split["calibration"]) == list(PEOPLE)
    assert sorted(control["participant"] for control in controls) == list(PEOPLE)
    assert sorted(sum(control["fold"] == number for control in controls) for number in range(3)) == [4, 4, 4]
    scores = read(root, "calibration.json")["scores"]
    assert [control["score"] for control in controls] == scores
    for control in controls:
        others = [score for score in scores if score != control["score"]]
        assert control["p_value"] == pytest.approx((1 + sum(score >= control["score"] for score in others)) / 12)
    # everyone's regions are held against those of the others
    known = read(root, "regions.json")
    values = np.array(known["regions"]["Left Caudate"]["values"])
    z = [control["regions"]["Left Caudate"] for control in controls]
    expected = [(own - (rest := np.delete(values, i)).mean()) / rest.std(ddof=1) for i, own in enumerate(values)]
    assert sorted(z) == pytest.approx(sorted(expected), abs=1e-3)
    assert not list((root / "training").glob("fold-*"))
    for again in ([], ["--folds", 3]):
        assert mri3d("train", healthy, "-o", root, "--resume", *again, exit_code=2).output.startswith("mri3d: ")
    assert read(root, "controls.json") == controls
    mri3d("bundle", "verify", root)
    mri3d("detect", healthy / "sub-03_T1w.nii.gz", "-o", tmp_path / "out", "--bundle", root)

    assert "2 to the 12" in mri3d("train", healthy, "-o", tmp_path / "b", *words, "--folds", 13, exit_code=2).output


def test_folds_go_on_after_a_kill_without_training_a_finished_fold_again(
    healthy: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from mri3d.commands import controls

    root, done, whole = tmp_path / "folds", [], controls._out_of_fold

    def until_the_second(*arguments):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(arguments[2])
        return whole(*arguments)

    monkeypatch.setattr(controls, "_out_of_fold", until_the_second)
    CliRunner().invoke(main, ["train", str(healthy), "-o", str(root), *words, "--folds", "2"])
    kept = root / "training" / "fold-0" / "residuals.npz"
    before = kept.stat().st_mtime_ns
    times = []

    def watched(*arguments):
        found = whole(*arguments)
        times.append(kept.stat().st_mtime_ns)
        return found

    monkeypatch.setattr(controls, "_out_of_fold", watched)
    mri3d("train", healthy, "-o", root, "--folds", 2, "--resume")
    assert times == [before, before]
    assert len(read(root, "controls.json")) == 12


def test_a_recalibration_that_fails_leaves_the_bundle_before_it_and_nobody_s_brain(
    bundle: Path, others: Path, cached: list[str], tmp_path: Path
):
    few = make(tmp_path / "few", ["sub-30", "sub-31"])
    root = tmp_path / "recalibrated"
    mri3d("calibrate", others, "-o", root, "--bundle", bundle, *cached, exit_code=1)
    before = (root / "models" / "calibration.json").read_bytes()
    refused = mri3d("calibrate", few, "-o", root, "--bundle", bundle, "--overwrite", exit_code=2)
    assert "at least 5 people" in refused.output
    assert (root / "models" / "calibration.json").read_bytes() == before

    typo = mri3d("calibrate", others, "-o", root, "--bundle", bundle, "--overwrite", "--set", "min_m=1", exit_code=2)
    assert "min_m" in typo.output
    assert (root / "models" / "calibration.json").read_bytes() == before
    wrong = ["calibrate", others, "-o", tmp_path / "wrong", "--bundle", bundle, "--set", "voxel_quantile=1.5"]
    assert "voxel_quantile" in mri3d(*wrong, exit_code=2).output
    assert not (tmp_path / "wrong").exists()


def test_controls_that_the_bundle_was_trained_on_are_told_of_and_stay_on_record(
    bundle: Path, healthy: Path, cached: list[str], tmp_path: Path
):
    root = tmp_path / "recalibrated"
    told = mri3d("calibrate", healthy, "-o", root, "--bundle", bundle, *cached)
    assert "bear names of people the bundle was trained on" in told.output
    assert read(root, "split.json")["train"] == read(bundle, "split.json")["train"]


def test_started_from_a_bundle_the_recipe_is_the_bundle_s_own(
    healthy: Path, trained: Callable[[str], Path], cached: list[str], tmp_path: Path
):
    few = words_for({"training.epochs": 1, "training.shares": SMALL["training.shares"]})
    mri3d("train", healthy, "-o", tmp_path / "more", "--init", trained("vae"), *few, *cached)
    assert "VariationalAutoEncoder" in (tmp_path / "more" / "configs" / "inference.yaml").read_text()


def test_a_fold_is_not_taken_for_that_of_another_recipe_or_other_images(
    healthy: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from mri3d.commands import controls

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    root = tmp_path / "folds"
    monkeypatch.setattr(controls, "_write_controls", killed)
    # a recipe that fits in no time, since what is asked is only whose folds they are
    quick = ["--recipe", "intensity", *words[6:], "--folds", "2"]
    CliRunner().invoke(main, ["train", str(healthy), "-o", str(root), *quick])
    monkeypatch.undo()
    assert len(list((root / "training").glob("fold-*/residuals.npz"))) == 2
    other = mri3d("train", healthy, "-o", root, "--folds", 3, "--resume", exit_code=2)
    assert "2, as when it was started" in other.output
    assert "--folds" in mri3d("train", healthy, "-o", root, "--resume", exit_code=2).output

    atlas = ["--recipe", "atlas", *words[6:], "--folds", 2]
    mri3d("train", healthy, "-o", root, *atlas, "--overwrite")
    mri3d("train", healthy, "-o", tmp_path / "clean", *atlas)
    assert read(root, "controls.json") == read(tmp_path / "clean", "controls.json")

"""Train a small bundle on drawn brains, kill it in the middle, and use what comes out in every way there is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from monai.bundle import verify_metadata

from mri3d.cli import main
from mri3d.detector import Detector
from mri3d.training.history import read_history
from tests.brains import CENTRE, FOV, brain_on, write_brain
from tests.command_line import mri3d
from tests.helpers import head_grid

GRID = head_grid("RAS", (4.0, 4.0, 4.0), 0.0, FOV, CENTRE)
SUBJECTS = 12
SMALL = (
    "network_def.channels=[4,8,8,8]",
    "grid.spacing=4.0",
    "grid.shape=[40,48,40]",
    "training.epochs=6",
    "training.shares={train: 0.4, validation: 0.1, calibration: 0.5, test: 0.0}",
    "bias_correction=false",
)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("healthy")
    for seed in range(SUBJECTS):
        write_brain(folder / f"sub-{seed:02}" / "anat" / f"sub-{seed:02}_T1w.nii.gz", GRID, brain_on(GRID, seed))
    (folder / "sub-bad_T1w.nii.gz").write_text("one bad file must not end the training")
    return folder


@pytest.fixture(scope="module")
def bundle(healthy, tmp_path_factory) -> Path:
    """A bundle whose training was killed after an epoch and resumed."""
    root = tmp_path_factory.mktemp("bundles") / "small"
    command = ["train", str(healthy), "-o", str(root), "--seed", "1", "--device", "cpu"]
    options = [word for pair in SMALL for word in ("--set", pair)]
    process = subprocess.Popen([sys.executable, "-m", "mri3d.cli", *command, *options], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not read_history(root / "training"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 1 <= len(read_history(root / "training")) < 6
    shutil.copytree(root / "training" / "cache", root.parent / "cache")

    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2 and "--resume" in refused.output
    for another in (("--recipe", "atlas"), ("--seed", "2"), ("--set", "training.epochs=7"), ("--modalities", "FLAIR")):
        other = CliRunner().invoke(main, [*command, *another, "--resume"])
        assert other.exit_code == 2 and "what the training was begun with" in other.output
    resumed = CliRunner().invoke(main, [*command, "--recipe", "restore", *options[:2], "--resume"])
    assert resumed.exit_code == 1, resumed.output  # one file could not be used
    assert "failed: sub-bad_T1w" in resumed.output
    return root


def test_training_goes_on_where_it_was_killed(bundle):
    rows = read_history(bundle / "training")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    rates = [row["learning_rate"] for row in rows]
    expected = [2e-5 + (1e-3 - 2e-5) * (1 + np.cos(np.pi * epoch / 6)) / 2 for epoch in range(6)]
    np.testing.assert_allclose(rates, expected, rtol=1e-3)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert (bundle / "training" / "curve.png").stat().st_size > 5000


def test_a_resumed_training_takes_the_very_steps_of_one_that_was_not_killed(bundle, healthy, tmp_path):
    settings = [*SMALL, f"cache_dir={bundle.parent / 'cache'}", "bundle_atlas=null"]
    options = [word for pair in settings for word in ("--set", pair)]
    command = ["train", str(healthy), "-o", str(tmp_path / "whole"), "--seed", "1", "--device", "cpu", *options]
    assert CliRunner().invoke(main, command).exit_code == 1
    resumed, whole = (read_history(root / "training") for root in (bundle, tmp_path / "whole"))
    for column in ("train_loss", "val_loss"):
        assert [row[column] for row in resumed] == pytest.approx([row[column] for row in whole], rel=1e-6)


def test_split_is_by_subject_and_kept(bundle):
    split = json.loads((bundle / "models" / "split.json").read_text())
    everyone = [name for names in split.values() for name in names]
    assert sorted(everyone) == [f"sub-{seed:02}" for seed in range(SUBJECTS)]
    assert len(split["calibration"]) == 6


def test_bundle_is_calibrated(bundle):
    calibration = json.loads((bundle / "models" / "calibration.json").read_text())
    assert len(calibration["scores"]) == 6
    assert calibration["thresholds"]["mean+3std"] == pytest.approx(
        np.mean(calibration["scores"]) + 3 * np.std(calibration["scores"], ddof=1)
    )
    result = CliRunner().invoke(main, ["bundle", "verify", str(bundle)])
    assert result.exit_code == 0 and "6 healthy subjects" in result.output


def test_weights_are_a_bare_state_dict(bundle):
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_exchanged_weights_are_refused(bundle, healthy, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(bundle), str(copy)], check=True)
    state = torch.load(copy / "models" / "model.pt", weights_only=True)
    torch.save({name: value * 1.01 for name, value in state.items()}, copy / "models" / "model.pt")
    result = CliRunner().invoke(main, ["detect", str(healthy), "-o", str(tmp_path / "out"), "--bundle", str(copy)])
    assert result.exit_code == 2 and "weights" in result.output


def test_bundle_without_calibration_says_so(bundle, healthy, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(bundle), str(copy)], check=True)
    (copy / "models" / "calibration.json").unlink()
    detection = Detector.load(copy, "cpu").detect(next(healthy.glob("sub-00/anat/*_T1w.nii.gz")))
    assert detection.score.decision == "uncalibrated" and detection.anomaly is None
    assert any("calibration" in warning for warning in detection.warnings)


def _monai(cwd: Path, *words: object) -> str:
    """Run ``python -m monai.bundle`` from a directory that is not the bundle's."""
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_command_line_bundle_and_python_give_the_same_maps(bundle, healthy, tmp_path):
    source = next(healthy.glob("sub-03/anat/*_T1w.nii.gz"))
    mri3d("detect", source, "-o", tmp_path / "cli", "--bundle", bundle, "--device", "cpu")
    inference = bundle / "configs" / "inference.yaml"
    _monai(tmp_path, "run", "--config_file", inference, "--dataset_dir", source, "--output_dir", tmp_path / "monai")
    detector = Detector.load(bundle, "cpu")
    detector.save(detector.detect(source), tmp_path / "python")
    for ending in ("error", "zscore", "anomaly"):
        cli, monai, python = (
            nib.load(tmp_path / way / f"{source.name[:-7]}_{ending}.nii.gz").get_fdata()
            for way in ("cli", "monai", "python")
        )
        np.testing.assert_allclose(monai, cli, atol=1e-5)
        np.testing.assert_allclose(python, cli, atol=1e-5)
    assert cli.shape == GRID.shape
    tables = [(tmp_path / way / f"{source.name[:-7]}_regions.csv").read_text() for way in ("cli", "monai", "python")]
    assert tables[0] == tables[1] == tables[2] and "Left Caudate" in tables[0]


def test_monai_trains_and_evaluates_from_any_directory(bundle, healthy, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(bundle), str(copy)], check=True)
    for path in (copy / "training").glob("*.*"):
        path.unlink()
    configs = copy / "configs"
    assert not (bundle / "training" / "cache").exists()  # a shared bundle shows nobody's brain
    _monai(
        tmp_path, "run", "--config_file", configs / "train.yaml", "--dataset_dir", healthy,
        "--training#epochs", 1, "--cache_dir", bundle.parent / "cache", "--bundle_atlas", None,
        "--device", "$torch.device('cpu')",
    )  # fmt: skip
    assert len(read_history(copy / "training")) == 1
    _monai(
        tmp_path, "run", "--config_file", configs / "evaluate.yaml", "--dataset_dir", healthy / "sub-01",
        "--output_dir", tmp_path / "maps",
    )  # fmt: skip
    metrics = json.loads((tmp_path / "maps" / "evaluation" / "metrics.json").read_text())
    assert metrics["subjects"] == metrics["healthy"] == 1 and 0 < metrics["mse"]["value"] < 1


def test_monai_exports(bundle, tmp_path):
    configs = bundle / "configs"
    meta, config = configs / "metadata.json", configs / "inference.yaml"
    exported = tmp_path / "model.ts"
    _monai(
        tmp_path, "ckpt_export", "network_def", "--filepath", exported, "--ckpt_file", bundle / "models" / "model.pt",
        "--meta_file", meta, "--config_file", config,
    )  # fmt: skip
    image = torch.rand(1, 1, 40, 48, 40)
    detector = Detector.load(bundle, "cpu")
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(exported)(image), detector._network(image), atol=1e-5, rtol=0)


def test_metadata_fits_monais_schema(bundle, tmp_path):
    """The schema stands at the path, so that nothing is downloaded."""
    schema = Path(__file__).parents[1] / "data" / "metadata_schema.json"
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(schema))


def test_config_holds_no_place_of_this_machine(bundle):
    for path in (bundle / "configs").iterdir():
        assert str(bundle) not in path.read_text(encoding="utf-8")

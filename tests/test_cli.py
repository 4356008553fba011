"""The command line: help, wrong usage and exit codes. What the commands do is tested where it happens."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import yaml
from click.testing import CliRunner

from mri3d.cli import main


def _run(*words: object):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_help_answers_at_once():
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "mri3d.cli", "--help"], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - start)
    assert "detect" in done.stdout and "not a medical device" in done.stdout
    assert min(times) < 0.5


def test_help_does_not_import_torch():
    code = "import sys; from click.testing import CliRunner; from mri3d.cli import main\n"
    code += "CliRunner().invoke(main, ['detect', '--help']); assert not {'torch', 'monai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", [*main.commands, "bundle build", "bundle verify"])
def test_every_command_has_help(command):
    result = _run(*command.split(), "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


def test_missing_input_is_wrong_usage(tmp_path):
    result = _run("detect", tmp_path / "nothing", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert str(tmp_path / "nothing") in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_folder_without_volumes_is_wrong_usage(tmp_path):
    (tmp_path / "sub-1_T1w_mask.nii.gz").write_bytes(b"x")
    result = _run("detect", tmp_path, "-o", tmp_path / "out")
    assert result.exit_code == 2 and "mask" in result.output


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--bundle", "no_such_bundle"), ("no_such_bundle", "brain_t1_cae")),
        (("--device", "tpu"), ("--device tpu", "cuda:N")),
        (("--device", "cuda:63"), ("--device cuda:63", "auto")),
        (("--set", "min_mll=3"), ("min_mll", "min_ml")),
        (("--set", "nonsense"), ("key=value",)),
        (("--modalities", "T1w,T2w"), ("T1w",)),
    ],
)
def test_wrong_options_name_themselves_and_the_way_out(tmp_path, words, names):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii.gz").write_bytes(b"no volume, and never read")
    result = _run("detect", tmp_path / "in", "-o", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    for name in names:
        assert name in result.output


def test_train_refuses_unknown_recipe_and_key(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no volume, and never read")
    unknown = _run("train", tmp_path, "-o", tmp_path / "b", "--recipe", "vgg")
    assert unknown.exit_code == 2 and "cae" in unknown.output
    key = _run("train", tmp_path, "-o", tmp_path / "b", "--set", "training.epoch=2")
    assert key.exit_code == 2 and "training.epoch" in key.output
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("scorer.direction=up", "one of both, bright, dark"),
        ("scorer.top_share=10", "a share above 0"),
        ("voxel_quantile=99.9", "a share above 0 and below 1"),
        ("training.shares=0.5", "a share for each"),
        ("modalities=T1w", "the reference first and each once"),
        ("training.epochs=abc", "a whole number from 1 on"),
        ("training.epochs=0", "a whole number from 1 on"),
        ("training.learning_rate=fast", "a number from 0 on"),
        ("device=cpu", "Use the option"),
    ],
)
def test_settings_that_could_not_be_calibrated_with_are_refused_before_any_work(tmp_path, setting, told):
    (tmp_path / "in").mkdir()
    for number in range(30):
        (tmp_path / "in" / f"sub-{number:02}_T1w.nii.gz").write_bytes(b"no volume, and never read")
    result = _run("train", tmp_path / "in", "-o", tmp_path / "b", "--set", setting)
    assert result.exit_code == 2 and told in result.output and "Traceback" not in result.output
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scorrer": {}}, "found scorrer"),
        ({"training": {"epochs": 1, "batch_size": 1, "learning_rat": 0.1, "patience": 1}}, "training.learning_rat"),
        ({"training": {"epochs": 1, "batch_size": 1, "learning_rate": 0.1}}, "expected training.patience"),
        ({"training": None}, "a recipe with network_def and training"),
    ],
)
def test_a_recipe_s_keys_are_checked_as_settings_are(tmp_path, change, told):
    recipe = {"network_def": {"_target_": "mri3d.models.intensity.MedianIntensity"}, "training": {}, **change}
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))
    result = _run("bundle", "build", tmp_path / "b", "--recipe", tmp_path / "mine.yaml")
    assert result.exit_code == 2 and told in result.output
    assert not (tmp_path / "b").exists()


def test_numbers_in_scientific_notation_are_numbers(tmp_path):
    assert _run("bundle", "build", tmp_path / "b", "--set", "training.learning_rate=1e-3").exit_code == 0
    assert "learning_rate: 0.001\n" in (tmp_path / "b" / "configs" / "train.yaml").read_text()


def test_a_mapping_changes_the_keys_it_names_and_no_others(tmp_path):
    assert _run("bundle", "build", tmp_path / "b", "--set", "scorer={smoothing: 0.5}").exit_code == 0
    config = yaml.safe_load((tmp_path / "b" / "configs" / "inference.yaml").read_text())
    assert config["scorer"]["smoothing"] == 0.5 and config["scorer"]["_target_"].endswith("Scorer")


def test_what_an_option_of_detect_sets_is_not_set_twice(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no volume, and never read")
    result = _run("detect", tmp_path, "-o", tmp_path / "out", "--set", "keep_reconstruction=true")
    assert result.exit_code == 2 and "Use the option" in result.output


def test_a_training_that_fails_before_it_has_begun_is_not_in_the_way_of_the_next(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(30):
        (tmp_path / "in" / f"sub-{number:02}_T1w.nii.gz").write_bytes(b"no volume")
    for _ in range(2):
        result = _run("train", tmp_path / "in", "-o", tmp_path / "b")
        assert result.exit_code == 2 and "at least one usable volume" in result.output
        assert not (tmp_path / "b").exists()


def test_train_resumes_only_what_was_started(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no volume, and never read")
    result = _run("train", tmp_path, "-o", tmp_path / "b", "--resume")
    assert result.exit_code == 2 and "--resume" in result.output


@pytest.mark.parametrize("command", ["detect", "train"])
@pytest.mark.parametrize("options", [("--resume", "--overwrite"), ("--overwrite", "--resume")])
def test_resume_and_overwrite_exclude_each_other(tmp_path, command, options):
    (tmp_path / "a.nii.gz").write_bytes(b"no volume, and never read")
    result = _run(command, tmp_path, "-o", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert "--resume --overwrite" in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()

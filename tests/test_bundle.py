"""Bundles are built from recipes, say what they are, and refuse parts that do not belong together."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow

from mri3d import __version__
from mri3d.bundle import describe, find_bundle, hashes, load_calibration, load_normative, running_root, shipped
from mri3d.errors import BundleError, UsageError
from mri3d.grid import Grid
from mri3d.models.autoencoder import ConvAutoEncoder
from mri3d.recipe import LAYERS, build, recipes, replace_key
from mri3d.resources import bundles_dir, configs_dir
from mri3d.scoring.calibration import Calibration
from mri3d.scoring.normative import Normative
from mri3d.scoring.scorer import Scorer
from mri3d.transforms.dataset import Guarded
from mri3d.transforms.intensity import NormaliseIntensity
from tests.command_line import mri3d

CONFIGS = ("train.yaml", "inference.yaml", "evaluate.yaml", "metadata.json", "recipe.json", "logging.conf")
MACHINE_PATH = re.compile(r"(?<![\w.$@/])(/(home|root|work|tmp|Users|mnt|data|var|opt)/|[A-Z]:\\)")
CHAIN = Guarded([NormaliseIntensity(98.0)])
WEIGHTS = Path("models", "model.pt")
NETWORK = ConvAutoEncoder(2, channels=(2,))


def configs(root: Path) -> dict[str, Any]:
    return {
        path.name: yaml.safe_load(path.read_text(encoding="utf-8")) if path.suffix != ".conf" else path.read_text()
        for path in (root / "configs").iterdir()
    }


def references(node: Any) -> set[str]:
    """Every ``@key`` in a config."""
    if isinstance(node, dict):
        return set().union(*map(references, node.values()))
    if isinstance(node, list):
        return set().union(*map(references, node))
    return set(re.findall(r"@([\w#]+)", node)) if isinstance(node, str) and node[:1] in "@$" else set()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with weights, statistics and a calibration made of them."""
    root = tmp_path / "mine"
    build("cae", root)
    models = root / "models"
    models.mkdir()
    torch.manual_seed(0)
    torch.save(ConvAutoEncoder(2, channels=(4,), latent_channels=2).state_dict(), models / "model.pt")
    ramp = np.linspace(0.1, 0.2, 8**3, dtype=np.float32).reshape(1, 8, 8, 8)
    Normative(ramp, ramp, Grid((8, 8, 8), np.eye(4))).save(models)
    kept = Calibration((1.0, 2.0, 3.0, 4.0, 5.0), 4.0, 0.999, hashes(root, root / WEIGHTS, CHAIN, Scorer(), NETWORK))
    kept.save(models / "calibration.json")
    return root


# Building


@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_builds_three_workflows_that_stand_alone(tmp_path: Path, recipe: str):
    build(recipe, tmp_path / "mine")
    built = configs(tmp_path / "mine")
    assert set(built) == set(CONFIGS)
    for workflow in LAYERS:
        config = built[f"{workflow}.yaml"]
        parser = ConfigParser(config)
        dangling = {key for key in references(config) if key not in parser}
        assert dangling == set(), workflow
        assert len(config["imports"]) == len(set(config["imports"]))
        assert {"bundle_root", "dataset_dir", "output_dir", "device", "network_def", "run"} <= set(config)


def test_training_settings_are_for_training_alone(tmp_path: Path):
    build("cae", tmp_path)
    built = configs(tmp_path)
    assert built["train.yaml"]["training"]["epochs"] > 1
    for name in ("inference.yaml", "evaluate.yaml"):
        assert not {"training", "split", "optimizer", "cache_dir", "voxel_quantile"} & set(built[name])
    # evaluate is inference with other ends, so that what is measured is what is used
    shared = ("preprocessing", "network_def", "network", "scorer", "scoring", "inferer", "grid", "min_ml")
    assert all(built["evaluate.yaml"][key] == built["inference.yaml"][key] for key in shared)
    assert built["evaluate.yaml"]["run"] != built["inference.yaml"]["run"]
    in_training = ("preprocessing", "network_def", "scorer", "inferer", "grid")
    assert all(built["train.yaml"][key] == built["inference.yaml"][key] for key in in_training)


def test_what_is_built_tells_nothing_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = tmp_path / "my recipe.yaml"
    shutil.copy(configs_dir() / "cae.yaml", recipe)
    build(recipe, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    build("cae", Path("here"))
    for root in (tmp_path / "mine", tmp_path / "here"):
        for path in root.rglob("*"):
            text = path.read_text() if path.is_file() else ""
            assert str(tmp_path) not in text
            assert str(configs_dir().parent) not in text
            assert not MACHINE_PATH.search(text.replace("https://", "")), path
    assert json.loads((tmp_path / "mine" / "configs" / "recipe.json").read_text())["recipe"] == "my recipe.yaml"


@pytest.mark.parametrize("key", ["training.learning_rate", "training#learning_rate", "training::learning_rate"])
def test_an_override_reaches_nested_keys_however_the_levels_are_parted(tmp_path: Path, key: str):
    build("cae", tmp_path, {key: 0.5})
    assert configs(tmp_path)["train.yaml"]["training"]["learning_rate"] == 0.5


def test_an_override_holds_in_every_workflow_that_has_the_key(tmp_path: Path):
    given = {"grid.spacing": 3.0, "min_ml": 0.7, "network_def.channels": [4, 8], "existing": "resume"}
    build("cae", tmp_path, given)
    for workflow in LAYERS:
        config = configs(tmp_path)[f"{workflow}.yaml"]
        assert config["grid"]["spacing"] == 3.0
        assert config["grid"]["shape"] == [80, 96, 80]
        assert config["min_ml"] == 0.7
        assert config["network_def"]["channels"] == [4, 8]
        assert config.get("existing") == (None if workflow == "train" else "resume")
    assert json.loads((tmp_path / "configs" / "recipe.json").read_text()) == {"recipe": "cae", "overrides": given}


def test_the_shipped_recipes_are_not_changed_by_overrides(tmp_path: Path):
    build("cae", tmp_path / "one", {"grid.spacing": 3.0, "training.epochs": 1})
    build("cae", tmp_path / "two")
    assert configs(tmp_path / "two")["train.yaml"]["grid"]["spacing"] == 2.0
    assert configs(tmp_path / "two")["train.yaml"]["training"]["epochs"] > 1


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("nonsense", "configs"),
        ("training.epoch", "training.epochs"),
        ("training#epochs#more", "training.epochs"),
        ("grid.", "grid"),
        ("grid.nested.shape", "grid.shape"),
    ],
)
def test_an_unknown_key_is_refused_by_name_and_nothing_is_written(tmp_path: Path, key: str, remedy: str):
    with pytest.raises(UsageError) as caught:
        build("cae", tmp_path / "mine", {"min_ml": 0.5, key: 3})
    assert caught.value.where == f"--set {key}"
    assert remedy in caught.value.remedy
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("recipe", ["nonsense", "cae.yaml", "../configs/cae", "common", "workflow/train"])
def test_an_unknown_recipe_is_refused_with_those_there_are(tmp_path: Path, recipe: str):
    with pytest.raises(UsageError, match=re.escape(f"--recipe {recipe}: expected one of {', '.join(recipes())}")):
        build(recipe, tmp_path)


def test_parts_of_recipes_are_no_recipes():
    assert "cae" in recipes()
    assert not {"common", "train", "inference", "evaluate"} & set(recipes())


@pytest.mark.parametrize("content", ["", "- a list", "training: {}", "{unfinished: [", "\xff"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "own.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"--recipe .*own\.yaml: expected .*Mend the file"):
        build(path, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_recipe_of_one_s_own_is_a_yaml_file(tmp_path: Path):
    recipe = yaml.safe_load((configs_dir() / "cae.yaml").read_text())
    recipe["network_def"]["latent_channels"] = 7
    (tmp_path / "own.yml").write_text(yaml.safe_dump(recipe))
    build(tmp_path / "own.yml", tmp_path / "mine")
    assert configs(tmp_path / "mine")["inference.yaml"]["network_def"]["latent_channels"] == 7


def test_metadata_follow_the_recipe(tmp_path: Path):
    build("cae", tmp_path, {"modalities": ["T1w", "FLAIR"], "grid.shape": [32, 48, 32]})
    metadata = configs(tmp_path)["metadata.json"]
    sides = metadata["network_data_format"]
    for data in (sides["inputs"]["image"], sides["outputs"]["pred"]):
        assert data["num_channels"] == 2
        assert data["spatial_shape"] == [32, 48, 32]
        assert data["channel_def"] == {"0": "T1w", "1": "FLAIR"}
    assert metadata["required_packages_version"]["mri3d"] == __version__


def test_built_again_a_bundle_keeps_weights_documents_and_history(bundle: Path):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    metadata |= {"version": "0.2.0", "changelog": {"0.2.0": "better"}, "task": "changed by hand"}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (bundle / "docs" / "README.md").write_text("my own words")
    weights = (bundle / "models" / "model.pt").read_bytes()
    build("cae", bundle, {"min_ml": 0.5})
    again = configs(bundle)["metadata.json"]
    assert (again["version"], again["changelog"]) == ("0.2.0", {"0.2.0": "better"})
    assert again["task"] != "changed by hand"
    assert (bundle / "docs" / "README.md").read_text() == "my own words"
    assert (bundle / "models" / "model.pt").read_bytes() == weights


def test_replace_key_says_whether_there_was_one():
    config = {"a": {"b": [1, 2], "c": None}}
    assert replace_key(config, "a.c", 5)
    assert config == {"a": {"b": [1, 2], "c": 5}}
    assert not replace_key(config, "a.d", 5)
    assert replace_key(config, "a.b.0", 5)
    for missing in ("a.b.2", "a.b.-1", "a.b.x", "a.b.0.x"):
        assert not replace_key(config, missing, 6)
    assert config == {"a": {"b": [5, 2], "c": 5}}


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_bundle_is_what_its_recipe_builds(tmp_path: Path, name: str):
    own, again = bundles_dir() / name, tmp_path / name
    made_of = json.loads((own / "configs" / "recipe.json").read_text())
    (again / "configs").mkdir(parents=True)
    shutil.copy(own / "configs" / "metadata.json", again / "configs")  # holds the version history
    build(made_of["recipe"], again, made_of["overrides"])
    assert {path.name for path in (own / "configs").iterdir()} == set(CONFIGS)
    for file in CONFIGS:
        ours, theirs = ((root / "configs" / file).read_text(encoding="utf-8") for root in (own, again))
        assert ours == theirs, file
        assert not MACHINE_PATH.search(ours.replace("https://", "")), file


# Finding


def test_a_bundle_is_found_by_its_folder_from_anywhere(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    assert find_bundle(bundle) == find_bundle(str(bundle)) == bundle
    monkeypatch.chdir(bundle.parent)
    assert find_bundle("mine") == bundle
    assert find_bundle("mine").is_absolute()


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_bundle_is_found_by_its_name_and_whole(name: str):
    assert find_bundle(name) == (bundles_dir() / name).resolve()
    assert "made with these weights and settings" in mri3d("bundle", "verify", name).output


def test_what_is_no_bundle_is_refused_with_those_that_are_shipped(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for name in (tmp_path / "empty", tmp_path / "missing", "no_such_bundle"):
        with pytest.raises(BundleError) as caught:
            find_bundle(name)
        assert caught.value.where == str(name)
        assert caught.value.remedy == f"Shipped are: {', '.join(shipped()) or 'none'}"


def test_the_root_of_what_is_run_does_not_hang_on_the_working_directory(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr("sys.argv", ["pytest"])
    for config in (bundle / "configs" / "inference.yaml", Path("..") / "mine" / "configs" / "inference.yaml"):
        workflow = ConfigWorkflow(str(config), logging_file=False, workflow_type="infer")
        workflow.initialize()
        assert workflow.bundle_root == str(bundle)  # a property: the workflow evaluates it, as when it runs
    assert running_root() == str(elsewhere)
    monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--config_file", "b/configs/inference.yaml"])
    assert running_root() == str(elsewhere / "b")


# Parts that belong together


def test_a_calibration_of_this_bundle_is_taken(bundle: Path):
    found = load_calibration(bundle, bundle / WEIGHTS, Guarded([NormaliseIntensity(98.0)]), Scorer(), NETWORK)
    assert found.scores == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert set(found.sha256) == {"weights", "statistics", "settings"}
    assert load_normative(bundle).std.max() == pytest.approx(0.2, rel=1e-3)


def change_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


MODEL, MEAN, STD = "model.pt", "residual_mean.nii.gz", "residual_std.nii.gz"


@pytest.mark.parametrize(
    ("file", "change", "part"),
    [
        (MODEL, change_byte, "weights"),
        (MEAN, change_byte, "statistics"),
        (STD, change_byte, "statistics"),
        (MODEL, Path.unlink, "weights"),
        (STD, Path.unlink, "statistics"),
    ],
)
def test_another_file_than_the_calibration_was_made_with_is_refused(bundle: Path, file: str, change, part: str):
    change(bundle / "models" / file)
    with pytest.raises(BundleError, match=rf"calibration\.json: .* found one made with other {part}\. Restore"):
        load_calibration(bundle, bundle / WEIGHTS, CHAIN, Scorer(), NETWORK)


@pytest.mark.parametrize(
    ("chain", "scorer"),
    [
        (Guarded([NormaliseIntensity(97.0)]), Scorer()),
        (Guarded([]), Scorer()),
        (CHAIN, Scorer(smoothing=2.0)),
        (CHAIN, Scorer(top_share=0.01)),
    ],
)
def test_other_settings_than_the_calibration_was_made_with_are_refused(bundle: Path, chain: Guarded, scorer: Scorer):
    with pytest.raises(BundleError, match="found one made with other settings"):
        load_calibration(bundle, bundle / WEIGHTS, chain, scorer, NETWORK)


def test_all_parts_that_differ_are_named(bundle: Path):
    change_byte(bundle / "models" / MODEL)
    change_byte(bundle / "models" / MEAN)
    with pytest.raises(BundleError, match="other weights and statistics and settings"):
        load_calibration(bundle, bundle / WEIGHTS, Guarded([]), Scorer(), NETWORK)


@pytest.mark.parametrize("kept", [{}, {"weights": None}])
def test_a_calibration_whose_hashes_were_taken_out_is_refused(bundle: Path, kept: dict[str, None]):
    path = bundle / "models" / "calibration.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "sha256": {key: raw["sha256"][key] for key in kept}}))
    with pytest.raises(BundleError, match="statistics and settings"):
        load_calibration(bundle, bundle / WEIGHTS, CHAIN, Scorer(), NETWORK)


def test_a_bundle_without_statistics_and_calibration_has_none(bundle: Path):
    for path in (bundle / "models").iterdir():
        path.unlink()
    assert load_calibration(bundle, bundle / WEIGHTS, CHAIN, Scorer(), NETWORK) is None
    assert load_normative(bundle) is None


def test_one_half_of_the_statistics_is_an_error_and_not_none(bundle: Path):
    (bundle / "models" / MEAN).unlink()
    with pytest.raises(BundleError, match="residual statistics"):
        load_normative(bundle)


def test_a_bundle_is_known_by_name_version_and_a_hash_of_configs_and_models(bundle: Path):
    before = describe(bundle)
    assert (before["name"], before["version"]) == ("mine", "0.1.0")
    assert re.fullmatch("[0-9a-f]{64}", before["sha256"])
    assert describe(str(bundle)) == before
    seen = {before["sha256"]}
    for name in ("configs/inference.yaml", "configs/train.yaml", f"models/{MODEL}", f"models/{STD}"):
        change_byte(bundle / name)
        seen.add(describe(bundle)["sha256"])
    (bundle / "models" / "calibration.json").unlink()
    seen.add(describe(bundle)["sha256"])
    assert len(seen) == 6


def test_a_copy_of_a_bundle_elsewhere_is_the_same_bundle(bundle: Path, tmp_path: Path):
    copy = tmp_path / "elsewhere" / "mine"
    shutil.copytree(bundle, copy)
    (copy / "training").mkdir()
    (copy / "training" / "history.csv").write_text("epoch\n")
    assert describe(copy) == describe(bundle)
    again = load_calibration(bundle, bundle / WEIGHTS, CHAIN, Scorer(), NETWORK)
    assert load_calibration(copy, copy / WEIGHTS, CHAIN, Scorer(), NETWORK) == again


@pytest.mark.parametrize("content", [None, "{", "{}", "[]"])
def test_a_bundle_without_usable_metadata_is_a_bundle_error(bundle: Path, content: str | None):
    path = bundle / "configs" / "metadata.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(BundleError, match="metadata with its version"):
        describe(bundle)

"""Every recipe keeps one contract: it trains, calibrates, verifies, detects, and runs and exports through MONAI."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from monai.bundle import ckpt_export, verify_net_in_out

from mri3d.cli import main
from mri3d.detector import Detector
from mri3d.recipe import config_of, merge, network_of, recipes
from mri3d.scoring.normative import Normative
from mri3d.scoring.scorer import Scorer
from tests.shared import GRID, SMALL, cache_of, settings_of, train

# an ensemble is made of others, see below; on the small grid restore_1mm is restore
ALONE = [recipe for recipe in recipes() if recipe not in ("ensemble", "restore_1mm")]


def test_on_1_mm_a_recipe_is_that_on_2_mm_but_for_its_grid():
    fine, coarse = (merge(recipe, {})["train"] for recipe in ("restore_1mm", "restore"))
    extent = [np.multiply(config["grid"]["shape"], config["grid"]["spacing"]).tolist() for config in (fine, coarse)]
    assert extent[0] == extent[1]
    assert fine["grid"]["centre"] == coarse["grid"]["centre"]
    assert fine["scorer"]["smoothing"] == 2 * coarse["scorer"]["smoothing"], "in voxels"
    same = ("preprocessing", "seed", "voxel_quantile", "min_ml")
    assert all(fine[key] == coarse[key] for key in same)


@pytest.fixture(scope="module", params=ALONE)
def bundle(request: pytest.FixtureRequest, trained: Callable[[str], Path]) -> Path:
    return trained(request.param)


def test_it_is_calibrated_and_its_parts_belong_together(bundle: Path):
    result = CliRunner().invoke(main, ["bundle", "verify", str(bundle)])
    assert result.exit_code == 0, result.output
    calibration = json.loads((bundle / "models" / "calibration.json").read_text())
    assert len(calibration["scores"]) >= 5
    tail = [calibration["voxel_tail"][share] for share in ("0.99", "0.995", "0.999")]
    assert tail == sorted(tail)
    assert tail[-1] == calibration["voxel_threshold"] > 0


def test_its_weights_are_a_bare_state_dict(bundle: Path):
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_it_detects_and_evaluates(bundle: Path, healthy: Path, tmp_path: Path):
    source, output = healthy / "sub-03_T1w.nii.gz", tmp_path / "out"
    detected = CliRunner().invoke(main, ["detect", str(source), "-o", str(output), "--bundle", str(bundle)])
    assert detected.exit_code == 0, detected.output
    sidecar = json.loads((output / "sub-03_T1w.json").read_text())
    assert sidecar["decision"] in ("normal", "anomalous")
    slicewise = config_of(bundle)["slicewise"]
    assert (output / "sub-03_T1w_slices.csv").exists() == bool(sidecar["slices"]) == slicewise
    assert all(score["threshold"] > 0 for score in sidecar["slices"][3:-3])
    zscore = nib.load(output / "sub-03_T1w_zscore.nii.gz")
    assert zscore.shape == GRID.shape
    assert np.isfinite(zscore.get_fdata()).all()
    assert zscore.get_fdata().min() == 0 < zscore.get_fdata().max()


def test_monai_verifies_and_exports_it(bundle: Path, tmp_path: Path):
    configs = bundle / "configs"
    meta, config = str(configs / "metadata.json"), str(configs / "inference.yaml")
    verify_net_in_out("network_def", meta_file=meta, config_file=config, device="cpu")
    exported = tmp_path / "model.ts"
    weights = str(bundle / "models" / "model.pt")
    ckpt_export("network_def", filepath=str(exported), ckpt_file=weights, meta_file=meta, config_file=config)
    shape = json.loads(Path(meta).read_text())["network_data_format"]["inputs"]["image"]["spatial_shape"]
    assert shape == SMALL["grid.shape"][: network_of(bundle).get("spatial_dims", 3)]
    assert torch.jit.load(str(exported))(torch.rand(1, 1, *shape)).shape == (1, 1, *shape)


@pytest.fixture(scope="module")
def members(trained: Callable[[str], Path]) -> list[Path]:
    return [trained(recipe) for recipe in ("restore", "cae")]


def words_of(members: list[Path]) -> list[str]:
    return ["--set", f"training.members={json.dumps(list(map(str, members)))}"]


def test_an_ensemble_s_z_map_is_the_mean_of_its_members_signed_ones(
    healthy: Path, members: list[Path], tmp_path: Path
):
    root = train("ensemble", tmp_path / "both", healthy, *words_of(members))
    test_monai_verifies_and_exports_it(root, tmp_path)
    source = healthy / "sub-05_T1w.nii.gz"
    whole = Detector.load(root, "cpu")
    item = whole.preprocess(source)
    image, mask = item["image"].numpy(), item["mask"].numpy()
    signed = []
    for folder in (*members, root):
        one = Detector.load(folder, "cpu").score(item).model
        normative = Normative.load(folder / "models")
        signed.append(normative.standardise(Scorer().residual(image, one.reconstruction[None], mask), mask)[mask])
    assert np.corrcoef((signed[0] + signed[1]) / 2, signed[2])[0, 1] > 0.85  # weights are smoothed


def test_an_ensemble_wants_members_of_its_own_grid_and_none_that_knows_whom_it_is_calibrated_on(
    healthy: Path, members: list[Path], tmp_path: Path
):
    for words, expected in (
        ([], "the trained bundles that the ensemble is made of"),
        ([*words_of(members), "--set", "grid.spacing=4.5"], "a bundle with the grid"),
        ([*words_of(members), "--seed", "3"], "have not seen whom the ensemble is calibrated"),
    ):
        cache = ["--set", f"cache_dir={cache_of(healthy)}", *settings_of("ensemble")]
        command = ["train", str(healthy), "-o", str(tmp_path / "new"), "--recipe", "ensemble"]
        result = CliRunner().invoke(main, [*command, *cache, *words])
        assert result.exit_code == 2
        assert expected in result.output
        assert not (tmp_path / "new").exists()


def test_pretrained_weights_come_to_the_recipe_that_asks_for_them(healthy: Path, tmp_path: Path):
    words = ["train", str(healthy), "--device", "cpu", "--set", f"cache_dir={cache_of(healthy)}"]
    wrong = ["--set", f"training.encoder_weights={tmp_path / 'missing.pth'}"]
    for recipe, reason in (("resnet", "missing.pth: expected a checkpoint of MedicalNet"), ("cae", "ResNet encoder")):
        command = [*words, *wrong, "-o", str(tmp_path / recipe), "--recipe", recipe, *settings_of(recipe)]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2
        assert reason in result.output

"""Runs of the benchmark come together as one page, and the documents show what they say."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from benchmarks.detection_page import ABOUT, merge, page, read, summary
from mri3d.recipe import recipes

ROOT = Path(__file__).parents[2]

RUNS = sorted((ROOT / "docs" / "detection").glob("*.json"))
SHOWN = {
    "README.md": [
        *("atlas", "intensity", "equalised", "pca", "brain_t1_cae", "brain_t1_cae2d", "vae", "resnet", "unet"),
        *("attention_unet", "denoise", "brain_t1", "ensemble_denoise"),
    ],
    "bundles/brain_t1/docs/README.md": ["atlas", "pca", "brain_t1_cae", "brain_t1"],
    "bundles/brain_t1_cae/docs/README.md": ["atlas", "brain_t1_cae", "cae_seed1", "brain_t1"],
    "bundles/brain_t1_cae2d/docs/README.md": ["atlas", "brain_t1_cae2d", "brain_t1_cae", "brain_t1"],
}


def estimate(value: float) -> dict[str, Any]:
    return {"value": value, "ci95": [value - 0.1, value + 0.1]}


def run(**ap: float) -> dict[str, Any]:
    """A run of detectors named RECIPE or RECIPE_seedN, their voxel AP given; the first is the reference."""
    reference = next(iter(ap))
    found: dict[str, Any] = {"simulated": "yes", "part": "test", "people": 25, "seed": 0, "detectors": {}}
    metrics: dict[str, Any] = {"clear": {}, "subtle": {}, "real": {}}
    healthy = {}
    for name, value in ap.items():
        recipe, _, seed = name.partition("_seed")
        epochs = None if recipe == "atlas" else 30
        found["detectors"][name] = {"recipe": recipe, "seed": int(seed or 0), "epochs": epochs, "weights": 1234567}
        for index, kind in enumerate(metrics):
            of = {
                "voxel_ap": estimate(value - 0.1 * index),
                "dice_normals": estimate(0.5),
                "subject_auroc": estimate(0.9),
                "seconds": 7.0,
            }
            if name != reference:
                of["differences"] = {"voxel_ap": estimate(value - ap[reference])}
            metrics[kind][name] = of
        healthy[name] = {
            **{f"exceedance_{share}": estimate(1 - share) for share in (0.99, 0.995, 0.999)},
            "false_positive_ml": estimate(1.25),
            "p_values": {"kolmogorov_smirnov": 0.1, "p": 0.93, "resolution": 1 / 40},
        }
    return {**found, "metrics": metrics, "healthy": healthy}


def test_runs_come_together_in_the_order_of_recipes_and_seeds() -> None:
    merged = merge([run(atlas=0.5, restore=0.8, cae_seed1=0.41), run(atlas=0.5, cae_seed10=0.43, cae_seed2=0.42)])
    assert list(merged["detectors"]) == ["atlas", "cae_seed1", "cae_seed2", "cae_seed10", "restore"]
    for part in (*merged["metrics"].values(), merged["healthy"]):
        assert list(part) == list(merged["detectors"])
    assert merged["metrics"]["clear"]["cae_seed2"]["voxel_ap"]["value"] == 0.42


def test_runs_of_other_cases_or_another_first_detector_are_refused() -> None:
    ours, other = run(atlas=0.5, cae=0.4), run(atlas=0.5, vae=0.3)
    with pytest.raises(SystemExit, match="seed"):
        merge([ours, {**other, "seed": 1}])
    with pytest.raises(SystemExit, match="came out the same"):
        merge([ours, run(atlas=0.52, vae=0.3)])
    with pytest.raises(SystemExit, match="came out the same"):
        merge([ours, run(vae=0.3)])


def test_a_detector_measured_twice_is_refused() -> None:
    with pytest.raises(SystemExit, match="measured in two runs: cae"):
        merge([run(atlas=0.5, cae=0.4), run(atlas=0.5, cae=0.45)])


def test_seconds_may_differ_between_runs() -> None:
    slower = copy.deepcopy(run(atlas=0.5, vae=0.3))
    slower["metrics"]["clear"]["atlas"]["seconds"] = 20.0
    merge([run(atlas=0.5, cae=0.4), slower])


def test_the_page_tells_value_interval_and_difference() -> None:
    text = page(run(atlas=0.5, cae=0.4))
    cells = ["0.40 (0.30 to 0.50)", "", "", "0.50 (0.40 to 0.60)", "0.90 (0.80 to 1.00)", "-0.10 (-0.20 to 0.00)"]
    assert f"| cae | {' | '.join(cells)} |" in text
    assert "| cae | 0.20 |  |  | 0.50 | 0.90 | -0.10 |" in text, "two real cases give no interval"
    assert "| cae | autoencoder | cae | 0 | 30 | 1,234,567 |" in text
    assert "| atlas | voxel-wise z, no network | atlas | 0 |  | 1,234,567 |" in text
    short = run(atlas=0.5, vae=0.4)
    short["detectors"]["vae"]["epochs"] = 7
    assert "| vae | variational autoencoder | vae | 0 | 7 (recipe: 30) | 1,234,567 |" in page(short)
    assert "above the 99.9 % threshold" in text
    assert "steps of 1/40" in text


def test_every_recipe_that_finds_anomalies_is_described() -> None:
    assert set(ABOUT) == set(recipes()) - {"noise"}



def test_the_documents_show_what_was_measured() -> None:
    run_ = merge([read(path) for path in RUNS])
    assert (ROOT / "docs" / "detection.md").read_text(encoding="utf-8") == page(run_)
    for document, detectors in SHOWN.items():
        assert summary(run_, detectors) in (ROOT / document).read_text(encoding="utf-8"), document

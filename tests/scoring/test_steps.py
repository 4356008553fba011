"""The scoring steps: maps on the model grid, then the decision on the source grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mri3d.grid import Grid
from mri3d.scoring.calibration import Calibration
from mri3d.scoring.detection import Detection
from mri3d.scoring.normative import Normative
from mri3d.scoring.scorer import Scorer
from mri3d.scoring.steps import Decide, ScoreResidual
from mri3d.transforms.case import Case, Item
from mri3d.transforms.dataset import Guarded
from mri3d.transforms.model_grid import ToSourceGrid
from mri3d.volumes.alignment import Alignment
from mri3d.volumes.brain import Brain
from tests.helpers import ellipsoid, head_grid, subject_of, volume_of

MODEL = Grid.centred((22, 26, 22), 8.0, (0.0, -17.0, 5.0))
SOURCE = head_grid("LAS", (8.0, 8.0, 8.0))
NORMATIVE = Normative(*(np.full((1, *MODEL.shape), value, np.float32) for value in (0.1, 0.05)), MODEL)
CALIBRATION = Calibration((2.0, 2.5, 3.0, 2.2, 2.8), 6.0, 0.999)
LESION = np.array((-30.0, 10.0, 20.0))


def item_of(lesion: float = 0.0) -> Item:
    """A brain of 0.5 that is reconstructed as 0.4, but for a lesion on the left."""
    mask = ellipsoid(MODEL)
    at = MODEL.world(np.stack(np.meshgrid(*map(np.arange, MODEL.shape), indexing="ij"), axis=-1))
    image = np.where(np.linalg.norm(at - LESION, axis=-1) < 20, 0.5 + lesion, 0.5) * mask
    case = Case(
        subject_of(),
        {"T1w": volume_of(np.ones(SOURCE.shape), SOURCE)},
        Brain(ellipsoid(SOURCE), "given"),
        Alignment(np.eye(4), 0.95, 0.5),
        warnings=("odd header",),
        seconds={"load": 1.5},
    )
    tensors: dict[str, Any] = {"image": torch.tensor(image, dtype=torch.float32)[None]}
    tensors["pred"] = torch.full((1, *MODEL.shape), 0.4)
    tensors["mask"] = torch.from_numpy(mask)[None]
    return {"case": case, **tensors}


def scored(item: Item, normative: Normative | None = NORMATIVE, keep: bool = False) -> Item:
    return ScoreResidual(Scorer(smoothing=0.0, top_share=0.01), normative, keep)(item)


def detect(item: Item, calibration: Calibration | None = CALIBRATION, **options: Any) -> Detection:
    item = scored(item, **options)
    item = ToSourceGrid(MODEL, ["error", "zscore", "recon"])(item)
    return Decide(MODEL, calibration, min_ml=1.0)(item)["detection"]


def test_maps_and_score_by_hand():
    found = scored(item_of(lesion=0.5))
    inside = found["mask"][0].numpy()
    z = found["zscore"][0].numpy()
    assert found["error"].shape == found["zscore"].shape == (1, *MODEL.shape)
    # |0.5 - 0.4| is what healthy brains have too; (0.6 - 0.1) / 0.05 = 10
    assert found["error"][0].numpy()[inside].min() == pytest.approx(0.1)
    assert z[inside].min() == pytest.approx(0, abs=1e-5)
    assert z.max() == pytest.approx(10, rel=1e-4)
    assert (z[~inside] == 0).all()
    assert found["score"] == pytest.approx(10, rel=1e-4)
    assert found["recon"] is None


def test_a_dark_lesion_is_as_abnormal_as_a_bright_one():
    assert scored(item_of(0.5))["score"] == pytest.approx(scored(item_of(-0.5))["score"], rel=1e-4)


def test_a_lesion_is_found_at_its_place_and_the_subject_called_anomalous():
    found = detect(item_of(lesion=0.5))
    assert found.score.decision == "anomalous"
    assert found.score.p_value == pytest.approx(1 / 6)
    assert len(found.components) == 1
    assert found.components[0].peak_mm == pytest.approx(LESION, abs=22)
    assert found.components[0].peak_mm[0] < 0
    assert found.anomalous_ml == pytest.approx(found.anomaly.sum() * SOURCE.voxel_ml)
    # a sphere of 20 mm has 33.5 ml
    assert 20 < found.anomalous_ml < 50
    assert found.voxel_threshold == 6.0
    assert found.anomaly.dtype == bool
    assert found.zscore.shape == found.error.shape == found.anomaly.shape == SOURCE.shape
    assert not found.anomaly[~ellipsoid(SOURCE)].any()


def test_a_healthy_brain_is_normal_and_its_anomaly_mask_empty():
    found = detect(item_of())
    assert found.score.decision == "normal"
    assert found.anomalous_ml == 0
    assert not found.anomaly.any()


def test_detection_carries_what_was_known_before():
    found = detect(item_of())
    assert (found.brain_source, found.alignment_dice) == ("given", 0.95)
    assert (found.brain == ellipsoid(SOURCE)).all()
    assert found.warnings == ("odd header",)
    assert found.seconds["load"] == 1.5
    assert set(found.seconds) >= {"load", "score", "resample"}
    assert (found.model.reconstruction == 0.4 * found.model.mask.astype(np.float32)).all()
    assert found.model.grid is MODEL


def test_the_reconstruction_comes_along_only_on_request():
    assert detect(item_of()).reconstruction is None
    on_model_grid = scored(item_of(), keep=True)["recon"][0].numpy()
    assert (on_model_grid == np.float32(0.4) * ellipsoid(MODEL)).all()
    kept = detect(item_of(), keep=True).reconstruction
    assert kept[ellipsoid(SOURCE, 0.8)] == pytest.approx(0.4)
    assert (kept[~ellipsoid(SOURCE)] == 0).all()


def test_without_calibration_there_is_a_score_but_no_decision_and_the_user_is_told():
    found = detect(item_of(lesion=0.5), calibration=None)
    assert found.score.decision == "uncalibrated"
    assert found.score.value == pytest.approx(10, rel=1e-3)
    assert found.anomaly is found.voxel_threshold is found.anomalous_ml is found.score.p_value is None
    assert found.components == ()
    assert found.warnings[0] == "odd header"
    assert "no calibration" in found.warnings[1]
    assert found.zscore.max() > 6


def test_without_statistics_there_is_an_error_map_and_no_z_map():
    found = detect(item_of(lesion=0.5), calibration=None, normative=None)
    assert found.zscore is None
    assert found.error.max() == pytest.approx(0.6, rel=1e-3)
    assert found.score.value == pytest.approx(0.6, rel=1e-3)


def test_small_regions_are_left_out_but_still_score():
    item = scored(item_of(lesion=0.5))
    item = ToSourceGrid(MODEL, ["error", "zscore"])(item)
    found = Decide(MODEL, CALIBRATION, min_ml=100.0)(item)["detection"]
    assert found.anomalous_ml == 0
    assert found.score.decision == "anomalous"


def test_the_chain_is_guarded_like_the_preprocessing():
    broken = {key: value for key, value in item_of().items() if key != "pred"}
    found = Guarded([ScoreResidual(Scorer(), NORMATIVE), Decide(MODEL, CALIBRATION, 1.0)])(broken)
    assert "KeyError" in found["case"].error.found
    assert "detection" not in found


def test_a_scan_that_departs_nearly_everywhere_is_told_of():
    known = Calibration(CALIBRATION.scores, 6.0, 0.999, voxel_tail={"0.99": 3.0, "0.999": 6.0})
    assert detect(item_of(lesion=0.3), known).warnings == ("odd header",)
    unlike = item_of()
    unlike["image"] = unlike["image"] * 1.4  # as another scanner's contrast
    (_, told) = detect(unlike, known).warnings
    assert told.startswith("100% of the brain depart") and "mri3d calibrate" in told
    assert detect(unlike).warnings == ("odd header",)  # a calibration of old has no such level

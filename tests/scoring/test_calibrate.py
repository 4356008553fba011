"""No calibration subject is scored by statistics it contributed to, which is what makes the thresholds hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import SimpleInferer
from scipy.stats import norm
from torch import nn

from mri3d.errors import UsageError
from mri3d.grid import Grid
from mri3d.scoring.calibrate import Calibrator
from mri3d.scoring.calibration import Calibration
from mri3d.scoring.modality_sets import ModalitySet, modality_sets
from mri3d.scoring.normative import Normative, ResidualSums
from mri3d.scoring.scorer import Scorer
from mri3d.scoring.tail import TailCounts
from mri3d.transforms.case import Item
from mri3d.transforms.dataset import Guarded

GRID = Grid.centred((28, 28, 28), 2.0, (0.0, -17.0, 5.0))
CHAIN = Guarded([])
QUANTILE = 0.999


class ExpectsNothing(nn.Module):
    """A network that reconstructs zero in eval mode: the image is the residual."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return torch.zeros_like(x)


def hashes(root: Path, preprocessing: Guarded, scorer: Scorer) -> dict[str, str]:
    """Stands for the bundle's: what it is called with and when."""
    assert preprocessing is CHAIN
    return {"statistics": str((root / "models" / "residual_std.nii.gz").stat().st_size), "scorer": str(scorer)}


def calibrator(
    scorer: Scorer, quantile: float = QUANTILE, sets: tuple[ModalitySet, ...] = (("T1w",),)
) -> Calibrator:
    return Calibrator(
        ExpectsNothing().train(), SimpleInferer(), scorer, GRID, torch.device("cpu"), quantile, hashes, sets=sets
    )


def healthy(n: int, seed: int) -> list[Item]:
    """Gaussian images in brains that are not all alike."""
    rng = np.random.default_rng(seed)
    items: list[dict[str, Any]] = []
    for i in range(n):
        mask = np.zeros(GRID.shape, bool)
        mask[tuple(slice(rng.integers(0, 2), rng.integers(26, 29)) for _ in range(3))] = True
        image = np.where(mask, rng.normal(size=GRID.shape), 0).astype(np.float32)
        tensors = {"image": torch.from_numpy(image)[None], "mask": torch.from_numpy(mask)[None]}
        items.append({"participant": f"sub-{i}", **tensors})
    return items


def arrays(items: list[Item]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [item["image"].numpy() for item in items], [item["mask"].numpy() for item in items]


def departures_alone(items: list[Item], scorer: Scorer) -> list[np.ndarray]:
    """Of each subject's brain voxels, by statistics in which it has no part."""
    images, masks = arrays(items)
    zeros = np.zeros((1, *GRID.shape), np.float32)
    residuals = [scorer.residual(image, zeros, mask) for image, mask in zip(images, masks, strict=True)]
    found = []
    for i, (residual, mask) in enumerate(zip(residuals, masks, strict=True)):
        others = ResidualSums.of(residuals[:i] + residuals[i + 1 :], masks[:i] + masks[i + 1 :]).normative(GRID)
        found.append(np.abs(others.standardise(residual, mask))[mask])
    return found


def zscores_of(subjects: list[Item], normative: Normative) -> list[np.ndarray]:
    """At the brain voxels of unsmoothed residuals."""
    return [normative.zscore(np.abs(normative.standardise(i, m)))[m] for i, m in zip(*arrays(subjects), strict=True)]


def scores_of(subjects: list[Item], normative: Normative, scorer: Scorer) -> list[float]:
    zeros = np.zeros((1, *GRID.shape), np.float32)
    return [scorer.of_subject(image, zeros, mask, normative)[2] for image, mask in zip(*arrays(subjects), strict=True)]


def test_scores_and_threshold_are_those_of_leaving_each_subject_out(tmp_path: Path):
    scorer = Scorer(smoothing=0.8, top_share=0.002)
    items = healthy(6, seed=1)
    items[2]["image"][0, 14, 14, 14] = 40.0  # an outlier that would widen its own yardstick
    found = calibrator(scorer).run(items, tmp_path, CHAIN)
    departures = departures_alone(items, scorer)
    everyone = TailCounts.of(departures)
    zscores = []
    for one in departures:
        tail = everyone.without(one).tail()
        assert tail is not None
        zscores.append(tail.normal(one))
    assert found.scores == pytest.approx([scorer.value(one) for one in departures], rel=1e-4)
    assert found.voxel_threshold == pytest.approx(np.quantile(np.concatenate(zscores), QUANTILE), rel=1e-4)
    assert found.scores[2] > 1.5 * scores_of(items, Normative.load(tmp_path / "models"), scorer)[2]


def test_the_outlier_s_score_is_what_it_would_get_as_a_new_subject(tmp_path: Path):
    items = healthy(6, seed=2)
    items[0]["image"][0, 14, 14, 14] = 30.0
    scorer = Scorer(smoothing=0.0, top_share=1e-9)
    with_it = calibrator(scorer).run(items, tmp_path / "with", CHAIN)
    calibrator(scorer).run(items[1:], tmp_path / "without", CHAIN)
    alone = scores_of(items[:1], Normative.load(tmp_path / "without" / "models"), scorer)
    assert with_it.scores[0] == pytest.approx(alone[0], rel=1e-3)


def test_the_voxel_threshold_holds_on_fresh_subjects_where_the_naive_one_does_not(tmp_path: Path):
    items = healthy(8, seed=3)
    found = calibrator(Scorer(smoothing=0.0)).run(items, tmp_path, CHAIN)
    everyone = Normative.load(tmp_path / "models")
    fresh = np.concatenate(zscores_of(healthy(30, seed=4), everyone))
    asked = 1 - QUANTILE
    assert asked / 1.3 < (fresh > found.voxel_threshold).mean() < asked * 1.3
    naive = np.quantile(np.concatenate(zscores_of(items, everyone)), QUANTILE)
    assert (fresh > naive).mean() > asked * 5


@pytest.mark.parametrize("power", [1, 3])
def test_a_z_is_as_rare_in_fresh_brains_as_in_a_normal_distribution_however_heavy_the_residuals_tails(
    tmp_path: Path, power: int
):
    def skewed(n: int, seed: int) -> list[Item]:
        items = healthy(n, seed)
        for item in items:
            item["image"] = item["image"] ** power
        return items

    found = calibrator(Scorer(smoothing=0.0)).run(skewed(20, seed=3), tmp_path, CHAIN)
    fresh = np.concatenate(zscores_of(skewed(30, seed=4), Normative.load(tmp_path / "models")))
    for share in (0.5, 0.9, 0.99, 0.999):
        z = norm.isf((1 - share) / 2)
        assert np.mean(fresh > z) == pytest.approx(1 - share, rel=0.15)
        if str(share) in found.voxel_tail:
            assert found.voxel_tail[str(share)] == pytest.approx(z, rel=0.01)


def test_scores_of_fresh_subjects_look_like_the_calibration_s_own(tmp_path: Path):
    items = healthy(20, seed=5)
    scorer = Scorer(smoothing=0.0, top_share=0.01)
    found = calibrator(scorer).run(items, tmp_path, CHAIN)
    normative = Normative.load(tmp_path / "models")
    fresh = scores_of(healthy(60, seed=6), normative, scorer)
    p = np.array([found.judge(score).p_value for score in fresh])
    assert 0.35 < p.mean() < 0.65
    assert (p <= 0.1).mean() < 0.25


def test_what_is_written_is_what_detection_reads(tmp_path: Path):
    items = healthy(7, seed=7)
    found = calibrator(Scorer(smoothing=0.0), quantile=0.99).run(items, tmp_path, CHAIN)
    assert Calibration.load(tmp_path / "models" / "calibration.json") == found
    assert (len(found.scores), found.voxel_quantile) == (7, 0.99)
    # hashed after the statistics were written, with the scorer that was used
    assert int(found.sha256["statistics"]) > 0
    assert found.sha256["scorer"] == str(Scorer(smoothing=0.0))
    everyone = ResidualSums.of(*arrays(items)).normative(GRID)
    loaded = Normative.load(tmp_path / "models")
    assert loaded.mean == pytest.approx(everyone.mean, abs=1e-3)
    assert loaded.std == pytest.approx(everyone.std, abs=1e-3)


def test_slices_get_the_thresholds_of_unseen_subjects_where_they_are_asked_for(tmp_path: Path):
    items = healthy(12, seed=9)
    for item in items[:2]:
        item["image"][0, ..., 20] *= 3
    items[1]["participant"] = items[0]["participant"]
    plain = calibrator(Scorer(smoothing=0.0)).run(items, tmp_path / "plain", CHAIN)
    asked = Calibrator(
        ExpectsNothing(), SimpleInferer(), Scorer(smoothing=0.0), GRID, torch.device("cpu"), QUANTILE, hashes, True
    )
    found = asked.run(items, tmp_path / "asked", CHAIN)
    assert plain.slices == {}
    assert Calibration.load(tmp_path / "asked" / "models" / "calibration.json") == found
    assert set(found.slices) >= {str(k) for k in range(2, 26)}
    usual = np.median([mean for mean, _ in found.slices.values()])
    # one person of eleven has an odd slice: the mean moves little, the spread much
    assert found.slices["20"][0] == pytest.approx(usual, rel=0.2)
    assert found.slices["20"][1] > 3 * np.median([std for _, std in found.slices.values()])


def test_four_subjects_are_too_few(tmp_path: Path):
    with pytest.raises(UsageError, match="at least 5 calibration subjects, found 4"):
        calibrator(Scorer()).run(healthy(4, seed=0), tmp_path, CHAIN)
    assert not (tmp_path / "models").exists()


def test_no_scan_is_scored_by_statistics_that_hold_another_scan_of_the_same_person(tmp_path: Path):
    scorer = Scorer(smoothing=0.0, top_share=1e-9)
    items = healthy(7, seed=8)
    items[1]["image"][0, 14, 14, 14] = items[4]["image"][0, 14, 14, 14] = 30.0  # one lesion, seen twice
    items[4]["participant"] = items[1]["participant"]
    found = calibrator(scorer).run(items, tmp_path / "all", CHAIN)
    others = [item for i, item in enumerate(items) if i not in (1, 4)]
    calibrator(scorer).run(others, tmp_path / "others", CHAIN)
    normative = Normative.load(tmp_path / "others" / "models")
    both = scores_of([items[1], items[4]], normative, scorer)
    assert len(found.scores) == 6  # people, so that the p-value's n counts them
    assert found.scores[1] == pytest.approx(max(both), rel=1e-3)
    assert found.judge(1e9).p_value == pytest.approx(1 / 7)


def test_scans_of_four_people_are_too_few(tmp_path: Path):
    items = healthy(8, seed=0)
    for i, item in enumerate(items):
        item["participant"] = f"sub-{i % 4}"
    with pytest.raises(UsageError, match="at least 5 calibration subjects, found 4"):
        calibrator(Scorer()).run(items, tmp_path, CHAIN)


def test_each_modality_alone_has_a_z_that_is_as_rare_as_it_says(tmp_path: Path):
    both = [
        {**one, "image": torch.cat([one["image"], 5 * other["image"] ** 3]), "mask": torch.cat([one["mask"]] * 2)}
        for one, other in zip(healthy(12, seed=3), healthy(12, seed=4), strict=True)
    ]
    scorer = Scorer(smoothing=0.0)
    calibrator(scorer, sets=(("T1w", "T2w"),)).run(both[:10], tmp_path, CHAIN)
    normative = Normative.load(tmp_path / "models")
    assert len(normative.tails.alone) == 2
    for channel in range(2):
        own = slice(channel, channel + 1)
        zscores = []
        for item in both[10:]:
            image, mask = item["image"][own].numpy(), item["mask"][own].numpy()
            z = scorer.of_subject(image, np.zeros_like(image), mask, normative.alone(channel))[1]
            zscores.append(z[mask[0]])
        assert np.mean(np.concatenate(zscores) > 2.576) == pytest.approx(0.01, rel=0.4)


def test_a_subject_that_lacks_a_modality_is_judged_by_healthy_ones_that_lack_it(tmp_path: Path):
    both = [
        {**one, "image": torch.cat([one["image"], other["image"] ** 3]), "mask": torch.cat([one["mask"]] * 2)}
        for one, other in zip(healthy(12, seed=5), healthy(12, seed=6), strict=True)
    ]
    scorer, sets = Scorer(smoothing=0.0, top_share=0.01), modality_sets(("T1w", "T2w"), missing=True)
    assert sets == (("T1w", "T2w"), ("T1w",))
    asked = calibrator(scorer, sets=sets)
    calibration = asked.run(both[:10], tmp_path, CHAIN)
    assert Calibration.load(tmp_path / "models" / "calibration.json") == calibration
    normative = Normative.load(tmp_path / "models")
    plain = calibrator(scorer, sets=sets[:1]).run(both[:10], tmp_path / "plain", CHAIN)
    assert plain.scores == calibration.scores and plain.partial == {}  # complete ones are judged as before
    image, mask = both[10]["image"].numpy(), both[10]["mask"].numpy()
    given = np.array([True, False])[:, None, None, None]
    _, z, score = scorer.of_subject(image * given, np.zeros_like(image), mask & given, normative.of_partial(("T1w",)))
    assert z is not None
    assert np.mean(z[mask[0]] > 2.576) == pytest.approx(0.01, rel=0.4)  # normal; with T2w tails are heavy
    judged = calibration.of_partial(("T1w",)).judge(score)
    assert judged.decision == "normal" and judged.p_value > 0.05
    assert calibration.of_partial(("T1w",)).scores != calibration.scores


def test_what_is_usual_and_the_scores_of_a_set_come_from_statistics_of_the_others(tmp_path: Path):
    both = []
    for k, (one, other) in enumerate(zip(healthy(7, seed=1), healthy(7, seed=2), strict=True), start=1):
        second = 3 * k * other["image"] * one["mask"]
        both.append({**one, "image": torch.cat([one["image"], second]), "mask": torch.cat([one["mask"]] * 2)})
    scorer = Scorer(smoothing=0.0, top_share=0.01, own_scale=True)
    found = calibrator(scorer, sets=modality_sets(("T1w", "T2w"), missing=True)).run(both, tmp_path, CHAIN)
    images, masks = arrays(both)
    first = np.array([True, False])[:, None, None, None]
    apart, alone, usual = [], [], []
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        others = ResidualSums.of(images[:i] + images[i + 1 :], masks[:i] + masks[i + 1 :]).normative(GRID)
        usual.append(scorer.typical(image, mask, others))
        apart.append(scorer.apart(image, mask, others)[:, mask[0]])
        alone.append(scorer.apart(image * first, mask & first, others)[0, mask[0]])
    assert list(found.typical) == ["T1w", "T2w"]
    assert list(found.typical.values()) == pytest.approx(np.max(usual, axis=0).tolist(), rel=1e-5)
    assert found.typical["T2w"] > 1.5 * found.typical["T1w"]  # the last one is far noisier than all others
    counts = [TailCounts.of([own[channel] for own in apart]) for channel in range(2)]
    of_first = TailCounts.of(alone)
    for i, own in enumerate(apart):
        z = [counts[channel].without(own[channel]).tail().normal(own[channel]) for channel in range(2)]
        assert found.scores[i] == pytest.approx(scorer.value(np.maximum(*z)), rel=1e-5)
        z = of_first.without(alone[i]).tail().normal(alone[i])
        assert found.partial["T1w"].scores[i] == pytest.approx(scorer.value(z), rel=1e-5)

"""One number a subject: the mean of the brain's largest values."""

from __future__ import annotations

import numpy as np
import pytest

from mri3d.errors import UsageError
from mri3d.grid import Grid
from mri3d.scoring.normative import Normative
from mri3d.scoring.residual import dissimilarity
from mri3d.scoring.scorer import Scorer
from mri3d.scoring.tail import Tail, Tails

SHAPE = (1, 10, 10, 10)  # one modality
GRID = Grid((10, 10, 10), np.eye(4))
ALL = np.ones(SHAPE, bool)


def test_the_score_is_the_mean_of_the_largest_share():
    values = np.random.default_rng(0).permutation(1000).reshape(SHAPE).astype(np.float32)
    assert Scorer(top_share=0.01).value(values[ALL]) == pytest.approx(np.arange(990, 1000).mean())
    assert Scorer(top_share=1.0).value(values[ALL]) == pytest.approx(values.mean())


def test_at_least_one_voxel_counts_and_an_empty_brain_scores_zero():
    values = np.arange(1000, dtype=np.float32).reshape(SHAPE)
    assert Scorer(top_share=1e-6).value(values[ALL]) == 999
    assert Scorer().value(values[~ALL]) == 0


def test_what_lies_outside_the_brain_does_not_score():
    image, mask = np.ones(SHAPE, np.float32), ALL.copy()
    image[:, 0], mask[:, 0] = 1e6, False
    normative = Normative(np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32), GRID)
    for statistics in (normative, None):
        scorer = Scorer(smoothing=0.0, top_share=0.5)
        assert scorer.of_subject(image, np.zeros(SHAPE, np.float32), mask, statistics)[2] == 1


def test_a_subject_s_maps_and_score_belong_together():
    rng = np.random.default_rng(0)
    image, pred = (rng.normal(size=SHAPE).astype(np.float32) for _ in range(2))
    normative = Normative(np.full(SHAPE, 0.5, np.float32), np.full(SHAPE, 2.0, np.float32), GRID)
    error, zscore, score = Scorer(smoothing=0.0, top_share=0.01).of_subject(image, pred, ALL, normative)
    assert error == pytest.approx(np.abs(image - pred)[0])
    assert zscore == pytest.approx(np.abs(image - pred - 0.5)[0] / 2)
    assert score == pytest.approx(np.sort(zscore.ravel())[-10:].mean())


def test_what_counts_as_abnormal_may_be_bright_or_dark_alone():
    residual = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    normative = Normative(np.full(SHAPE, 0.5, np.float32), np.full(SHAPE, 2.0, np.float32), GRID)
    z = (residual - 0.5) / 2
    wanted = {"both": np.abs(z), "bright": np.maximum(z, 0), "dark": np.maximum(-z, 0)}
    for direction, expected in wanted.items():
        assert Scorer(direction=direction).departure(residual, ALL, normative) == pytest.approx(expected[0], abs=1e-6)


def test_the_z_map_is_as_rare_as_it_says_and_the_score_is_not_of_z():
    image = np.zeros(SHAPE, np.float32)
    image[0, 2, 3, 4] = 3.0
    tail = Tail(np.array([1.0, 3.0]), np.array([0.2, 0.01]))
    normative = Normative(np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32), GRID, Tails(tail))
    _, zscore, score = Scorer(smoothing=0.0, top_share=0.001).of_subject(image, np.zeros_like(image), ALL, normative)
    assert zscore == pytest.approx(np.where(image[0] > 0, 2.5758, 0), abs=1e-3)
    assert score == pytest.approx(3)


@pytest.mark.parametrize("setting", [{"direction": "up"}, {"standardise": "region"}, {"measure": "mse"}])
def test_an_unknown_setting_is_refused_with_the_known_ones(setting: dict[str, str]):
    with pytest.raises(UsageError, match=f"scorer.{next(iter(setting))}.*expected one of"):
        Scorer(**setting)


def test_smoothing_has_one_width_or_several_and_none_below_zero():
    assert Scorer(smoothing=0.5).widths == (0.5,)
    assert Scorer(smoothing=[0.5, 2.0]).widths == (0.5, 2.0)
    for wrong in ([], [1.0, -1.0], -0.5):
        with pytest.raises(UsageError, match=r"scorer\.smoothing"):
            Scorer(smoothing=wrong)


def test_the_measure_decides_what_the_z_map_is_of():
    rng = np.random.default_rng(0)
    image, pred = (rng.uniform(0.4, 0.8, SHAPE).astype(np.float32) for _ in range(2))
    assert Scorer(smoothing=0.0).residual(image, pred, ALL) == pytest.approx(image - pred)
    assert Scorer(smoothing=0.0, measure="ssim").residual(image, pred, ALL) == pytest.approx(
        dissimilarity(image[0], pred[0], ALL[0])[None]
    )


def test_the_error_map_is_not_smoothed_but_the_z_map_is():
    image = np.zeros(SHAPE, np.float32)
    image[0, 5, 5, 5] = 1
    normative = Normative(np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32), GRID)
    error, zscore, _ = Scorer().of_subject(image, np.zeros_like(image), ALL, normative)
    assert error.max() == 1
    assert np.count_nonzero(error) == 1
    assert zscore.max() < 0.2
    assert np.count_nonzero(zscore > 1e-3) > 20


def test_without_statistics_the_score_is_the_error_map_s_and_there_is_no_z_map():
    image = np.arange(1000, dtype=np.float32).reshape(SHAPE)
    error, zscore, score = Scorer(top_share=0.01).of_subject(image, np.zeros_like(image), ALL, None)
    assert zscore is None
    assert score == pytest.approx(error[9].ravel()[-10:].mean()) == pytest.approx(994.5)


def test_of_several_modalities_those_that_show_a_voxel_count():
    shape = (3, *GRID.shape)
    z = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    mask = np.ones(shape, bool)
    mask[1, :5] = False  # the second shows half of the brain
    mask[2] = False  # the third nothing
    image = np.where(mask, z, 99).astype(np.float32)
    normative = Normative(np.zeros(shape, np.float32), np.ones(shape, np.float32), GRID)
    error, zscore, _ = Scorer(smoothing=0.0).of_subject(image, np.zeros_like(image), mask, normative)
    assert zscore[:5] == pytest.approx(np.abs(z[0, :5]), abs=1e-6)
    assert zscore[5:] == pytest.approx(np.maximum(np.abs(z[0, 5:]), np.abs(z[1, 5:])), abs=1e-6)
    assert error[5:] == pytest.approx((np.abs(z[0, 5:]) + np.abs(z[1, 5:])) / 2, abs=1e-6)


def test_by_its_own_scale_a_scan_that_departs_everywhere_is_not_anomalous_everywhere():
    rng = np.random.default_rng(0)
    image = np.where(ALL, rng.normal(size=ALL.shape), 0).astype(np.float32)
    image[0, 3, 3, 3] = 20
    normative = Normative(np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32), GRID)
    nothing, plain, own = np.zeros_like(image), Scorer(smoothing=0.0), Scorer(smoothing=0.0, own_scale=True)
    _, once, _ = own.of_subject(image, nothing, ALL, normative)
    _, thrice, _ = own.of_subject(3 * image, nothing, ALL, normative)
    assert thrice == pytest.approx(once, rel=1e-4)
    assert np.quantile(thrice[ALL[0]], 0.9) == pytest.approx(1, rel=1e-4) and thrice[3, 3, 3] > 10
    assert plain.typical(3 * image, ALL, normative) == pytest.approx(3 * 1.645, rel=0.1)
    assert plain.typical(image, np.zeros_like(ALL), normative) == 0


def test_a_voxel_is_as_abnormal_as_the_modality_in_which_it_is_rarest():
    common, rare = Tail(np.array([1.0, 9.0]), np.array([0.2, 0.01])), Tail(np.array([1.0, 3.0]), np.array([0.2, 0.001]))
    sizes = np.array([[8.0, 8.0, 0.0], [3.0, 1.0, 0.0]], np.float32)
    found = Scorer.together(sizes, Tails(None, (common, rare)))
    assert found == pytest.approx([rare.normal(sizes[1, :1])[0], common.normal(sizes[0, 1:2])[0], 0])
    assert found[0] == pytest.approx(3.29, abs=0.01)  # though the first departs almost three times as far
    assert (Scorer.together(sizes[:1], Tails(common)) == sizes[0]).all()

"""Statistics of healthy residuals: what they are by definition, and that a subject can be taken out again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from mri3d.errors import BundleError
from mri3d.grid import Grid
from mri3d.scoring.normative import MEAN_PRIOR_SUBJECTS, PRIOR_SUBJECTS, PRIOR_WIDTH, Normative, ResidualSums
from mri3d.scoring.tail import Tail, Tails

GRID = Grid.centred((12, 14, 12), 2.0, (0.0, -17.0, 5.0))
SHAPE = (1, *GRID.shape)  # one modality


def cohort(n: int, seed: int = 0, spread: float = 1.0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Residuals of subjects whose brains differ a little at the border."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(n):
        mask = np.zeros(SHAPE, bool)
        mask[0, *(slice(rng.integers(1, 3), rng.integers(size - 2, size)) for size in GRID.shape)] = True
        masks.append(mask)
    residuals = [np.where(mask, rng.normal(0.1, spread, SHAPE), 0).astype(np.float32) for mask in masks]
    return residuals, masks


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 9), st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_leaving_one_out_equals_never_having_had_it(n: int, seed: int, spread: float):
    residuals, masks = cohort(n, seed, spread)
    for i in {0, n - 1}:
        found = ResidualSums.of(residuals, masks).without(residuals[i], masks[i])
        wanted = ResidualSums.of(residuals[:i] + residuals[i + 1 :], masks[:i] + masks[i + 1 :])
        assert (found.count == wanted.count).all()
        assert found.total == pytest.approx(wanted.total, abs=1e-9 * spread)
        assert found.squares == pytest.approx(wanted.squares, abs=1e-9 * spread**2)
        one, other = found.normative(GRID), wanted.normative(GRID)
        assert one.mean == pytest.approx(other.mean, abs=1e-6 * spread)
        assert one.std == pytest.approx(other.std, rel=1e-5)


def test_leaving_one_out_does_not_change_the_sums():
    residuals, masks = cohort(4)
    sums = ResidualSums.of(residuals, masks)
    before = sums.total.copy(), sums.count.copy()
    sums.without(residuals[0], masks[0])
    assert (sums.total == before[0]).all()
    assert (sums.count == before[1]).all()


def test_mean_and_std_are_those_of_numpy_with_the_priors_accounted_for():
    residuals, masks = cohort(6)
    stack, inside = np.stack(residuals).astype(float), np.stack(masks)
    found = ResidualSums.of(residuals, masks).normative(GRID)
    voxel = (0, 6, 7, 6)
    assert inside[(slice(None), *voxel)].all()
    values = stack[(slice(None), *voxel)]
    mean = values.sum() / (6 + MEAN_PRIOR_SUBJECTS)
    assert found.mean[voxel] == pytest.approx(mean, rel=1e-5)
    # the neighbourhood: squares about the mean, and degrees of freedom, under one Gaussian
    means = stack.sum(axis=0) / (inside.sum(axis=0) + MEAN_PRIOR_SUBJECTS)
    around = (np.where(inside, stack - means, 0) ** 2).sum(axis=0)
    freedom = np.maximum(inside.sum(axis=0) - 1, 0)
    sums = (around.astype(float), freedom.astype(float))
    around_here, freedom_here = (gaussian_filter(each, PRIOR_WIDTH, axes=(1, 2, 3))[voxel] for each in sums)
    neighbourhood = around_here / freedom_here
    variance = (((values - mean) ** 2).sum() + PRIOR_SUBJECTS * neighbourhood) / (5 + PRIOR_SUBJECTS)
    assert found.std[voxel] == pytest.approx(np.sqrt(variance), rel=2e-3)


def test_many_subjects_outweigh_every_prior():
    rng = np.random.default_rng(0)
    scale = np.linspace(1, 2, GRID.shape[0])[:, None, None]
    residuals = [(0.3 + scale * rng.normal(size=SHAPE)).astype(np.float32) for _ in range(400)]
    masks = [np.ones(SHAPE, bool)] * 400
    found = ResidualSums.of(residuals, masks).normative(GRID)
    assert found.mean == pytest.approx(np.mean(residuals, axis=0), rel=0.02, abs=0.005)
    assert found.std / scale == pytest.approx(1, abs=0.2)
    assert np.mean(found.std / np.std(residuals, axis=0, ddof=1)) == pytest.approx(1, abs=0.01)


def test_a_voxel_with_next_to_no_variance_keeps_a_floor():
    residuals, masks = cohort(8)
    for residual in residuals:
        residual[0, 3:9, 3:11, 3:9] = 0.1  # as if copied by the network
    found = ResidualSums.of(residuals, masks).normative(GRID)
    assert found.std.min() > 0.1
    assert (np.abs(found.standardise(residuals[0], masks[0])) < 20).all()


def test_std_is_positive_even_where_nobody_has_brain_and_nothing_varies():
    zeros = [np.zeros(SHAPE, np.float32)] * 3
    found = ResidualSums.of(zeros, [np.ones(SHAPE, bool)] * 3).normative(GRID)
    assert (found.std > 0).all()
    residuals, masks = cohort(3)
    found = ResidualSums.of(residuals, masks).normative(GRID)
    assert (found.std > 0).all()
    assert np.isfinite(found.std).all()
    assert found.mean[0, 0, 0, 0] == 0


def test_statistics_of_nobody_are_refused():
    with pytest.raises(ValueError, match="at least one subject"):
        ResidualSums.of([], [])


def test_a_departure_is_positive_where_brighter_and_zero_outside_the_brain():
    mean, std = np.full(SHAPE, 0.5, np.float32), np.full(SHAPE, 0.25, np.float32)
    residual = np.full(SHAPE, 0.5, np.float32)
    residual[0, 2], residual[0, 3] = 1.5, -0.5
    mask = np.ones(SHAPE, bool)
    mask[0, 5:] = False
    found = Normative(mean, std, GRID).standardise(residual, mask)
    assert found.dtype == np.float32
    assert (found[0, 2] == 4).all()
    assert (found[0, 3] == -4).all()
    assert (found[0, 4] == 0).all()
    assert (found[0, 5:] == 0).all()


@pytest.mark.parametrize("spread", [1e-3, 0.05, 30.0])
def test_saved_and_loaded_it_is_exact_to_a_fraction_of_the_std(tmp_path: Path, spread: float):
    kept = ResidualSums.of(*cohort(8, spread=spread)).normative(GRID)
    kept.save(tmp_path)
    found = Normative.load(tmp_path)
    assert found.mean.dtype == found.std.dtype == np.float32
    assert (np.abs(found.mean - kept.mean) / kept.std).max() < 1e-3
    assert (np.abs(found.std - kept.std) / kept.std).max() < 1e-3
    assert found.grid.matches(GRID)
    image = nib.load(tmp_path / "residual_std.nii.gz")
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (image.affine == GRID.affine).all()


def test_the_tail_is_kept_with_them_where_it_is_known(tmp_path: Path):
    kept = ResidualSums.of(*cohort(8)).normative(GRID)
    tail = Tail(np.array([0.5, 2.0, 7.5]), np.array([0.5, 0.1, 0.001]))
    replace(kept, tails=Tails(tail)).save(tmp_path)
    found = Normative.load(tmp_path)
    departures = np.linspace(0, 30, 100, dtype=np.float32)
    assert (found.zscore(departures) == tail.normal(departures)).all()
    assert kept.zscore(departures) is departures
    (tmp_path / "residual_tail.json").write_text('{"levels": [1, 1], "shares": [0.5, 0.1]}')
    with pytest.raises(BundleError, match=r"residual_tail\.json.*levels that do not rise"):
        Normative.load(tmp_path)


def test_constant_statistics_survive_16_bits(tmp_path: Path):
    (tmp_path / "residual_tail.json").write_text("of statistics that stood here before")
    Normative(np.zeros(SHAPE, np.float32), np.full(SHAPE, 0.2, np.float32), GRID).save(tmp_path)
    assert not (tmp_path / "residual_tail.json").exists()
    found = Normative.load(tmp_path)
    assert (found.mean == 0).all()
    assert found.std == pytest.approx(0.2)


def test_the_same_statistics_make_the_same_file(tmp_path: Path):
    kept = ResidualSums.of(*cohort(4)).normative(GRID)
    for folder in ("one", "two"):
        kept.save(tmp_path / folder)
    one, two = (nib.load(tmp_path / folder / "residual_mean.nii.gz") for folder in ("one", "two"))
    assert (one.get_fdata() == two.get_fdata()).all()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["residual_mean.nii.gz", "residual_std.nii.gz"]


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "empty"])
def test_a_damaged_file_is_a_bundle_error_that_says_what_to_do(tmp_path: Path, damage: str):
    ResidualSums.of(*cohort(4)).normative(GRID).save(tmp_path)
    path = tmp_path / "residual_std.nii.gz"
    contents = {"cut": path.read_bytes()[:2000], "text": b"no NIfTI at all" * 100, "empty": b""}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(contents[damage])
    with pytest.raises(BundleError, match="Train the bundle again, or restore the file"):
        Normative.load(tmp_path)


def test_over_the_brain_there_is_one_scale_and_no_mean():
    residuals, masks = cohort(5)
    found = ResidualSums.of(residuals, masks).normative(GRID, "brain")
    inside = np.concatenate([r[m] for r, m in zip(residuals, masks, strict=True)]).astype(np.float64)
    assert not found.mean.any()
    assert found.std == pytest.approx(np.sqrt((inside**2).mean()), rel=1e-5)


def test_modalities_have_statistics_of_their_own_and_keep_their_order(tmp_path: Path):
    spreads = (0.01, 3.0)
    cohorts = [cohort(8, seed=seed, spread=spread) for seed, spread in enumerate(spreads)]
    residuals = [np.concatenate(pair) for pair in zip(*(own[0] for own in cohorts), strict=True)]
    masks = [np.concatenate(pair) for pair in zip(*(own[1] for own in cohorts), strict=True)]
    both = ResidualSums.of(residuals, masks).normative(GRID)
    for channel, own in enumerate(cohorts):
        alone = ResidualSums.of(*own).normative(GRID)
        assert both.mean[channel] == pytest.approx(alone.mean[0]) and both.std[channel] == pytest.approx(alone.std[0])
    both.save(tmp_path)
    assert nib.load(tmp_path / "residual_mean.nii.gz").shape == (*GRID.shape, 2)
    found = Normative.load(tmp_path)
    assert found.std[1] == pytest.approx(both.std[1], rel=1e-3) and found.grid.matches(GRID)
    assert found.mean[1] == pytest.approx(both.mean[1], abs=1e-3)

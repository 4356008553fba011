"""The detectors without a network give what their definition says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from mri3d.errors import UsageError
from mri3d.models.atlas import MIN_STD, Atlas
from mri3d.models.intensity import EqualisedIntensity, MedianIntensity
from mri3d.models.pca import RobustPCA

SHAPE = (12, 14, 10)


def brains(n: int, seed: int = 0) -> torch.Tensor:
    """(n, 1, *SHAPE): three smooth modes with random weights, mirror-symmetric on average."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size) for size in SHAPE], indexing="ij"))
    modes = np.stack([np.sin((k + 1) * grid[1]) * np.cos(k * grid[2]) for k in range(3)])
    weights = rng.normal(size=(n, 3)) * [0.15, 0.1, 0.05]
    return torch.from_numpy((0.8 + np.tensordot(weights, modes, 1)).astype(np.float32))[:, None]


MASKS = torch.ones(60, 1, *SHAPE, dtype=torch.bool)


def test_the_atlas_is_the_mean_and_spread_of_brains_and_their_mirror_images():
    data = brains(40)
    atlas = Atlas(SHAPE)
    atlas.fit(list(data), list(MASKS[:40]))
    both = np.concatenate([data.numpy(), data.numpy()[:, :, ::-1]])
    # a prior of two subjects at 0 pulls the mean by 1 in 20
    assert atlas.mean[0].numpy() == pytest.approx(both.sum(0) / 84, abs=1e-5)
    wanted = np.sqrt(((both - atlas.mean[0].numpy()) ** 2).sum(0) / 79)
    assert atlas.std[0].numpy() == pytest.approx(np.maximum(wanted, MIN_STD), abs=1e-4)
    assert torch.equal(atlas(data[:3]), atlas.mean.expand(3, -1, -1, -1, -1))


def test_standardised_a_brain_is_in_standard_deviations_and_its_surroundings_are_0():
    data = brains(40)
    atlas = Atlas(SHAPE)
    atlas.fit(list(data), list(MASKS[:40]))
    x = (atlas.mean + 2 * atlas.std).clone()
    x[..., 0] = 0
    z = atlas.standardise(x)
    assert z[..., 1:].numpy() == pytest.approx(2, abs=1e-3)
    assert not z[..., 0].any()
    assert atlas.standardise(x + 100).max() == 10


def test_the_median_is_that_of_the_brain_alone():
    x = torch.zeros(2, 1, *SHAPE)
    x[0, :, :4] = torch.rand(1, 4, *SHAPE[1:]) + 0.1
    x[1, :, :6] = 3.0
    y = MedianIntensity()(x)
    assert y[0].unique().tolist() == [float(np.sort(x[0][x[0] > 0].numpy())[(4 * 140 - 1) // 2])]
    assert y[1].unique().tolist() == [3.0]


def test_equalised_intensity_is_the_rank_within_the_brain():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.gamma(2, 1, (1, 1, *SHAPE)).astype(np.float32))
    x[..., :3] = 0
    inside = (x > 0).numpy()
    score = (x - EqualisedIntensity()(x)).numpy()
    assert not score[~inside].any()
    rank = stats.rankdata(x.numpy()[inside]) / inside.sum()
    assert score[inside] == pytest.approx(rank, abs=3e-3)
    # any rising change of contrast leaves it as it is
    assert (x**3 - EqualisedIntensity()(x**3)).numpy()[inside] == pytest.approx(score[inside], abs=3e-3)


@pytest.fixture(scope="module")
def pca() -> RobustPCA:
    network = RobustPCA(SHAPE, components=6)
    network.fit(list(brains(30)), list(MASKS[:30]))
    return network


def test_principal_components_reconstruct_brains_of_the_same_kind(pca: RobustPCA):
    unseen = brains(5, seed=9)
    assert (pca(unseen) - unseen).abs().max() < 5e-3


def test_a_large_lesion_does_not_drag_the_expectation_with_it(pca: RobustPCA):
    healthy = brains(1, seed=9)
    ill = healthy.clone()
    ill[..., 2:7, 3:9, 2:7] = 0.1  # an eighth of the brain
    found = pca(ill)
    assert (found - healthy).abs().max() < 0.02
    plain = RobustPCA(SHAPE, components=6)
    plain.load_state_dict(pca.state_dict())
    type(plain).iterations, kept = 1, type(plain).iterations
    try:
        assert (plain(ill) - healthy).abs().max() > 0.1  # least squares alone is dragged
    finally:
        type(plain).iterations = kept


def test_more_components_than_brains_can_give_are_refused():
    with pytest.raises(UsageError, match="more than 15 healthy brains for 30 components, found 4"):
        RobustPCA(SHAPE, components=30).fit(list(brains(4)), list(MASKS[:4]))

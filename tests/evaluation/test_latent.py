from __future__ import annotations

import numpy as np
import pytest

from mri3d.evaluation.latent import divergence, latent_statistics


def test_dead_units_of_a_map_are_told():
    rng = np.random.default_rng(0)
    latent = rng.normal(0, [[[1.0]], [[2.0]], [[1e-6]], [[0.5]], [[0.0]]], (3, 5, 4, 6)) + 7.0
    found = latent_statistics(latent)
    assert np.flatnonzero(found.dead).tolist() == [2, 4]
    assert found.dead_share == pytest.approx(0.4)
    assert found.mean == pytest.approx(7.0, abs=0.2)
    assert found.unit_std == pytest.approx([1, 2, 0, 0.5, 0], rel=0.3, abs=1e-5)
    assert found.as_dict()["dead_units"] == [2, 4]


def test_units_of_a_vector_vary_over_inputs():
    found = latent_statistics([[0.0, 5.0, 1.0], [2.0, 5.0, -1.0]])
    assert found.unit_std.tolist() == [1.0, 0.0, 1.0]
    assert found.dead.tolist() == [False, True, False]
    assert found.std == pytest.approx(np.std([0, 5, 1, 2, 5, -1]))


def test_one_vector_alone_has_no_spread():
    with pytest.raises(ValueError, match="two values"):
        latent_statistics(np.ones((1, 4)))


def test_a_latent_that_never_varies_is_dead_as_a_whole():
    assert latent_statistics(np.ones((3, 4, 2))).dead_share == 1.0


def test_the_divergence_is_0_for_the_prior_and_known_elsewhere():
    assert divergence([0.0, 1.0, 0.0], [0.0, 0.0, 1.0]) == pytest.approx([0.0, 0.5, 0.5 * (np.e - 2)])

"""How large regions are, by growth."""

from __future__ import annotations

import numpy as np
import pytest

from mri3d.grid import Grid
from mri3d.scoring.region_size import size_of
from mri3d.volumes.regions import Atlas

GRID = Grid.centred((40, 48, 40), 4.0, (0.0, -17.0, 5.0))


def atlas() -> Atlas:
    labels = np.zeros(GRID.shape, np.int32)
    labels[14:18, 20:26, 18:24], labels[22:26, 20:26, 18:24] = 1, 2
    labels[18:22, 2:6, 18:22] = 4
    labels[0, 0, :5] = 3  # too small to be measured
    return Atlas(labels, GRID, {1: "Left Box", 2: "Right Box", 3: "Crumb", 4: "Back"})


def test_growth_is_against_the_surroundings() -> None:
    growth = np.full(GRID.shape, 0.2, np.float32)
    found = size_of(growth, atlas().labels, GRID)
    assert set(found) == {1, 2, 4}, "five voxels are no region"
    assert found[1].ml == pytest.approx(144 * GRID.voxel_ml * np.exp(0.2), rel=1e-5)
    assert found[1].value == pytest.approx(0.0, abs=1e-6), "all of the brain grew alike"
    growth[atlas().labels == 1] -= 0.3
    found = size_of(growth, atlas().labels, GRID)
    assert found[1].ml == pytest.approx(144 * GRID.voxel_ml * np.exp(-0.1), rel=1e-5)
    assert -0.3 < found[1].value < -0.15
    assert abs(found[2].value) < 0.02

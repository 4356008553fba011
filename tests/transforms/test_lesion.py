"""The demonstration's lesion is where, as large and as dark as it is said to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri3d.grid import Grid
from mri3d.transforms.lesion import (
    LESION_CENTRE_MM,
    LESION_DARKENING,
    LESION_RADII_MM,
    lesion_shape,
    put_lesion,
    with_lesion,
)

GRIDS = {
    "2 mm": Grid.centred((80, 96, 80), 2.0, (0.0, -18.0, 18.0)),
    "left to right turned": Grid(
        (80, 96, 60), np.array([[-2.0, 0, 0, 78], [0, 2, 0, -112], [0, 0, 3, -60], [0, 0, 0, 1]])
    ),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_it_lies_on_the_right_at_its_place_with_its_volume(grid: Grid) -> None:
    shape = lesion_shape(grid)
    inside = np.argwhere(shape > 0.5)
    x, y, z = grid.world(inside).mean(axis=0)
    assert (x, y, z) == pytest.approx(LESION_CENTRE_MM, abs=0.5)
    assert x > 20, "x grows to the right in RAS"
    expected = 4 / 3 * np.pi * np.prod(LESION_RADII_MM) / 1000
    assert shape.sum() * grid.voxel_ml == pytest.approx(expected, rel=0.03)
    extent = np.ptp(grid.world(inside), axis=0) / 2
    assert extent == pytest.approx(LESION_RADII_MM, abs=2.0)


def test_tissue_moves_towards_fluid_and_fluid_and_air_stay() -> None:
    brain = np.full((30, 30, 30), 1.0, np.float32)
    brain[:6], brain[6:10] = 0.0, 0.2  # air, fluid
    lesion = np.zeros_like(brain)
    lesion[:, 10:20, 10:20] = 1.0
    changed = with_lesion(brain, lesion)
    assert changed[20, 15, 15] == pytest.approx(1.0 - LESION_DARKENING * 0.8)
    assert (changed[:10] == brain[:10]).all()
    assert (changed[lesion == 0] == brain[lesion == 0]).all()


def test_a_preprocessed_brain_gets_it_where_it_has_brain() -> None:
    grid = GRIDS["2 mm"]
    image = torch.full((1, *grid.shape), 0.9)
    image[:, :, :20] = 0.2
    mask = torch.ones_like(image, dtype=torch.bool)
    mask[:, 54:] = False  # cuts the lesion
    changed, truth = put_lesion({"image": image, "mask": mask}, grid)
    assert truth.any() and not truth[54:].any()
    darker = (changed["image"] < image)[0].numpy()
    assert darker[truth].all() and not darker[lesion_shape(grid) == 0].any()
    assert (image[:, :, 20:] == 0.9).all(), "the brain as it was is left alone"

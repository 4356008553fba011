"""The growth of a brain's parts is found where it is, with its sign."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from mri3d.grid import Grid
from mri3d.transforms.template import template_on
from mri3d.transforms.warping import log_jacobian

GRID = Grid.centred((40, 48, 40), 4.0, (0.0, -17.0, 5.0))
PLACE = np.array([-26.0, 4.0, 4.0])
REACH = 26.0


def brain(growth: float) -> np.ndarray:
    """The template's brain, scaled about a place on its left in a smooth ball; by ``growth`` at the middle."""
    at = GRID.world(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
    away = at - PLACE
    weight = np.exp(-((np.linalg.norm(away, axis=-1) / REACH) ** 2))[..., None]
    source = PLACE + away * (1 - growth * weight)
    index = (source - GRID.affine[:3, 3]) / np.array(GRID.spacing)
    template = template_on(GRID)
    template = template / np.percentile(template[template > 0.15], 98)  # as intensities on the model grid are
    return ndimage.map_coordinates(template, np.moveaxis(index, -1, 0), order=1)


def receive_field() -> np.ndarray:
    """Bright in the middle, 22 % of that in the corners of the grid."""
    at = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID.shape), indexing="ij"), axis=-1)
    return np.asarray(1.2 * np.exp(-0.5 * np.linalg.norm(at, axis=-1) ** 2))


def middle(growth: np.ndarray, sign: int) -> float:
    at = GRID.world(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
    return float(growth[np.linalg.norm(at - PLACE * (sign, 1, 1), axis=-1) < 12].mean())


@pytest.mark.parametrize("growth", [-0.12, 0.12])
def test_growth_is_found_on_its_side_with_its_sign(growth: float) -> None:
    found = log_jacobian(brain(growth), GRID)
    assert found.shape == GRID.shape and found.dtype == np.float32
    here, there = middle(found, 1), middle(found, -1)
    assert np.sign(here) == np.sign(growth)
    assert 0.3 * abs(3 * growth) < abs(here) < 1.4 * abs(3 * growth)
    assert abs(there) < 0.25 * abs(here)


def test_the_template_has_not_grown() -> None:
    assert np.abs(log_jacobian(brain(0.0), GRID)).max() < 0.05


def test_another_receive_field_is_little_growth() -> None:
    """A third of what matched histograms make of it, and growth stays on its side."""
    found = log_jacobian(brain(0.0) * receive_field(), GRID)
    assert max(abs(middle(found, 1)), abs(middle(found, -1))) < 0.05
    found = log_jacobian(brain(0.12) * receive_field(), GRID)
    assert middle(found, 1) > 0.08 and abs(middle(found, -1)) < 0.65 * middle(found, 1)


def test_another_contrast_is_no_growth() -> None:
    found = log_jacobian(brain(0.12) ** 0.8, GRID)
    assert middle(found, 1) == pytest.approx(middle(log_jacobian(brain(0.12), GRID), 1), rel=0.1)

"""To the model grid and back: what lies somewhere in the head lies there in the map, on any grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri3d.grid import Affine, Grid
from mri3d.transforms.case import Case
from mri3d.transforms.model_grid import ToModelGrid, ToSourceGrid
from mri3d.volumes.alignment import Alignment
from mri3d.volumes.brain import Brain
from tests.helpers import ellipsoid, head_grid, rotation_about, subject_of, volume_of

MODEL = Grid.centred((44, 52, 44), 4.0, (0.0, -17.0, 5.0))
SOURCES = {
    "RAS": head_grid("RAS"),
    "LAS": head_grid("LAS"),
    "PSR": head_grid("PSR"),
    "oblique": head_grid("RAS", degrees=25),
    "oblique LPI": head_grid("LPI", spacing=(4, 5, 6), degrees=15),
    "thick slices": head_grid("RAS", spacing=(3, 3, 10)),
    "thick oblique slices": head_grid("ASL", spacing=(3, 9, 3), degrees=20),
    "finer than the model": head_grid("LAS", spacing=(3, 3, 3)),
}
BLOB = np.array((-35.0, 10.0, 25.0))


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> Grid:
    return SOURCES[request.param]


def to_source() -> Affine:
    """From template to source world: turned by 8 degrees, 5 % larger in one direction, some mm away."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_about((1, -1, 2), 8) * (1.0, 1.05, 0.97)
    matrix[:3, 3] = 4, -3, 6
    return matrix


def at(grid: Grid) -> np.ndarray:
    return grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))


def blob(grid: Grid) -> np.ndarray:
    return np.exp(-((at(grid) - BLOB) ** 2).sum(axis=-1) / (2 * 9.0**2))


def centre_of_mass(data: np.ndarray, grid: Grid) -> np.ndarray:
    return (at(grid) * data[..., None]).sum(axis=(0, 1, 2)) / data.sum()


def case_of(data: np.ndarray, grid: Grid) -> Case:
    mask = ellipsoid(grid)
    return Case(subject_of(), {"T1w": volume_of(data, grid)}, Brain(mask, "given"), Alignment(to_source(), 1.0, 1.0))


def test_a_blob_lies_where_the_alignment_says_and_comes_back_to_its_place(source: Grid):
    item = ToModelGrid(MODEL)({"case": case_of(blob(source), source)})
    image = item["image"]
    assert image.dtype == torch.float32
    assert item["mask"].dtype == torch.bool
    assert image.shape == item["mask"].shape == (1, *MODEL.shape)
    expected = (np.linalg.inv(to_source()) @ [*BLOB, 1])[:3]
    assert centre_of_mass(image[0].numpy(), MODEL) == pytest.approx(expected, abs=0.3)
    back = ToSourceGrid(MODEL, ["error"])({**item, "error": image})["error"]
    assert back.dtype == np.float32
    assert back.shape == source.shape
    assert centre_of_mass(back, source) == pytest.approx(BLOB, abs=0.3)
    assert 0.6 < back.max() < 1.0


def test_left_stays_left(source: Grid):
    data = (at(source)[..., 0] < 0).astype(np.float32)
    item = ToModelGrid(MODEL)({"case": case_of(data, source)})
    back = ToSourceGrid(MODEL, ["zscore"])({**item, "zscore": item["image"]})["zscore"]
    left, right = (ellipsoid(source, 0.9) & (sign * at(source)[..., 0] > 15) for sign in (-1, 1))
    assert back[left].min() > 0.95
    assert back[right].max() < 0.05


def test_the_brain_keeps_its_volume(source: Grid):
    item = ToModelGrid(MODEL)({"case": case_of(blob(source), source)})
    scale = abs(np.linalg.det(to_source()[:3, :3]))
    ml = float(item["mask"].sum()) * MODEL.voxel_ml * scale
    assert ml == pytest.approx(float(ellipsoid(source).sum()) * source.voxel_ml, rel=0.02)


def test_outside_the_brain_is_exactly_zero_there_and_back(source: Grid):
    bright_scalp = np.where(ellipsoid(source), 1.0, 1000.0)
    item = ToModelGrid(MODEL)({"case": case_of(bright_scalp, source)})
    assert (item["image"][~item["mask"]] == 0).all()
    everywhere = torch.ones((1, *MODEL.shape))
    back = ToSourceGrid(MODEL, ["error"])({**item, "error": everywhere})["error"]
    assert (back[~ellipsoid(source)] == 0).all()
    assert back[ellipsoid(source)] == pytest.approx(1)


def test_a_map_keeps_its_value_up_to_the_brain_s_border(source: Grid):
    item = ToModelGrid(MODEL)({"case": case_of(blob(source), source)})
    back = ToSourceGrid(MODEL, ["zscore"])({**item, "zscore": item["mask"].float()})["zscore"]
    assert back[ellipsoid(source)] == pytest.approx(1)
    assert (back[~ellipsoid(source)] == 0).all()


def test_a_volume_is_not_changed_and_maps_that_are_missing_stay_so():
    source = SOURCES["LAS"]
    case = case_of(blob(source), source)
    before = case.volume.data.copy()
    item = ToModelGrid(MODEL)({"case": case})
    item = ToSourceGrid(MODEL, ["error", "zscore", "recon"])({**item, "error": item["image"], "zscore": None})
    assert (case.volume.data == before).all()
    assert item["zscore"] is None
    assert "recon" not in item


def test_a_brain_at_the_edge_of_its_volume_is_taken_whole():
    source = head_grid("RAS", fov=(136, 172, 128), centre=(0, -15, 10))
    case = case_of(np.ones(source.shape), source)
    item = ToModelGrid(MODEL)({"case": case})
    assert item["image"][item["mask"]].numpy() == pytest.approx(1, abs=0.5)
    back = ToSourceGrid(MODEL, ["error"])({**item, "error": torch.ones((1, *MODEL.shape))})["error"]
    assert (back[case.brain.mask] > 0.99).all()

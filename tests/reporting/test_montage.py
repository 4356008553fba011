from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import ListedColormap
from PIL import Image

from mri3d.grid import Grid
from mri3d.reporting.feature_figures import MOST_MAPS, Decoded, Seen, draw_draws, draw_features, draw_traversal, stacked
from mri3d.reporting.montage import Montage, Tile, draw_montage
from mri3d.reporting.planes import AXIAL, CORONAL, SAGITTAL

GRID = Grid.centred((32, 48, 32), 4.0, (0.0, -17.0, 5.0))
MIDDLE = (0.0, -17.0, 5.0)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("plane", "corner", "side"),
    [
        (AXIAL, (slice(20, None), slice(None), slice(None)), "left"),  # the subject's right
        (AXIAL, (slice(None), slice(30, None), slice(None)), "top"),  # in front
        (CORONAL, (slice(20, None), slice(None), slice(None)), "left"),
        (CORONAL, (slice(None), slice(None), slice(20, None)), "top"),
        (SAGITTAL, (slice(None), slice(30, None), slice(None)), "left"),
        (SAGITTAL, (slice(None), slice(None), slice(20, None)), "top"),
    ],
)
@pytest.mark.parametrize("flipped", [False, True])
def test_planes_lie_as_radiologists_have_them(plane, corner, side, flipped, tmp_path: Path):
    values, grid = np.zeros(GRID.shape, np.float32), GRID
    values[corner] = 1.0
    if flipped:  # stored from right to left
        affine = GRID.affine @ np.diag([-1.0, 1, 1, 1])
        affine[:3, 3] = GRID.world((GRID.shape[0] - 1, 0, 0))
        values, grid = values[::-1], Grid(GRID.shape, affine)
    tile = Tile("", values, grid, (0.0, 1.0), ListedColormap(["#ff0000", "#00ff00"]))
    draw_montage(Montage("", "", [tile], 1, MIDDLE, (plane,), 3.0), tmp_path / "a.png")
    rows, columns = np.nonzero((pixels(tmp_path / "a.png") == (0, 255, 0)).all(axis=-1))
    other_rows, other_columns = np.nonzero((pixels(tmp_path / "a.png") == (255, 0, 0)).all(axis=-1))
    assert rows.size and other_rows.size
    assert (columns.mean() < other_columns.mean() - 20) == (side == "left")
    assert (rows.mean() < other_rows.mean() - 20) == (side == "top")


def test_every_row_has_room_and_the_picture_is_covered(tmp_path: Path):
    tiles = [Tile(f"tile {i}", np.random.default_rng(i).random(GRID.shape, np.float32), GRID) for i in range(7)]
    draw_montage(Montage("seven", "Each has a scale of its own. " * 12, tiles, 3, MIDDLE), tmp_path / "a.png")
    found = pixels(tmp_path / "a.png")
    assert (found[-1] == found[0, 0]).all() and (found[:, -1] == found[0, 0]).all()
    gaps = (found == found[0, 0]).all(axis=(1, 2))
    bands = np.count_nonzero(np.diff(gaps.astype(int)) == 1)
    assert bands >= 4  # title and words, three rows of tiles with their titles, the note


def test_a_level_lies_where_its_image_does():
    seen = Seen(np.ones(GRID.shape, np.float32), GRID)
    coarse = seen.coarse((8, 12, 8))
    assert coarse.spacing == (16.0, 16.0, 16.0)
    assert coarse.world((3.5, 5.5, 3.5)) == pytest.approx(MIDDLE)
    assert seen.coarse((16, 24, 32)).spacing == (8.0, 8.0, 4.0)  # slices
    assert seen.coarse((1, 2, 1)).spacing == (128.0, 128.0, 128.0)  # 48 voxels padded to 64 behind their end
    assert seen.middle_mm == pytest.approx(MIDDLE, abs=4.0)


def test_an_image_without_brain_has_a_middle():
    assert Seen(np.zeros(GRID.shape, np.float32), GRID).middle_mm == pytest.approx(MIDDLE)


def test_the_liveliest_maps_are_drawn_and_constant_ones_do_no_harm(tmp_path: Path):
    seen = Seen(np.ones(GRID.shape, np.float32), GRID)
    maps = np.random.default_rng(0).normal(size=(MOST_MAPS + 5, 8, 12, 8)).astype(np.float32)
    maps[3] = 7.0
    draw_features(seen, maps, "Level", "Module a. ", tmp_path / "many.png")
    draw_features(seen, maps[3:5], "Level", "", tmp_path / "few.png")
    assert pixels(tmp_path / "many.png").shape[0] > pixels(tmp_path / "few.png").shape[0]


def test_decoded_volumes_have_a_row_a_unit(tmp_path: Path):
    seen = Seen(np.ones(GRID.shape, np.float32), GRID)
    volume = np.random.default_rng(0).random(GRID.shape, np.float32)
    decoded = Decoded([("map 1", [volume] * 3), ("map 2", [volume] * 3)], (-3.0, 0.0, 3.0), volume, [volume] * 4, [])
    draw_traversal(seen, decoded, tmp_path / "traversal.png")
    draw_draws(seen, decoded, tmp_path / "draws.png")  # all draws alike: a spread of 0
    assert all(pixels(path).std() > 8 for path in tmp_path.glob("*.png"))


def test_slices_are_stacked_along_the_third_axis():
    maps = np.arange(5 * 2 * 3 * 4, dtype=np.float32).reshape(5, 2, 3, 4)
    assert stacked(maps).shape == (2, 3, 4, 5)
    assert (stacked(maps)[1, :, :, 3] == maps[3, 1]).all()
    assert stacked(maps[None, :2]).shape == (2, 2, 3, 4)

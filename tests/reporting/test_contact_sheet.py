"""The data set at a glance."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mri3d.grid import Grid
from mri3d.reporting.contact_sheet import ACROSS_MM, EDGE, PER_PAGE, Cell, sheet_name, thumbnail, write_sheets
from mri3d.reporting.panels import SKY
from tests.helpers import ellipsoid, head, head_grid, volume_of

BLUE = tuple(bytes.fromhex(SKY[1:]))


def _outlined(picture):
    return (picture == BLUE).all(axis=-1)


@pytest.mark.parametrize("axcodes", ["RAS", "PSR", "LIA"])
def test_a_head_looks_alike_however_it_is_stored(axcodes):
    usual, grid = head_grid("RAS"), head_grid(axcodes)
    first = thumbnail(volume_of(head(usual), usual), ellipsoid(usual))
    other = thumbnail(volume_of(head(grid), grid), ellipsoid(grid))
    assert first.shape == (EDGE, 3 * EDGE, 3) and first.dtype == np.uint8
    assert np.abs(first.astype(int) - other).mean() < 6  # the noise is another


def test_the_right_is_on_the_left_and_the_front_on_top():
    grid = head_grid("RAS", (3.0, 3.0, 3.0))
    spot = np.zeros(grid.shape, np.float32)
    centre = np.array(grid.shape) // 2
    spot[centre[0] + 10 :, centre[1] + 10 :, :] = 1  # right and in front
    axial = thumbnail(volume_of(spot, grid), None)[:, :EDGE, 0]
    rows, columns = np.nonzero(axial > 200)
    assert rows.max() < EDGE / 2 and columns.max() < EDGE / 2


def test_the_outline_follows_the_mask_at_one_scale_for_all():
    for spacing in (2.0, 5.0):
        grid = head_grid("RAS", (spacing,) * 3)
        axial = _outlined(thumbnail(volume_of(head(grid), grid), ellipsoid(grid))[:, :EDGE])
        rows, columns = np.nonzero(axial)
        assert np.ptp(columns) * ACROSS_MM / EDGE == pytest.approx(132, abs=6)
        assert np.ptp(rows) * ACROSS_MM / EDGE == pytest.approx(168, abs=6)


def test_without_a_brain_there_is_a_picture_and_no_outline():
    grid = head_grid("RAS")
    for data in (head(grid), np.where(ellipsoid(grid), 1, 0), head(grid) - 500):
        picture = thumbnail(volume_of(data, grid), None)
        assert picture.max() > 100 and not _outlined(picture).any()


def test_a_field_of_view_beyond_the_square_is_cut_off():
    grid = Grid((300, 40, 12), np.diag([2.0, 1.0, 30.0, 1.0]))
    assert thumbnail(volume_of(np.random.default_rng(0).random(grid.shape), grid), None).shape == (EDGE, 3 * EDGE, 3)


def test_pages_hold_forty_volumes_each(tmp_path):
    picture = np.full((EDGE, 3 * EDGE, 3), 200, np.uint8)
    cells = [Cell(f"sub-{i:03}", "", (), "RAS", picture) for i in range(2 * PER_PAGE + 1)]
    paths = write_sheets(tmp_path, "a $tudy", cells)
    assert [path.name for path in paths] == ["contact_sheet.png", "contact_sheet-2.png", "contact_sheet-3.png"]
    pictures = [(np.asarray(Image.open(path)) == 200).all(axis=-1).sum() / picture[..., 0].size for path in paths]
    assert pictures == pytest.approx([PER_PAGE, PER_PAGE, 1], abs=0.01)
    assert {path.name for path in tmp_path.iterdir()} == {sheet_name(number) for number in (1, 2, 3)}


def test_a_refused_file_and_a_strange_name_have_their_cells(tmp_path):
    long, strange = Cell("x" * 300, "error", ("file",), "", None), Cell("b\nad \udcff", "note", ("cut",), "RAS", None)
    (path,) = write_sheets(tmp_path, "t", [long, strange])
    assert Image.open(path).size[0] < 3000

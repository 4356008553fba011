"""A table and a picture a slice, for bundles that judge slices, and for no others."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mri3d.reporting.names import clear
from mri3d.reporting.slice_files import BAR, MAGNIFIED, SCALE, write_slices
from mri3d.scoring.detection import Detection, SliceScore

SLICES = (
    *(SliceScore(k, 4.0 * k - 70, 0.02, 3.0 + k / 10, 4.0, "normal") for k in range(10, 30)),
    SliceScore(30, 50.0, 0.04, 6.5, None, "uncalibrated"),
)


def sliced(detection: Detection) -> Detection:
    """With a spot in the subject's left front of slice 20."""
    zscore = np.zeros(detection.model.grid.shape, np.float32)
    zscore[6:10, 30:34, 20] = 9.0
    return replace(detection, slices=SLICES, model=replace(detection.model, zscore=zscore))


def test_each_slice_has_a_line_and_a_picture(make_detection: Callable[..., Detection], tmp_path: Path):
    write_slices(sliced(make_detection()), tmp_path, "a/sub-01")
    rows = list(csv.DictReader((tmp_path / "a" / "sub-01_slices.csv").open()))
    assert [int(row["index"]) for row in rows] == list(range(10, 31))
    assert (rows[0]["position_mm"], rows[0]["threshold"], rows[0]["decision"]) == ("-30", "4", "normal")
    assert (rows[-1]["threshold"], rows[-1]["decision"]) == ("", "uncalibrated")
    pictures = sorted(path.name for path in (tmp_path / "a" / "sub-01_slices").iterdir())
    assert pictures == [f"slice_{k:03}.png" for k in range(10, 31)]


def test_what_is_abnormal_glows_where_it_is_seen_from_the_feet(
    make_detection: Callable[..., Detection], tmp_path: Path
):
    write_slices(sliced(make_detection()), tmp_path, "sub-01")
    spot, none = (
        np.asarray(Image.open(tmp_path / "sub-01_slices" / f"slice_{k:03}.png")).astype(int)[BAR:] for k in (20, 12)
    )
    scale, spot, none = spot[:, -SCALE:], spot[:, :-SCALE], none[:, :-SCALE]
    assert spot.shape == (48 * MAGNIFIED, 40 * MAGNIFIED, 3)
    glowing = np.ptp(spot, axis=-1) > 60
    rows, columns = (np.mean(where) / MAGNIFIED for where in np.nonzero(glowing))
    # voxels 6 to 9 count from the left, which is on the right of the picture; 30 to 33 from behind
    assert abs(columns - (40 - 8)) < 1
    assert abs(rows - (48 - 32)) < 1
    assert not (np.ptp(none, axis=-1) > 60).any()
    # the colour of the strongest stands at the top of the scale, and fades downward
    strip = scale[np.ptp(scale, axis=-1).max(axis=1) > 20][:, 12]
    assert np.abs(strip[0] - spot[round(rows * MAGNIFIED), round(columns * MAGNIFIED)]).max() <= 40
    assert np.abs(strip[-1] - 112).max() < 25, "hardly more than the grey of tissue"


def test_without_slices_nothing_is_written_and_earlier_ones_go(
    make_detection: Callable[..., Detection], tmp_path: Path
):
    write_slices(sliced(make_detection()), tmp_path, "sub-01")
    clear(tmp_path, "sub-01")
    write_slices(make_detection(), tmp_path, "sub-01")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

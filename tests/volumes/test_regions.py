"""Label maps with names: what is read is what was written, and what does not fit together is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mri3d.errors import UsageError
from mri3d.grid import Grid
from mri3d.resources import atlas_path
from mri3d.volumes.regions import Atlas, table_of
from tests.helpers import head_grid, write_nifti

GRID = Grid.centred((12, 14, 10), 6.0, (0.0, -17.0, 5.0))


def atlas() -> Atlas:
    labels = np.zeros(GRID.shape, np.int32)
    labels[2:5, 4:9, 3:7], labels[7:10, 4:9, 3:7] = 7, 3
    return Atlas(labels, GRID, {7: "Left Half", 3: "Right Half"})


def test_an_atlas_is_read_as_it_was_written(tmp_path: Path) -> None:
    atlas().save(tmp_path / "own_dseg.nii.gz")
    assert (tmp_path / "own_dseg.tsv").read_text() == "index\tname\n3\tRight Half\n7\tLeft Half\n"
    found = Atlas.load(tmp_path / "own_dseg.nii.gz")
    np.testing.assert_array_equal(found.labels, atlas().labels)
    assert found.grid.matches(GRID)
    assert found.names == atlas().names


def test_labels_lie_where_they_lay_on_any_other_grid() -> None:
    for axcodes in ("RAS", "LPS", "PSR"):
        grid = head_grid(axcodes, (6.0, 6.0, 6.0))
        on = atlas().on(grid)
        assert set(np.unique(on)) == {0, 3, 7}
        x = {number: grid.world(np.argwhere(on == number)).mean(axis=0)[0] for number in (3, 7)}
        assert x[7] < -10 < 10 < x[3], axcodes
        assert abs((on == 7).sum() - (atlas().labels == 7).sum()) <= 25


def test_labels_without_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own_dseg.nii.gz"
    atlas().save(path)
    table_of(path).write_text("index\tname\n3\tRight Half\n")
    with pytest.raises(UsageError, match=r"own_dseg.tsv: expected a name for every label .* found none for 7"):
        Atlas.load(path)


def test_two_regions_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own_dseg.nii.gz"
    replace(atlas(), names={3: "Caudate", 7: "Caudate"}).save(path)
    with pytest.raises(UsageError, match=r"own_dseg.tsv: expected a name of its own .* found Caudate more than once"):
        Atlas.load(path)
    replace(atlas(), names={3: "A", 7: "B"}).save(path)
    with table_of(path).open("a") as file:
        file.write("8\tC\n9\tC\n")
    assert set(Atlas.load(path).names) == {3, 7}, "names of numbers that label nothing do not count"


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (None, "No such file"),
        ("number\tlabel\n3\tA\n", "KeyError"),
        ("index\tname\n3\tA\n3\tB\n7\tC\n", "a number twice"),
        ("index\tname\n3\t \n7\tC\n", "without a name"),
        ("index\tname\nthree\tA\n", "ValueError"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, table: str | None, found: str) -> None:
    path = tmp_path / "own_dseg.nii.gz"
    atlas().save(path)
    table_of(path).unlink()
    if table is not None:
        table_of(path).write_text(table)
    with pytest.raises(UsageError, match=found):
        Atlas.load(path)


def test_chances_are_no_labels(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "own_dseg.nii.gz", GRID, np.linspace(0, 1, 12 * 14 * 10).reshape(GRID.shape))
    with pytest.raises(UsageError, match="a label map of whole numbers"):
        Atlas.load(path)


def test_a_table_may_name_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "own_dseg.nii.gz"
    atlas().save(path)
    with table_of(path).open("a") as file:
        file.write("99\tNowhere\n")
    assert Atlas.load(path).names == atlas().names


MNI = {
    "Caudate": (13, 11, 10),
    "Putamen": (26, 2, 1),
    "Pallidum": (20, -4, 0),
    "Thalamus": (11, -19, 7),
    "Hippocampus": (26, -23, -13),
    "Amygdala": (23, -5, -19),
    "Occipital Grey Matter": (23, -81, 9),
    "Cerebellum Grey Matter": (26, -65, -35),
}
"""Middles on the right, mm."""


@pytest.mark.parametrize("name", MNI)
@pytest.mark.parametrize(("side", "sign"), [("Left", -1), ("Right", 1)])
def test_the_shipped_atlas_has_structures_in_their_places(name: str, side: str, sign: int) -> None:
    found = Atlas.load(atlas_path())
    (number,) = [number for number, own in found.names.items() if own == f"{side} {name}"]
    middle = found.grid.world(np.argwhere(found.labels == number)).mean(axis=0)
    assert np.linalg.norm(middle - np.multiply(MNI[name], (sign, 1, 1))) < 5


def test_the_shipped_atlas_is_small_and_whole() -> None:
    found = Atlas.load(atlas_path())
    assert atlas_path().stat().st_size < 300_000
    assert sorted(found.names) == list(range(1, 53))
    assert nib.aff2axcodes(found.grid.affine) == ("R", "A", "S")
    for name in found.names.values():
        side = {"Left": "Right", "Right": "Left"}.get(name.split()[0])
        assert side is None or f"{side} {name.split(' ', 1)[1]}" in found.names.values()

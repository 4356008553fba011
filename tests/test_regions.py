"""Left is left: a dark lesion in the left caudate is reported as such, however the volume is stored."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from mri3d.cli import main
from mri3d.commands.demo import sample
from mri3d.resources import atlas_path
from mri3d.volumes.regions import Atlas
from tests.brains import CENTRE, FOV, SMALLER_HEAD, anatomy, write_brain
from tests.helpers import head_grid

STORAGES = ("LAS", "PSR")  # left and right turned about, and the axes in another order
SPACING = (2.0, 2.0, 2.0)


def _brain() -> np.ndarray:
    """A brain on the RAS grid whose left caudate is as dark as fluid."""
    rng = np.random.default_rng(0)
    drawn = anatomy().draw(rng, spread=0.7)
    atlas = Atlas.load(atlas_path())
    (number,) = [number for number, name in atlas.names.items() if name == "Left Caudate"]
    drawn = np.where(atlas.on(anatomy().grid) == number, 0.35 * drawn, drawn)
    return sample(drawn, anatomy().grid, head_grid("RAS", SPACING, 0.0, FOV, CENTRE), SMALLER_HEAD, rng)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regions")
    ras = head_grid("RAS", SPACING, 0.0, FOV, CENTRE)
    image = nib.Nifti1Image(_brain(), ras.affine)
    own = nib.orientations.io_orientation(ras.affine)
    for axcodes in STORAGES:
        change = nib.orientations.ornt_transform(own, nib.orientations.axcodes2ornt(tuple(axcodes)))
        turned = image.as_reoriented(change)
        grid = type(ras)(turned.shape, turned.affine)
        write_brain(folder / "in" / f"sub-{axcodes}_T1w.nii.gz", grid, np.asarray(turned.dataobj))
    (folder / "in" / "sub-broken_T1w.nii.gz").write_bytes(b"no volume")
    result = CliRunner().invoke(main, ["detect", str(folder / "in"), "-o", str(folder / "out"), "--device", "cpu"])
    assert result.exit_code == 1, result.output
    return folder


def _regions(study: Path, axcodes: str) -> list[dict[str, str]]:
    with open(study / "out" / f"sub-{axcodes}_T1w_regions.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("axcodes", STORAGES)
def test_a_dark_lesion_in_the_left_caudate_is_reported_there(study: Path, axcodes: str) -> None:
    regions = _regions(study, axcodes)
    atlas = Atlas.load(atlas_path())
    ml = {name: (atlas.labels == number).sum() * atlas.grid.voxel_ml for number, name in atlas.names.items()}
    marked = {row["name"]: float(row["fraction"]) * ml[row["name"]] for row in regions}
    assert max(marked, key=lambda name: marked[name]) == "Left Caudate"
    assert marked["Left Caudate"] > 0.5 > 0.01 > marked["Right Caudate"]
    mean_z = {row["name"]: float(row["mean_z"]) for row in regions}
    assert mean_z["Left Caudate"] > 2 * mean_z["Right Caudate"]


def test_storage_does_not_change_the_regions(study: Path) -> None:
    first, *others = (_regions(study, axcodes) for axcodes in STORAGES)
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert a["name"] == b["name"]
            for column in ("volume_ml", "mean_z", "z"):
                assert float(a[column]) == pytest.approx(float(b[column]), rel=1e-3, abs=1e-3)


def test_a_subject_that_failed_has_no_regions(study: Path) -> None:
    assert not (study / "out" / "sub-broken_T1w_regions.csv").exists()
    with open(study / "out" / "regions.csv", newline="") as file:
        assert {row["subject"] for row in csv.DictReader(file)} == {f"sub-{axcodes}_T1w" for axcodes in STORAGES}
    assert "regions.csv" in (study / "out" / "report.html").read_text(encoding="utf-8")

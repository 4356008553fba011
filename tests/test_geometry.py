"""One brain, stored in every way: the maps lie on the source's grid, and storage does not change what is found."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner

from mri3d.cli import main
from mri3d.reporting.table import read_results
from tests.brains import CENTRE, FOV, brain_on
from tests.helpers import head_grid, rotation_about, write_nifti

MAPS = ("error", "zscore", "anomaly", "recon")
SPACING = (2.0, 2.0, 2.0)
EXTRACTED = ("ras", "psr_slope")
"""One brain in two orders; it is extracted from each."""

GIVEN = ("codes", "las_plain", "sform_only_big_endian", "qform_only_four_d")
"""The same in another order and under three headers; its mask, stored so too, saves the extraction."""

SAME_VOXELS = (*EXTRACTED, *GIVEN)
OTHER_VOXELS = ("oblique", "anisotropic", "other_qform")


def _grid(axcodes="RAS", spacing=SPACING, degrees=0.0):
    return head_grid(axcodes, spacing, degrees, FOV, CENTRE)


def _write_all(folder: Path) -> None:
    """Each variant in a folder of its own, so that one study holds them all."""
    ras = _grid()
    brain = brain_on(ras, lesion=True)
    image = nib.Nifti1Image(brain, ras.affine)

    def stored(name, data=brain, grid=ras, ending=".nii.gz", mask=False, **storage):
        path = folder / name / f"sub-{name}_T1w{ending}"
        path.parent.mkdir(parents=True)
        write_nifti(path, grid, data.astype(np.float32), **{"dtype": np.int16, **storage})
        if mask:
            write_nifti(path.with_name(f"sub-{name}_T1w_brainmask.nii.gz"), grid, data > 0, dtype=np.uint8, **storage)

    def turned(axcodes):
        change = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(ras.affine), nib.orientations.axcodes2ornt(axcodes)
        )
        other = image.as_reoriented(change)
        return {"data": np.asarray(other.dataobj), "grid": type(ras)(other.shape, other.affine)}

    stored("ras")
    stored("las_plain", ending=".nii", mask=True, **turned("LAS"))
    stored("psr_slope", slope=(0.5, -100.0), **turned("PSR"))
    stored("sform_only_big_endian", mask=True, codes=(2, 0), big_endian=True)
    stored("qform_only_four_d", mask=True, codes=(0, 1), trailing=1)
    stored("codes", mask=True, codes=(4, 1))
    stored("oblique", grid=(oblique := _grid("LPS", degrees=15.0)), data=brain_on(oblique, lesion=True), mask=True)
    thick = _grid("LAS", (0.9, 0.9, 5.0))
    stored("anisotropic", grid=thick, data=brain_on(thick, lesion=True), mask=True)
    moved = ras.affine.copy()
    moved[:3, :3] = rotation_about((0, 0, 1), 5.0) @ moved[:3, :3]
    stored("other_qform", mask=True, codes=(1, 2), qform=moved)


@pytest.fixture(scope="module")
def study(tmp_path_factory, without_regions):
    folder = tmp_path_factory.mktemp("geometry")
    _write_all(folder / "in")
    words = ["detect", str(folder / "in"), "-o", str(folder / "out"), "--bundle", str(without_regions)]
    result = CliRunner().invoke(main, [*words, "--device", "cpu", "--recon"])
    assert result.exit_code == 0, result.output
    return folder


def _source(study: Path, name: str) -> Path:
    return next((study / "in" / name).glob("*_T1w.nii*"))


def _map(study: Path, name: str, ending: str) -> Path:
    return study / "out" / name / f"sub-{name}_T1w_{ending}.nii.gz"


@pytest.mark.parametrize("name", SAME_VOXELS + OTHER_VOXELS)
@pytest.mark.parametrize("ending", MAPS)
def test_map_lies_on_the_sources_grid(study, name, ending):
    source, found = nib.load(_source(study, name)), nib.load(_map(study, name, ending))
    assert found.shape == source.shape
    np.testing.assert_array_equal(found.affine, source.affine)
    for form in ("get_sform", "get_qform"):
        (expected, expected_code), (actual, code) = (getattr(i, form)(coded=True) for i in (source, found))
        assert code == expected_code
        if expected is None:
            assert actual is None
        else:
            np.testing.assert_array_equal(actual, expected)
    assert found.header.get_xyzt_units() == source.header.get_xyzt_units()
    assert found.get_data_dtype().newbyteorder("=") == (np.uint8 if ending == "anomaly" else np.float32)

    source, found = (sitk.ReadImage(str(path)) for path in (_source(study, name), _map(study, name, ending)))
    assert found.GetSize() == source.GetSize()
    for grid_part in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(found, grid_part)(), getattr(source, grid_part)(), atol=1e-6)


def _in_ras(path: Path) -> np.ndarray:
    return np.squeeze(nib.as_closest_canonical(nib.load(path)).get_fdata())


@pytest.mark.parametrize("names", [(same[0], other) for same in (EXTRACTED, GIVEN) for other in same[1:]])
def test_storage_does_not_change_the_zmap(study, names):
    expected, found = (_in_ras(_map(study, name, "zscore")) for name in names)
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("name", SAME_VOXELS + OTHER_VOXELS)
def test_lesion_is_found_where_it_is(study, name):
    """The right frontal lesion: the largest component's voxels lie right of the midline and before the middle."""
    image = nib.load(_map(study, name, "anomaly"))
    voxels = np.argwhere(np.asarray(image.dataobj).reshape(image.shape[:3]) > 0)
    centre = np.median(nib.affines.apply_affine(image.affine, voxels), axis=0)
    np.testing.assert_allclose(centre, np.array([28, 18, 22]) / 1.1, atol=6)


def test_maps_are_zero_outside_the_brain(study):
    source, error = (np.asarray(nib.load(p).dataobj) for p in (_source(study, "ras"), _map(study, "ras", "error")))
    assert (error[source == 0] == 0).all() and (error[source > 0] > 0).mean() > 0.9


def test_qform_elsewhere_is_a_warning(study):
    rows = {row["subject"]: row for row in read_results(study / "out" / "results.csv")}
    assert "qform" in str(rows["sub-other_qform_T1w"]["warnings"])
    assert rows["sub-ras_T1w"]["warnings"] is None

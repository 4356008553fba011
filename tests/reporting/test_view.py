"""The viewer's volumes lie where the scan lies, and say what the maps say."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from mri3d.grid import Grid
from mri3d.reporting.names import VIEW
from mri3d.reporting.view import write_view
from mri3d.scoring.detection import Detection
from mri3d.volumes.coregistration import Coregistration
from mri3d.volumes.volume import Volume


def volumes_of(detection: Detection, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, nib.Nifti1Image]:
    """Role, or label of a further scan, to the volume."""
    monkeypatch.setattr("mri3d.reporting.view.has_niivue", lambda: True)
    write_view(detection, folder, "a")
    script = (folder / f"a{VIEW}").read_text(encoding="utf-8")
    view = json.loads(script.removeprefix("var mri3dView = ").removesuffix(";\n"))
    assert view["threshold"] == detection.voxel_threshold
    assert [found["peak_mm"] for found in view["components"]] == [list(c.peak_mm) for c in detection.components]
    files = [(each, gzip.decompress(base64.b64decode(each["base64"]))) for each in view["volumes"]]
    assert files[0][0]["role"] == "scan"
    return {
        each["label"] if each["role"] == "scan" else each["role"]: nib.Nifti1Image.from_bytes(content)
        for each, content in files
    }


def at(image: nib.Nifti1Image, mm: tuple[float, float, float]) -> float:
    """The value of the voxel nearest to a place."""
    index = np.rint(apply_affine(np.linalg.inv(image.affine), mm)).astype(int)
    return float(image.get_fdata()[tuple(index)])


@pytest.mark.parametrize("axcodes", ["RAS", "PSR", "LIA"])
@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (2.5, 4.0, 6.0)])
def test_every_voxel_is_where_it_was(
    make_detection: Callable[..., Detection],
    head_grid: Callable[..., Grid],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    axcodes: str,
    spacing: tuple[float, float, float],
) -> None:
    detection = make_detection(head_grid(axcodes, spacing, 14.0))
    grid, found = detection.volume.grid, volumes_of(detection, tmp_path, monkeypatch)
    assert detection.zscore is not None and detection.anomaly is not None
    wanted = {
        "T1w": (detection.volume.data, 4.0),  # 256 steps of about 950
        "zscore": (detection.zscore, 0.026),
        "anomaly": (detection.anomaly, 0.0),
        "brain": (detection.brain, 0.0),
    }
    for role, (data, tolerance) in wanted.items():
        image = found[role]
        index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
        there = apply_affine(np.linalg.inv(grid.affine), apply_affine(image.affine, index))
        assert np.abs(there - np.rint(there)).max() < 1e-3, "voxels of the source"
        source = np.asarray(data, dtype=float)[tuple(np.rint(there).astype(int).reshape(-1, 3).T)].reshape(image.shape)
        shown = image.get_fdata()
        assert np.abs(shown - source).max() <= tolerance
        assert np.count_nonzero(found["brain"].get_fdata()) == np.count_nonzero(detection.brain), "all of the brain"


def test_fine_voxels_are_passed_over(
    make_detection: Callable[..., Detection],
    head_grid: Callable[..., Grid],
    lesion_mm: tuple[float, float, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detection = make_detection(head_grid("RAS", (0.4, 3.0, 3.0)))
    found = volumes_of(detection, tmp_path, monkeypatch)
    assert np.allclose(found["zscore"].header.get_zooms(), (0.8, 3.0, 3.0))
    assert at(found["zscore"], lesion_mm) == pytest.approx(9.0, abs=0.03)
    assert at(found["zscore"], (lesion_mm[0] + 12, *lesion_mm[1:])) < 1


def test_what_lies_elsewhere_is_brought_to_the_scan(
    make_detection: Callable[..., Detection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FLAIR of a head that has moved, and the reconstruction, which lies in the template's space."""
    detection = make_detection()
    moved = np.eye(4)
    moved[:3, 3] = (11.0, -7.0, 5.0)  # from the reference's world to the FLAIR's
    grid = Grid(detection.volume.grid.shape, moved @ detection.volume.grid.affine)
    flair = Volume(detection.volume.data, grid, detection.volume.header, Path("flair.nii.gz"))
    far = np.eye(4)
    far[:3, 3] = (4.0, 8.0, -12.0)
    detection = replace(
        detection,
        others={"FLAIR": flair},
        coregistrations={"FLAIR": Coregistration(moved, 0.2, 5.0, 1.0, 1.0, 0.1)},
        model=replace(detection.model, to_source=far),
    )
    found = volumes_of(detection, tmp_path, monkeypatch)
    inside = found["brain"].get_fdata() > 0
    assert np.allclose(found["FLAIR"].affine, found["T1w"].affine)
    assert np.array_equal(found["FLAIR"].get_fdata()[inside], found["T1w"].get_fdata()[inside])
    assert np.allclose(found["recon"].affine, far @ detection.model.grid.affine)


def test_without_statistics_there_is_the_scan_alone(
    make_detection: Callable[..., Detection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detection = make_detection(zscore=None, anomaly=None, voxel_threshold=None, components=())
    assert set(volumes_of(detection, tmp_path, monkeypatch)) == {"T1w", "recon", "brain"}

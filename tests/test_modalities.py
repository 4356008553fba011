"""Heads with two modalities, each on a grid of its own: trained, scored together, written on the first one's grid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mri3d.detector import Detector
from mri3d.grid import Grid
from mri3d.reporting.table import read_results
from mri3d.volumes.subject import Subject
from tests.brains import CENTRE, FOV, brain_on, write_brain
from tests.command_line import mri3d
from tests.helpers import head_grid, rotation_about, write_nifti

T1 = head_grid("LPS", (4.0, 4.0, 4.0), 12.0, FOV, CENTRE)
T2 = head_grid("RAS", (3.0, 3.0, 6.0), 0.0, FOV, CENTRE)
SMALL = {
    "bias_correction": False,
    "grid.spacing": 5.0,
    "grid.shape": [32, 48, 32],
    "bundle_atlas": None,
    "training.shares": {"train": 0.4, "validation": 0.1, "calibration": 0.5, "test": 0.0},
}
LESION = np.array((-30.0, 0.0, 30.0))
"""World coordinates of a lesion that the T2w image alone shows, in the reference's world."""


def _moved() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_about((0, 1, 1), 4.0)
    matrix[:3, 3] = (3.0, -4.0, 2.0)
    return matrix


def _write(folder: Path, name: str, seed: int, lesion: bool = False) -> None:
    """A stripped T1w with its mask, and a T2w in thick slices after the head has moved."""
    write_brain(folder / f"{name}_T1w.nii.gz", T1, brain_on(T1, seed))
    brain = brain_on(T2, seed).astype(np.float32)
    image = np.where(brain > 0, 1400 - brain.clip(0, 1300), 0)
    if lesion:
        voxels = T2.world(np.stack(np.meshgrid(*map(np.arange, T2.shape), indexing="ij"), axis=-1))
        image[np.linalg.norm(voxels - LESION, axis=-1) < 12] *= 1.9
    write_nifti(folder / f"{name}_T2w.nii.gz", Grid(T2.shape, _moved() @ T2.affine), image, dtype=np.int16)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("modalities")
    for seed in range(12):
        _write(root / "healthy", f"sub-{seed:02}", seed)
    words = ("--recipe", "atlas", "--modalities", "T1w,T2w", *_set(root, SMALL))
    mri3d("train", root / "healthy", "-o", root / "b", *words)
    return root / "b"


def _set(root: Path, settings: Mapping[str, Any]) -> list[str]:
    whole = {**settings, "cache_dir": str(root / "cache")}
    return [word for key, value in whole.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def test_a_bundle_has_statistics_and_channels_of_both(bundle: Path):
    assert nib.load(bundle / "models" / "residual_std.nii.gz").shape == (32, 48, 32, 2)
    data = json.loads((bundle / "configs" / "metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    assert data["num_channels"] == 2 and data["channel_def"] == {"0": "T1w", "1": "T2w"}
    assert "6 healthy subjects" in mri3d("bundle", "verify", bundle).output


def test_what_the_second_alone_shows_is_found_at_its_place_on_the_first_one_s_grid(bundle: Path, tmp_path: Path):
    _write(tmp_path / "in", "sub-50", 50, lesion=True)
    _write(tmp_path / "in", "sub-51", 51)
    write_brain(tmp_path / "in" / "sub-52_T1w.nii.gz", T1, brain_on(T1, 52))
    words = ("--bundle", bundle, "--per-modality", "--native")
    told = mri3d("detect", tmp_path / "in", "-o", tmp_path / "out", *words, exit_code=1)
    rows = {str(row["subject"]): row for row in read_results(tmp_path / "out" / "results.csv")}
    assert rows.keys() == {"sub-50", "sub-51", "sub-52"}
    assert "sub-52_T1w.nii.gz: expected T1w and T2w, found no T2w" in told.output
    assert float(rows["sub-50"]["score"]) > 1.5 * float(rows["sub-51"]["score"])

    source = nib.load(tmp_path / "in" / "sub-50_T1w.nii.gz")
    found = nib.load(tmp_path / "out" / "sub-50_zscore.nii.gz")
    assert found.shape == source.shape and (found.affine == source.affine).all()
    z = found.get_fdata()
    peak = nib.affines.apply_affine(found.affine, np.argwhere(z > 0.8 * z.max())).mean(axis=0)
    # the lesion was drawn where the head was before it moved, which is the reference's world
    np.testing.assert_allclose(peak, LESION, atol=6)

    native = nib.load(tmp_path / "in" / "sub-50_T2w.nii.gz")
    own = nib.load(tmp_path / "out" / "sub-50_T2w_native_zscore.nii.gz")
    assert own.shape == native.shape and (own.affine == native.affine).all()
    z2, z1 = own.get_fdata(), nib.load(tmp_path / "out" / "sub-50_T1w_zscore.nii.gz").get_fdata()
    peak = nib.affines.apply_affine(own.affine, np.argwhere(z2 > 0.8 * z2.max())).mean(axis=0)
    np.testing.assert_allclose(peak, nib.affines.apply_affine(_moved(), LESION), atol=6)
    assert z1[z > 0.8 * z.max()].max() < 0.6 * z2.max()  # which does not show the lesion
    assert (z2[native.get_fdata() == 0] == 0).mean() > 0.98  # outside the brain

    sidecar = json.loads((tmp_path / "out" / "sub-50.json").read_text())
    kinds = [f"{name}_{kind}" for name in ("T1w", "T2w", "T2w_native") for kind in ("error", "zscore")]
    assert sidecar["maps"] == sorted(["anomaly", "error", "zscore", *kinds])
    assert {path.name for path in (tmp_path / "out").glob("sub-50_*.nii.gz")} == {
        f"sub-50_{kind}.nii.gz" for kind in sidecar["maps"]
    }
    assert (tmp_path / "out" / "sub-50_modalities.png").stat().st_size > 10_000
    report = (tmp_path / "out" / "sub-50.html").read_text()
    for name in ("sub-50_modalities.png", "sub-50_T2w_native_zscore.nii.gz", "sub-50_T1w_error.nii.gz"):
        assert f'href="./{name}"' in report
    assert sidecar["modalities"] == ["T1w", "T2w"] and sidecar["inputs"].keys() == {"T1w", "T2w"}
    fit = sidecar["coregistration"]["T2w"]
    assert fit["sharpness"] > 2 and fit["covered"] > 0.97 and 3 < fit["moved_mm"] < 12

    mri3d("detect", tmp_path / "in", "-o", tmp_path / "out", "--bundle", bundle, "--overwrite", exit_code=1)
    left = {path.name for path in (tmp_path / "out").glob("sub-50_*.nii.gz")}
    assert left == {f"sub-50_{kind}.nii.gz" for kind in ("anomaly", "error", "zscore")}


def test_networks_that_learn_take_both(bundle: Path, tmp_path: Path):
    settings = {**SMALL, "network_def.channels": [4, 4, 4, 4], "training.epochs": 1}
    words = ("train", bundle.parent / "healthy", "--modalities", "T1w,T2w", *_set(bundle.parent, settings))
    for recipe in ("restore", "cae"):
        mri3d(*words, "-o", tmp_path / recipe, "--recipe", recipe)
        assert "6 healthy subjects" in mri3d("bundle", "verify", tmp_path / recipe).output


def _subject(folder: Path) -> Subject:
    """As a caller of the Python face may make it: in another order, and with an image that the bundle does not know."""
    names = {"FLAIR": "missing", "T2w": "T2w", "T1w": "T1w"}
    images = {modality: folder / f"sub-50_{name}.nii.gz" for modality, name in names.items()}
    return Subject("sub-50", "sub-50", PurePosixPath(), images, folder / "sub-50_T1w_brainmask.nii.gz")


def test_a_bundle_of_both_says_what_it_cannot_be_used_for(bundle: Path, tmp_path: Path):
    _write(tmp_path / "in", "sub-50", 50)
    told = mri3d("inspect", tmp_path / "in", "-o", tmp_path / "out", "--bundle", bundle, exit_code=2).output
    assert "expected a bundle of one modality, found T1w,T2w" in told
    detection = Detector.load(bundle, "cpu").detect(_subject(tmp_path / "in"))
    assert list(detection.subject.images) == ["T1w", "T2w"] and detection.modality_maps == ()
    told = mri3d("detect", tmp_path / "in", "-o", tmp_path / "out", "--per-modality", exit_code=2).output
    assert "expected a bundle of several modalities, found one of T1w" in told


def test_a_bundle_that_was_trained_for_it_goes_on_without_a_modality(bundle: Path, tmp_path: Path):
    words = ("--recipe", "restore", "--modalities", "T1w,T2w", "--set", "missing_modalities=true")
    settings = {**SMALL, "network_def.channels": [4, 4, 4, 4], "training.epochs": 1}
    mri3d("train", bundle.parent / "healthy", "-o", tmp_path / "b", *words, *_set(bundle.parent, settings))
    _write(tmp_path / "in", "sub-50", 50)
    write_brain(tmp_path / "in" / "sub-52_T1w.nii.gz", T1, brain_on(T1, 52))
    mri3d("detect", tmp_path / "in", "-o", tmp_path / "out", "--bundle", tmp_path / "b", "--per-modality")
    complete, partial = (json.loads((tmp_path / "out" / f"sub-{k}.json").read_text()) for k in (50, 52))
    assert complete["modalities"] == ["T1w", "T2w"] and partial["modalities"] == ["T1w"]
    assert "There is no T2w: the score is that of T1w." in partial["warnings"] and not complete["warnings"]
    assert partial["maps"] == ["T1w_error", "T1w_zscore", "anomaly", "error", "zscore"]
    kept = json.loads((tmp_path / "b" / "models" / "calibration.json").read_text())
    assert partial["voxel_threshold"] == kept["partial"]["T1w"]["voxel_threshold"] != kept["voxel_threshold"]
    assert complete["voxel_threshold"] == kept["voxel_threshold"]
    mri3d("calibrate", bundle.parent / "healthy", "-o", tmp_path / "c", "--bundle", tmp_path / "b")
    again = json.loads((tmp_path / "c" / "models" / "calibration.json").read_text())
    assert len(again["scores"]) == len(again["partial"]["T1w"]["scores"]) == 12 > len(kept["scores"])
    words = ("detect", tmp_path / "in" / "sub-50_T1w.nii.gz", "--bundle", tmp_path / "b", "--modalities")
    mri3d(*words, "T1w", "-o", tmp_path / "alone")
    (found,) = read_results(tmp_path / "alone" / "results.csv")
    assert found["subject"] == "sub-50_T1w" and found["status"] == "ok"
    told = mri3d(*words, "T2w,T1w", "-o", tmp_path / "turned", exit_code=2).output
    assert "expected T1w,T2w or T1w, which the bundle is trained and calibrated for, found T2w,T1w" in told

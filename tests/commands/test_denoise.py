"""`mri3d denoise`: less noise, the same lesion, the same grid."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage

from mri3d.bundle import DENOISING_BUNDLE, find_bundle
from mri3d.cli import main
from mri3d.commands import denoise as module
from mri3d.commands.denoise import Denoiser, denoise
from mri3d.errors import BundleError
from mri3d.recipe import build
from mri3d.volumes.volume import Volume
from tests.brains import brain_on
from tests.helpers import head_grid, volume_of, write_nifti

GRID = head_grid("PSR", (1.9, 2.3, 2.9), 17.0)
SIGMA = 40.0


def noisy(data: np.ndarray, sigma: float = SIGMA, seed: int = 0) -> np.ndarray:
    """The magnitude image of a scan."""
    rng = np.random.default_rng(seed)
    return np.hypot(data + rng.normal(0, sigma, data.shape), rng.normal(0, sigma, data.shape)).astype(np.float32)


@cache
def smooth_brain(lesion: bool = False) -> np.ndarray:
    """A brain without the noise that drawn ones have; do not write to it."""
    data = brain_on(GRID, 3, lesion).astype(np.float32)
    return ndimage.gaussian_filter(data, 0.8) * (data > 0)


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return Denoiser(find_bundle(DENOISING_BUNDLE), "cpu")


def volume(data: np.ndarray) -> Volume:
    return volume_of(data, GRID)


def run(*words: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, ["denoise", *map(str, words), "--device", "cpu"])
    assert result.exit_code == exit_code, result.output
    return result.output


def test_the_result_lies_on_the_very_grid_of_the_scan(tmp_path: Path):
    assert any(n % 2 for n in GRID.shape)
    source = write_nifti(tmp_path / "in" / "a" / "sub-01_T1w.nii.gz", GRID, noisy(smooth_brain()), codes=(1, 2))
    run(tmp_path / "in", "-o", tmp_path / "out")
    before, after = nib.load(source), nib.load(tmp_path / "out" / "a" / "sub-01_T1w_denoised.nii.gz")
    assert after.shape == before.shape
    assert (after.affine == before.affine).all()
    for field in ("sform_code", "qform_code", "xyzt_units", "pixdim", "srow_x", "quatern_b"):
        assert np.array_equal(after.header[field], before.header[field]), field
    assert after.get_data_dtype() == np.float32
    # not flipped, not shifted
    data, scan = after.get_fdata(), before.get_fdata()
    same = np.corrcoef(data.ravel(), scan.ravel())[0, 1]
    assert same > 0.95
    assert all(np.corrcoef(np.roll(data, 1, axis).ravel(), scan.ravel())[0, 1] < same - 0.002 for axis in range(3))
    made = json.loads((tmp_path / "out" / "a" / "sub-01_T1w_denoised.json").read_text())
    assert made["sigma"] == pytest.approx(SIGMA, rel=0.15)
    assert made["scale"] > 0
    assert made["seconds"] > 0
    assert made["bundle"]["name"] == DENOISING_BUNDLE


@pytest.mark.parametrize("sigma", [20.0, 40.0, 80.0])
def test_the_noise_of_a_head_is_estimated(denoiser: Denoiser, sigma: float):
    assert denoiser(volume(noisy(smooth_brain(), sigma))).sigma == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("given", [SIGMA, None])
def test_noise_goes_to_less_than_six_tenths(denoiser: Denoiser, given: float | None):
    clean = smooth_brain()
    scan = volume(noisy(clean))
    inside = clean > 0
    before, after = (float((data - clean)[inside].std()) for data in (scan.data, denoiser(scan, given).data))
    assert after < 0.6 * before


def test_a_lesion_keeps_its_contrast(denoiser: Denoiser):
    with_lesion, without = smooth_brain(lesion=True), smooth_brain()
    lesion = np.abs(with_lesion - without) > 0.5 * np.abs(with_lesion - without).max()
    assert lesion.sum() > 20
    found, healthy = (denoiser(volume(noisy(data))).data for data in (with_lesion, without))
    kept = (found - healthy)[lesion].mean() / (with_lesion - without)[lesion].mean()
    assert 0.9 < kept < 1.1


def test_without_noise_a_scan_stays_nearly_as_it_is(denoiser: Denoiser):
    clean = smooth_brain()
    assert np.allclose(denoiser(volume(clean), 0.0).data, clean, rtol=1e-5)
    change = (denoiser(volume(clean)).data - clean)[clean > 0]
    assert change.std() < 0.02 * np.percentile(clean[clean > 0], 98)


def test_windows_leave_no_seams(denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch):
    scan = volume(noisy(smooth_brain()))
    whole = denoiser(scan, SIGMA).data
    assert max(GRID.shape) > 64
    monkeypatch.setattr(module, "WINDOW", 64)
    tiled = denoiser(scan, SIGMA).data
    assert np.abs(tiled - whole).max() < 0.001 * SIGMA


def test_the_unit_of_a_scan_does_not_matter(denoiser: Denoiser):
    data = noisy(smooth_brain())
    for given in (None, SIGMA):
        one, other = denoiser(volume(data), given), denoiser(volume(1000 * data), given and 1000 * given)
        assert other.sigma == pytest.approx(1000 * one.sigma, rel=1e-5)
        assert other.scale == pytest.approx(1000 * one.scale, rel=1e-5)
        assert np.abs(other.data / 1000 - one.data).max() < 1e-3 * SIGMA


def test_a_bad_file_is_named_and_the_others_go_on(tmp_path: Path):
    write_nifti(tmp_path / "in" / "sub-01_T1w.nii.gz", GRID, noisy(smooth_brain()))
    (tmp_path / "in" / "sub-02_T1w.nii.gz").write_bytes(b"no image")
    output = run(tmp_path / "in", "-o", tmp_path / "out", exit_code=1)
    assert "sub-02_T1w.nii.gz: expected" in output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["sub-01_T1w_denoised.json", "sub-01_T1w_denoised.nii.gz"]


def test_no_file_is_replaced_unless_that_is_asked_for(tmp_path: Path):
    source = write_nifti(tmp_path / "sub-01_T1w.nii.gz", GRID, noisy(smooth_brain()))
    run(source, "-o", tmp_path, "--sigma", 10)
    target = tmp_path / "sub-01_T1w_denoised.nii.gz"
    before = target.read_bytes()
    assert "Use --overwrite" in run(tmp_path, "-o", tmp_path, exit_code=2)
    assert target.read_bytes() == before
    run(tmp_path, "-o", tmp_path, "--sigma", 20, "--overwrite")
    assert target.read_bytes() != before
    # a result beside its source is no source
    assert sorted(path.name for path in tmp_path.glob("*.nii.gz")) == ["sub-01_T1w.nii.gz", target.name]
    (tmp_path / "sub-01_T1w_denoised.json").write_text("{}")
    assert "did not write" in run(source, "-o", tmp_path, "--overwrite", exit_code=2)


def test_noise_in_a_wrong_unit_is_refused(tmp_path: Path):
    source = write_nifti(tmp_path / "sub-01_T1w.nii.gz", GRID, noisy(smooth_brain()))
    output = run(source, "-o", tmp_path / "out", "--sigma", 100_000, exit_code=1)
    assert "half the scan's bright intensity" in output and "own intensity units" in output
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_without_noise_to_take_off_no_voxel_changes(tmp_path: Path):
    source = write_nifti(tmp_path / "sub-01_T1w.nii.gz", GRID, noisy(smooth_brain()))
    run(source, "-o", tmp_path / "out", "--sigma", 0)
    before, after = (nib.load(path).get_fdata() for path in (source, tmp_path / "out" / "sub-01_T1w_denoised.nii.gz"))
    assert (before.astype(np.float32) == after.astype(np.float32)).all()


def test_an_image_of_another_program_is_never_replaced(tmp_path: Path):
    source = write_nifti(tmp_path / "sub-01_T1w.nii.gz", GRID, noisy(smooth_brain()))
    target = tmp_path / "out" / "sub-01_T1w_denoised.nii.gz"
    target.parent.mkdir()
    target.write_bytes(b"another's")
    assert "did not write" in run(source, "-o", target.parent, "--overwrite", exit_code=2)
    assert target.read_bytes() == b"another's"


def test_a_result_never_stands_beside_the_sidecar_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = write_nifti(tmp_path / "sub-01_T1w.nii.gz", GRID, noisy(smooth_brain()))
    out = tmp_path / "out"
    run(source, "-o", out, "--sigma", 10)

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mri3d.commands.denoise.write_map", killed)
        CliRunner().invoke(main, ["denoise", str(source), "-o", str(out), "--sigma", "20", "--overwrite"])
    assert [path.name for path in out.iterdir()] == ["sub-01_T1w_denoised.json"]
    run(source, "-o", out, "--sigma", 20, "--overwrite")
    assert json.loads((out / "sub-01_T1w_denoised.json").read_text())["sigma"] == 20


def test_a_network_of_a_whole_grid_or_of_slices_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from mri3d.models.weights import save_network
    from tests.models.test_contract import network_of

    for recipe in ("restore", "atlas", "pca", "equalised", "intensity", "ensemble", "cae2d"):
        root = tmp_path / recipe
        with pytest.raises(BundleError, match="expected a fully convolutional network in 3D") as caught:
            module._refuse_bound_to_a_grid(root, network_of(recipe).eval(), (32, 48, 32), "cpu")
        assert caught.value.remedy
    build("cae", tmp_path / "cae", {"network_def.channels": [4, 4], "network_def.latent_size": 8})
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(tmp_path / "cae" / "configs" / "inference.yaml"))
    (tmp_path / "cae" / "models").mkdir()
    save_network(parser.get_parsed_content("network_def"), tmp_path / "cae" / "models" / "model.pt")
    source = write_nifti(tmp_path / "sub-01_T1w.nii.gz", GRID, smooth_brain())
    output = run(source, "-o", tmp_path / "out", "--bundle", tmp_path / "cae", exit_code=2)
    assert "ConvAutoEncoder" in output
    assert "brain_t1_denoise" in output


def test_an_autoencoder_of_any_size_will_do_on_request_but_knows_no_sigma(tmp_path: Path):
    source = write_nifti(tmp_path / "sub-01_T1w.nii.gz", GRID, noisy(smooth_brain()))
    run(source, "-o", tmp_path / "out", "--bundle", "brain_t1_cae")
    assert nib.load(tmp_path / "out" / "sub-01_T1w_denoised.nii.gz").shape == GRID.shape
    words = run(source, "-o", tmp_path / "two", "--bundle", "brain_t1_cae", "--sigma", 3, exit_code=2)
    assert "Leave --sigma out" in words


@pytest.mark.parametrize("sigma", ["-1", "nan", "inf"])
def test_a_noise_that_cannot_be_is_refused(tmp_path: Path, sigma: str):
    source = write_nifti(tmp_path / "sub-01_T1w.nii.gz", GRID, smooth_brain())
    assert "a number from 0 on" in run(source, "-o", tmp_path / "out", "--sigma", sigma, exit_code=2)


def test_python_gets_the_count_and_the_failures(tmp_path: Path):
    write_nifti(tmp_path / "in" / "sub-01_T1w.nii.gz", GRID, noisy(smooth_brain()))
    assert denoise(tmp_path / "in", find_bundle(DENOISING_BUNDLE), tmp_path / "out", device="cpu") == (1, [])

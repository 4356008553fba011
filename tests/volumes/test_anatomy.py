"""Mean and modes of healthy brains: fitted, drawn from, and stored in a byte a value."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mri3d.errors import BundleError
from mri3d.grid import Grid
from mri3d.volumes.anatomy import Anatomy
from tests.helpers import ellipsoid

GRID = Grid.centred((14, 16, 14), 13.0, (0.0, -15.0, 10.0))
BRAIN = ellipsoid(GRID)


def modes() -> np.ndarray:
    """Two patterns that have nothing in common: left-right and top-bottom."""
    x, _, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in GRID.shape], indexing="ij")
    return np.stack([0.08 * np.sin(3 * x) * BRAIN, 0.03 * np.cos(3 * z) * BRAIN], axis=-1)


def healthy(n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Brains around 0.5 whose modes vary by a standard deviation of 1: (images, masks, sizes of the modes)."""
    sizes = np.random.default_rng(0).normal(size=(n, 2))
    sizes = (sizes - sizes.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(sizes.T))).T
    images = 0.5 * BRAIN + np.einsum("xyzk,nk->nxyz", modes(), sizes)
    return images.astype(np.float32), np.repeat(BRAIN[None], n, axis=0), sizes


def test_mean_and_modes_are_found_with_their_spread():
    images, masks, _ = healthy()
    found = Anatomy.fit(images, masks, GRID, modes=2)
    assert (found.brain == BRAIN).all()
    assert found.mean == pytest.approx(images.mean(axis=0), abs=1e-5)
    # the left-right pattern is the larger one; signs are free
    signs = np.sign((found.modes * modes()).sum(axis=(0, 1, 2)))
    assert found.modes * signs == pytest.approx(modes(), abs=2e-3)


def test_a_voxel_half_of_the_brains_have_belongs_and_a_rarer_one_does_not():
    images = np.full((4, *GRID.shape), 0.6, np.float32)
    masks = np.repeat(BRAIN[None], 4, axis=0)
    often, rare = np.argwhere(~BRAIN)[[0, 1]]
    masks[:2, *often] = True
    masks[:1, *rare] = True
    found = Anatomy.fit(images, masks, GRID, modes=1)
    assert found.brain[tuple(often)]
    assert not found.brain[tuple(rare)]
    # the mean is that of the brains that have it, not dimmed by the others
    assert found.mean[tuple(often)] == pytest.approx(0.6)
    assert found.mean[tuple(rare)] == 0


def test_what_lies_outside_a_brain_does_not_enter():
    images, masks, _ = healthy()
    loud = np.where(masks, images, 50).astype(np.float32)
    one, other = (Anatomy.fit(stack, masks, GRID, modes=2) for stack in (images, loud))
    assert (one.mean == other.mean).all()
    assert (one.modes == other.modes).all()


def test_drawn_brains_vary_as_healthy_ones_do():
    images, masks, _ = healthy()
    anatomy = Anatomy.fit(images, masks, GRID, modes=2)
    rng = np.random.default_rng(1)
    drawn = np.stack([anatomy.draw(rng) for _ in range(400)])
    assert drawn.dtype == np.float32
    assert (drawn[:, ~BRAIN] == 0).all()
    assert (drawn[:, BRAIN] > 0).all()
    assert drawn.mean(axis=0) == pytest.approx(anatomy.mean, abs=0.02)
    ratio = drawn.std(axis=0)[BRAIN].mean() / images.std(axis=0)[BRAIN].mean()
    assert 0.85 < ratio < 1.05  # sizes beyond two standard deviations are cut


def test_no_two_draws_are_alike_but_a_seed_repeats_them():
    images, masks, _ = healthy()
    anatomy = Anatomy.fit(images, masks, GRID, modes=2)
    rng = np.random.default_rng(5)
    one, two = anatomy.draw(rng), anatomy.draw(rng)
    assert not np.array_equal(one, two)
    assert np.array_equal(anatomy.draw(np.random.default_rng(5)), one)
    assert anatomy.draw(np.random.default_rng(5), spread=0.0) == pytest.approx(anatomy.mean)


def test_a_byte_a_value_is_enough(tmp_path: Path):
    kept = Anatomy.fit(*healthy()[:2], GRID, modes=2)
    kept.save(tmp_path / "anatomy.nii.gz")
    found = Anatomy.load(tmp_path / "anatomy.nii.gz")
    assert found.modes.shape == (*GRID.shape, 2)
    step = float(kept.mean.max()) / 127
    assert found.mean == pytest.approx(kept.mean, abs=step * 0.51)
    assert found.modes == pytest.approx(kept.modes, abs=step * 0.51)
    assert (found.brain == kept.brain).all()
    assert found.grid.matches(GRID)
    assert nib.load(tmp_path / "anatomy.nii.gz").get_data_dtype() == np.int8


@pytest.mark.parametrize("content", [None, b"", b"no NIfTI" * 100])
def test_a_missing_or_damaged_file_is_a_bundle_error(tmp_path: Path, content: bytes | None):
    path = tmp_path / "anatomy.nii.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match="mean and modes of healthy anatomy"):
        Anatomy.load(path)


def test_a_file_that_is_cut_short_is_a_bundle_error(tmp_path: Path):
    path = tmp_path / "anatomy.nii.gz"
    Anatomy.fit(*healthy()[:2], GRID, modes=2).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BundleError):
        Anatomy.load(path)

"""Which voxels are brain: given, recognised or extracted, and of a brain's size."""

from __future__ import annotations

import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mri3d.errors import BrainError
from mri3d.grid import Grid
from mri3d.volumes import brain as module
from mri3d.volumes.brain import cut_area, find_brain
from mri3d.volumes.volume import Volume
from tests.helpers import ellipsoid, head, head_grid, volume_of

GRID = head_grid(spacing=(6.0, 6.0, 6.0))
HEAD = volume_of(head(GRID), GRID, "sub-01_T1w.nii.gz")


def mask_of(mask: np.ndarray, grid: Grid = GRID) -> Volume:
    return volume_of(mask, grid, "sub-01_brainmask.nii.gz")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def stored(volume: Volume, axcodes: str) -> Volume:
    """The same head with its axes permuted and flipped."""
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(volume.grid.affine), nib.orientations.axcodes2ornt(tuple(axcodes))
    )
    data = nib.orientations.apply_orientation(volume.data, change)
    affine = volume.grid.affine @ nib.orientations.inv_ornt_aff(change, volume.grid.shape)
    return volume_of(data, Grid(data.shape, affine))


@pytest.mark.parametrize("label", [1, 255, -1, 0.5])
def test_a_given_mask_is_taken_wherever_it_is_not_zero(label: float):
    found = find_brain(HEAD, mask_of(label * ellipsoid(GRID)))
    assert found.source == "given"
    assert found.mask.dtype == bool
    assert (found.mask == ellipsoid(GRID)).all()


@pytest.mark.parametrize("labels", [2, 149])
def test_a_label_map_is_taken_for_a_mask(labels: int):
    index = np.indices(GRID.shape) // 5  # blocks of 5 voxels
    regions = 1 + (index[0] + 7 * index[1] + 53 * index[2]) % labels
    found = find_brain(HEAD, mask_of(regions * ellipsoid(GRID)))
    assert (found.mask == ellipsoid(GRID)).all()


@pytest.mark.parametrize("scale", [1.0, 255 / 300], ids=["as floats", "in 8 bits"])
def test_a_scan_given_for_a_mask_is_refused_with_its_name(scale: float):
    # stripped, so that neither size nor grid would give it away
    scan = np.where(ellipsoid(GRID), HEAD.data + 1, 0)
    with pytest.raises(BrainError, match=r"a brain mask .* found an image of \d+ values") as caught:
        find_brain(HEAD, mask_of(scan if scale == 1 else np.round(scale * scan)))
    assert caught.value.where == "sub-01_brainmask.nii.gz"


def test_an_empty_mask_holds_no_brain():
    with pytest.raises(BrainError, match="a mask of 0 ml"):
        find_brain(HEAD, mask_of(np.zeros(GRID.shape)))


def test_a_soft_mask_is_refused_since_its_rim_is_no_brain():
    soft = np.clip(3 * (1.2 - np.linalg.norm(np.indices(GRID.shape).T - (15, 19, 17), axis=-1).T / 14), 0, 1)
    with pytest.raises(BrainError, match=r"from .* to 1"):
        find_brain(HEAD, mask_of(soft))


def test_a_mask_on_another_grid_is_refused_with_both_shapes():
    other = head_grid(spacing=(5.0, 6.0, 6.0))
    with pytest.raises(BrainError, match=r"sub-01_brainmask.*sub-01_T1w\.nii\.gz \(31, 39, 35\).*\(37, 39, 35\)"):
        find_brain(HEAD, mask_of(ellipsoid(other), other))


@pytest.mark.parametrize("change", [(0, 0, 0.2), (0, 3, 1.0)])
def test_a_mask_of_the_same_shape_that_lies_elsewhere_is_refused(change):
    axis, column, mm = change
    affine = GRID.affine.copy()
    affine[axis, column] += mm
    with pytest.raises(BrainError, match="Resample the mask"):
        find_brain(HEAD, mask_of(ellipsoid(GRID), Grid(GRID.shape, affine)))


def test_a_mask_whose_header_was_rounded_is_taken():
    affine = GRID.affine.copy()
    affine[:3, 3] += 0.04
    assert find_brain(HEAD, mask_of(ellipsoid(GRID), Grid(GRID.shape, affine))).source == "given"


@pytest.mark.parametrize(("scale", "ml"), [(0.7, 494), (1.21, 2551)])
def test_a_volume_no_brain_has_is_refused_with_its_size(scale: float, ml: float):
    with pytest.raises(BrainError) as caught:
        find_brain(HEAD, mask_of(ellipsoid(GRID, scale)))
    stated = float(caught.value.found.split()[3])
    assert stated == pytest.approx(ml, rel=0.03)
    assert "(given)" in caught.value.found
    assert "600 to 2400 ml" in caught.value.expected


@pytest.mark.parametrize("scale", [0.78, 1.17])
def test_small_and_large_brains_are_taken(scale: float):
    assert find_brain(HEAD, mask_of(ellipsoid(GRID, scale))).source == "given"


def test_a_brain_of_the_right_count_of_voxels_but_the_wrong_size_is_refused():
    # millimetres taken for centimetres: a mouse
    tiny = Grid(GRID.shape, GRID.affine @ np.diag([0.1, 0.1, 0.1, 1.0]))
    with pytest.raises(BrainError, match="1 ml"):
        find_brain(volume_of(HEAD.data, tiny), mask_of(ellipsoid(GRID), tiny))


def test_deepbet_finds_the_brain_of_a_head_and_its_storage_does_not_matter():
    found = find_brain(HEAD)
    assert found.source == "deepbet"
    assert dice(found.mask, ellipsoid(GRID)) > 0.9
    turned = stored(HEAD, "PSL")
    again = find_brain(turned)
    assert again.mask.shape == turned.grid.shape != GRID.shape
    assert (again.mask == stored(volume_of(found.mask, GRID), "PSL").data.astype(bool)).all()


def test_a_volume_that_is_stripped_already_is_recognised_and_keeps_its_border():
    grid = head_grid(spacing=(7.0, 7.0, 7.0))
    tissue = np.where(ellipsoid(grid), 100, 0.0)
    tissue[13, 16, 15] = 0  # a hole inside is brain all the same
    tissue[0, 0, 0] = 50  # and a speck outside is not
    found = find_brain(volume_of(tissue, grid))
    assert found.source == "stripped input"
    assert not (found.mask & ~ellipsoid(grid)).any()
    assert dice(found.mask, ellipsoid(grid)) > 0.9
    assert found.mask[13, 16, 15]


def test_an_empty_volume_has_no_brain():
    with pytest.raises(BrainError, match="a head in which deepbet finds a brain, found none"):
        find_brain(volume_of(np.zeros(GRID.shape), GRID))


def test_where_deepbet_finds_nothing_a_stripped_brain_s_own_border_serves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_deepbet", lambda volume, device: None)
    found = find_brain(volume_of(np.where(ellipsoid(GRID), HEAD.data + 1, 0), GRID))
    assert found.source == "stripped input"
    assert (found.mask == ellipsoid(GRID)).all()
    with pytest.raises(BrainError, match="deepbet finds a brain, found none"):
        find_brain(HEAD)


def test_the_area_a_scan_cuts_off_is_in_square_centimetres_on_any_voxels():
    grid = Grid((10, 12, 14), np.diag([2.0, 3.0, 5.0, 1.0]))
    mask = np.zeros(grid.shape, bool)
    mask[2:8, 2:10, 3:12] = True
    assert cut_area(mask, grid) == 0
    mask[0, 2:6, 3:5] = True  # 4 x 2 voxels of 3 x 5 mm
    assert cut_area(mask, grid) == pytest.approx(1.2)
    mask[3:5, 11, 6] = True  # 2 voxels of 2 x 5 mm
    mask[4:9, 5, 13] = True  # 5 voxels of 2 x 3 mm
    assert cut_area(mask, grid) == pytest.approx(1.2 + 0.2 + 0.3)


@pytest.mark.parametrize("device", ["cpu", "cuda:1", "mps"])
def test_deepbet_runs_on_the_device_asked_for_and_no_other(monkeypatch: pytest.MonkeyPatch, device: str):
    class Model:
        def to(self, device: str) -> None:
            self.device = device

    class Extraction:
        def __init__(self, no_gpu: bool = False) -> None:
            assert no_gpu  # or it takes the GPU it prefers
            self.model, self.bbox_model = Model(), Model()

    monkeypatch.setattr("deepbet.bet.BrainExtraction", Extraction)
    network = module._network.__wrapped__(device)
    assert network.model.device == network.bbox_model.device == device


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.booleans())
def test_the_support_is_the_largest_region_with_its_holes(seed: int, share: float, fortran: bool):
    rng = np.random.default_rng(seed)
    data = np.zeros((14, 9, 11), np.float32, order="F" if fortran else "C")
    data[2:12, 1:8, 3:9] = np.where(rng.random((10, 7, 6)) < share, rng.normal(size=(10, 7, 6)), 0)
    labels, _ = ndimage.label(data != 0)
    sizes = np.bincount(labels.ravel())[1:]
    wanted = ndimage.binary_fill_holes(labels == 1 + np.argmax(sizes)) if len(sizes) else np.zeros(data.shape, bool)
    assert (module._support(data) == wanted).all()


def test_the_support_of_a_small_brain_in_a_large_volume_takes_little_memory():
    data = np.zeros((200, 200, 200), np.float32)
    data[80:120, 80:120, 80:120] = 1
    tracemalloc.start()
    found = module._support(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.sum() == 40**3
    assert peak < 2 * data.size  # bytes; labels of the whole volume alone are four a voxel

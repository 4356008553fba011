"""The template's own brain, moved by a known transform, is brought back; what is no brain is refused."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mri3d.errors import AlignmentError
from mri3d.grid import Affine, Grid
from mri3d.transforms.resampling import resample
from mri3d.volumes import alignment as module
from mri3d.volumes.alignment import Alignment, align, load_template
from mri3d.volumes.volume import BoolArray, Volume
from tests.helpers import ellipsoid, head_grid, rotation_about, volume_of

FOV = (200.0, 240.0, 200.0)


def rigid_and_scale(axis: tuple[int, int, int], degrees: float, scale: float = 1.0) -> Affine:
    world = np.eye(4)
    world[:3, :3] = rotation_about(axis, degrees) * scale
    world[:3, 3] = 12, -20, 30
    return world


def moved(world: Affine, axcodes: str = "RAS", spacing: tuple[float, float, float] = (4, 4, 4), degrees: float = 0):
    """The template's brain after ``world``, scanned on a grid around it: (volume, mask)."""
    template = load_template()
    centre = np.round((world @ [0, -17, 10, 1])[:3])
    grid = head_grid(axcodes, spacing, degrees, FOV, tuple(centre))
    back = np.linalg.inv(world)
    image = 300 * resample(template.image, template.grid, grid, back)
    mask = resample(template.brain.astype(np.float32), template.grid, grid, back) > 0.5
    return volume_of(image, grid), mask


def restored(volume: Volume, mask: BoolArray, axcodes: str) -> tuple[Volume, BoolArray]:
    """The same voxels, stored in another order."""
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(volume.grid.affine), nib.orientations.axcodes2ornt(tuple(axcodes))
    )
    data, other = (nib.orientations.apply_orientation(array, change) for array in (volume.data, mask))
    affine = volume.grid.affine @ nib.orientations.inv_ornt_aff(change, volume.grid.shape)
    return volume_of(data, Grid(data.shape, affine)), other


def error_mm(found: Alignment, world: Affine) -> np.ndarray:
    """How far each place of the template's brain is taken from where it belongs."""
    template = load_template()
    at = template.grid.world(np.argwhere(template.brain)[::40])
    apart = found.template_to_source - world
    return np.linalg.norm(at @ apart[:3, :3].T + apart[:3, 3], axis=1)


@pytest.mark.parametrize(
    ("world", "options"),
    [
        (rigid_and_scale((1, 2, 3), 12, 1.06), {"spacing": (3, 3, 3)}),
        (rigid_and_scale((3, -1, 1), -20, 0.92), {"axcodes": "LPI", "degrees": 15}),
        (rigid_and_scale((1, 0, 0), 15), {"axcodes": "PSR", "spacing": (2.5, 2.5, 6)}),
    ],
    ids=["turned and larger", "smaller, on an oblique grid", "thick slices"],
)
def test_a_known_transform_is_found_within_a_millimetre_and_a_half(world: Affine, options):
    found = align(*moved(world, **options))
    assert error_mm(found, world).max() < 1.5
    assert found.dice > 0.95
    assert found.correlation > 0.8


def test_neither_storage_nor_repetition_changes_a_bit():
    volume, mask = moved(rigid_and_scale((1, 2, 3), 10))
    before = volume.data.copy()
    first = align(volume, mask)
    assert (volume.data == before).all()
    for again in (align(volume, mask), *(align(*restored(volume, mask, codes)) for codes in ("LAS", "PSR"))):
        assert again.template_to_source.tobytes() == first.template_to_source.tobytes()
        assert (again.dice, again.correlation) == pytest.approx((first.dice, first.correlation), abs=1e-9)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0)], ids=["upside down", "rolled over"])
def test_a_brain_that_lies_the_wrong_way_is_refused(axis):
    with pytest.raises(AlignmentError, match=r"Check .*orientation"):
        align(*moved(rigid_and_scale(axis, 180)))


def test_a_box_is_no_brain():
    grid = head_grid(spacing=(5, 5, 5))
    box = np.zeros(grid.shape, bool)
    box[8:30, 8:38, 8:32] = True
    noise = np.random.default_rng(0).normal(100, 10, grid.shape)
    with pytest.raises(AlignmentError) as caught:
        align(volume_of(noise, grid, "box.nii.gz"), box)
    assert caught.value.where == "box.nii.gz"
    assert "Dice" in caught.value.found


@pytest.mark.parametrize("noise", [0.0, 30.0])
def test_a_brain_s_outline_without_its_anatomy_is_refused(noise: float):
    # a binary mask given as the volume, or noise in it: the overlap alone would pass
    grid = head_grid(spacing=(5, 5, 5))
    mask = ellipsoid(grid)
    data = np.random.default_rng(0).normal(100, noise, grid.shape) * mask
    with pytest.raises(AlignmentError, match="correlation"):
        align(volume_of(data, grid), mask)


@pytest.mark.parametrize(
    ("dice", "correlation", "advice"),
    [(0.95, np.nan, "contrast"), (np.nan, 0.5, "brain mask"), (0.87, 0.5, "brain mask"), (0.95, 0.19, "contrast")],
)
def test_a_quality_that_is_low_or_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, dice: float, correlation: float, advice: str
):
    monkeypatch.setattr(module, "_register", lambda *_: np.eye(4))
    monkeypatch.setattr(module, "_judge", lambda *_: Alignment(np.eye(4), dice, correlation))
    with pytest.raises(AlignmentError, match=f"Dice {dice:.2f}, correlation {correlation:.2f}.* {advice}"):
        align(*moved(np.eye(4)))


def test_the_template_is_a_brain_in_mni_space():
    template = load_template()
    assert 1500 < template.brain.sum() * template.grid.voxel_ml < 2100
    assert template.grid.spacing == pytest.approx((2, 2, 2))
    assert nib.aff2axcodes(template.grid.affine) == ("R", "A", "S")
    assert 0 <= template.image.min() < template.image.max() <= 1.01
    anterior_commissure = np.round(np.linalg.inv(template.grid.affine) @ [0, 0, 0, 1])[:3].astype(int)
    assert template.brain[tuple(anterior_commissure)]
    assert load_template() is template


@pytest.mark.parametrize("correlation", [0.18, 0.24, 0.27, 0.30])
def test_what_is_no_t1w_or_lies_the_wrong_way_is_refused_or_doubted(correlation: float):
    # FLAIR volumes, heads stored upside down, and a brain back to front
    assert correlation < module.MIN_CORRELATION or Alignment(np.eye(4), 0.95, correlation).doubts


def test_no_healthy_t1w_that_was_measured_is_doubted():
    assert Alignment(np.eye(4), 0.93, 0.356).doubts == ()

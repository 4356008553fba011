"""Modalities of one head on grids of their own: brought together, measured, and refused where they do not fit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.affines import apply_affine

from mri3d.errors import AlignmentError
from mri3d.grid import Grid
from mri3d.volumes.coregistration import Coregistration, coregister, mutual_information
from mri3d.volumes.itk import world_matrix
from mri3d.volumes.volume import Volume
from tests.brains import CENTRE, FOV, brain_on
from tests.helpers import head_grid, rotation_about, volume_of

T1 = head_grid("PSR", (3.0, 3.0, 3.0), 10.0, FOV, CENTRE)
THICK = head_grid("LAS", (2.0, 2.0, 5.0), -7.0, FOV, CENTRE)


@lru_cache
def _t1() -> Volume:
    return volume_of(brain_on(T1), T1, "T1w.nii.gz")


def _moved(degrees: float = 0.0, mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_about((1, 2, 3), degrees)
    matrix[:3, 3] = mm
    return matrix


def _t2(to_moving: np.ndarray, seed: int = 0) -> Volume:
    """The same head with dark tissue bright and bright tissue dark, in thick slices, somewhere else in the scanner."""
    brain = brain_on(THICK, seed).astype(np.float32)
    grid = Grid(THICK.shape, to_moving @ THICK.affine)
    return volume_of(np.where(brain > 0, 1400 - brain.clip(0, 1300), 0), grid, "T2w.nii.gz")


def _distance(found: Coregistration, truth: np.ndarray) -> float:
    brain = T1.world(np.argwhere(_t1().data > 0))
    return float(np.linalg.norm(apply_affine(found.to_moving, brain) - apply_affine(truth, brain), axis=1).mean())


@pytest.mark.parametrize("truth", [_moved(), _moved(4.0, (3.0, -2.0, 4.0)), _moved(5.0, (60.0, 0.0, -80.0))])
def test_another_contrast_on_another_grid_is_brought_to_where_it_belongs(truth):
    found = coregister(_t1(), _t1().data > 0, _t2(truth))
    assert _distance(found, truth) < 1.0
    np.testing.assert_allclose(found.to_moving[:3, :3] @ found.to_moving[:3, :3].T, np.eye(3), atol=1e-6)  # rigid
    assert found.covered > 0.97 and found.sharpness > 2 and found.information >= found.by_headers
    brain = T1.world(np.argwhere(_t1().data > 0))
    moved = np.linalg.norm(apply_affine(truth, brain) - brain, axis=1).mean()
    assert found.moved_mm == pytest.approx(moved, abs=1.0)


def test_a_head_that_has_turned_a_good_deal_is_found_from_a_guess_as_two_alignments_give_it():
    truth = _moved(70.0, (30.0, -40.0, 25.0))
    rough = truth @ _moved(-4.0, (3.0, 2.0, -3.0)) @ np.diag([1.06, 0.95, 1.04, 1.0])
    with pytest.raises(AlignmentError, match="to the side"):
        coregister(_t1(), _t1().data > 0, _t2(truth))
    found = coregister(_t1(), _t1().data > 0, _t2(truth), rough)
    assert _distance(found, truth) < 1.0
    np.testing.assert_allclose(found.to_moving[:3, :3] @ found.to_moving[:3, :3].T, np.eye(3), atol=1e-6)


def test_a_wrong_guess_does_no_harm():
    truth = _moved(4.0, (3.0, -2.0, 4.0))
    assert _distance(coregister(_t1(), _t1().data > 0, _t2(truth), _moved(90.0, (150.0, 0.0, 0.0))), truth) < 1.0


def test_what_shows_no_brain_is_refused():
    noise = np.random.default_rng(0).normal(500, 50, THICK.shape).astype(np.float32)
    with pytest.raises(AlignmentError, match=r"FLAIR.nii.gz: expected an image of the head in T1w.nii.gz"):
        coregister(_t1(), _t1().data > 0, volume_of(noise, THICK, "FLAIR.nii.gz"))


def test_a_piece_of_the_brain_is_refused():
    whole = _t2(np.eye(4))
    few = Grid((*THICK.shape[:2], 12), THICK.affine)
    with pytest.raises(AlignmentError, match=r"found 2\d% of it"):
        coregister(_t1(), _t1().data > 0, volume_of(whole.data[:, :, :12], few, "T2w.nii.gz"))


def test_mutual_information_is_none_of_noise_and_all_of_itself():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 20000)).astype(np.float32)
    assert mutual_information(one, other) < 0.01
    assert mutual_information(one, one) == pytest.approx(1.0)
    assert mutual_information(one, np.exp(-one)) == pytest.approx(1.0)  # any contrast will do
    assert mutual_information(one, np.zeros_like(one)) == 0.0


def test_an_itk_transform_becomes_a_matrix_of_the_world_of_nifti():
    transform = sitk.Euler3DTransform()
    transform.SetCenter((10.0, 20.0, 30.0))
    transform.SetRotation(0.1, 0.2, 0.3)
    transform.SetTranslation((1.0, 2.0, 3.0))
    lps = np.array([5.0, -6.0, 7.0])
    flip = np.array([-1, -1, 1])
    np.testing.assert_allclose(
        apply_affine(world_matrix(transform), lps * flip), np.array(transform.TransformPoint(lps)) * flip
    )

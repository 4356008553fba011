from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from benchmarks.simulated_lesions import (
    Shape,
    choose_shapes,
    csf_intensity,
    lesion_on_source,
    paste_lesion,
    plan,
)
from mri3d.grid import Grid

MNI = Grid((61, 71, 57), np.array([[-1.0, 0, 0, 30], [0, 1, 0, -40], [0, 0, 1, -25], [0, 0, 0, 1]]))
WHITE, GREY, CSF, AIR = 400.0, 300.0, 120.0, 5.0


def ball(grid: Grid, centre, radius: float) -> np.ndarray:
    points = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return np.linalg.norm(points - np.asarray(centre), axis=-1) <= radius


def write(path: Path, mask: np.ndarray, grid: Grid = MNI) -> Path:
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), grid.affine), path)
    return path


def rotation(x: float, y: float, z: float) -> np.ndarray:
    def about(axis: int, angle: float) -> np.ndarray:
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        matrix = np.eye(3)
        matrix[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        return matrix

    return about(0, x) @ about(1, y) @ about(2, z)


def source_grid(spacing=(1.1, 0.8, 3.0), angles=(0.2, -0.15, 0.3), order=(1, 2, 0)) -> Grid:
    """Oblique, anisotropic, and with the axes in another order than the world's."""
    linear = rotation(*angles)[:, order] * spacing * np.array([-1, 1, 1])
    shape = tuple(int(90 / s) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, np.array([4.0, -3.0, 7.0]) - linear @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def alignment() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation(-0.1, 0.05, 0.12) @ np.diag([1.1, 0.95, 1.05])
    affine[:3, 3] = 3.0, -5.0, 4.0
    return affine


def phantom(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A head of 64 voxels a side: skull, a dark rim inside the brain mask, tissue, ventricles, noise."""
    radius = np.linalg.norm(np.moveaxis(np.indices((64, 64, 64)), 0, -1) - 31.5, axis=-1)
    data = np.full(radius.shape, AIR)
    for edge, value in ((31, 800.0), (28, 20.0), (26, GREY), (21, WHITE), (7, CSF)):
        data[radius < edge] = value
    data += np.random.default_rng(seed).normal(scale=6.0, size=data.shape)
    return data.astype(np.float32), radius < 27


def soft_ball(centre=(46, 31, 31), radius: float = 6.0) -> np.ndarray:
    mask = np.linalg.norm(np.moveaxis(np.indices((64, 64, 64)), 0, -1) - centre, axis=-1) <= radius
    return np.clip(ndimage.gaussian_filter(mask.astype(np.float32), 0.7), 0, 1)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("spacing", [(1.1, 0.8, 3.0), (2.0, 2.0, 2.0), (0.9, 0.9, 0.9)])
def test_lesion_lies_where_the_alignment_says_and_keeps_its_volume(tmp_path, spacing, flipped):
    centre = np.array([11.0, -8.0, 6.0])
    mask = ball(MNI, centre, 9.0) | ball(MNI, centre + np.array([0, 9, 3]), 5.0)
    source, affine = source_grid(spacing), alignment()
    share = lesion_on_source(write(tmp_path / "a.nii.gz", mask), affine, source, flipped=flipped)

    expected = MNI.world(np.argwhere(mask)).mean(axis=0) * ([-1, 1, 1] if flipped else [1, 1, 1])
    expected = affine[:3, :3] @ expected + affine[:3, 3]
    found = source.world(ndimage.center_of_mass(share))
    assert found == pytest.approx(expected, abs=0.1)

    ml = mask.sum() * MNI.voxel_ml * abs(np.linalg.det(affine[:3, :3]))
    assert share.dtype == np.float32 and share.shape == source.shape
    assert share.min() >= 0 and share.max() <= 1
    assert share.sum() * source.voxel_ml == pytest.approx(ml, rel=0.01)
    assert (share >= 0.5).sum() * source.voxel_ml == pytest.approx(ml, rel=0.06)


def test_a_lesion_at_the_rim_of_its_file_is_not_cut(tmp_path):
    mask = np.zeros(MNI.shape, bool)
    mask[:6, 20:40, 20:40] = True
    share = lesion_on_source(write(tmp_path / "a.nii", mask), np.eye(4), source_grid((1, 1, 1)))
    assert share.sum() / 1000 == pytest.approx(mask.sum() / 1000, rel=0.01)


def test_thick_slices_average_over_their_thickness(tmp_path):
    mask = np.zeros(MNI.shape, bool)
    mask[15:45, 20:50, 25:27] = True  # two of the eight millimetres of one slice
    shape, affine = (61, 71, 7), MNI.affine @ np.diag([1, 1, 8.0, 1])
    affine[2, 3] += 3.5
    share = lesion_on_source(write(tmp_path / "a.nii", mask), np.eye(4), Grid(shape, affine))
    assert share[30, 35, 3] == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("kind", ["clear", "subtle_bright", "subtle_dark"])
def test_outside_the_lesion_nothing_changes(kind):
    data, brain = phantom()
    before, share = data.copy(), soft_ball(centre=(55, 31, 31))  # reaches beyond the brain
    changed, truth = paste_lesion(data, brain, share, kind, 0.25)
    same = (share == 0) | ~brain
    assert np.array_equal(changed[same], before[same])
    assert np.array_equal(data, before)
    assert changed.dtype == np.float32 and truth.dtype == bool
    assert np.array_equal(truth, brain & (share >= 0.5))
    assert (changed[truth] != before[truth]).mean() > 0.99


@pytest.mark.parametrize("strength", [0.6, 0.75, 0.9])
def test_clear_lesion_moves_its_mean_towards_csf(strength):
    data, brain = phantom()
    share = soft_ball()
    changed, _ = paste_lesion(data, brain, share, "clear", strength)
    core = share > 0.999
    moved = (data[core].mean() - changed[core].mean()) / (data[core].mean() - CSF)
    assert moved == pytest.approx(strength, abs=0.04)


@pytest.mark.parametrize(("kind", "sign"), [("subtle_bright", 1), ("subtle_dark", -1)])
def test_subtle_lesion_scales_the_tissue(kind, sign):
    data, brain = phantom()
    share = soft_ball()
    changed, _ = paste_lesion(data, brain, share, kind, 0.25)
    core = share > 0.999
    assert changed[core].mean() / data[core].mean() == pytest.approx(1 + sign * 0.25, abs=0.01)


@pytest.mark.parametrize("kind", ["clear", "subtle_bright", "subtle_dark"])
def test_noise_and_edges_are_kept(kind):
    data, brain = phantom()
    share = soft_ball(radius=5.0, centre=(31, 31, 47))
    changed, _ = paste_lesion(data, brain, share, kind, 0.8 if kind == "clear" else 0.25)
    core = share > 0.999
    departure = [(d - ndimage.median_filter(d, 3))[core].std() for d in (data, changed)]
    assert departure[1] == pytest.approx(departure[0], rel=0.25)
    rim = (share > 0.4) & (share < 0.6)
    change = np.abs(changed - data)
    assert change[rim].mean() == pytest.approx(0.5 * change[core].mean(), rel=0.15)


def test_thin_anatomy_is_not_taken_for_noise():
    data, brain = phantom()
    share = soft_ball()
    data[46, 25:38, 25:38] = CSF  # a sulcus one voxel wide, already at CSF
    changed, _ = paste_lesion(data, brain, share, "clear", 0.8)
    assert changed[46, 29:34, 29:34].mean() > CSF - 20


@pytest.mark.parametrize("seed", range(3))
def test_csf_is_that_of_the_ventricles_not_of_the_dark_rim(seed):
    data, brain = phantom(seed)
    assert csf_intensity(data, brain) == pytest.approx(CSF, abs=15)
    assert csf_intensity(7 * data + 50, brain) == pytest.approx(7 * csf_intensity(data, brain) + 50, rel=1e-3)


def test_a_lesion_outside_the_brain_leaves_the_volume_as_it_was():
    data, brain = phantom()
    share = np.zeros(data.shape, np.float32)
    share[:3, :3, :3] = 1
    changed, truth = paste_lesion(data, brain, share, "clear", 0.8)
    assert np.array_equal(changed, data) and not truth.any()


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.5])
def test_paste_refuses_a_strength_that_is_no_share(strength):
    data, brain = phantom()
    with pytest.raises(ValueError, match="strength"):
        paste_lesion(data, brain, soft_ball(), "clear", strength)
    with pytest.raises(ValueError, match="differ"):
        paste_lesion(data, brain[1:], soft_ball(), "clear", 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six plausible shapes of 0.5 to 14 ml, and one of each kind that is to be refused."""
    where = tmp_path_factory.mktemp("shapes")
    for i, radius in enumerate((5.5, 7.0, 9.0, 11.0, 13.0, 15.0)):
        write(where / f"good-{i}.nii.gz", ball(MNI, (i, 0, 2), radius))
    speckle = np.zeros(MNI.shape, bool)
    speckle[10:50:3, 15:55:3, 10:45:3] = True
    write(where / "bad-speckle.nii.gz", speckle)
    write(where / "bad-empty.nii.gz", np.zeros(MNI.shape, bool))
    write(where / "bad-tiny.nii.gz", ball(MNI, (0, 0, 0), 3.0))
    write(where / "bad-huge.nii.gz", ball(MNI, (0, 0, 0), 29.5))
    write(where / "bad-outside.nii.gz", ball(MNI, (24, 0, 0), 7.0))
    return where


def template() -> tuple[np.ndarray, Grid]:
    grid = Grid.centred((40, 45, 38), 2.0, (0.0, -5.0, 3.0))
    return ball(grid, (0.0, -5.0, 3.0), 26.0), grid


def test_only_plausible_shapes_are_chosen_half_of_them_small(folder):
    shapes = choose_shapes(folder, 0, 6, *template())
    assert [shape.path.name for shape in shapes] == [f"good-{i}.nii.gz" for i in range(6)]
    assert [shape.small for shape in shapes] == [True] * 3 + [False] * 3
    assert shapes[0].ml == pytest.approx(ball(MNI, (0, 0, 2), 5.5).sum() / 1000)


def test_the_choice_follows_from_the_seed(folder):
    choices = [choose_shapes(folder, seed, 2, *template()) for seed in range(8)]
    assert choices == [choose_shapes(folder, seed, 2, *template()) for seed in range(8)]
    assert len({tuple(shape.path.name for shape in choice) for choice in choices}) > 1


def test_too_few_shapes_is_an_error(folder):
    with pytest.raises(ValueError, match="short of 8"):
        choose_shapes(folder, 0, 8, *template())


SHAPES = [Shape(Path(f"stroke-{i}.nii.gz"), ml) for i, ml in enumerate((0.6, 1.2, 3.0, 7.0, 20.0, 80.0))]


@pytest.mark.parametrize("n", [1, 4, 6, 15])
def test_every_subject_is_planned_clean_clear_and_subtle(n):
    subjects = [f"sub-{i}" for i in range(n)]
    cases = plan(subjects, SHAPES, seed=0)
    assert [case.subject for case in cases] == [s for s in subjects for _ in range(3)]
    for clean, clear, subtle in zip(cases[::3], cases[1::3], cases[2::3], strict=True):
        assert clean.lesion is None and clear.lesion is not None and subtle.lesion is not None
        assert clear.lesion.kind == "clear" and 0.6 <= clear.lesion.strength <= 0.9
        assert subtle.lesion.kind.startswith("subtle") and 0.2 <= subtle.lesion.strength <= 0.3
        assert (clear.lesion.shape, clear.lesion.flipped) == (subtle.lesion.shape, subtle.lesion.flipped)


def test_the_plan_follows_from_the_seed_and_is_balanced():
    subjects = [f"sub-{i}" for i in range(12)]
    assert plan(subjects, SHAPES, seed=1) == plan(subjects, SHAPES, seed=1)
    assert plan(subjects, SHAPES, seed=1) != plan(subjects, SHAPES, seed=2)
    subtle = [case.lesion for case in plan(subjects, SHAPES, seed=1)[2::3] if case.lesion]
    assert sorted(lesion.shape for lesion in subtle) == sorted(str(shape.path) for shape in SHAPES * 2)
    assert sum(lesion.kind == "subtle_bright" for lesion in subtle) == 6
    bright = sorted(lesion.shape for lesion in subtle if lesion.kind == "subtle_bright")
    assert bright == sorted(str(shape.path) for shape in SHAPES)
    assert {lesion.flipped for lesion in subtle} == {True, False}


def test_no_subjects_no_cases_and_no_shapes_no_plan():
    assert plan([], SHAPES, seed=0) == []
    with pytest.raises(ValueError, match="shapes"):
        plan(["sub-1"], [], seed=0)

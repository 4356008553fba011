"""The first steps of the line fill in the case and pass on what a user should know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mri3d.errors import AlignmentError, BrainError, PreprocessingError, UnreadableFileError
from mri3d.grid import Grid
from mri3d.transforms import source as module
from mri3d.transforms.case import Case
from mri3d.transforms.resampling import resample
from mri3d.transforms.source import AlignToTemplate, FindBrain, LoadVolumes
from mri3d.volumes.alignment import Alignment, load_template
from mri3d.volumes.brain import Brain
from tests.helpers import ellipsoid, head, head_grid, subject_of, volume_of, write_nifti

GRID = head_grid("LAS", (8.0, 8.0, 8.0))


def loaded(tmp_path: Path, grid: Grid = GRID, mask: np.ndarray | None = None, **options) -> Case:
    path = write_nifti(tmp_path / "sub-01_T1w.nii.gz", grid, **options)
    given = None
    if mask is not None:
        given = write_nifti(tmp_path / "sub-01_brainmask.nii.gz", grid, mask, dtype=np.uint8)
    return LoadVolumes()({"case": Case(subject_of(path, given), warnings=("earlier",))})["case"]


def test_the_file_is_read_and_its_warnings_are_added(tmp_path: Path):
    case = loaded(tmp_path, codes=(0, 0))
    assert case.volume.grid.shape == GRID.shape
    assert case.volume.data == pytest.approx(head(GRID))
    assert case.warnings[0] == "earlier"
    assert "left and right are a guess" in case.warnings[1]
    assert set(case.seconds) == {"load"}


def test_an_unfit_file_is_an_error_with_its_name(tmp_path: Path):
    with pytest.raises(UnreadableFileError, match="missing_T1w"):
        LoadVolumes()({"case": Case(subject_of(tmp_path / "missing_T1w.nii.gz"))})


def test_the_subject_s_own_mask_is_taken(tmp_path: Path):
    case = FindBrain()({"case": loaded(tmp_path, mask=ellipsoid(GRID))})["case"]
    assert case.brain.source == "given"
    assert (case.brain.mask == ellipsoid(GRID)).all()
    assert case.warnings == ("earlier",)


def test_a_mask_that_does_not_fit_is_an_error_and_not_replaced_by_another(tmp_path: Path):
    case = loaded(tmp_path, mask=ellipsoid(GRID))
    other = head_grid("LAS", (7.0, 8.0, 8.0))
    write_nifti(case.subject.mask, other, ellipsoid(other), dtype=np.uint8)
    with pytest.raises(BrainError, match="Resample the mask"):
        FindBrain()({"case": case})


def test_a_scan_that_ends_within_the_brain_is_scored_with_a_warning(tmp_path: Path):
    half = Grid(GRID.shape, GRID.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 7], [0, 0, 0, 1]]))
    mask = ellipsoid(half)
    area = mask[..., 0].sum() * 0.64
    case = FindBrain()({"case": loaded(tmp_path, half, mask)})["case"]
    assert case.warnings[0] == "earlier"
    assert case.warnings[1].startswith(f"The scan ends within the brain ({area:.0f} cm2")


def test_the_template_lies_on_itself():
    template, grid = load_template(), Grid.centred((48, 58, 46), 4.0, (0.0, -17.0, 20.0))
    image = resample(template.image, template.grid, grid)
    brain = resample(template.brain.astype(np.float32), template.grid, grid) > 0.5
    case = Case(subject_of(), {"T1w": volume_of(image, grid)}, Brain(brain, "given"))
    found = AlignToTemplate()({"case": case})["case"]
    assert found.alignment.template_to_source == pytest.approx(np.eye(4), abs=0.5)
    assert found.alignment.template_to_source[:3, :3] == pytest.approx(np.eye(3), abs=0.02)  # 4 mm against 2 mm
    assert found.alignment.dice > 0.97
    assert set(found.seconds) == {"align"}


@pytest.mark.parametrize(
    ("offset", "error", "cause"),
    [(-120.0, PreprocessingError, "not standardised to a mean of 0"), (0.0, AlignmentError, "overlaps")],
    ids=["standardised", "as scanned"],
)
def test_a_brain_that_is_not_aligned_is_told_of_its_intensities_first(
    monkeypatch: pytest.MonkeyPatch, offset: float, error: type[Exception], cause: str
):
    def refuse(volume, brain):
        raise AlignmentError(volume.path, "a brain that overlaps with the template", "none", "Check orientation")

    monkeypatch.setattr(module, "align", refuse)
    case = Case(subject_of(), {"T1w": volume_of(head(GRID) + offset, GRID)}, Brain(ellipsoid(GRID), "given"))
    with pytest.raises(PreprocessingError, match=cause) as caught:
        AlignToTemplate()({"case": case})
    assert type(caught.value) is error


@pytest.mark.parametrize(("correlation", "warned"), [(0.21, True), (0.30, True), (0.38, False), (0.55, False)])
def test_a_brain_that_looks_little_like_the_template_is_scored_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, correlation: float, warned: bool
):
    monkeypatch.setattr(module, "align", lambda volume, brain: Alignment(np.eye(4), 0.95, correlation))
    volumes = {"T1w": volume_of(head(GRID), GRID)}
    case = Case(subject_of(), volumes, Brain(ellipsoid(GRID), "given"), warnings=("earlier",))
    found = AlignToTemplate()({"case": case})["case"]
    assert found.alignment.correlation == correlation
    assert found.warnings[0] == "earlier"
    assert len(found.warnings) == 1 + warned
    if warned:
        assert f"correlation {correlation:.2f}" in found.warnings[1]
        assert "T1w" in found.warnings[1] and found.warnings[1].endswith(".")

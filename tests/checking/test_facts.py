"""What is noted of a volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mri3d.checking import facts as module
from mri3d.checking.facts import Stored, count_labels, examine
from mri3d.checking.turned import Turn
from mri3d.errors import BrainError
from mri3d.grid import Grid
from mri3d.volumes.alignment import Alignment
from mri3d.volumes.nifti import read_volume
from tests.helpers import ellipsoid, head, head_grid, subject_of, volume_of, write_nifti

GRID = head_grid("PSR")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch):
    """Sets what the registration, which takes a second, is to give; and notes when turns are looked for."""
    looked: list[Path] = []
    monkeypatch.setattr(module, "find_turn", lambda volume, device: looked.append(volume.path) or Turn("RAS", "RPI"))

    def give(dice: float, correlation: float) -> list[Path]:
        monkeypatch.setattr(module, "register", lambda volume, brain: Alignment(np.eye(4), dice, correlation))
        return looked

    return give


def _subject(folder: Path, **changes):
    mask = write_nifti(folder / "brain.nii.gz", GRID, ellipsoid(GRID), dtype=np.uint8)
    return subject_of(write_nifti(folder / "a_T1w.nii.gz", GRID, **changes), mask)


def test_what_is_known_of_a_head(tmp_path, registered):
    registered(0.95, 0.44)
    examined = examine(_subject(tmp_path, dtype=np.int16, codes=(1, 2)))
    facts = examined.facts
    assert facts.error is None and facts.turn is None and facts.seconds > 0
    assert facts.stored.shape == GRID.shape and facts.stored.spacing == pytest.approx((6, 6, 6))
    assert (facts.stored.orientation, facts.stored.codes, facts.stored.data_type) == ("PSR", (1, 2), "int16")
    data = np.round(head(GRID))
    assert (facts.stored.low, facts.stored.high) == (data.min(), data.max())
    inside = data[ellipsoid(GRID)]
    assert facts.brain.ml == pytest.approx(inside.size * 0.216)
    assert facts.brain.cut_cm2 == 0
    assert facts.brain.profile == pytest.approx(np.percentile(inside, np.arange(1, 100, 2)) / np.percentile(inside, 98))
    assert examined.volume is not None and examined.mask.sum() == inside.size


def test_a_bad_file_is_noted_and_not_raised(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    examined = examine(subject_of(tmp_path / "a.nii.gz"))
    assert "empty file" in str(examined.facts.error)
    assert (examined.volume, examined.mask, examined.facts.stored, examined.facts.brain) == (None, None, None, None)


def test_no_brain_is_looked_for_in_a_mask(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FindBrain", lambda device: pytest.fail("looked for"))
    write_nifti(tmp_path / "a.nii.gz", GRID, ellipsoid(GRID), dtype=np.uint8)
    monkeypatch.setattr(module.Guarded, "__call__", _unguarded)
    assert examine(subject_of(tmp_path / "a.nii.gz")).facts.stored.labels == 1


def _unguarded(self, item):
    for transform in self.transforms:
        item = transform(item)
    return item


def test_intensities_without_a_scale_are_refused_and_the_brain_is_known_all_the_same(tmp_path, registered):
    registered(0.95, 0.44)
    facts = examine(_subject(tmp_path, data=head(GRID) - 120)).facts
    assert "positive intensities" in str(facts.error)
    assert facts.brain.ml > 1000 and facts.brain.profile is None and facts.brain.alignment is None


@pytest.mark.parametrize(
    ("dice", "correlation", "looks"),
    [(0.95, 0.44, 0), (0.91, 0.2, 1), (0.91, 0.34, 0), (0.93, 0.2, 0), (0.93, -0.3, 0), (0.5, 0.0, 1)],
)
def test_a_turn_is_looked_for_where_the_head_fits_badly(tmp_path, registered, dice, correlation, looks):
    looked = registered(dice, correlation)
    facts = examine(_subject(tmp_path)).facts
    assert len(looked) == looks
    assert facts.turn == (Turn("RAS", "RPI") if looks else None)
    assert facts.brain.alignment.dice == dice


def test_a_turn_is_looked_for_where_no_brain_is_found(tmp_path, registered):
    looked = registered(0.95, 0.44)
    facts = examine(replace(_subject(tmp_path), mask=write_nifti(tmp_path / "m.nii.gz", head_grid("RAS")))).facts
    assert isinstance(facts.error, BrainError) and len(looked) == 1 and facts.turn is not None


def test_an_image_is_no_label_map_and_masks_of_any_values_are():
    brain = ellipsoid(GRID)
    assert count_labels(head(GRID)) == 0
    assert count_labels(np.round(head(GRID) / 2)) == 0
    for values in ((0, 1), (0, 255), (0, 0.5), (-1024, 0), (5, 6)):
        assert count_labels(np.where(brain, values[1], values[0]).astype(np.float32)) == 1
    regions = np.where(brain, 1 + (np.indices(GRID.shape) // 12).sum(axis=0), 0).astype(np.float32)
    assert count_labels(regions) == len(np.unique(regions)) - 1


def test_a_constant_margin_makes_no_label_map_of_an_image():
    image = np.where(ellipsoid(GRID, 1.2), np.round(head(GRID)), -7)
    assert count_labels(image.astype(np.float32)) == 0


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(3)), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 3), st.data())
def test_the_fingerprint_is_of_the_voxels_alone(order, flips, margin, data):
    image = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 500, (8, 9, 10)).astype(np.float32)
    other = np.flip(image.transpose(order), [axis for axis in range(3) if flips[axis]])
    other = np.pad(other, margin)
    assert _fingerprint(other, 2.5) == _fingerprint(image, 1.0)
    changed = image.copy()
    changed[4, 4, 4] += 1
    assert _fingerprint(changed, 1.0) != _fingerprint(image, 1.0)


def _fingerprint(data, spacing):
    return Stored.of(volume_of(data, Grid(data.shape, np.diag([spacing, 1, 1, 1])))).fingerprint


@pytest.mark.parametrize("changes", [{"dtype": np.int16}, {"big_endian": True}, {"version": 2}, {"codes": (0, 1)}])
def test_compression_type_and_header_do_not_hide_a_duplicate(tmp_path, changes):
    data = np.round(head(GRID))
    one = read_volume(write_nifti(tmp_path / "a.nii.gz", GRID, data))
    other = read_volume(write_nifti(tmp_path / "b.nii", GRID, data, **changes))
    assert Stored.of(one).fingerprint == Stored.of(other).fingerprint

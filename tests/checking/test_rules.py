"""What is said of a volume by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mri3d.checking.judgement import judge
from mri3d.checking.rules import first_error
from mri3d.checking.turned import Turn
from mri3d.errors import BrainError, ContentError, GeometryError, PreprocessingError, UnreadableFileError
from mri3d.volumes.alignment import Alignment
from tests.facts import facts_of
from tests.helpers import subject_of


def told(**changes):
    return [(finding.severity, finding.what) for finding in judge([facts_of("a", **changes)])]


def test_a_sound_volume_is_passed_over_in_silence():
    assert told() == []


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (UnreadableFileError, "file"),
        (GeometryError, "geometry"),
        (ContentError, "content"),
        (BrainError, "brain"),
        (PreprocessingError, "preprocessing"),
    ],
)
def test_what_was_refused_is_an_error_with_its_own_words(kind, what):
    facts = facts_of("a", error=kind("a.nii.gz", "a whole file", "half of one", "Copy it again"))
    error = first_error(facts)
    assert (error.severity, error.what) == ("error", what)
    assert error.words == "expected a whole file, found half of one. Copy it again."


def test_a_mask_that_was_refused_is_named():
    error = first_error(facts_of("a", error=BrainError("other/mask.nii.gz", "a mask", "none", "Mend it")))
    assert "other/mask.nii.gz" in error.words


@pytest.mark.parametrize(("labels", "word"), [(1, "a mask"), (149, "149 values")])
def test_a_label_map_is_no_image(labels, word):
    error = first_error(facts_of("a", labels=labels))
    assert error.what == "label map" and word in error.found


def test_a_turned_head_is_told_as_that_and_not_as_what_follows_from_it():
    error = BrainError("a.nii.gz", "a brain", "none", "Look")
    facts = facts_of("a", error=error, turn=Turn("RAS", "RPI"), dice=0.4, correlation=0.1)
    findings = judge([facts])
    assert [finding.what for finding in findings] == ["turned"]
    assert "RAS" in findings[0].expected and "RPI" in findings[0].found


@pytest.mark.parametrize(
    ("dice", "correlation", "expected"),
    [
        (0.95, 0.44, []),
        (0.95, 0.33, []),
        (0.95, 0.32, [("note", "contrast")]),
        (0.95, 0.2, [("note", "contrast")]),
        (0.95, 0.19, [("error", "contrast")]),
        (0.95, -0.3, [("error", "contrast")]),
        (0.95, float("nan"), [("error", "contrast")]),
        (0.88, 0.44, []),
        (0.87, 0.44, [("error", "alignment")]),
        (0.87, -0.3, [("error", "alignment")]),
        (float("nan"), 0.44, [("error", "alignment")]),
    ],
)
def test_alignment_is_judged_as_detect_does(dice, correlation, expected):
    assert told(dice=dice, correlation=correlation) == expected


def test_the_opposite_contrast_is_called_a_t2w():
    assert "T2w" in first_error(facts_of("a", correlation=-0.3)).found
    assert "T2w" not in first_error(facts_of("a", correlation=0.1)).found


def test_every_doubt_of_the_gate_is_a_note():
    doubts = ("sform and qform place voxels up to 5.0 mm apart; the sform is used", "the affine is slightly sheared")
    findings = judge([facts_of("a", doubts=doubts)])
    assert [finding.severity for finding in findings] == ["note", "note"]
    assert [finding.found for finding in findings] == list(doubts)


@pytest.mark.parametrize(("area", "expected"), [(4.0, []), (4.1, [("note", "cut")])])
def test_a_scan_that_ends_within_the_brain_is_a_note(area, expected):
    assert told(cut_cm2=area) == expected


def test_a_volume_with_an_error_has_no_notes_of_its_own():
    assert told(correlation=-0.3, cut_cm2=50.0) == [("error", "contrast")]


def test_a_registration_that_broke_off_is_no_alignment():
    facts = facts_of("a")
    assert first_error(replace(facts, brain=replace(facts.brain, alignment=None))) is None


def test_the_judgement_of_detect_and_of_the_check_are_one(monkeypatch):
    # the check does not refuse what detect takes, nor the other way round
    from mri3d.errors import AlignmentError
    from mri3d.volumes import alignment as module
    from tests.helpers import head_grid, volume_of

    grid = head_grid()
    volume = volume_of([[[1.0]]], type(grid)((1, 1, 1), grid.affine))
    for dice in (0.87, 0.88, 0.95):
        for correlation in (0.19, 0.2, 0.4):
            fit = Alignment(grid.affine, dice, correlation)
            monkeypatch.setattr(module, "register", lambda volume, brain, fit=fit: fit)
            try:
                module.align(volume, volume.data > 0)
                taken = True
            except AlignmentError:
                taken = False
            error = first_error(facts_of("a", dice=dice, correlation=correlation))
            assert (error is None) == taken


def test_findings_come_in_the_order_of_the_volumes_errors_first():
    facts = [
        facts_of("a", cut_cm2=9.0),
        facts_of("b", labels=1),
        facts_of("c", fingerprint="a", doubts=("odd",)),
    ]
    found = [(finding.subject, finding.what) for finding in judge(facts, {"a", "b"})]
    assert found == [("a", "cut"), ("b", "label map"), ("c", "duplicate"), ("c", "header"), ("", "participants")]


def test_a_volume_that_could_not_be_read_spoils_no_other_rule():
    from mri3d.checking.facts import Facts

    unread = Facts(subject_of("z.nii.gz"), error=UnreadableFileError("z.nii.gz", "a file", "nothing", "Look"))
    findings = judge([unread, *(facts_of(f"s{i}") for i in range(12))])
    assert [finding.subject for finding in findings] == ["z"]

"""What is said of a volume among the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri3d.checking.comparison import (
    brain_volumes,
    duplicates,
    orientations,
    participants,
    profiles,
    robust_spread,
    spacings,
)
from mri3d.checking.judgement import judge, unsaid
from mri3d.errors import BrainError
from tests.facts import PROFILE, facts_of, many


def names(findings):
    return [finding.subject for finding in findings]


def test_people_who_differ_as_people_do_are_not_told_of():
    assert judge(many(25)) == ()


def test_the_first_of_equal_volumes_is_not_blamed_and_every_other_is():
    facts = [facts_of(name, fingerprint=voxels) for name, voxels in zip("abcd", "1211", strict=True)]
    found = list(duplicates(facts))
    assert names(found) == ["c", "d"]
    assert all(finding.severity == "error" and "voxels of a" in finding.found for finding in found)


def test_a_duplicate_in_another_order_is_told_as_that():
    same, turned = facts_of("b", fingerprint="a"), facts_of("c", fingerprint="a", orientation="RAS")
    first, second = duplicates([facts_of("a"), same, turned])
    assert "another order" not in first.found and "another order" in second.found


@pytest.mark.parametrize(
    ("usual", "other", "noted"), [(9, 1, 1), (8, 2, 2), (7, 3, 0), (4, 1, 1), (3, 1, 0), (5, 5, 0)]
)
def test_an_orientation_is_noted_where_it_is_the_exception(usual, other, noted):
    facts = [facts_of(f"p{i}") for i in range(usual)] + [facts_of(f"r{i}", orientation="RAS") for i in range(other)]
    found = list(orientations(facts))
    assert names(found) == [f"r{i}" for i in range(other)][:noted]
    assert all(finding.severity == "note" and "PSR" in finding.expected for finding in found)


def test_many_different_orientations_have_no_rest():
    assert list(orientations([facts_of(code, orientation=code) for code in ("RAS", "LAS", "LPS", "PSR", "ASL")])) == []


@pytest.mark.parametrize(
    ("orientation", "spacing", "noted"),
    [
        ("PSR", (1.0, 1.0, 1.2), False),
        ("RAS", (1.2, 1.0, 1.0), False),  # the same voxels in another order of the axes
        ("RAS", (1.0, 1.0, 1.2), True),
        ("LIP", (1.2, 1.0, 1.0), False),
        ("PSR", (1.0, 1.0, 1.29), False),
        ("PSR", (1.0, 1.0, 1.33), True),
        ("PSR", (1.0, 1.0, 1.05), True),
    ],
)
def test_a_voxel_size_is_compared_by_anatomical_axis(orientation, spacing, noted):
    facts = [facts_of(f"s{i}", spacing=(1.0, 1.0, 1.2)) for i in range(9)]
    found = list(spacings([*facts, facts_of("x", orientation=orientation, spacing=spacing)]))
    assert names(found) == ["x"] * noted


def test_a_mixed_data_set_has_no_usual_voxel_size():
    facts = [facts_of(f"a{i}") for i in range(7)] + [facts_of(f"b{i}", spacing=(1.0, 1.0, 1.0)) for i in range(3)]
    assert list(spacings(facts)) == []


@pytest.mark.parametrize(
    ("ml", "noted"), [(1400.0, False), (1130.0, False), (1670.0, False), (1090.0, True), (1710.0, True)]
)
def test_a_brain_is_noted_where_its_volume_is_far_from_the_others(ml, noted):
    # 1300 to 1500 ml in steps of 10 and x: the median deviation is 55 ml, which is 82 of a normal distribution
    found = list(brain_volumes([*many(21), facts_of("x", ml=ml)]))
    assert names(found) == ["x"] * noted


def test_equal_brains_leave_room_for_people():
    same = [facts_of(f"s{i}", ml=1400.0) for i in range(20)]
    assert list(brain_volumes([*same, facts_of("x", ml=1600.0)])) == []
    assert names(brain_volumes([*same, facts_of("x", ml=1700.0)])) == ["x"]


def test_one_enormous_brain_does_not_hide_the_next():
    assert names(brain_volumes([*many(12), facts_of("x", ml=2390.0), facts_of("y", ml=700.0)])) == ["x", "y"]


def test_intensities_are_noted_where_they_are_distributed_otherwise():
    found = list(profiles([*many(12), facts_of("x", profile=PROFILE**3)]))
    assert names(found) == ["x"]


def test_too_few_volumes_are_not_compared_and_that_is_said():
    few = [*many(8), facts_of("x", ml=1950.0, profile=PROFILE**3)]
    assert list(brain_volumes(few)) == [] and list(profiles(few)) == []
    assert len(unsaid(few)) == 1 and "9" in unsaid(few)[0]
    assert unsaid(many(10)) == ()
    assert len(unsaid(many(2))) == 2


def test_among_few_a_brain_of_no_adults_size_is_noted():
    assert names(brain_volumes([*many(5), facts_of("x", ml=2100.0), facts_of("y", ml=700.0)])) == ["x", "y"]


def test_label_maps_are_no_images_to_compare_with():
    labels = [replace(facts, stored=replace(facts.stored, labels=True)) for facts in many(8)]
    assert any("compared from 5 images on" in sentence for sentence in unsaid([*many(4), *labels]))


def test_a_volume_with_an_error_is_no_part_of_the_comparison():
    wrong = [facts_of(f"w{i}", labels=1, ml=2300.0) for i in range(30)]
    findings = judge([*many(12), *wrong])
    assert {finding.what for finding in findings} == {"label map"}


def test_how_a_wrong_volume_is_stored_is_told_where_it_may_be_the_cause():
    other = {"orientation": "RAS", "spacing": (1.0, 1.0, 1.0)}
    small = BrainError("x.nii.gz", "a brain", "180 ml", "Check the size")
    assert {note.what for note in judge([*many(8), facts_of("x", correlation=-0.3, **other)])} == {"contrast"}
    assert {note.what for note in judge([*many(8), facts_of("x", dice=0.5, **other)])} == {
        "alignment", "orientation", "spacing",
    }  # fmt: skip
    assert {note.what for note in judge([*many(8), facts_of("x", error=small, **other)])} == {
        "brain", "orientation", "spacing",
    }  # fmt: skip


def test_people_are_compared_with_the_table():
    facts = [facts_of("sub-1"), facts_of("sub-2"), facts_of("sub-3")]
    assert list(participants(facts, None)) == []
    assert list(participants(facts, {"sub-1", "sub-2", "sub-3"})) == []
    unnamed, unseen = participants(facts, {"sub-1", "sub-2", "sub-8", "sub-9"})
    assert "sub-3" in unnamed.found and "sub-8, sub-9" in unseen.found
    (several,) = participants(facts, {"sub-1", "sub-2", "sub-3", "a", "b", "c", "d", "e"})
    assert "a, b, c and 2 more" in several.found


def test_robust_spread_is_the_standard_deviation_of_a_normal_distribution():
    values = np.random.default_rng(0).normal(5, 3, 100_000)
    assert robust_spread(values) == pytest.approx(3, rel=0.02)
    values[:20_000] = 1e6
    assert robust_spread(values) < 5


@given(st.lists(st.floats(600, 2400), min_size=10, max_size=40), st.floats(0.5, 2.0))
def test_outliers_do_not_depend_on_order_or_scale(volumes, factor):
    facts = [facts_of(f"s{i}", ml=ml) for i, ml in enumerate(volumes)]
    found = set(names(brain_volumes(facts)))
    assert set(names(brain_volumes(facts[::-1]))) == found
    assert len(found) <= len(volumes) / 2
    powers = 2.0 ** round(np.log2(factor))  # exact in floating point
    assert set(names(brain_volumes([facts_of(f"s{i}", ml=ml * powers) for i, ml in enumerate(volumes)]))) == found

"""The shipped bundles measure regions alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.parcellation import PEOPLE
from mri3d.bundle import REGIONS, SPLIT, find_bundle, shipped
from mri3d.commands.grouping import seen_by
from mri3d.recipe import modalities_of
from mri3d.resources import atlas_path
from mri3d.training.split import Split

ALONE = [name for name in shipped() if modalities_of(find_bundle(name)) == ["T1w"]]


def known_to(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((find_bundle(name) / "models" / REGIONS[0]).read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", shipped())
def test_a_bundle_has_the_atlas_and_its_network(name: str) -> None:
    for file in REGIONS[1:]:
        assert (find_bundle(name) / "models" / file).read_bytes() == (atlas_path().parent / file).read_bytes()


def test_bundles_of_one_preprocessing_know_the_same_healthy_people() -> None:
    first, *others = map(known_to, ALONE)
    assert first["people"] == 39 and len(others) == 3
    for other in others:
        assert other == first


def test_the_bundle_of_three_modalities_knows_the_same_people_by_their_t1w() -> None:
    """By its own preprocessing, which does to a T1w what the others' does."""
    one, three = known_to("brain_t1"), known_to("brain_t1t2flair")
    for name, values in one["covariates"].items():
        assert three["covariates"][name] == (values if name == "sex" else pytest.approx(values, rel=1e-6))
    for name, region in one["regions"].items():
        assert three["regions"][name]["values"] == pytest.approx(region["values"], abs=0.05 * region["std"])


@pytest.mark.parametrize("name", shipped())
def test_nobody_of_the_healthy_regions_counts_as_unseen(name: str) -> None:
    seen = seen_by(find_bundle(name))
    own = Split.load(find_bundle("brain_t1") / SPLIT)
    assert {*own.calibration, *own.train[:PEOPLE]} <= set(seen)

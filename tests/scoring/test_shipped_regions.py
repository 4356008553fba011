"""The shipped bundles measure regions alike."""

from __future__ import annotations

import json

import pytest

from mri3d.bundle import REGIONS, find_bundle, shipped
from mri3d.resources import atlas_path

MEASURING = [name for name in shipped() if (find_bundle(name) / "models" / REGIONS[0]).exists()]


def test_every_bundle_of_t1w_alone_measures_regions() -> None:
    assert [name for name in shipped() if not name.endswith("flair")] == MEASURING


@pytest.mark.parametrize("name", MEASURING)
def test_a_bundle_has_the_atlas_and_its_network(name: str) -> None:
    for file in REGIONS[1:]:
        assert (find_bundle(name) / "models" / file).read_bytes() == (atlas_path().parent / file).read_bytes()


def test_bundles_of_one_preprocessing_know_the_same_healthy_people() -> None:
    first, *others = (json.loads((find_bundle(name) / "models" / REGIONS[0]).read_text()) for name in MEASURING)
    assert first["people"] == 39
    for other in others:
        assert other == first

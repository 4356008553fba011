"""How large regions are: by a network's chances, and by growth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mri3d.errors import BundleError, UsageError
from mri3d.grid import Grid
from mri3d.models.parcellation import DEEP, Parcellation
from mri3d.models.weights import save_network
from mri3d.resources import atlas_path
from mri3d.scoring.region_size import BOX, CUT_OFF, LEAST_ML, RegionMeasure, size_of, volumes_of
from mri3d.transforms.template import template_on
from mri3d.volumes.regions import Atlas
from tests.deep import FIRST, by_intensity, deep_atlas

MODEL_GRID = Grid.centred((80, 96, 80), 2.0, (0.0, -17.0, 5.0))
GRID = Grid.centred((40, 48, 40), 4.0, (0.0, -17.0, 5.0))


def atlas() -> Atlas:
    labels = np.zeros(GRID.shape, np.int32)
    labels[14:18, 20:26, 18:24], labels[22:26, 20:26, 18:24] = 1, 2
    labels[18:22, 2:6, 18:22] = 4
    labels[0, 0, :5] = 3  # too small to be measured
    return Atlas(labels, GRID, {1: "Left Box", 2: "Right Box", 3: "Crumb", 4: "Back"})


def test_growth_is_against_the_surroundings() -> None:
    growth = np.full(GRID.shape, 0.2, np.float32)
    found = size_of(growth, atlas().labels, GRID)
    assert set(found) == {1, 2, 4}, "five voxels are no region"
    assert found[1].ml == pytest.approx(144 * GRID.voxel_ml * np.exp(0.2), rel=1e-5)
    assert found[1].value == pytest.approx(0.0, abs=1e-6), "all of the brain grew alike"
    growth[atlas().labels == 1] -= 0.3
    found = size_of(growth, atlas().labels, GRID)
    assert found[1].ml == pytest.approx(144 * GRID.voxel_ml * np.exp(-0.1), rel=1e-5)
    assert -0.3 < found[1].value < -0.15
    assert abs(found[2].value) < 0.02


EVERYWHERE = np.ones(BOX.shape, bool)


@pytest.mark.parametrize(
    ("spacing", "centre"), [(2.0, (0.0, -17.0, 5.0)), (1.0, (0.5, -3.5, 4.5)), (4.0, (1.0, -6.0, 9.0))], ids=str
)
def test_a_volume_is_the_sum_of_chances_where_it_lies(spacing: float, centre: tuple[float, float, float]) -> None:
    sides = np.array([168, 192, 160]) // spacing
    grid = Grid.centred(tuple(sides.astype(int)), spacing, centre)
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    place = {"Left Caudate": (-30, 10, 12), "Right Caudate": (20, -20, -4)}
    # borders of 4 mm are cut halfway by what tells one from the other
    for name, bright in (("Left Caudate", 0.7), ("Right Caudate", 1.45)):
        there = np.linalg.norm(world - place[name], axis=-1) < 18
        image = np.where(there, bright, 0.2).astype(np.float32)
        image[np.abs(world - [0, -90, 0]).max(axis=-1) < 10] = bright  # beyond the box
        found = volumes_of(by_intensity(), image, grid, EVERYWHERE)
        assert found[name] == pytest.approx(4 / 3 * np.pi * 1.8**3, rel=0.1), name
    assert found["Left Putamen"] == LEAST_ML, "of nothing there is no logarithm"
    assert set(found) == set(DEEP) - set(CUT_OFF)


def test_chances_count_to_the_voxel_where_they_are_asked_for() -> None:
    image = np.full(MODEL_GRID.shape, 0.2, np.float32)
    # where the box lies in the model grid, whose voxels it shares
    x, y, z = np.round(np.linalg.inv(MODEL_GRID.affine) @ [*BOX.world([0, 0, 0]), 1])[:3].astype(int)
    image[x - 5 : x + 3, :, z + 4 : z + 9], image[x + 54 :, : y + 12, z + 1 : z + 3] = 0.5, 0.9
    found = volumes_of(by_intensity(), image, MODEL_GRID, EVERYWHERE)
    assert found["Left Caudate"] == pytest.approx(3 * 52 * 5 * 0.008, rel=1e-3)
    assert found["Right Caudate"] == pytest.approx(2 * 12 * 2 * 0.008, rel=1e-3)
    half = EVERYWHERE.copy()
    half[:, 10:] = False
    found = volumes_of(by_intensity(), image, MODEL_GRID, half)
    assert found["Left Caudate"] == pytest.approx(3 * 10 * 5 * 0.008, rel=1e-3)


def test_the_network_measures_what_it_knows_and_growth_the_rest() -> None:
    own = deep_atlas(GRID)
    number = {name: n for n, name in own.names.items()}
    image = np.full(GRID.shape, 0.5, np.float32)
    image[:6] = 0.2
    plain, found = RegionMeasure(own)(image, GRID), RegionMeasure(own, by_intensity())(image, GRID)
    assert list(found) == list(plain) == sorted(own.names)
    for name in ("Other", *CUT_OFF):
        assert found[number[name]] == plain[number[name]]
    left = found[number["Left Caudate"]]
    # 6 mm around all structures
    assert 0.5 * 17 * 27 < left.ml / GRID.voxel_ml < 4 * 17 * 27
    assert left.value == pytest.approx(np.log(left.ml))


def test_an_atlas_comes_with_the_network_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "own_dseg.nii.gz"
    deep_atlas(GRID).save(path)
    plain = RegionMeasure.load(path)
    assert plain.network is None
    save_network(by_intensity(), tmp_path / "own_dseg.pt")
    found = RegionMeasure.load(path)
    assert found.network is not None and found.sha256 != plain.sha256
    save_network(Parcellation(), tmp_path / "own_dseg.pt")
    assert RegionMeasure.load(path).sha256 != found.sha256, "other weights are another measure"
    (tmp_path / "own_dseg.pt").write_bytes(b"no weights")
    with pytest.raises(BundleError, match=r"own_dseg\.pt: expected weights of Parcellation.*or take it away"):
        RegionMeasure.load(path)


def test_a_network_of_structures_that_the_atlas_does_not_name_is_refused(tmp_path: Path) -> None:
    named = deep_atlas(GRID)
    replace(named, names={**named.names, FIRST: "Left-Caudate"}).save(tmp_path / "own_dseg.nii.gz")
    save_network(by_intensity(), tmp_path / "own_dseg.pt")
    with pytest.raises(UsageError, match=r"own_dseg\.tsv: expected every structure that own_dseg\.pt measures"):
        RegionMeasure.load(tmp_path / "own_dseg.nii.gz")


def template() -> np.ndarray:
    image = template_on(MODEL_GRID)
    return np.clip(image / np.percentile(image[image > 0.15], 98), 0, 1.5)


@pytest.fixture(scope="module")
def shipped() -> RegionMeasure:
    return RegionMeasure.load(atlas_path())


def test_the_shipped_network_knows_the_template_s_structures(shipped: RegionMeasure) -> None:
    atlas, found = shipped.atlas, shipped(template(), MODEL_GRID)
    for number, name in atlas.names.items():
        if name in DEEP:
            expected = float((atlas.labels == number).sum()) * atlas.grid.voxel_ml
            # small ones are smaller where most people agree than they are in anyone
            assert 0.6 * expected < found[number].ml < (1.6 if expected > 2 else 2.5) * expected, name


def test_left_is_left_to_the_shipped_network(shipped: RegionMeasure) -> None:
    atlas, image = shipped.atlas, template()
    number = {name: n for n, name in atlas.names.items()}
    plain = shipped(image, MODEL_GRID)
    # the left caudate is filled with fluid, as if the ventricle had taken its room
    fluid = np.median(image[atlas.labels == number["Left Lateral Ventricle"]])
    image[atlas.labels == number["Left Caudate"]] = fluid
    changed = shipped(image, MODEL_GRID)
    ratio = {name: changed[n].ml / plain[n].ml for name, n in number.items()}
    assert ratio["Left Caudate"] < 0.7
    assert ratio["Right Caudate"] == pytest.approx(1.0, abs=0.05)
    assert ratio["Right Putamen"] == pytest.approx(1.0, abs=0.05)

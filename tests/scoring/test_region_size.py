"""How large regions are: by a network's chances, and by growth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mri3d.errors import BundleError
from mri3d.grid import Grid
from mri3d.models.parcellation import Parcellation
from mri3d.models.weights import save_network
from mri3d.resources import atlas_path
from mri3d.scoring.region_size import BOX, LEAST_ML, Segmented, Warped, measure_of, parcellation_of, size_of
from mri3d.transforms.template import template_on
from mri3d.volumes.regions import Atlas

GRID = Grid.centred((40, 48, 40), 4.0, (0.0, -17.0, 5.0))
MODEL_GRID = Grid.centred((80, 96, 80), 2.0, (0.0, -17.0, 5.0))


def atlas() -> Atlas:
    labels = np.zeros(GRID.shape, np.int32)
    labels[14:18, 20:26, 18:24], labels[22:26, 20:26, 18:24] = 1, 2
    labels[18:22, 2:6, 18:22] = 4
    labels[0, 0, :5] = 3  # too small to be measured by growth
    return Atlas(labels, GRID, {1: "Left Box", 2: "Right Box", 3: "Crumb", 4: "Back"})


def by_intensity() -> Parcellation:
    """A network to which 0.4 to 0.6 is region 1, more is region 2, and nothing is region 3."""
    network = parcellation_of(atlas(), 3).eval()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    first, last = network.head[0], network.head[2]
    with torch.no_grad():
        first.weight[:2, 0], first.bias[:2] = 1.0, torch.tensor([-0.4, -0.6])
        # LeakyReLU lets a tenth through below 0, which the biases make up for
        last.weight[1, :2], last.bias[1] = torch.tensor([1600.0, -4000.0]), -164.0
        last.weight[2, :2], last.bias[2] = torch.tensor([1600.0, 4000.0]), -400.0
        last.bias[3] = -1000.0
    return network


def test_a_volume_is_the_sum_of_chances_within_the_box() -> None:
    image = np.full(MODEL_GRID.shape, 0.2, np.float32)
    # as the box lies in the model grid, which both have voxels of 2 mm
    low = np.round(np.linalg.inv(MODEL_GRID.affine) @ [*BOX.world([0, 0, 0]), 1])[:3].astype(int)
    x, y, z = low
    image[: x + 3], image[x + 46 :, : y + 12] = 0.5, 0.9
    image[:, :, z] = 0.0  # outside the brain
    found = Segmented(atlas(), by_intensity())(image, MODEL_GRID)
    assert found[1].ml == pytest.approx(3 * 72 * 39 * 0.008, rel=1e-3)
    assert found[2].ml == pytest.approx(2 * 12 * 39 * 0.008, rel=1e-3)
    assert found[1].value == pytest.approx(np.log(found[1].ml))
    assert found[3].ml == pytest.approx(0.0, abs=1e-6)
    assert found[3].value == pytest.approx(np.log(LEAST_ML)), "of nothing there is no logarithm"
    # what the network does not know is measured by growth
    assert found[4] == Warped(atlas())(image, MODEL_GRID)[4]


def test_a_network_that_sees_nothing_tells_what_the_atlas_expects() -> None:
    network = parcellation_of(atlas(), 2).eval()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    found = Segmented(atlas(), network)(np.ones(MODEL_GRID.shape, np.float32), MODEL_GRID)
    for number in (1, 2):
        # the blur moves little out of a box of 16 x 24 x 24 mm, and nothing is ruled out anywhere
        floor = 2e-3 * 48 * 72 * 40 * 0.008
        assert found[number].ml == pytest.approx(16 * 24 * 24 / 1000 + floor, rel=0.1)


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


def test_a_label_map_is_measured_by_the_network_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "own_dseg.nii.gz"
    atlas().save(path)
    assert isinstance(measure_of(atlas(), path), Warped)
    save_network(parcellation_of(atlas(), 2), tmp_path / "own_dseg.pt")
    found = measure_of(Atlas.load(path), path)
    assert isinstance(found, Segmented)
    save_network(parcellation_of(atlas(), 2), tmp_path / "own_dseg.pt")
    assert measure_of(atlas(), path).sha256() != found.sha256(), "other weights are another measure"
    save_network(parcellation_of(atlas(), 5), tmp_path / "own_dseg.pt")
    with pytest.raises(BundleError, match="one of 5 regions"):
        measure_of(atlas(), path)
    (tmp_path / "own_dseg.pt").write_bytes(b"no weights")
    with pytest.raises(BundleError, match="take it away to measure by deformation"):
        measure_of(atlas(), path)


@pytest.fixture(scope="module")
def shipped() -> Segmented:
    found = measure_of(Atlas.load(atlas_path()), atlas_path())
    assert isinstance(found, Segmented)
    return found


def template() -> np.ndarray:
    image = template_on(MODEL_GRID)
    return np.clip(image / np.percentile(image[image > 0.15], 98), 0, 1.5)


def test_the_shipped_network_knows_the_template_s_structures(shipped: Segmented) -> None:
    atlas, found = shipped.others.atlas, shipped(template(), MODEL_GRID)
    assert set(found) == set(atlas.names)
    for number, name in atlas.names.items():
        if name.endswith(("Caudate", "Putamen", "Thalamus", "Lateral Ventricle", "Hippocampus")):
            expected = float((atlas.labels == number).sum()) * atlas.grid.voxel_ml
            assert 0.6 * expected < found[number].ml < 1.6 * expected, name


def test_left_is_left_to_the_shipped_network(shipped: Segmented) -> None:
    atlas, image = shipped.others.atlas, template()
    plain = shipped(image, MODEL_GRID)
    number = {name: n for n, name in atlas.names.items()}
    # the left caudate is filled with fluid, as if the ventricle had taken its room
    image[atlas.labels == number["Left Caudate"]] = np.median(image[atlas.labels == number["Left Lateral Ventricle"]])
    changed = shipped(image, MODEL_GRID)
    ratio = {name: changed[n].ml / plain[n].ml for name, n in number.items()}
    assert ratio["Left Caudate"] < 0.7
    assert ratio["Left Lateral Ventricle"] > 1.15
    assert ratio["Right Caudate"] == pytest.approx(1.0, abs=0.05)
    assert ratio["Right Lateral Ventricle"] == pytest.approx(1.0, abs=0.05)

"""How large regions are: by a network's chances, and by growth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mri3d.errors import BundleError, UsageError
from mri3d.grid import Grid
from mri3d.models.parcellation import Parcellation
from mri3d.models.weights import save_network
from mri3d.resources import atlas_path
from mri3d.scoring.region_size import LEAST_ML, Segmented, Warped, measure_of, size_of
from mri3d.transforms.template import template_on
from mri3d.volumes.regions import Atlas

GRID = Grid.centred((24, 24, 24), 4.0, (0.0, 0.0, 0.0))


def atlas() -> Atlas:
    labels = np.zeros(GRID.shape, np.int32)
    labels[4:8, 9:15, 9:15], labels[16:20, 9:15, 9:15] = 1, 2
    labels[0, 0, :5] = 3  # too small to be measured by growth
    return Atlas(labels, GRID, {1: "Left Box", 2: "Right Box", 3: "Crumb"})


def by_intensity() -> Parcellation:
    """A network to which 0.4 to 0.6 is region 1, more is region 2, and nothing is region 3."""
    network = Parcellation(3, channels=(4, 4, 4)).eval()
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


def test_a_volume_is_the_sum_of_chances() -> None:
    image = np.full(GRID.shape, 0.2, np.float32)
    image[:3], image[-2:, :12] = 0.5, 0.9
    image[:, :, 0] = 0.0  # outside the brain
    found = Segmented(atlas(), by_intensity())(image, GRID)
    assert found[1].ml == pytest.approx(3 * 24 * 23 * GRID.voxel_ml, rel=1e-3)
    assert found[2].ml == pytest.approx(2 * 12 * 23 * GRID.voxel_ml, rel=1e-3)
    assert found[1].value == pytest.approx(np.log(found[1].ml))
    assert found[3].ml == pytest.approx(0.0, abs=1e-6)
    assert found[3].value == pytest.approx(np.log(LEAST_ML)), "of nothing there is no logarithm"


def test_a_finer_image_is_brought_to_the_network_s_grid() -> None:
    fine = Grid.centred((48, 48, 48), 2.0, (0.0, 0.0, 0.0))
    image = np.full(fine.shape, 0.2, np.float32)
    image[:12] = 0.5
    ml = 12 * 48 * 48 * fine.voxel_ml
    # the blur before coarser sampling moves a border by a part of a voxel
    assert Segmented(atlas(), by_intensity())(image, fine)[1].ml == pytest.approx(ml, rel=0.2)


def test_growth_is_against_the_surroundings() -> None:
    growth = np.full(GRID.shape, 0.2, np.float32)
    found = size_of(growth, atlas().labels, GRID)
    assert set(found) == {1, 2}, "five voxels are no region"
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
    save_network(Parcellation(3), tmp_path / "own_dseg.pt")
    found = measure_of(Atlas.load(path), path)
    assert isinstance(found, Segmented)
    save_network(Parcellation(3), tmp_path / "own_dseg.pt")
    assert measure_of(atlas(), path).sha256() != found.sha256(), "other weights are another measure"
    gaps = Atlas(np.where(atlas().labels == 3, 7, atlas().labels), GRID, {1: "a", 2: "b", 7: "c"})
    with pytest.raises(UsageError, match="without gaps"):
        measure_of(gaps, path)
    save_network(Parcellation(5), tmp_path / "own_dseg.pt")
    with pytest.raises(BundleError, match="weights of Parcellation"):
        measure_of(atlas(), path)


def shipped() -> Segmented:
    found = measure_of(Atlas.load(atlas_path()), atlas_path())
    assert isinstance(found, Segmented)
    return found


def test_the_shipped_network_knows_the_template_s_structures() -> None:
    measure = shipped()
    grid, labels = measure.atlas.grid, measure.atlas.labels
    image = np.clip(template_on(grid) / np.percentile(template_on(grid)[labels > 0], 98), 0, 1.5)
    found = measure(image, grid)
    for name in ("Caudate", "Putamen", "Thalamus", "Lateral Ventricle", "Hippocampus"):
        for side in ("Left", "Right"):
            (number,) = [n for n, each in measure.atlas.names.items() if each == f"{side} {name}"]
            expected = float((labels == number).sum()) * grid.voxel_ml
            assert 0.6 * expected < found[number].ml < 1.6 * expected, (side, name)


def test_left_is_left_to_the_shipped_network() -> None:
    measure = shipped()
    grid, atlas = measure.atlas.grid, measure.atlas
    image = np.clip(template_on(grid) / np.percentile(template_on(grid)[atlas.labels > 0], 98), 0, 1.5)
    plain = measure(image, grid)
    number = {name: n for n, name in atlas.names.items()}
    # the left caudate's lower half becomes white matter
    half = (atlas.labels == number["Left Caudate"]) & (np.arange(grid.shape[2]) < 39)
    assert half.sum() > 100
    image[half] = np.percentile(image[atlas.labels == number["Left Frontal White Matter"]], 50)
    changed = measure(image, grid)
    left, right = (changed[number[each]].ml / plain[number[each]].ml for each in ("Left Caudate", "Right Caudate"))
    assert left < 0.85
    assert right == pytest.approx(1.0, abs=0.05)

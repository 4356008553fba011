"""The training of the network of deep structures sees scans where they lie."""

from __future__ import annotations

import numpy as np
import torch
from nibabel.affines import apply_affine

from benchmarks.parcellation import Scan, augmented, mirrored, near_structures, points_of
from mri3d.models.parcellation import DEEP
from mri3d.scoring.region_size import BOX

TURN = np.array([[0.1, -0.48, 0.05, 40.0], [0.49, 0.1, -0.06, 42.0], [-0.04, 0.06, 0.5, 34.0], [0.0, 0.0, 0.0, 1.0]])
"""From mm of the template to the voxels of an oblique scan."""


def scan() -> Scan:
    """An oblique scan whose intensity rises along the template's x, of a head whose left is the left caudate."""
    shape = (80, 84, 72)
    world = apply_affine(np.linalg.inv(TURN), np.moveaxis(np.indices(shape), 0, -1))
    image = np.stack([0.5 + 0.004 * world[..., 0], np.ones(shape)]).astype(np.float32)
    labels = (world[..., 0] < 0).astype(np.float32)
    return Scan(torch.from_numpy(image), torch.from_numpy(labels)[None], torch.from_numpy(TURN).float())


def places() -> torch.Tensor:
    index = np.moveaxis(np.indices(BOX.shape), 0, -1)
    return torch.from_numpy(np.moveaxis(BOX.world(index), -1, 0).copy()).float()


def test_image_and_labels_are_those_of_the_place() -> None:
    points = places()
    image, labels = scan().at(points)
    assert torch.allclose(image[0, 0], 0.5 + 0.004 * points[0], atol=1e-4)
    inner = points[0].abs() > 1.5  # nearest voxels reach over the border by less
    assert torch.equal(labels[inner], (points[0] < 0).long()[inner])


def test_outside_of_the_brain_there_is_nothing() -> None:
    whole = scan()
    whole.image[1, :, :, :24] = 0
    image, _ = whole.at(places())
    assert image[..., 0].max() == 0 and image[..., -1].min() > 0


def test_a_mirrored_head_has_its_sides_exchanged() -> None:
    exchanged = mirrored()
    assert torch.equal(exchanged[exchanged], torch.arange(len(DEEP) + 1))
    assert DEEP[exchanged[DEEP.index("Left Putamen") + 1] - 1] == "Right Putamen"
    assert DEEP[exchanged[DEEP.index("3rd Ventricle") + 1] - 1] == "3rd Ventricle"
    left, sides = DEEP.index("Left Caudate") + 1, set()
    for seed in range(8):
        image, labels = augmented(scan(), torch.Generator().manual_seed(seed))
        found = set(labels.unique().tolist()) - {0}
        assert found in ({left}, {left + 1})
        # wherever it came from, left stays where the network is told that left is
        assert (labels[:20] > 0).float().mean() > 0.9 if found == {left} else (labels[-20:] > 0).float().mean() > 0.9
        # and the image, which is brighter the farther right it was taken from, is mirrored with the labels
        rises = image[0, 0, 40:].mean() > image[0, 0, :16].mean()
        assert rises == (found == {left})
        sides |= found
    assert sides == {left, left + 1}


def test_deformations_are_strong_and_do_not_fold() -> None:
    rates = []
    for seed in range(10):
        points = points_of(torch.Generator().manual_seed(seed)).numpy()
        steps = np.stack(np.gradient(points, *BOX.spacing, axis=(1, 2, 3)), axis=1)
        rates.append(np.linalg.det(np.moveaxis(steps, (0, 1), (-2, -1))))
    assert np.percentile(rates, 0.1) > 0
    assert np.percentile(rates, 10) < 0.75 and np.percentile(rates, 90) > 1.25


def test_learning_is_around_the_structures() -> None:
    near = near_structures([scan()])
    x = places()[0].flatten()[near]
    assert x.max() <= 8.0 and x.min() == places()[0].min()

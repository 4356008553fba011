"""Which voxels are brain."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import ndimage

from mri3d.errors import BrainError
from mri3d.grid import Grid
from mri3d.volumes.volume import BoolArray, FloatArray, Volume

PLAUSIBLE_ML = (600.0, 2400.0)
"""Brain volumes between which a mask is believed; adult brains with ventricles hold about 900 to 1900 ml."""

AGREEMENT = 0.9
"""Dice of the non-zero voxels with deepbet's mask from which a volume counts as already stripped."""

ALIKE = 0.5
"""Share of equal neighbours from which whole numbers count as a mask or label map.

Measured inside the brain: label maps of 149 regions at 2 mm have 0.78, T1w volumes of 8 bits 0.07 to 0.17. The count of
values would not tell them apart: the former have 149, the latter 128 to 240.
"""

CUT_CM2 = 4.0
"""Brain on the faces of the volume from which a scan counts as ending within the brain; a spinal cord has 1 to 2."""


@dataclass(frozen=True, eq=False)
class Brain:
    """A brain mask.

    Args:
        mask: (X, Y, Z) bool, in the order of its volume's data.
        source: ``given``, ``stripped input`` or ``deepbet``.
    """

    mask: BoolArray
    source: str


def cut_area(mask: BoolArray, grid: Grid) -> float:
    """Area in cm^2 of the brain that lies on the outermost slices of a volume, where the scan has cut it off."""
    voxel_mm3, spacing = 1000 * grid.voxel_ml, grid.spacing
    faces = [np.take(mask, face, axis).sum() * voxel_mm3 / spacing[axis] for axis in range(3) for face in (0, -1)]
    return float(sum(faces)) / 100


def find_brain(volume: Volume, given: Volume | None = None, device: str = "cpu") -> Brain:
    """Take the given mask, recognise an already stripped volume, or extract the brain.

    A volume counts as stripped where its non-zero voxels have the size of a brain and agree with what deepbet
    (Fisch et al. 2024, doi 10.1016/j.compbiomed.2024.108845) finds in it.

    Args:
        volume: the head, in any orientation and spacing.
        given: a mask or label map made by the user on the volume's grid; non-zero is brain.
        device: where deepbet runs: ``cpu``, ``cuda:N`` or ``mps``.

    Raises:
        BrainError: no brain was found, or one of implausible size, or the given mask lies on another grid or is none.
    """
    if given is not None:
        _check_mask(given)
        if not given.grid.matches(volume.grid, tolerance_mm=0.1):
            raise BrainError(
                given.path,
                f"a brain mask on the grid of {volume.path.name} {volume.grid.shape}",
                f"another grid {given.grid.shape}",
                "Resample the mask to the volume's grid",
            )
        brain = Brain(given.data != 0, "given")
    else:
        brain = _extract(volume, device)
    ml = brain.mask.sum() * volume.grid.voxel_ml
    if not PLAUSIBLE_ML[0] <= ml <= PLAUSIBLE_ML[1]:
        raise BrainError(
            volume.path,
            f"a brain of {PLAUSIBLE_ML[0]:.0f} to {PLAUSIBLE_ML[1]:.0f} ml",
            f"a mask of {ml:.0f} ml ({brain.source})",
            "Check that the file is a whole head at the size its header says, or give a brain mask",
        )
    return brain


def _check_mask(given: Volume) -> None:
    """Refuse an image that is given for a mask: its values are many and change from voxel to voxel."""
    values = given.data[given.data != 0]
    if not values.size or values.min() == values.max():
        return
    if (values == np.round(values)).all() and alike(given.data) >= ALIKE:
        return
    raise BrainError(
        given.path,
        "a brain mask (0 outside and one value inside) or a label map of whole numbers",
        f"an image of {len(np.unique(values))} values from {values.min():g} to {values.max():g}",
        "Give the mask and not the scan, or leave it out to have the brain extracted",
    )


def alike(data: FloatArray) -> float:
    """The share of neighbours along the first axis, both not 0, that have one value; 0 where there are none."""
    both = (data[1:] != 0) & (data[:-1] != 0)
    return float((data[1:] == data[:-1])[both].mean()) if both.any() else 0.0


def _extract(volume: Volume, device: str) -> Brain:
    support = _support(volume.data)
    support_ml = support.sum() * volume.grid.voxel_ml
    brain_sized = PLAUSIBLE_ML[0] <= support_ml <= PLAUSIBLE_ML[1]
    extracted = _deepbet(volume, device)
    if extracted is None:
        if brain_sized:
            return Brain(support, "stripped input")
        raise BrainError(
            volume.path,
            "a head in which deepbet finds a brain",
            "none",
            "Look at the volume, or give a brain mask",
        )
    if brain_sized and _dice(support, extracted) >= AGREEMENT:
        # deepbet draws the border as it does in the heads the model has learnt from
        return Brain(support & extracted, "stripped input")
    return Brain(extracted, "deepbet")


def _support(data: FloatArray) -> BoolArray:
    """The largest connected region of non-zero voxels, its holes filled."""
    support: BoolArray = data != 0
    boxes = ndimage.find_objects(support.view(np.uint8))
    if not boxes:
        return support
    labels, n = ndimage.label(support[boxes[0]])
    sizes = np.zeros(n + 1, np.int64)
    for part in np.array_split(labels, 16):  # bincount copies to 64 bits, which a large volume has no room for
        sizes += np.bincount(part.ravel(), minlength=n + 1)
    support[:] = False
    support[boxes[0]] = ndimage.binary_fill_holes(labels == 1 + int(np.argmax(sizes[1:])))
    return support


def _deepbet(volume: Volume, device: str) -> BoolArray | None:
    """deepbet's mask in the volume's storage order; None where it finds no foreground.

    It sees the voxels in closest-canonical order, so that the way a head is stored does not change its mask.
    """
    canonical, _ = volume.canonical(volume.data)
    network = _network(device)
    try:
        mask = network.postprocess(network.run_model(canonical) > 0.5).astype(bool)
    except (AssertionError, ValueError):  # its words for an empty mask
        return None
    return np.asarray(volume.as_stored(mask), dtype=bool)


@lru_cache(maxsize=1)
def _network(device: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit's deprecation, which no user can mend
        from deepbet.bet import BrainExtraction

        network = BrainExtraction(no_gpu=True)  # by itself it takes the first GPU it finds, whichever was asked for
    for model in (network.model, network.bbox_model):
        model.to(device)
    return network


def _dice(a: BoolArray, b: BoolArray) -> float:
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))

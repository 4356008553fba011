"""What a label map tells of tissue: of which kind each voxel is, and where the brain is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mri3d.synthesis.tissue import OUTSIDE, Nomenclature, Tissue, recognise, unknown_labels
from mri3d.volumes.volume import BoolArray, FloatArray

TissueMap = npt.NDArray[np.uint8]

SUBARACHNOID_MM = 4.0
"""Fluid around a brain that comes without a head."""

CISTERN_MM = 12.0
"""Radius of a ball that does not enter the cisterns between brain stem, cerebellum and temporal lobes."""


def to_tissue(labels: npt.NDArray[np.intp], nomenclature: Nomenclature | None = None) -> TissueMap:
    """The tissue of each voxel of a label map.

    Args:
        labels: whole numbers from 0 on.
        nomenclature: what they mean; recognised by the numbers when left out.

    Raises:
        ContentError: a number that is not known.
        UsageError: two nomenclatures know all of them.
    """
    far = [int(number) for number in (labels.min(), labels.max()) if not 0 <= number < 2**16]
    if far:  # and no table is made as long as a number that means nothing
        raise unknown_labels(far, "a nomenclature")
    numbers = np.flatnonzero(np.bincount(labels.ravel()))
    known = recognise(numbers) if nomenclature is None else nomenclature
    unknown = [int(number) for number in numbers if int(number) not in known.tissues]
    if unknown:
        raise unknown_labels(unknown, known.name)
    table = np.zeros(int(numbers[-1]) + 1, dtype=np.uint8)
    for number in numbers:
        table[int(number)] = known.tissues[int(number)]
    return np.asarray(table[labels])


def find_brain(tissue: TissueMap, spacing: tuple[float, float, float]) -> BoolArray:
    """Brain with ventricles, and what fills its sulci and cisterns: what a skull stripping leaves.

    Args:
        tissue: (X, Y, Z).
        spacing: in mm.
    """
    around = np.isin(tissue, (Tissue.CSF, Tissue.DURA))
    brain = (tissue > Tissue.AIR) & (tissue < OUTSIDE) & ~around
    brain |= around & (_surrounded(brain, spacing) > 0.3)
    return np.asarray(brain | around & (_surrounded(brain, spacing) > 0.65))  # cisterns with brain all around


def add_fluid(tissue: TissueMap, spacing: tuple[float, float, float]) -> TissueMap:
    """Put fluid where a brain without a head is not labelled, though a scan shows it.

    Segmentations leave out holes here and there, the cisterns, and all that lies between the brain and the skull.

    Args:
        tissue: (X, Y, Z); given back as it is where it has tissue of the head.
        spacing: in mm.
    """
    if (tissue >= OUTSIDE).any() or not tissue.any():
        return tissue
    air = tissue == Tissue.AIR
    fluid = air & (_surrounded(~air, spacing) > 0.7)
    fluid |= air & (_closed(~air, CISTERN_MM, spacing) | (_away(~air, spacing) <= SUBARACHNOID_MM))
    return np.where(fluid, np.uint8(Tissue.CSF), tissue)


def _away(mask: BoolArray, spacing: tuple[float, float, float]) -> FloatArray:
    """Distance of each voxel to a mask, in mm."""
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing))


def _closed(mask: BoolArray, radius: float, spacing: tuple[float, float, float]) -> BoolArray:
    """The mask with what a ball cannot enter from outside (morphological closing)."""
    margin = [(int(np.ceil(radius / step)) + 1,) * 2 for step in spacing]
    grown = _away(np.pad(mask, margin), spacing) <= radius
    inner = tuple(slice(width, -width) for width, _ in margin)
    return np.asarray((_away(~grown, spacing) > radius)[inner])


def _surrounded(mask: BoolArray, spacing: tuple[float, float, float]) -> FloatArray:
    """Share of a mask within about 5 mm of each voxel: a half on its plane border."""
    return np.asarray(ndimage.gaussian_filter(mask.astype(np.float32), 5.0 / np.array(spacing), truncate=2.0))

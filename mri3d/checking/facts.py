"""What is known of one volume: computed once, and all that the rules look at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import numpy.typing as npt

from mri3d.checking.turned import Turn, find_turn
from mri3d.errors import AlignmentError, BrainError, Mri3dError
from mri3d.transforms.case import Case, Item, Stage
from mri3d.transforms.dataset import Guarded
from mri3d.transforms.intensity import scale_of
from mri3d.transforms.source import FindBrain, LoadVolumes
from mri3d.volumes.alignment import USUAL_CORRELATION, Alignment, register
from mri3d.volumes.brain import ALIKE, alike, cut_area
from mri3d.volumes.subject import Subject
from mri3d.volumes.volume import BoolArray, FloatArray, Volume

LEVELS = np.arange(1.0, 100.0, 2.0)
"""Percentiles of the brain's intensity that make its profile."""

SURE_DICE = 0.92
"""Overlap with the template's brain from which a head is known to lie right, whatever its contrast.

Measured on heads of IXI that were turned in six ways: where the extraction did not fail, 0.84 to 0.88.
"""


@dataclass(frozen=True)
class Stored:
    """What the file holds.

    Args:
        shape: voxels along the axes as stored.
        spacing: mm along them.
        orientation: where they point to, such as ``PSR``.
        codes: of sform and qform.
        data_type: of the voxels, such as ``int16``.
        low: smallest intensity.
        high: largest intensity.
        labels: how many values a mask or label map has beside its background; 0 for an image.
        fingerprint: SHA-256 of all values that are not 0, from the smallest to the largest. It stays the same whatever
            the header, the compression, the order of the axes or a margin of zeros.
        doubts: what the gate let pass, whole sentences.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    orientation: str
    codes: tuple[int, int]
    data_type: str
    low: float
    high: float
    labels: int
    fingerprint: str
    doubts: tuple[str, ...] = ()

    @classmethod
    def of(cls, volume: Volume) -> Stored:
        """What is known of a volume that passed the gate."""
        data, header = volume.data, volume.header
        return cls(
            volume.grid.shape,
            volume.grid.spacing,
            "".join(nib.orientations.aff2axcodes(volume.grid.affine)),
            (int(header["sform_code"]), int(header["qform_code"])),
            str(header.get_data_dtype().newbyteorder("=")),
            float(data.min()),
            float(data.max()),
            count_labels(data),
            hashlib.sha256(np.sort(data[data != 0]).tobytes()).hexdigest(),
            volume.warnings,
        )


@dataclass(frozen=True, eq=False)
class Brain:
    """What was measured of the brain.

    Args:
        ml: its volume.
        source: where the mask is from: ``given``, ``stripped input`` or ``deepbet``.
        cut_cm2: area of it on the outermost slices.
        alignment: to the template, not judged; None where registration broke off.
        profile: (50,) intensities at :data:`LEVELS` of the brain's voxels, in units of the 98th percentile; None where
            the intensities have no scale.
    """

    ml: float
    source: str
    cut_cm2: float
    alignment: Alignment | None = None
    profile: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of one volume; later parts are missing where an earlier one was refused.

    Args:
        subject: whose it is.
        stored: what the file holds.
        brain: what was measured of the brain.
        turn: how the head lies, where its header is known to say otherwise.
        error: why the volume was refused, by the gate or by a step.
        seconds: time that it took.
    """

    subject: Subject
    stored: Stored | None = None
    brain: Brain | None = None
    turn: Turn | None = None
    error: Mri3dError | None = None
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Examined:
    """The facts of a volume with what they were taken from, as far as it is known."""

    facts: Facts
    volume: Volume | None
    mask: BoolArray | None


def examine(subject: Subject, device: str = "cpu") -> Examined:
    """Read a subject's volume, find its brain, align it, and note what is found; nothing is raised for a bad file.

    Args:
        subject: of one volume.
        device: where the brain extraction runs.
    """
    item = Guarded([LoadVolumes(), _Describe()])({"case": Case(subject), "facts": Facts(subject)})
    stored: Stored | None = item["facts"].stored
    if stored is not None and not stored.labels:
        item = Guarded([FindBrain(device), _MeasureBrain(), _MeasureIntensity(), _Register()])(item)
        if _may_be_turned(item["case"].error, item["facts"].brain):
            untried = {**item, "case": replace(item["case"], error=None)}
            item["facts"] = Guarded([_FindTurn(device)])(untried)["facts"]
    case: Case = item["case"]
    facts = replace(item["facts"], error=case.error, seconds=sum(case.seconds.values()))
    return Examined(facts, case.volume, None if case.brain is None else case.brain.mask)


def count_labels(data: FloatArray) -> int:
    """How many values beside its background a mask or label map (X, Y, Z) has; 0 for an image.

    The first corner's value is taken for the background, which need not be 0. Every volume with one value inside is a
    mask; with more, whole numbers that rarely change from voxel to voxel are a label map.
    """
    inside = data - data.flat[0]
    values = np.unique(inside[inside != 0])
    if len(values) == 1:
        return 1
    return len(values) if (values == np.round(values)).all() and alike(inside) >= ALIKE else 0


def _may_be_turned(error: Mri3dError | None, brain: Brain | None) -> bool:
    """Whether it is worth the time to look: extraction fails on most turned heads, and the others fit badly."""
    if brain is None or brain.alignment is None:
        return isinstance(error, BrainError | AlignmentError)
    return brain.alignment.dice < SURE_DICE and brain.alignment.correlation < USUAL_CORRELATION


class _Describe(Stage):
    """Note what the file holds."""

    name = "describe"

    def apply(self, item: Item) -> Item:
        item["facts"] = replace(item["facts"], stored=Stored.of(item["case"].volume))
        return item


class _MeasureBrain(Stage):
    """Note the brain's volume, and how much of it lies on the edge."""

    name = "measure"

    def apply(self, item: Item) -> Item:
        found, grid = item["case"].brain, item["case"].volume.grid
        ml = float(np.count_nonzero(found.mask)) * grid.voxel_ml
        item["facts"] = replace(item["facts"], brain=Brain(ml, found.source, cut_area(found.mask, grid)))
        return item


class _MeasureIntensity(Stage):
    """Note the profile of the brain's intensities.

    Raises:
        PreprocessingError: they have no scale.
    """

    name = "measure"

    def apply(self, item: Item) -> Item:
        case: Case = item["case"]
        assert case.volume is not None and case.brain is not None
        inside = case.volume.data[case.brain.mask]
        profile = np.percentile(inside, LEVELS) / scale_of(inside, case.subject.reference)
        item["facts"] = replace(item["facts"], brain=replace(item["facts"].brain, profile=profile))
        return item


class _Register(Stage):
    """Note how the brain lies on the template; the rules judge it.

    Raises:
        AlignmentError: the registration broke off.
    """

    name = "align"

    def apply(self, item: Item) -> Item:
        case: Case = item["case"]
        assert case.volume is not None and case.brain is not None
        alignment = register(case.volume, case.brain.mask)
        item["facts"] = replace(item["facts"], brain=replace(item["facts"].brain, alignment=alignment))
        return item


class _FindTurn(Stage):
    """Note how the head lies where its header says otherwise.

    Args:
        device: where the brain extraction runs.
    """

    name = "turn"

    def __init__(self, device: str) -> None:
        self._device = device

    def apply(self, item: Item) -> Item:
        item["facts"] = replace(item["facts"], turn=find_turn(item["case"].volume, self._device))
        return item

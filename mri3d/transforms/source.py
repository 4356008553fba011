"""The steps on the source grid: load the volume, find its brain, align it."""

from __future__ import annotations

from dataclasses import replace

from mri3d.errors import AlignmentError
from mri3d.transforms.case import Case, Item, Stage
from mri3d.transforms.intensity import scale_of
from mri3d.volumes.alignment import align
from mri3d.volumes.brain import CUT_CM2, cut_area, find_brain
from mri3d.volumes.nifti import read_volume


class LoadVolume(Stage):
    """Read the reference volume of ``case.subject`` through the checked gate.

    Raises:
        InputError: the file is unfit.
    """

    name = "load"

    def apply(self, item: Item) -> Item:
        """Set ``case.volume``; the gate's warnings become the case's."""
        case: Case = item["case"]
        volume = read_volume(case.subject.reference)
        item["case"] = replace(case, volume=volume, warnings=case.warnings + volume.warnings)
        return item


class FindBrain(Stage):
    """Take the subject's mask, recognise a stripped volume, or extract the brain.

    Args:
        device: where deepbet runs.

    Raises:
        BrainError: there is no plausible brain.
    """

    name = "brain"

    def __init__(self, device: str = "cpu") -> None:
        self._device = str(device)

    def apply(self, item: Item) -> Item:
        """Set ``case.brain``; warn where the scan ends within it."""
        case: Case = item["case"]
        assert case.volume is not None
        given = None if case.subject.mask is None else read_volume(case.subject.mask)
        brain = find_brain(case.volume, given, self._device)
        warnings = case.warnings
        area = cut_area(brain.mask, case.volume.grid)
        if area > CUT_CM2:
            warnings += (f"The scan ends within the brain ({area:.0f} cm2 of it lie on its edge); maps mislead there.",)
        item["case"] = replace(case, brain=brain, warnings=warnings)
        return item


class AlignToTemplate(Stage):
    """Register the brain to the MNI152 template, rigid then affine.

    Raises:
        AlignmentError: it does not lie on the template afterwards.
        PreprocessingError: the same, and its intensities are no scanner's.
    """

    name = "align"

    def apply(self, item: Item) -> Item:
        """Set ``case.alignment``; warn where it is doubtful."""
        case: Case = item["case"]
        assert case.volume is not None and case.brain is not None
        try:
            alignment = align(case.volume, case.brain.mask)
        except AlignmentError:
            # registration takes what is negative for background: then the intensities are the cause to be told
            scale_of(case.volume.data[case.brain.mask], case.subject.reference)
            raise
        item["case"] = replace(case, alignment=alignment, warnings=case.warnings + alignment.doubts)
        return item

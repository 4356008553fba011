"""The steps on the source grid: load the volumes, find the brain, bring the modalities together, align them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mri3d.errors import AlignmentError, InputError
from mri3d.transforms.case import Case, Item, Stage
from mri3d.transforms.intensity import scale_of
from mri3d.volumes.alignment import align
from mri3d.volumes.brain import CUT_CM2, cut_area, find_brain
from mri3d.volumes.coregistration import coregister
from mri3d.volumes.nifti import read_volume

FAR_MM = 15.0
"""Heads move by millimetres between the images of a session."""


class LoadVolumes(Stage):
    """Read the volumes of ``case.subject`` through the checked gate.

    Args:
        modalities: what the bundle knows, the reference first.
        missing: go on with a subject that has the reference and lacks another.

    Raises:
        InputError: a file is unfit, or the subject lacks a modality that it has to have.
    """

    name = "load"

    def __init__(self, modalities: Sequence[str] = ("T1w",), missing: bool = False) -> None:
        self.modalities = list(modalities)
        self._missing = missing  # a complete subject gives the same item either way

    def apply(self, item: Item) -> Item:
        """Set ``case.volumes`` and ``case.modalities``, and leave ``case.subject`` the images that they are of.

        The gate's warnings become the case's, with the file's name where there are several; so does a missing modality.
        """
        case: Case = item["case"]
        given = [name for name in self.modalities if name in case.subject.images]
        missing = [name for name in self.modalities if name not in given]
        if missing and not (self._missing and self.modalities[0] in given):
            expected, found = " and ".join(self.modalities), f"no {' and no '.join(missing)}"
            raise InputError(case.subject.reference, expected, found, "Add the file, or use a bundle without it")
        volumes = {name: read_volume(case.subject.images[name]) for name in given}
        several = len(volumes) > 1
        told = [f"{v.path.name}: {words}" if several else words for v in volumes.values() for words in v.warnings]
        if missing:
            told.append(f"There is no {' and no '.join(missing)}: the score is that of {' and '.join(given)}.")
        # a caller's own subject may have more images than the bundle has modalities, and in another order
        subject = replace(case.subject, images={name: case.subject.images[name] for name in given})
        known, warnings = tuple(self.modalities), (*case.warnings, *told)
        item["case"] = replace(case, subject=subject, volumes=volumes, modalities=known, warnings=warnings)
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


class Coregister(Stage):
    """Find where the other modalities lie in the reference's world.

    Raises:
        AlignmentError: one of them does not fit.
    """

    name = "coregister"

    def apply(self, item: Item) -> Item:
        """Set ``case.coregistrations``; warn where an image was far from its place."""
        case: Case = item["case"]
        assert case.volume is not None and case.brain is not None
        others = list(case.volumes.items())[1:]
        found = {name: coregister(case.volume, case.brain.mask, volume) for name, volume in others}
        warnings = tuple(
            f"{name} lay {each.moved_mm:.0f} mm from its place by its header; check that it shows the same head."
            for name, each in found.items()
            if each.moved_mm > FAR_MM
        )
        item["case"] = replace(case, coregistrations=found, warnings=case.warnings + warnings)
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

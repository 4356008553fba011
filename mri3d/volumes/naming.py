"""What a file's name tells: BIDS, BraTS, or nothing but a T1-weighted image."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

_ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_LABELS = re.compile(r"(^|[_-])(mask|brainmask|seg|dseg|probseg|labels?|roi)$", re.IGNORECASE)
_OUTPUTS = re.compile(r"_(error|zscore|anomaly|recon|signed|change)$")
_SUB = re.compile(r"(sub-[^_]+)")
_BRATS = re.compile(r"(BraTS-\w+-\d+)-\d+")

CONTRAST_ENHANCED = "T1ce"
_OF_BIDS = (
    "T1w T2w FLAIR PDw T2starw PDT2 inplaneT1 inplaneT2 MTw T1map T2map T1rho R1map UNIT1 MP2RAGE angio swi "
    "bold cbv sbref dwi adc epi phase phase1 phase2 phasediff magnitude magnitude1 magnitude2 fieldmap "
    "asl m0scan pet ct mra dti"
)
_MODALITIES = {name.lower(): name for name in _OF_BIDS.split()} | {
    **dict.fromkeys(("t1", "t1n"), "T1w"),
    **dict.fromkeys(("t1c", "t1ce", "t1gd"), CONTRAST_ENHANCED),
    **dict.fromkeys(("t2", "t2w"), "T2w"),
    "t2f": "FLAIR",
    "pd": "PDw",
}

MODALITIES = frozenset(_MODALITIES.values())
"""Every modality that a name may tell, those that no detector reads included."""


@dataclass(frozen=True)
class ImageName:
    """The parts of a name such as ``sub-01_ses-1_run-2_T1w.nii.gz``.

    Args:
        stem: the name without .nii or .nii.gz.
        entities: the stem without its modality (``sub-01_ses-1_run-2``); may be empty (``T1w.nii.gz``).
        modality: ``T1w``, ``T2w``, ``FLAIR``, or another that BIDS or BraTS name; None where the name tells none.
    """

    stem: str
    entities: str
    modality: str | None

    @classmethod
    def of(cls, path: Path) -> ImageName:
        """Take a file's name apart."""
        stem = _ENDING.sub("", path.name)
        last = re.split("[_-]", stem)[-1]
        modality = _MODALITIES.get(last.lower())
        if modality is None:
            return cls(stem, stem, None)
        name = cls(stem, stem[: -len(last) - 1], modality)
        return replace(name, modality=CONTRAST_ENHANCED) if modality == "T1w" and name.entity("ce") else name

    def entity(self, key: str) -> str:
        """The value of a BIDS entity, such as ``2`` for ``run``; empty if there is none."""
        return next((part[len(key) + 1 :] for part in self.entities.split("_") if part.startswith(f"{key}-")), "")

    @property
    def session(self) -> str:
        """What the images of one visit share: ``sub-01_ses-1`` in BIDS, else the entities."""
        if not _SUB.match(self.stem):
            return self.entities
        return "_".join(f"{key}-{self.entity(key)}" for key in ("sub", "ses") if self.entity(key))

    @property
    def mask_stems(self) -> tuple[str, ...]:
        """The stems a brain mask of this image may have, the most specific first."""
        plain = "_".join(part for part in self.entities.split("_") if not part.startswith("desc-"))
        names = (f"{self.stem}_brainmask", f"{self.entities}_brainmask", f"{plain}_desc-brain_mask")
        return tuple(name.lstrip("_") for name in names)


def is_nifti(path: Path) -> bool:
    """Whether the name ends in .nii or .nii.gz, in small or capital letters."""
    return bool(_ENDING.search(path.name))


def unfit(path: Path) -> str | None:
    """Why a file can never be an input, judged by its name; None if it can."""
    stem = _ENDING.sub("", path.name)
    if _LABELS.search(stem):
        return "a mask or label map"
    return "a map that mri3d wrote" if _OUTPUTS.search(stem) else None


def labelled_participant(path: Path) -> str | None:
    """Whom an image shows, from ``sub-XX`` in its name or a folder above it, or from a BraTS number; else None."""
    entities = ImageName.of(path).entities
    named = _SUB.match(entities) or _BRATS.match(entities)
    if named:
        return named[1]
    return next((part for part in reversed(path.absolute().parent.parts) if _SUB.fullmatch(part)), None)


def participant_of(path: Path) -> str:
    """The same, else the name without its modality, or the folder of an image that is called ``T1w.nii.gz``."""
    return labelled_participant(path) or ImageName.of(path).entities or path.absolute().parent.name


def shared_entities(names: Iterable[ImageName]) -> str:
    """The entities that all names have, in the order of the first: ``sub-01_ses-1``."""
    first, *others = (name.entities.split("_") for name in names)
    return "_".join(part for part in first if all(part in other for other in others))

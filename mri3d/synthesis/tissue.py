"""What a voxel of a label map is made of, and how that relaxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from mri3d.errors import ContentError, UsageError


class Tissue(IntEnum):
    """Kinds of tissue that look alike in an MRI; from ``MUSCLE`` on they lie outside the brain."""

    AIR = 0
    CSF = 1
    VENTRICLE = 2
    MIDLINE_VENTRICLE = 3
    CORTEX = 4
    WHITE = 5
    AGEING_WHITE = 6
    THALAMUS = 7
    STRIATUM = 8
    PALLIDUM = 9
    HIPPOCAMPUS = 10
    VENTRAL = 11
    CEREBELLAR_CORTEX = 12
    CEREBELLAR_WHITE = 13
    BRAIN_STEM = 14
    CHOROID_PLEXUS = 15
    PERIVASCULAR = 16
    OPTIC_CHIASM = 17
    MUSCLE = 18
    FAT = 19
    SKIN = 20
    BONE = 21
    MARROW = 22
    DURA = 23
    MUCOSA = 24
    EYE = 25
    OPTIC_NERVE = 26
    SPINAL_CORD = 27
    ARTERY = 28
    GLAND = 29


FLUID = (Tissue.CSF, Tissue.VENTRICLE, Tissue.MIDLINE_VENTRICLE, Tissue.PERIVASCULAR, Tissue.EYE)
WHITE_MATTER = (Tissue.WHITE, Tissue.AGEING_WHITE)
OUTSIDE = Tissue.MUSCLE
"""The first tissue that lies outside the brain."""


@dataclass(frozen=True)
class Relaxation:
    """What the signal of a tissue follows from.

    Args:
        t1: longitudinal relaxation time in ms at 3 T.
        t2: transverse relaxation time in ms, as a train of spin echoes sees it.
        density: of protons that are seen, relative to water, 0 to 1.
        field_power: T1 grows with the field strength to this power.
        spread: standard deviation of a subject's T1 and T2 around these, relative.
    """

    t1: float
    t2: float
    density: float
    field_power: float = 0.38
    spread: float = 0.03


RELAXATION: Mapping[Tissue, Relaxation] = {
    Tissue.AIR: Relaxation(1000, 50, 0.0, 0.0, 0.0),
    Tissue.CSF: Relaxation(4200, 1800, 1.0, 0.0, 0.015),
    Tissue.VENTRICLE: Relaxation(4200, 1800, 1.0, 0.0, 0.015),
    Tissue.MIDLINE_VENTRICLE: Relaxation(4200, 1800, 1.0, 0.0, 0.015),
    Tissue.CORTEX: Relaxation(1350, 92, 0.82),
    Tissue.WHITE: Relaxation(860, 75, 0.70, spread=0.02),
    Tissue.AGEING_WHITE: Relaxation(860, 75, 0.70, spread=0.02),
    Tissue.THALAMUS: Relaxation(1130, 79, 0.77),
    Tissue.STRIATUM: Relaxation(1250, 80, 0.80),
    Tissue.PALLIDUM: Relaxation(960, 62, 0.73),
    Tissue.HIPPOCAMPUS: Relaxation(1360, 92, 0.82),
    Tissue.VENTRAL: Relaxation(970, 72, 0.73),
    Tissue.CEREBELLAR_CORTEX: Relaxation(1270, 90, 0.81),
    Tissue.CEREBELLAR_WHITE: Relaxation(890, 76, 0.71, spread=0.02),
    Tissue.BRAIN_STEM: Relaxation(930, 77, 0.72, spread=0.02),
    Tissue.CHOROID_PLEXUS: Relaxation(2000, 110, 0.85),
    Tissue.PERIVASCULAR: Relaxation(3900, 1500, 1.0, 0.0, 0.015),
    Tissue.OPTIC_CHIASM: Relaxation(1083, 80, 0.72),
    Tissue.MUSCLE: Relaxation(1412, 45, 0.78, 0.34),
    Tissue.FAT: Relaxation(382, 120, 0.70, 0.15),
    Tissue.SKIN: Relaxation(1000, 32, 0.60, 0.2),
    Tissue.BONE: Relaxation(500, 1.5, 0.15, 0.0),
    Tissue.MARROW: Relaxation(480, 75, 0.60, 0.15, 0.15),
    Tissue.DURA: Relaxation(1700, 45, 0.75, 0.34, 0.1),
    Tissue.MUCOSA: Relaxation(1500, 110, 0.85, 0.3, 0.1),
    Tissue.EYE: Relaxation(4000, 1200, 1.0, 0.0, 0.03),
    Tissue.OPTIC_NERVE: Relaxation(1083, 78, 0.70),
    Tissue.SPINAL_CORD: Relaxation(930, 76, 0.71),
    Tissue.ARTERY: Relaxation(1000, 9, 0.90, 0.34, 0.1),
    Tissue.GLAND: Relaxation(1300, 95, 0.82),
}
"""At 3 T. White and grey matter, optic nerve, muscle, blood: after Stanisz et al. 2005 (doi 10.1002/mrm.20605) and
Wansapura et al. 1999 (J Magn Reson Imaging 9:531); the T2 of grey matter is below theirs, since 95 ms and more gave
T2w and FLAIR more contrast than real scans have, which magnetisation transfer between slices takes some of. The T1 of
deep grey matter beside that of cortex, and how T1 depends on the field: after Rooney et al. 2007 (doi
10.1002/mrm.21122). Fat and marrow: after de Bazelaire et al. 2004 (doi 10.1148/radiol.2303021331), with the longer T2
of fat in echo trains (Henkelman et al. 1992, J Magn Reson Imaging 2:533). Densities: after Tofts 2003, Quantitative
MRI of the Brain. Arteries have the short T2 that flow makes of theirs. For cerebellum, skin, dura, mucosa, glands and
choroid plexus the values are ours, chosen so that they look as they do in scans."""


@dataclass(frozen=True)
class Nomenclature:
    """What the numbers of a label map mean.

    Args:
        name: what it is called.
        tissues: number to tissue; 0 is air.
    """

    name: str
    tissues: Mapping[int, Tissue]


def _table(groups: Mapping[Tissue, Iterable[int]]) -> dict[int, Tissue]:
    return {0: Tissue.AIR, **{number: tissue for tissue, numbers in groups.items() for number in numbers}}


FREESURFER = Nomenclature(
    "freesurfer",
    _table({
        Tissue.CSF: (24,), Tissue.VENTRICLE: (4, 5, 43, 44), Tissue.MIDLINE_VENTRICLE: (14, 15, 72),
        Tissue.CORTEX: (3, 42, *range(1000, 1036), *range(2000, 2036)), Tissue.WHITE: (2, 41, *range(251, 256)),
        Tissue.AGEING_WHITE: (25, 57, 77, 78, 79), Tissue.THALAMUS: (10, 49), Tissue.STRIATUM: (11, 12, 26, 50, 51, 58),
        Tissue.PALLIDUM: (13, 52), Tissue.HIPPOCAMPUS: (17, 18, 53, 54), Tissue.VENTRAL: (28, 60),
        Tissue.CEREBELLAR_CORTEX: (8, 47), Tissue.CEREBELLAR_WHITE: (7, 46), Tissue.BRAIN_STEM: (16,),
        Tissue.CHOROID_PLEXUS: (31, 63, 136, 137, 163, 164), Tissue.PERIVASCULAR: (30, 62), Tissue.OPTIC_CHIASM: (85,),
        Tissue.MUSCLE: (507,), Tissue.SKIN: (511,), Tissue.BONE: (515,), Tissue.MARROW: (516,), Tissue.DURA: (514,),
        Tissue.MUCOSA: (509,), Tissue.EYE: (506,), Tissue.OPTIC_NERVE: (508,), Tissue.SPINAL_CORD: (512,),
        Tissue.ARTERY: (502,), Tissue.GLAND: (530,),
    }),
)  # fmt: skip
"""FreeSurfer's numbers with the cortex whole or in parcels, and the 5xx of whole-head training maps (SynthSeg, Billot
et al. 2023, doi 10.1016/j.media.2023.102789). No list of the latter is published; what they are is told by where they
lie: 511 is the outermost shell, 507 all soft tissue under it (muscle and fat alike), 515 the skull with 516 inside it,
514 falx, tentorium and sinuses, 506 two balls, 512 in the spinal canal. In the same way 136, 137, 163 and 164 lie
within the lateral ventricles along the choroid fissure; 25 and 57, lesions by FreeSurfer's list, are thin specks of
white matter along the ventricles; 30 and 62, vessels, are taken for the fluid about those below the putamen."""

MUSE = Nomenclature(
    "muse",
    _table({
        Tissue.CSF: (1,), Tissue.VENTRICLE: (49, 50, 51, 52), Tissue.MIDLINE_VENTRICLE: (4, 11, 46),
        Tissue.CORTEX: (75, 76, *range(100, 208)), Tissue.WHITE: range(81, 96),
        Tissue.THALAMUS: (59, 60), Tissue.STRIATUM: (23, 30, 36, 37, 57, 58), Tissue.PALLIDUM: (55, 56),
        Tissue.HIPPOCAMPUS: (31, 32, 47, 48), Tissue.VENTRAL: (61, 62), Tissue.CEREBELLAR_CORTEX: (38, 39, 71, 72, 73),
        Tissue.CEREBELLAR_WHITE: (40, 41), Tissue.BRAIN_STEM: (35,), Tissue.OPTIC_CHIASM: (69,),
    }),
)  # fmt: skip
"""Regions of MUSE (Doshi et al. 2016, doi 10.1016/j.neuroimage.2015.11.073) after the list published with NiChart
DLMUSE. It names 46 and leaves 1 and 69 out: 1 surrounds brain and cerebellum and is as dark as the ventricles in T1w
scans (0.37 of white matter; lateral ventricles 0.46), 69 is some voxels before the ventral diencephalon."""

NOMENCLATURES = {one.name: one for one in (FREESURFER, MUSE)}


def recognise(numbers: Iterable[int], where: Path | str = "label map") -> Nomenclature:
    """The nomenclature that knows all numbers of a label map.

    Args:
        numbers: that occur in it.
        where: its file, for the message.

    Raises:
        ContentError: neither knows all of them.
        UsageError: both do, as with a map of ventricles alone.
    """
    present = {int(number) for number in numbers} - {0}
    unknown = {name: sorted(present - set(one.tissues)) for name, one in NOMENCLATURES.items()}
    fitting = [name for name, numbers in unknown.items() if not numbers]
    if len(fitting) == 1:
        return NOMENCLATURES[fitting[0]]
    if fitting:
        remedy = "Say which by the transform's nomenclature, or give a map of the whole brain"
        raise UsageError(where, "labels of one nomenclature", f"such that {' and '.join(fitting)} share", remedy)
    nearest = min(unknown, key=lambda name: len(unknown[name]))
    raise unknown_labels(unknown[nearest], nearest, where)


def unknown_labels(numbers: Iterable[int], nomenclature: str, where: Path | str = "label map") -> ContentError:
    """The error that names numbers which a nomenclature does not know."""
    told = [str(number) for number in numbers]
    found = f"{', '.join(told[:10])}{', ...' if len(told) > 10 else ''}"
    remedy = "Give FreeSurfer's or MUSE's numbers, or set these labels to 0"
    return ContentError(where, f"labels that {nomenclature} knows", found, remedy)

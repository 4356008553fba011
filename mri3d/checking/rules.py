"""What is wrong with a volume by itself: each rule is one small function over its facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mri3d.checking.facts import Facts
from mri3d.checking.finding import Finding
from mri3d.errors import BrainError, ContentError, GeometryError, UnreadableFileError
from mri3d.volumes.alignment import MIN_CORRELATION, MIN_DICE, USUAL_CORRELATION, Alignment
from mri3d.volumes.brain import CUT_CM2


def label_map(facts: Facts) -> Iterator[Finding]:
    """A mask or label map whose name does not say so."""
    if facts.stored is not None and facts.stored.labels:
        kind = "a mask" if facts.stored.labels == 1 else f"a label map of {facts.stored.labels} values"
        remedy = "Take it out, or let its name end in _mask or _dseg"
        yield Finding(facts.subject.key, "error", "label map", "an image", kind, remedy)


def turned(facts: Facts) -> Iterator[Finding]:
    """A head that lies otherwise than its header says."""
    if facts.turn is not None:
        found = f"one that lies as if they pointed to {facts.turn.lies} (left and right may be swapped too)"
        expected = f"a brain that lies as the header says, its voxel axes pointing to {facts.turn.stored}"
        remedy = "Export the file again, or mend the header, and make sure of left and right"
        yield Finding(facts.subject.key, "error", "turned", expected, found, remedy)


def refused(facts: Facts) -> Iterator[Finding]:
    """What the gate or a step has refused."""
    error = facts.error
    if error is not None:
        kinds = {UnreadableFileError: "file", GeometryError: "geometry", ContentError: "content", BrainError: "brain"}
        what = next((word for kind, word in kinds.items() if isinstance(error, kind)), "preprocessing")
        # any other place, such as a mask, must be named
        found = error.found if error.where == str(facts.subject.reference) else f"{error.found} in {error.where}"
        yield Finding(facts.subject.key, "error", what, error.expected, found, error.remedy)


def wrong_contrast(facts: Facts) -> Iterator[Finding]:
    """A brain that lies on the template but is no T1w image of it."""
    fit = _alignment(facts)
    if fit is not None and fit.dice >= MIN_DICE and not fit.correlation >= MIN_CORRELATION:
        like = " as of a T2w volume" if fit.correlation < 0 else ""
        found = f"another contrast{like} (correlation with the T1w template {fit.correlation:.2f})"
        expected = f"a T1w volume (correlation {USUAL_CORRELATION} or more)"
        remedy = "Give it the name of its modality, or take it out"
        yield Finding(facts.subject.key, "error", "contrast", expected, found, remedy)


def misplaced(facts: Facts) -> Iterator[Finding]:
    """A brain that does not lie on the template."""
    fit = _alignment(facts)
    if fit is not None and not fit.dice >= MIN_DICE:
        found = f"Dice {fit.dice:.2f}, correlation {fit.correlation:.2f}"
        expected = f"a brain that can be brought onto the template (Dice {MIN_DICE} or more)"
        remedy = "Look at the brain's outline and at the orientation; a mask NAME_brainmask.nii.gz of yours is used"
        yield Finding(facts.subject.key, "error", "alignment", expected, found, remedy)


def doubtful(facts: Facts) -> Iterator[Finding]:
    """A brain that looks little like the template."""
    fit = _alignment(facts)
    if fit is not None and fit.correlation < USUAL_CORRELATION:
        expected = f"a T1w brain (correlation with the template {USUAL_CORRELATION} or more)"
        found, remedy = f"correlation {fit.correlation:.2f}", "Check that it is a T1w volume and lies the right way"
        yield Finding(facts.subject.key, "note", "contrast", expected, found, remedy)


def odd_header(facts: Facts) -> Iterator[Finding]:
    """What the gate lets pass, such as a sform and a qform that do not agree."""
    for doubt in facts.stored.doubts if facts.stored is not None else ():
        remedy = "Check the file in a viewer, or export it again"
        yield Finding(facts.subject.key, "note", "header", "a header without contradictions", doubt, remedy)


def cut_brain(facts: Facts) -> Iterator[Finding]:
    """A scan that ends within the brain."""
    if facts.brain is not None and facts.brain.cut_cm2 > CUT_CM2:
        found = f"{facts.brain.cut_cm2:.0f} cm2 of it on the outermost slices"
        remedy = "Look whether the scan ends within the brain; maps mislead there"
        yield Finding(facts.subject.key, "note", "cut", "a whole brain", found, remedy)


Rule = Callable[[Facts], Iterator[Finding]]
ERRORS: tuple[Rule, ...] = (label_map, turned, refused, wrong_contrast, misplaced)
NOTES: tuple[Rule, ...] = (doubtful, odd_header, cut_brain)


def first_error(facts: Facts) -> Finding | None:
    """The first error's finding: the others of a volume are its consequences."""
    return next((found for rule in ERRORS for found in rule(facts)), None)


def _alignment(facts: Facts) -> Alignment | None:
    return None if facts.brain is None else facts.brain.alignment

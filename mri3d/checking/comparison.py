"""What a volume is among the others: each rule is one small function over the facts of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mri3d.checking.facts import Facts
from mri3d.checking.finding import Finding
from mri3d.errors import some

MIN_REST = 5
"""Volumes from which one of them can be said to be stored otherwise than the rest."""

RARE = 0.2
"""Share of the volumes up to which a way to store them is the exception; with more the data set is simply mixed."""

OTHER_SPACING = 0.1
"""Relative difference from which a voxel size is another."""

MIN_COMPARED = 10
"""Volumes from which brain volumes and intensities are compared; a median of fewer moves with each of them."""

MAX_DEVIATION = 3.5
"""Robust standard deviations from the median beyond which a value is an outlier (Iglewicz and Hoaglin 1993).

Measured on 25 people of IXI, 20 to 74 years old: brains of 1184 to 1738 ml, median 1440, robust spread 168; the
farthest lies 1.8 spreads away.
"""

ADULT_ML = (850.0, 2000.0)
"""Brain volumes that need no second look where there are too few volumes to compare: see the people above."""

LEAST_SPREAD = 0.05
"""Of brain volumes, as a share of the median: no group of adults is more alike."""

LEAST_DISTANCE = 0.05
"""Mean difference from the median profile, in units of the bright tissue, that is never an outlier.

Measured on the same 25 people: 0.003 to 0.044, median 0.012.
"""


def duplicates(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Volumes of the same voxels, whatever their headers, compression and order; the first of them is not blamed."""
    first: dict[str, Facts] = {}
    for each in facts:
        assert each.stored is not None
        other = first.setdefault(each.stored.fingerprint, each)
        if other is not each:
            assert other.stored is not None
            same = (each.stored.shape, each.stored.orientation) == (other.stored.shape, other.stored.orientation)
            found = f"the voxels of {other.subject.key}{'' if same else ', in another order'}"
            remedy = "Find out which name is right, and take the other one out"
            yield Finding(each.subject.key, "error", "duplicate", "a scan of its own", found, remedy)


def orientations(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Volumes that are stored in another orientation than most."""
    count = Counter(_orientation(each) for each in facts)
    if len(facts) < MIN_REST or not count:
        return
    usual, times = count.most_common(1)[0]
    for each in facts:
        own = _orientation(each)
        if own != usual and count[own] <= RARE * len(facts) < len(facts) / 2 < times:
            expected = f"voxel axes pointing to {usual}, as in {times} of {len(facts)} volumes"
            remedy = "This is allowed; make sure that the header is right"
            yield Finding(each.subject.key, "note", "orientation", expected, own, remedy)


def spacings(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Volumes of another voxel size than most."""
    if len(facts) < MIN_REST:
        return
    sizes = np.array([_size(each) for each in facts])
    usual = np.median(sizes, axis=0)
    other = (np.abs(sizes / usual - 1) > OTHER_SPACING).any(axis=1)
    if other.mean() > RARE:
        return
    for each, size, differs in zip(facts, sizes, other, strict=True):
        if differs:
            expected = f"voxels of {_in_mm(usual)} (right, anterior, superior), as in most volumes"
            remedy = "This is allowed; make sure that the header is right and the scan is one of the study"
            yield Finding(each.subject.key, "note", "spacing", expected, _in_mm(size), remedy)


def brain_volumes(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Volumes whose brain is much larger or smaller than the others', or, among few, than adults'."""
    measured = [(each, each.brain.ml) for each in facts if each.brain is not None]
    if len(measured) < MIN_COMPARED:
        (low, high), those = ADULT_ML, "adults have"
    else:
        values = np.array([ml for _, ml in measured])
        usual = float(np.median(values))
        spread = max(robust_spread(values), LEAST_SPREAD * usual)
        low, high = max(usual - MAX_DEVIATION * spread, 0), usual + MAX_DEVIATION * spread
        those = f"the others have (median {usual:.0f} ml)"
    for each, ml in measured:
        if not low <= ml <= high:
            expected = f"a brain of {low:.0f} to {high:.0f} ml, as {those}"
            remedy = "Look at the brain's outline and check the voxel size"
            yield Finding(each.subject.key, "note", "brain volume", expected, f"{ml:.0f} ml", remedy)


def profiles(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Volumes whose intensities inside the brain are distributed otherwise than the others'."""
    with_brain = [(each, each.brain.profile) for each in facts if each.brain is not None]
    measured = [(each, profile) for each, profile in with_brain if profile is not None]
    if len(measured) < MIN_COMPARED:
        return
    stacked = np.array([profile for _, profile in measured])
    distances = np.abs(stacked - np.median(stacked, axis=0)).mean(axis=1)
    limit = float(np.median(distances)) + MAX_DEVIATION * robust_spread(distances)
    limit = max(limit, LEAST_DISTANCE)
    for (each, _), distance in zip(measured, distances, strict=True):
        if distance > limit:
            expected = f"brain intensities distributed as in the others (mean difference up to {limit:.3f})"
            remedy = "Look at the contrast, the bias field and the brain's outline"
            yield Finding(each.subject.key, "note", "intensities", expected, f"{distance:.3f}", remedy)


def participants(facts: Sequence[Facts], people: Collection[str] | None) -> Iterator[Finding]:
    """People whom only ``participants.tsv`` or only the volumes know."""
    if people is None:
        return
    shown = {each.subject.participant for each in facts}
    remedy = "Mend the table or the names; ages are taken from it"
    for names, expected, found in (
        (shown - set(people), "every person in participants.tsv", "volumes of {} that it does not name"),
        (set(people) - shown, "a volume for every person in participants.tsv", "none for {}"),
    ):
        if names:
            yield Finding("", "note", "participants", expected, found.format(some(sorted(names))), remedy)


def robust_spread(values: npt.NDArray[np.float64]) -> float:
    """The standard deviation of a normal distribution with the median absolute deviation of these values, (N,)."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _orientation(facts: Facts) -> str:
    assert facts.stored is not None
    return facts.stored.orientation


def _size(facts: Facts) -> tuple[float, ...]:
    """Voxel size in mm along right, anterior and superior, whatever the order of the axes."""
    assert facts.stored is not None
    along = dict(zip(facts.stored.orientation, facts.stored.spacing, strict=True))
    return tuple(next(along[letter] for letter in pair if letter in along) for pair in ("RL", "AP", "SI"))


def _in_mm(size: npt.ArrayLike) -> str:
    return " x ".join(f"{n:.3g}" for n in np.asarray(size)) + " mm"

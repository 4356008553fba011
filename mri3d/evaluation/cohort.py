"""All that can be said of a detector on a cohort.

Which scans count where: ranking and agreement of voxels are pooled over the scans that have a lesion mask; false
findings count on these and on healthy scans; false-positive volumes on healthy scans alone; scores, decisions and
reconstruction on all. Scans of one subject are resampled together. A metric that the cohort cannot give is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from mri3d.evaluation import lesions, subjects, voxels
from mri3d.evaluation.bootstrap import Estimate, FloatArray, average
from mri3d.evaluation.lesions import ScanLesions
from mri3d.evaluation.voxels import BrainVoxels

COMPARED = (
    "voxel_ap", "voxel_auroc", "dice_normals", "lesion_sensitivity", "subject_auroc", "subject_ap", "false_positive_ml",
)  # fmt: skip
"""Metrics whose paired differences between detectors are given; best Dice is not, since it takes the labels' help."""

FROC_STEPS = tuple(float(step) for step in 2.0 ** np.arange(2.0, -1.01, -0.25))
"""Multiples of the voxel threshold, falling from 4 to 1/2, at which lesions are sought."""

AT_NORMALS = FROC_STEPS.index(1.0)


@dataclass(frozen=True, eq=False)
class Scan:
    """What is measured of one scan.

    Args:
        subject: whose it is.
        abnormal: the truth.
        score: the subject's score; larger is more abnormal.
        voxels: its brain and lesion voxels; None without a lesion mask.
        lesions: its lesions, none for a healthy scan, at ``FROC_STEPS`` times the voxel threshold; None where an
            abnormal scan has no mask or the detector no voxel threshold.
        spread: (2, B) voxels outside and inside lesions by score, in the bins of :func:`spread_edges`; None where it
            has neither mask nor health to tell them apart, or the detector no voxel threshold.
        fidelity: how well it is reconstructed, by name.
        healthy: of a healthy scan, ``exceedance`` (share of brain voxels above the voxel threshold) and
            ``false_positive_ml``.
    """

    subject: str
    abnormal: bool
    score: float
    voxels: BrainVoxels | None = None
    lesions: ScanLesions | None = None
    spread: FloatArray | None = None
    fidelity: Mapping[str, float] = field(default_factory=dict)
    healthy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Maps:
    """The arrays of one scan, all (X, Y, Z).

    Args:
        scores: larger is more abnormal; 0 outside the brain.
        brain: the brain mask.
        truth: True in lesions; None where an abnormal scan has no mask.
        voxel_ml: volume of a voxel in ml.
    """

    scores: npt.NDArray[np.floating]
    brain: npt.NDArray[np.bool_]
    truth: npt.NDArray[np.bool_] | None
    voxel_ml: float


def measure(
    subject: str,
    abnormal: bool,
    score: float,
    maps: Maps,
    voxel_threshold: float | None,
    min_ml: float,
    fidelity: Mapping[str, float],
    anomalous_ml: float | None,
) -> Scan:
    """Measure one scan; of its arrays only the voxels of a lesioned brain are kept.

    The voxels that count are those of the brain or a lesion: a lesion that brain extraction cut away is missed, not
    forgotten.

    Args:
        subject, abnormal, score, fidelity: see :class:`Scan`.
        maps: its arrays.
        voxel_threshold: of the map; None where the detector has none.
        min_ml: smallest finding, in ml.
        anomalous_ml: volume of the detector's anomaly mask; None where it has none.
    """
    truth, scan = maps.truth, Scan(subject, abnormal, score, fidelity=fidelity)
    if truth is None:
        return scan
    cases = BrainVoxels.within(subject, maps.brain | truth, maps.scores, truth)
    if truth.any():
        scan = replace(scan, voxels=cases)
    if voxel_threshold is None:
        return scan
    steps = [step * voxel_threshold for step in FROC_STEPS]
    found = lesions.find_lesions(subject, maps.scores, truth, maps.voxel_ml, steps, min_ml)
    edges = spread_edges(voxel_threshold)
    kept = np.minimum(cases.scores, edges[-1])
    spread = np.stack([np.histogram(kept[cases.truth == inside], edges)[0] for inside in (False, True)])
    healthy: dict[str, float] = {}
    if not abnormal:
        healthy["exceedance"] = float(np.mean(cases.scores > voxel_threshold))
        if anomalous_ml is not None:
            healthy["false_positive_ml"] = anomalous_ml
    return replace(scan, lesions=found, spread=spread.astype(np.float64), healthy=healthy)


def spread_edges(voxel_threshold: float) -> FloatArray:
    """Edges of the bins in which voxels are counted by score; the last bin holds what lies beyond it too."""
    return np.linspace(0.0, 4 * voxel_threshold, 121)


def numbers(scan: Scan, voxel_threshold: float | None) -> dict[str, float]:
    """What can be said of one scan alone, by name."""
    found: dict[str, float] = {}
    if scan.lesions is not None:
        found["lesions"] = float(scan.lesions.sizes_ml.size)
        found["lesions_detected"] = float(scan.lesions.detected[AT_NORMALS].sum())
        found["false_findings"] = float(scan.lesions.false_findings[AT_NORMALS])
        found["lesion_ml"] = float(scan.lesions.sizes_ml.sum())
    if scan.voxels is not None:
        found["ap"] = float(average_precision_score(scan.voxels.truth, scan.voxels.scores))
        if voxel_threshold is not None:
            at = voxels.at_threshold([scan.voxels], voxel_threshold)
            new = {"dice_normals": "dice", "sensitivity": "sensitivity", "precision": "precision"}
            found |= {name: estimate.value for name, estimate in _named(at, new).items()}
    return {**found, **scan.healthy, **scan.fidelity}


def metrics(
    scans: Sequence[Scan], voxel_threshold: float | None, thresholds: Mapping[str, float], seed: int = 0
) -> dict[str, Any]:
    """Every metric that the scans can give, by name; each an :class:`Estimate` or a mapping that holds some.

    Args:
        scans: at least one.
        voxel_threshold: of the maps, set on healthy subjects only; None where the detector has none.
        thresholds: of the score, set likewise, by name; the last one decides.
        seed: of the bootstrap; the same seed makes two detectors' estimates on the same scans pairs.
    """
    return {
        **_of_voxels([scan.voxels for scan in scans if scan.voxels is not None], voxel_threshold, seed),
        **_of_lesions([scan.lesions for scan in scans if scan.lesions is not None], seed),
        **_of_subjects(scans, thresholds, seed),
        **_means(scans, (scan.fidelity for scan in scans), seed),
        **_on_healthy([scan for scan in scans if not scan.abnormal], thresholds, seed),
    }


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Estimate]:
    """Paired differences ``ours - theirs`` of the metrics that both have, from the same scans and seed."""
    return {name: ours[name].minus(theirs[name]) for name in COMPARED if name in ours and name in theirs}


def _of_voxels(cases: Sequence[BrainVoxels], threshold: float | None, seed: int) -> dict[str, Any]:
    ranked = voxels.ranking(cases, seed=seed)
    agreed = {} if threshold is None or not ranked else voxels.at_threshold(cases, threshold, seed=seed)
    return _named(
        {**ranked, **agreed},
        {
            "voxel_ap": "average_precision",
            "voxel_auroc": "auroc",
            "dice_best": "dice_best",
            "dice_best_threshold": "dice_best_threshold",
            "dice_normals": "dice",
            "dice_normals_subject_mean": "dice_subject_mean",
            "voxel_sensitivity": "sensitivity",
            "voxel_precision": "precision",
        },
    )


def _of_lesions(scans: Sequence[ScanLesions], seed: int) -> dict[str, Any]:
    share = lesions.sensitivity(scans, AT_NORMALS, seed=seed)
    score = lesions.froc_score(scans, seed=seed)
    found: dict[str, Any] = {}
    if share is not None and score is not None:
        sizes = lesions.by_size(scans, AT_NORMALS, seed=seed)
        found["lesion_sensitivity"] = share
        found["lesion_sensitivity_by_size"] = {name: {"lesions": n, "detected": of} for name, (n, of) in sizes.items()}
        found["froc_score"] = score
    if scans:
        false, people = [scan.false_findings[AT_NORMALS] for scan in scans], [scan.subject for scan in scans]
        found["false_findings_a_scan"] = average(false, people, seed=seed)
    return found


def _of_subjects(scans: Sequence[Scan], thresholds: Mapping[str, float], seed: int) -> dict[str, Any]:
    scores, abnormal = [scan.score for scan in scans], [scan.abnormal for scan in scans]
    people = [scan.subject for scan in scans]
    ranked = subjects.ranking(scores, abnormal, people, seed=seed)
    found: dict[str, Any] = _named(ranked, {"subject_auroc": "auroc", "subject_ap": "average_precision"})
    if thresholds:
        found["decision"] = {}
    for name, threshold in thresholds.items():
        flagged = [score > threshold for score in scores]
        (true_normal, false_anomalous), (false_normal, true_anomalous) = subjects.confusion(flagged, abnormal).tolist()
        found["decision"][name] = {
            "threshold": threshold,
            **subjects.decisions(flagged, abnormal, people, seed=seed),
            "confusion": {
                "healthy": {"normal": true_normal, "anomalous": false_anomalous},
                "abnormal": {"normal": false_normal, "anomalous": true_anomalous},
            },
        }
    return found


def _on_healthy(scans: Sequence[Scan], thresholds: Mapping[str, float], seed: int) -> dict[str, Any]:
    found: dict[str, Any] = _means(scans, (scan.healthy for scan in scans), seed)
    if scans and thresholds:
        deciding = list(thresholds.values())[-1]
        flagged = [float(scan.score > deciding) for scan in scans]
        found["flagged"] = average(flagged, [scan.subject for scan in scans], seed=seed)
    return found


def _means(scans: Sequence[Scan], values: Iterable[Mapping[str, float]], seed: int) -> dict[str, Any]:
    """The mean of each value over the scans that have it."""
    held = list(values)
    names = list(dict.fromkeys(name for of_scan in held for name in of_scan))
    means = {}
    for name in names:
        known = [(of_scan[name], scan.subject) for of_scan, scan in zip(held, scans, strict=True) if name in of_scan]
        means[name] = average([value for value, _ in known], [person for _, person in known], seed=seed)
    return means


def _named(estimates: Mapping[str, Estimate], names: Mapping[str, str]) -> dict[str, Any]:
    return {new: estimates[old] for new, old in names.items() if old in estimates}

"""The files of one subject: maps on the source grid, a picture, and a JSON that says what they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mri3d import __version__
from mri3d.reporting.modalities_figure import draw_modalities
from mri3d.reporting.names import MAPS, MODALITIES, PICTURE, SIDECAR, clear, ending_of, modality_kind, path_of
from mri3d.reporting.region_files import write_regions
from mri3d.reporting.slice_files import write_slices
from mri3d.reporting.subject_figure import draw_subject
from mri3d.reporting.view import write_view
from mri3d.scoring.detection import Detection, ModalityMap
from mri3d.scoring.fidelity import fidelity
from mri3d.transforms.template import template_on
from mri3d.volumes.atomic import write_json
from mri3d.volumes.coregistration import Coregistration
from mri3d.volumes.nifti import write_map
from mri3d.volumes.subject import Subject

_PACKAGES = ("monai", "torch", "nibabel", "SimpleITK", "numpy", "scipy", "deepbet")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    packages = {package: version(package) for package in _PACKAGES}
    return {"mri3d": __version__, "python": sys.version.split()[0], **packages}


def write_detection(
    detection: Detection, root: Path, bundle: Mapping[str, str], settings: Mapping[str, Any] | None = None
) -> None:
    """Write a subject's maps, pictures and, once all else stands, its JSON, in place of any earlier ones.

    Args:
        detection: the scored subject.
        root: the output folder; ``detection.subject.key`` gives the place below it.
        bundle: name, version and hash of the bundle.
        settings: what beside inputs and bundle made the maps what they are, JSON-ready.
    """
    start = time.perf_counter()
    key = detection.subject.key
    clear(root, key)
    for kind, data in _maps(detection).items():
        write_map(path_of(root, key, ending_of(kind)), data, detection.volume, MAPS[kind].description)
    for each in detection.modality_maps:
        path = path_of(root, key, ending_of(_kind(each)))
        write_map(path, each.data, each.volume, f"{MAPS[each.kind].description}, {each.modality}")
    draw_subject(detection, path_of(root, key, PICTURE), template_on(detection.model.grid))
    if len(detection.model.images) > 1:
        draw_modalities(detection, path_of(root, key, MODALITIES))
    write_view(detection, root, key)
    write_slices(detection, root, key)
    write_regions(detection, root, key)
    seconds = {**detection.seconds, "write": time.perf_counter() - start}
    sidecar = _sidecar(replace(detection, seconds=seconds), bundle) | origin_of(detection.subject, settings)
    write_json(path_of(root, key, SIDECAR), sidecar)


def origin_of(subject: Subject, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a subject's maps rest on beside the bundle, as its sidecar has it: files and settings."""
    return {
        "inputs": {modality: _identity_of(path) for modality, path in subject.images.items()},
        "mask": None if subject.mask is None else _identity_of(subject.mask),
        "settings": dict(settings or {}),
    }


def _maps(detection: Detection) -> dict[str, Any]:
    maps = {
        "error": detection.error,
        "zscore": detection.zscore,
        "anomaly": detection.anomaly,
        "recon": detection.reconstruction,
    }
    return {kind: data for kind, data in maps.items() if data is not None}


def _sidecar(detection: Detection, bundle: Mapping[str, str]) -> dict[str, Any]:
    subject, score = detection.subject, detection.score
    return {
        "subject": subject.name,
        "participant": subject.participant,
        "modalities": list(subject.images),
        "score": score.value,
        "decision": score.decision,
        "threshold": score.threshold,
        "thresholds": dict(score.thresholds),
        "p_value": score.p_value,
        "p_resolution": score.p_resolution,
        "voxel_threshold": detection.voxel_threshold,
        "anomalous_ml": detection.anomalous_ml,
        "brain_ml": float(detection.brain.sum() * detection.volume.grid.voxel_ml),
        "brain_mask": detection.brain_source,
        "alignment_dice": detection.alignment_dice,
        "alignment_correlation": detection.alignment_correlation,
        "template_to_source": detection.model.to_source.tolist(),
        "coregistration": {name: _measured(found) for name, found in detection.coregistrations.items()},
        "fidelity": fidelity(detection.model.image, detection.model.reconstruction, detection.model.mask),
        "components": [asdict(component) for component in detection.components],
        "maps": sorted([*_maps(detection), *map(_kind, detection.modality_maps)]),
        "slices": [asdict(score) for score in detection.slices],
        "regions": [asdict(region) for region in detection.regions],
        "covariates": dict(detection.covariates),
        "map_notes": "Error and z-map are formed on the model grid "
        f"({detection.model.grid.spacing[0]:g} mm) and brought to the source grid by one linear interpolation; "
        "coordinates are world coordinates of the source (RAS, mm).",
        "warnings": list(detection.warnings),
        "seconds": {stage: round(spent, 3) for stage, spent in detection.seconds.items()},
        "bundle": dict(bundle),
        "versions": versions(),
    }


def _kind(each: ModalityMap) -> str:
    return modality_kind(each.modality, each.kind, each.native)


def _measured(found: Coregistration) -> dict[str, float]:
    """How well a modality fits the reference; where it lies there is no part of it."""
    numbers = asdict(found)
    del numbers["to_moving"]
    return numbers


def _identity_of(path: Path) -> dict[str, Any]:
    """What tells an input from a changed one: path, size and time of change."""
    stat = path.stat()
    return {"path": str(path), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}

"""A demonstration without data: brains that do not exist, one with a lesion of known place, and what is found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from mri3d.bundle import ANATOMY_BUNDLE, DEFAULT_BUNDLE, find_bundle
from mri3d.commands.detect import detect
from mri3d.errors import Mri3dError
from mri3d.grid import Affine, Grid
from mri3d.reporting.names import REPORT, RUN, TABLE, clear
from mri3d.transforms.lesion import lesion_shape, with_lesion
from mri3d.transforms.resampling import resample
from mri3d.volumes.anatomy import Anatomy
from mri3d.volumes.atomic import write_json
from mri3d.volumes.nifti import write_image
from mri3d.volumes.volume import BoolArray, FloatArray

SEED = 20
NOISE = 0.015
"""Standard deviation of the scanner noise, as a share of white matter's intensity."""


@dataclass(frozen=True)
class Scan:
    """How a demo volume is sampled.

    Args:
        name: its file name without ending.
        shape: voxels.
        spacing: in mm.
        axes: orientation in which it is stored.
        tilt: rotation of the scanner's axes about x, y and z, in degrees.
        lesion: whether it has one.
    """

    name: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axes: str
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lesion: bool = False


SCANS = (
    Scan("sub-clean1_T1w", (176, 208, 176), (1.0, 1.0, 1.0), "RAS"),
    Scan("sub-clean2_T1w", (208, 176, 160), (1.0, 1.0, 1.1), "PSR"),
    Scan("sub-clean3_T1w", (192, 224, 60), (0.9, 0.9, 3.0), "LAS", tilt=(14.0, 5.0, -4.0)),
    Scan("sub-lesion_T1w", (176, 208, 160), (1.0, 1.0, 1.0), "LPS", tilt=(-8.0, 4.0, 6.0), lesion=True),
)


def run(folder: Path, device: str) -> str:
    """Make the volumes, detect with the shipped bundle and say in plain words what was found.

    Args:
        folder: where ``volumes``, ``truth``, ``results`` and ``demo.json`` go; an earlier demo is replaced.
        device: see :func:`mri3d.workflow.pick_device`.

    Returns:
        The words.

    Raises:
        Mri3dError: a volume could not be scored.
    """
    root = find_bundle(DEFAULT_BUNDLE)
    forget(folder)
    make_volumes(Anatomy.load(find_bundle(ANATOMY_BUNDLE) / "models" / "anatomy.nii.gz"), folder)
    summary = detect(folder / "volumes", root, folder / "results", device, {"existing": "overwrite"})
    if summary.failures:
        remedy = "Please report this with the output of --debug"
        raise Mri3dError(folder, "a result for every volume", summary.failures[0], remedy)
    findings = [_finding(scan, folder) for scan in SCANS]
    write_json(folder / "demo.json", {"what": _WHAT, "bundle": DEFAULT_BUNDLE, "subjects": findings})
    return _in_words(findings, folder)


def forget(folder: Path) -> None:
    """Take away what an earlier demo found, and nothing else that may lie there."""
    (folder / "demo.json").unlink(missing_ok=True)
    for name in (TABLE, RUN, REPORT):
        (folder / "results" / name).unlink(missing_ok=True)
    for scan in SCANS:
        clear(folder / "results", scan.name)


def make_volumes(anatomy: Anatomy, folder: Path) -> None:
    """Write a volume for every scan, and the lesion's mask."""
    rng = np.random.default_rng(SEED)
    lesion = lesion_shape(anatomy.grid)
    for scan in SCANS:
        brain = anatomy.draw(rng, spread=0.7)
        if scan.lesion:
            brain = with_lesion(brain, lesion)
        grid, world = _scanner(scan, rng)
        write_image(folder / "volumes" / f"{scan.name}.nii.gz", sample(brain, anatomy.grid, grid, world, rng), grid)
        if scan.lesion:
            mask = resample(lesion, anatomy.grid, grid, world) > 0.5
            write_image(folder / "truth" / f"{scan.name[:-4]}_label-lesion_mask.nii.gz", mask.astype(np.uint8), grid)


def sample(
    brain: FloatArray, model_grid: Grid, scanner: Grid, world: Affine, rng: np.random.Generator
) -> npt.NDArray[np.int16]:
    """A brain on a scanner's grid with Rician noise (Gudbjartsson and Patz 1995), exactly 0 around it.

    Args:
        brain: normalised intensity on the model grid.
        model_grid: where it lies.
        scanner: where the volume is wanted.
        world: (4, 4) from the scanner's world to the template's.
        rng: source of the noise.
    """
    volume = resample(brain, model_grid, scanner, world)
    inside = resample((brain > 0).astype(np.float32), model_grid, scanner, world) > 0.5
    noisy = np.hypot(volume + rng.normal(0, NOISE, volume.shape), rng.normal(0, NOISE, volume.shape))
    return np.where(inside, np.maximum(1000 * noisy, 1), 0).astype(np.int16)


def _scanner(scan: Scan, rng: np.random.Generator) -> tuple[Grid, Affine]:
    """The scan's grid, and where the head lies in it: (4, 4) from scanner world to template world."""
    orientation = nib.orientations.axcodes2ornt(scan.axes)
    axes = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(orientation):
        axes[int(axis), column] = sign
    affine = np.eye(4)
    affine[:3, :3] = _rotation(scan.tilt) @ axes @ np.diag(scan.spacing)
    affine[:3, 3] = np.array([2.0, -14.0, 8.0]) - affine[:3, :3] @ (np.array(scan.shape) - 1) / 2
    world = np.eye(4)
    world[:3, :3] = _rotation(rng.normal(0, 4, 3)) @ np.diag(rng.normal(1.1, 0.02, 3))
    return Grid(scan.shape, affine), world


def _rotation(degrees: Sequence[float] | np.ndarray[Any, Any]) -> Affine:
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _finding(scan: Scan, folder: Path) -> dict[str, Any]:
    made = json.loads((folder / "results" / f"{scan.name}.json").read_text(encoding="utf-8"))
    finding = {
        "subject": scan.name,
        "lesion": scan.lesion,
        **{key: made[key] for key in ("decision", "score", "threshold", "p_value", "anomalous_ml")},
        "seconds": round(sum(made["seconds"].values()), 1),
    }
    if scan.lesion:
        found = _mask(folder / "results" / f"{scan.name}_anomaly.nii.gz")
        truth_image = nib.Nifti1Image.from_filename(folder / "truth" / f"{scan.name[:-4]}_label-lesion_mask.nii.gz")
        truth = np.asarray(truth_image.dataobj) > 0
        finding["lesion_ml"] = float(truth.sum() * Grid(truth.shape, truth_image.affine).voxel_ml)
        finding["dice"] = float(2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1))
        finding["sensitivity"] = float((found & truth).sum() / truth.sum())
    return finding


def _mask(path: Path) -> BoolArray:
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj) > 0


_WHAT = (
    "Simulated brains, drawn from the mean and principal modes of the healthy T1w brains the bundle was trained on, "
    "sampled on ordinary scanner grids with noise; the lesion is an ellipsoid darkened towards cerebrospinal fluid. "
    "They are smoother than any head, so that what the report says of the size of regions does not hold for them."
)


def _in_words(findings: Sequence[dict[str, Any]], folder: Path) -> str:
    lines = [f"What it is: {_WHAT}", ""]
    for finding in findings:
        lines.append(
            f"{finding['subject']}: {finding['decision']} (score {finding['score']:.2f}, threshold "
            f"{finding['threshold']:.2f}, {finding['anomalous_ml']:.1f} ml anomalous)"
            + ("; it has a lesion" if finding["lesion"] else "; it has none")
        )
    lesioned = next(finding for finding in findings if finding["lesion"])
    source, results = folder / "volumes" / f"{lesioned['subject']}.nii.gz", folder / "results"
    zscore, anomaly = (results / f"{lesioned['subject']}_{ending}.nii.gz" for ending in ("zscore", "anomaly"))
    lines += [
        "",
        f"The lesion of {lesioned['lesion_ml']:.1f} ml and the anomaly mask overlap with Dice {lesioned['dice']:.2f}; "
        f"{lesioned['sensitivity']:.0%} of the lesion is marked.",
        "",
        f"Report:    {results / 'report.html'}",
        f"Table:     {results / 'results.csv'}",
        f"Same data: {folder / 'demo.json'}",
        f"ITK-SNAP:  itksnap -g {source} -o {zscore} -s {anomaly}",
        f"3D Slicer: File > Add Data: {source} and {zscore}, then show the second as foreground",
    ]
    return "\n".join(lines)

"""Scans of a subject that does not exist: what a sequence shows of its relaxation maps, as a scanner samples it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.transforms.compose import Compose
from monai.transforms.transform import MapTransform, RandomizableTransform
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mri3d.errors import UsageError
from mri3d.grid import Grid
from mri3d.synthesis.deformation import Item, RandHeadShaped, grid_of, on_grid, smooth_lattice, spread
from mri3d.synthesis.relaxation import RandRelaxationd
from mri3d.synthesis.sequences import DRAW, FAT_SUPPRESSED
from mri3d.transforms.resampling import resample
from mri3d.volumes.volume import BoolArray, FloatArray

EDGE_MM, EDGE_VOXELS = 0.7, 0.5
"""Standard deviation of the blur that makes partial volume of borders between labels, the larger of the two."""


@dataclass(frozen=True)
class Scan:
    """How a volume is sampled.

    Args:
        plane: ``axial`` or ``sagittal``; slices are stored along the last axis.
        spacing: within a slice, in mm.
        thickness: of a slice and from one to the next, in mm.
        tilt: rotation of the slices about the head's right, front and upward axes, in degrees.
    """

    plane: str
    spacing: float
    thickness: float
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def grid(self, head: Grid) -> Grid:
        """The grid that covers the field of view of another, whatever order its axes are stored in."""
        order = nib.orientations.io_orientation(head.affine)
        axes = np.zeros((3, 3))
        lengths = np.zeros(3)
        for axis, (world, sign) in enumerate(order):
            axes[:, int(world)] = sign * head.affine[:3, axis] / head.spacing[axis]
            lengths[int(world)] = head.spacing[axis] * head.shape[axis]
        axes = axes @ Rotation.from_euler("xyz", self.tilt, degrees=True).as_matrix()
        stored = [0, 1, 2] if self.plane == "axial" else [1, 2, 0]
        steps = np.array([self.spacing, self.spacing, self.thickness])
        x, y, z = np.ceil(lengths[stored] / steps - 1e-6).astype(int).clip(1)
        affine = np.eye(4)
        affine[:3, :3] = axes[:, stored] * steps
        middle = head.world((np.array(head.shape) - 1) / 2)
        affine[:3, 3] = middle - affine[:3, :3] @ (np.array([x, y, z]) - 1) / 2
        return Grid((x, y, z), affine)


def draw_scan(modality: str, spacing: float, thick: bool, rng: np.random.RandomState) -> Scan:
    """T1w are sagittal and isotropic; T2w and FLAIR have thick slices, tilted as they are planned in a clinic.

    Args:
        modality: one of :data:`mri3d.synthesis.sequences.DRAW`.
        spacing: of isotropic voxels and within slices, in mm.
        thick: whether there are thick slices; else all are isotropic.
        rng: source of chance.
    """
    if modality == "T1w" or not thick:
        return Scan("sagittal", spacing, spacing)
    plane = "sagittal" if modality == "FLAIR" and rng.rand() < 0.25 else "axial"
    tilt = tuple(float(angle) for angle in np.round(rng.uniform(-1, 1, 3) * (12.0, 3.0, 3.0), 2))
    return Scan(plane, spacing, max(spacing, round(rng.uniform(3.0, 5.0), 1)), (tilt[0], tilt[1], tilt[2]))


def draw_bias(grid: Grid, rng: np.random.RandomState) -> FloatArray:
    """A receive field, (X, Y, Z) around 1: bright in the middle or not, and smoothly uneven."""
    strength, bump = rng.uniform(0.02, 0.12), rng.uniform(-0.05, 0.35)
    uneven = strength * spread(smooth_lattice(grid, 50.0, 1, rng), grid.shape)[0].numpy()
    mm = [step * (np.arange(n) - (n - 1) / 2) for step, n in zip(grid.spacing, grid.shape, strict=True)]
    x, y, z = np.meshgrid(*((at / 90.0).astype(np.float32) ** 2 for at in mm), indexing="ij", sparse=True)
    return np.asarray(np.exp(uneven - np.float32(bump) * np.minimum(x + y + z, 3.0)))


def rician(signal: FloatArray, sigma: float, rng: np.random.RandomState) -> FloatArray:
    """Magnitude of a signal with noise in both channels (Gudbjartsson and Patz 1995, doi 10.1002/mrm.1910340618)."""
    source = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
    real = torch.from_numpy(signal) + sigma * torch.randn(signal.shape, generator=source)
    return np.asarray(torch.hypot(real, sigma * torch.randn(signal.shape, generator=source)).numpy())


class RandScansd(RandomizableTransform, MapTransform):
    """Scan a subject that :class:`mri3d.synthesis.relaxation.RandRelaxationd` has made, once in each modality.

    Each scan has parameters, slices, receive field, noise and gain of its own. The signal is computed where labels
    are, blurred to the scan's resolution along each axis and sampled, so that voxels on borders hold parts of both
    sides.

    An item gains an image (1, ...) float32 from 0 on for each modality, and ``scans``: modality to parameters under
    BIDS names.

    Args:
        keys: the relaxation maps; ``flow``, ``brain``, ``fat`` and ``field_strength`` are taken from the item too.
        modalities: names of :data:`mri3d.synthesis.sequences.DRAW`.
        spacing: of isotropic voxels and within slices, in mm; that of the labels (their finest) when left out.
        thick: whether T2w and FLAIR have slices of 3 to 5 mm.
        native: leave each image on its scan's own grid; else it is brought back to that of the labels.
        stripped: 0 outside the brain.

    Raises:
        UsageError: a modality that is not among them.
    """

    def __init__(
        self, keys: str = "relaxation", modalities: Sequence[str] = ("T1w", "T2w", "FLAIR"),
        spacing: float | None = None, thick: bool = True, native: bool = False, stripped: bool = False,
    ) -> None:  # fmt: skip
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        unknown = [name for name in modalities if name not in DRAW]
        if unknown or not modalities:
            remedy = "Leave out what cannot be simulated"
            raise UsageError("modalities", f"some of {', '.join(DRAW)}", ", ".join(unknown) or "none", remedy)
        self.modalities, self.spacing = tuple(modalities), spacing
        self.thick, self.native, self.stripped = thick, native, stripped

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add the images to an item."""
        item = dict(data)
        self.randomize(None)
        maps = item[self.first_key(item)]
        grid, brain = grid_of(maps), torch.as_tensor(item["brain"])[0].numpy()
        t1, t2, density = torch.as_tensor(maps).as_subclass(torch.Tensor)
        flow = torch.as_tensor(item["flow"])[0].as_subclass(torch.Tensor)
        item["scans"] = {}
        # one state each, so that a scan is the same whatever other modalities are asked for
        states = {name: np.random.RandomState(self.R.randint(2**31 - 1)) for name in DRAW}
        for modality in self.modalities:
            rng = states[modality]
            sequence = DRAW[modality](rng)
            scan = draw_scan(modality, self.spacing or min(grid.spacing), self.thick, rng)
            signal = sequence.signal(t1, t2, density, flow).numpy()
            suppressed = bool(rng.rand() < FAT_SUPPRESSED[modality])
            if suppressed:
                signal = signal * (1 - 0.9 * torch.as_tensor(item["fat"])[0].numpy())
            image, target = self._acquire(signal, grid, brain, scan, rng)
            item[modality] = on_grid(torch.from_numpy(image)[None], target)
            flat = scan.thickness > scan.spacing
            item["scans"][modality] = {
                "MagneticFieldStrength": item["field_strength"], "MRAcquisitionType": "2D" if flat else "3D",
                **sequence.parameters(), "SliceThickness": scan.thickness,
                **({"ScanOptions": "FS"} if suppressed else {}),
            }  # fmt: skip
        return item

    def _acquire(
        self, signal: FloatArray, head: Grid, brain: BoolArray, scan: Scan, rng: np.random.RandomState
    ) -> tuple[FloatArray, Grid]:
        """An image of the signal, and its grid."""
        target = scan.grid(head)
        if not self.native and scan.thickness == scan.spacing and scan.spacing <= min(head.spacing):
            target = head
        level = float(np.abs(signal[brain]).mean()) if brain.any() else 1.0
        gain = rng.uniform(200, 600) / max(level, 1e-6)
        soft = ndimage.gaussian_filter(signal, np.maximum(EDGE_MM / np.array(head.spacing), EDGE_VOXELS), truncate=3.0)
        image = draw_bias(target, rng) * _sampled(soft, head, target) * np.float32(gain)
        image = rician(image, gain * level * rng.uniform(0.01, 0.05), rng)
        if not self.native:
            image, target = _sampled(image, target, head), head
        if self.stripped:
            image *= _sampled(brain.astype(np.float32), head, target) > 0.5
        return image, target


def _sampled(data: FloatArray, source: Grid, target: Grid) -> FloatArray:
    return data if target is source else resample(data, source, target)


def synthesis(
    modalities: Sequence[str] = ("T1w", "T2w", "FLAIR"), spacing: float | None = None, thick: bool = True,
    native: bool = False, stripped: bool = False, nomenclature: str | None = None, deformed: bool = True,
) -> Compose:  # fmt: skip
    """Label map in, synthetic healthy scans out: shape, tissue and scanner drawn anew at every call.

    A simulation, made for training and tests; SynthSeg (Billot et al. 2023, doi 10.1016/j.media.2023.102789) draws the
    intensity of every label at random instead, which covers more contrasts and makes none of them look like a real
    one.

    Args:
        modalities: see :class:`RandScansd`, as for ``spacing``, ``thick``, ``native`` and ``stripped``.
        spacing: in mm.
        thick: whether T2w and FLAIR have thick slices.
        native: leave images on their own grids.
        stripped: 0 outside the brain.
        nomenclature: see :class:`mri3d.synthesis.relaxation.RandRelaxationd`.
        deformed: give the head another shape and pose, so that nobody is simulated who exists.

    Returns:
        A transform of items with ``label``, (1, X, Y, Z).
    """
    return Compose([
        *([RandHeadShaped("label")] if deformed else []),
        RandRelaxationd("label", nomenclature),
        RandScansd("relaxation", modalities, spacing, thick, native, stripped),
    ])  # fmt: skip

"""Lesions of real shape put into healthy whole-head volumes, in source space and before any preprocessing.

Brain extraction, bias correction, alignment and normalisation then see the lesion as they would a patient's: what they
lose or blur counts against the detector, as it should. Shapes are binary masks in MNI space; intensities are for T1w
(and FLAIR), where CSF is the darkest thing inside the brain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mri3d.grid import Affine, Grid

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Kind = Literal["clear", "subtle_bright", "subtle_dark"]

CLEAR_STRENGTH = (0.6, 0.9)  # of the way to CSF
SUBTLE_STRENGTH = (0.2, 0.3)  # of the tissue's own intensity
SUBTLE_SIGN = {"subtle_bright": 1.0, "subtle_dark": -1.0}
SMALL_ML = 5.0  # a lesion of less is `small`
MIN_INSIDE = 0.95  # share of a shape that must lie in the template's brain
MIN_LARGEST = 0.5  # share of a shape that must hang together: stroke scatters, but so do failed segmentations
EDGE_SIGMA_MM = 1.0  # tissue at the rim of an infarct is damaged in part
CSF_PERCENTILE = 2.0
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])  # left to right across the plane x = 0 of MNI world


@dataclass(frozen=True)
class Shape:
    """A lesion mask fit for use.

    Args:
        path: the NIfTI file, in MNI space.
        ml: volume of the mask in millilitres.
    """

    path: Path
    ml: float

    @property
    def small(self) -> bool:
        """Whether it is of the size that is hard to find."""
        return self.ml < SMALL_ML


@dataclass(frozen=True)
class Lesion:
    """What to put into a volume.

    Args:
        shape: path of the mask.
        kind: ``clear`` (towards CSF), ``subtle_bright`` or ``subtle_dark``.
        strength: share of the way to CSF, or of the tissue's own intensity.
        flipped: whether the shape is mirrored, left to right.
        small: whether the shape has less than 5 ml.
    """

    shape: str
    kind: Kind
    strength: float
    flipped: bool
    small: bool


@dataclass(frozen=True)
class Case:
    """One volume to score: a subject as scanned (``lesion`` is None) or with a lesion put in."""

    subject: str
    lesion: Lesion | None


def choose_shapes(
    folder: Path,
    seed: int,
    n: int,
    template_brain: BoolArray,
    template_grid: Grid,
    *,
    min_ml: float = 0.5,
    max_ml: float = 100.0,
) -> list[Shape]:
    """A reproducible choice of plausible shapes, half of them small.

    Args:
        folder: masks ``*.nii.gz`` in MNI space; files are taken in an order set by their names and the seed.
        seed: of that order.
        n: how many shapes.
        template_brain: (X, Y, Z) the MNI template's brain mask; a shape must lie in it to 95 %.
        template_grid: where the template's voxels lie.
        min_ml: smallest volume.
        max_ml: largest volume.

    Returns:
        n shapes by rising volume; n // 2 of them below 5 ml.

    Raises:
        ValueError: the folder has too few plausible shapes.
    """
    paths = sorted(folder.glob("*.nii.gz"))
    wanted = {True: n // 2, False: n - n // 2}
    chosen: list[Shape] = []
    for i in np.random.default_rng(seed).permutation(len(paths)):
        if not any(wanted.values()):
            break
        mask, grid = _read_mask(paths[i])
        shape = Shape(paths[i], float(mask.sum()) * grid.voxel_ml)
        fits = min_ml <= shape.ml <= max_ml and wanted[shape.small] > 0
        if fits and _plausible(mask, grid, template_brain, template_grid):
            wanted[shape.small] -= 1
            chosen.append(shape)
    if any(wanted.values()):
        raise ValueError(f"{folder}: {wanted[True]} small and {wanted[False]} large shapes short of {n}")
    return sorted(chosen, key=lambda shape: (shape.ml, shape.path.name))


def plan(subjects: Sequence[str], shapes: Sequence[Shape], seed: int) -> list[Case]:
    """Every subject three times: as scanned, with a clear and with a subtle lesion.

    Both lesions of a subject have one shape and place, so that the two kinds differ by contrast alone. Bright and dark
    subtle lesions alternate along the order of size: neither direction gets the larger ones.

    Args:
        subjects: names of healthy test subjects.
        shapes: what :func:`choose_shapes` gave; used again once all have been.
        seed: of who gets which shape, of mirroring and of strengths.

    Returns:
        3 cases a subject, in the order of ``subjects``.
    """
    if not shapes:
        raise ValueError("there are no shapes to plan with")
    rng = np.random.default_rng(seed)
    dealt = [shapes[rank] for rank in _deal(len(shapes), len(subjects), rng)]
    by_size = sorted(range(len(subjects)), key=lambda s: (dealt[s].ml, s))
    bright = set(by_size[::2])
    cases = []
    for s, subject in enumerate(subjects):
        shape, flipped = dealt[s], bool(rng.integers(2))
        subtle: Kind = "subtle_bright" if s in bright else "subtle_dark"
        kinds: tuple[tuple[Kind, tuple[float, float]], ...] = (("clear", CLEAR_STRENGTH), (subtle, SUBTLE_STRENGTH))
        cases.append(Case(subject, None))
        for kind, limits in kinds:
            strength = round(float(rng.uniform(*limits)), 3)
            cases.append(Case(subject, Lesion(str(shape.path), kind, strength, flipped, shape.small)))
    return cases


def lesion_on_source(path: Path, template_to_source: Affine, source: Grid, *, flipped: bool = False) -> FloatArray:
    """A lesion mask on a subject's own grid, with partial volume.

    Args:
        path: binary mask in MNI space.
        template_to_source: (4, 4) affine from MNI world mm to the source's world mm.
        source: the grid of the subject's volume.
        flipped: mirror the shape left to right in MNI space first.

    Returns:
        (X, Y, Z) share of each voxel that is lesion, 0 to 1: the mean over points that sample the voxel at least as
        densely as the mask is sampled, so that thick slices average as a scanner does.
    """
    mask, grid = _read_mask(path)
    sigma = EDGE_SIGMA_MM / np.asarray(grid.spacing)
    margin = np.ceil(4 * sigma).astype(int)
    soft = ndimage.gaussian_filter(np.pad(mask.astype(np.float32), [(m, m) for m in margin]), sigma, mode="constant")
    source_to_mask = np.linalg.inv(np.asarray(template_to_source, dtype=np.float64))
    if flipped:
        source_to_mask = MIRROR @ source_to_mask
    index = source.index_affine_to(grid, source_to_mask)
    index[:3, 3] += margin
    steps = np.ceil(np.linalg.norm(index[:3, :3], axis=0) - 1e-6).astype(int)
    points = list(product(*[(np.arange(k) + 0.5) / k - 0.5 for k in steps]))
    share = np.zeros(source.shape, dtype=np.float32)
    for point in points:
        offset = index[:3, :3] @ point + index[:3, 3]
        share += ndimage.affine_transform(soft, index[:3, :3], offset, source.shape, order=1, mode="constant")
    return np.clip(share / len(points), 0.0, 1.0)


def paste_lesion(
    data: FloatArray, brain: BoolArray, shape_on_source: FloatArray, kind: Kind, strength: float
) -> tuple[FloatArray, BoolArray]:
    """A volume with a lesion.

    What changes is the tissue under a voxel; the noise on it stays whole, since a lesion smoother than its surroundings
    would be found by that alone.

    Args:
        data: (X, Y, Z) raw intensities.
        brain: (X, Y, Z) brain mask, ventricles included.
        shape_on_source: (X, Y, Z) share of each voxel that is lesion, 0 to 1.
        kind: ``clear`` moves tissue towards CSF; ``subtle_bright`` and ``subtle_dark`` scale it up or down.
        strength: share of the way to CSF, or of the tissue's intensity, above 0 and at most 1.

    Returns:
        The new (X, Y, Z) float32 data, identical to ``data`` where the shape is 0 or the brain ends, and the truth:
        brain voxels of which at least half is lesion.
    """
    if not data.shape == brain.shape == shape_on_source.shape:
        raise ValueError(f"data {data.shape}, brain {brain.shape} and shape {shape_on_source.shape} differ")
    if not 0 < strength <= 1:
        raise ValueError(f"a strength is above 0 and at most 1, not {strength}")
    share = np.where(brain, shape_on_source, 0)
    changed, result = data.astype(np.float32), share > 0
    if result.any():
        box = _box(result, margin=1)
        inside = result[box]
        tissue = tissue_intensity(changed[box])[inside]
        way = csf_intensity(data, brain) - tissue if kind == "clear" else SUBTLE_SIGN[kind] * tissue
        moved = changed[box][inside] + strength * share[box][inside] * way
        changed[box][inside] = np.maximum(moved, data.min())
    return changed, share >= 0.5


def tissue_intensity(data: FloatArray) -> FloatArray:
    """Raw data (X, Y, Z) without its noise.

    Noise is a voxel's departure from the median of its 3 x 3 x 3 neighbourhood, up to twice what is usual here (the
    standard deviation by the median absolute departure). What departs further is anatomy: a sulcus one voxel wide.
    """
    departure = data - ndimage.median_filter(data, size=3, mode="nearest")
    usual = 1.4826 * float(np.median(np.abs(departure)))
    return np.asarray(data - np.clip(departure, -2 * usual, 2 * usual), dtype=np.float32)


def csf_intensity(data: FloatArray, brain: BoolArray) -> float:
    """T1w intensity of ventricular CSF: the darkest 2 % of the deeper half of the brain.

    The deeper half holds the ventricles and leaves out the rim, where a brain mask lets in skull, dura and air that are
    darker than CSF.

    Args:
        data: (X, Y, Z) raw intensities.
        brain: (X, Y, Z) brain mask, ventricles included.
    """
    if not brain.any():
        raise ValueError("the brain mask is empty")
    box = _box(brain, margin=0)
    depth = ndimage.distance_transform_edt(np.pad(brain[box], 1))[1:-1, 1:-1, 1:-1]
    deep = depth >= np.median(depth[brain[box]])
    return float(np.percentile(data[box][deep], CSF_PERCENTILE))


def _deal(n_shapes: int, n_subjects: int, rng: np.random.Generator) -> list[int]:
    """The index of a shape for each subject, each used once before any is used again."""
    dealt: list[int] = []
    while len(dealt) < n_subjects:
        dealt += rng.permutation(n_shapes).tolist()
    return dealt[:n_subjects]


def _plausible(mask: BoolArray, grid: Grid, template_brain: BoolArray, template_grid: Grid) -> bool:
    """Whether a shape hangs together and lies in the template's brain."""
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    largest = np.bincount(labels[mask]).max() / mask.sum()
    to_template = grid.index_affine_to(template_grid)
    index = np.argwhere(mask) @ to_template[:3, :3].T + to_template[:3, 3]
    inside = ndimage.map_coordinates(template_brain.astype(np.float32), index.T, order=0).mean()
    return bool(largest >= MIN_LARGEST and inside >= MIN_INSIDE)


def _read_mask(path: Path) -> tuple[BoolArray, Grid]:
    image = nib.Nifti1Image.from_filename(path)
    mask = np.asanyarray(image.dataobj) > 0
    return mask, Grid(mask.shape, image.affine)


def _box(mask: BoolArray, margin: int) -> tuple[slice, ...]:
    """The slices that hold all of ``mask`` and ``margin`` voxels about it."""
    (around,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(slice(max(where.start - margin, 0), where.stop + margin) for where in around)

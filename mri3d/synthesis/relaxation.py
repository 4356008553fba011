"""From labels to maps of T1, T2 and proton density, as they vary between people, within tissue and with age."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.transforms.transform import MapTransform, RandomizableTransform
from scipy import ndimage

from mri3d.errors import UsageError
from mri3d.grid import Grid
from mri3d.synthesis.deformation import Item, grid_of, on_grid, smooth_lattice, spread
from mri3d.synthesis.flow import moving_fluid
from mri3d.synthesis.tissue import FLUID, NOMENCLATURES, OUTSIDE, RELAXATION, WHITE_MATTER, Tissue
from mri3d.synthesis.tissue_map import TissueMap, add_fluid, find_brain, to_tissue
from mri3d.transforms.corruption import smooth_noise
from mri3d.transforms.resampling import crop_to
from mri3d.volumes.volume import FloatArray

FIELD_STRENGTHS = (1.5, 3.0)
"""In tesla; one is drawn."""

FAT = np.zeros(len(Tissue), dtype=np.float32)
"""Share of fat in what a tissue's signal comes from."""
FAT[[Tissue.FAT, Tissue.MARROW, Tissue.SKIN]] = 1.0, 0.8, 0.3

COARSE_MM, FINE_MM = 15.0, 2.5
TEXTURE = ((0.020, 0.06), (0.020, 0.05))
"""Relative variation of T1 and of T2 within tissue: on the coarse scale, and on the fine one before interpolation."""

YOUNG, OLD = 30.0, 80.0
"""Years between which white matter grows old."""

AGEING = ((0.04, 0.20), (0.04, 0.35), (0.0, 0.04))
"""Relative growth of white matter's T1, T2 and density from young to old: everywhere, and beside the ventricles."""

HEAVIEST = 1.2
"""Most of that growth beside the ventricles that is drawn: beyond it caps would be lesions."""


def periventricular(tissue: TissueMap, grid: Grid, thickness: float, rng: np.random.RandomState) -> FloatArray:
    """How much of white matter's periventricular rims and caps a voxel has, 0 to 1.

    Rims follow the lateral ventricles, caps sit on their frontal and occipital horns (Fazekas et al. 1987,
    doi 10.2214/ajr.149.2.351); both are uneven, and fray out into a few specks where they are thick.

    Args:
        tissue: (X, Y, Z).
        grid: where it lies.
        thickness: of the rims in mm.
        rng: source of chance.
    """
    weight = np.zeros(tissue.shape, dtype=np.float32)
    ventricle = tissue == Tissue.VENTRICLE
    if not ventricle.any():
        return weight
    spacing = np.array(grid.spacing)
    box, part = crop_to(ventricle, grid, int(np.ceil(4 * thickness / spacing.min())) + 2)
    inside = ventricle[box].astype(np.float32)
    rim, cap = (2 * ndimage.gaussian_filter(inside, width * thickness / spacing, truncate=3.0) for width in (0.8, 1.6))
    front = int(np.flatnonzero(nib.orientations.io_orientation(grid.affine)[:, 0] == 1)[0])
    at = np.flatnonzero(inside.any(axis=tuple(axis for axis in range(3) if axis != front)))
    along = 2 * (np.arange(inside.shape[front]) - at[0]) / max(at[-1] - at[0], 1) - 1  # -1 and 1 at the horns
    tips = np.clip(np.abs(along) - 0.6, 0, 0.4) / 0.4
    uneven = smooth_noise(part.shape, max(1.5, 5.0 / spacing.min()), rng).numpy()
    amount = (rim + 1.5 * cap * tips.reshape([-1 if axis == front else 1 for axis in range(3)])) * (1 + 0.4 * uneven)
    weight[box] = np.clip(amount, 0, 1) * np.isin(tissue[box], WHITE_MATTER)
    return weight


class RandRelaxationd(RandomizableTransform, MapTransform):
    """Make a subject of a label map: relaxation times and proton density of each of its voxels.

    Tissues have values of their own in each subject, and vary smoothly and finely within. White matter's relaxation
    times grow with age (Callaghan et al. 2014, doi 10.1016/j.neurobiolaging.2014.02.008), most beside the ventricles.
    The soft tissue of a whole head, which has one label, is fat below the skin and here and there, and muscle
    elsewhere.

    An item gains ``relaxation``, (3, X, Y, Z) float32: T1 and T2 in ms and density in 0..1; ``flow``, (1, X, Y, Z)
    float32: the share of fluid that moves; ``brain``, a mask (1, X, Y, Z); ``age`` in years where it had none; and
    ``field_strength`` in tesla.

    Args:
        keys: the label map (1, X, Y, Z).
        nomenclature: ``freesurfer`` or ``muse``; recognised by the labels when left out.
        ages: youngest and oldest in years, drawn evenly where the item has no ``age``.

    Raises:
        UsageError: no such nomenclature, or (when called) labels that two of them know.
        ContentError: when called, with a label that is not known.
    """

    def __init__(
        self, keys: str = "label", nomenclature: str | None = None, ages: tuple[float, float] = (20.0, 85.0)
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        if nomenclature not in (None, *NOMENCLATURES):
            remedy = "Leave it out to have it recognised"
            raise UsageError("nomenclature", f"one of {', '.join(NOMENCLATURES)}", str(nomenclature), remedy)
        self.nomenclature = None if nomenclature is None else NOMENCLATURES[nomenclature]
        self.ages = ages

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add the maps to an item."""
        item = dict(data)
        self.randomize(None)
        label = item[self.first_key(item)]
        grid = grid_of(label)
        tissue = to_tissue(torch.as_tensor(label)[0].numpy().astype(np.intp), self.nomenclature)
        tissue = add_fluid(tissue, grid.spacing)
        item["brain"] = on_grid(torch.from_numpy(find_brain(tissue, grid.spacing))[None], grid)
        item["field_strength"] = float(self.R.choice(FIELD_STRENGTHS))
        age = self.R.uniform(*self.ages)  # drawn in any case, so that a given age changes nothing else
        item["age"] = float(item.get("age", age))
        tissue = self._with_fat(tissue, grid)
        item["fat"] = on_grid(torch.from_numpy(FAT[tissue])[None], grid)
        maps = self._varied(tissue, grid, item["field_strength"])
        self._age(maps, tissue, grid, item["age"])
        item["relaxation"] = on_grid(torch.from_numpy(np.exp(maps, out=maps)), grid)
        item["flow"] = on_grid(torch.from_numpy(moving_fluid(tissue, grid, self.R))[None], grid)
        return item

    def _with_fat(self, tissue: TissueMap, grid: Grid) -> TissueMap:
        skin = tissue == Tissue.SKIN
        if not skin.any():
            return tissue
        size = np.maximum(1, np.round(self.R.uniform(9, 15) / np.array(grid.spacing)))
        near = ndimage.uniform_filter(skin.astype(np.float32), size)
        uneven = smooth_noise(tissue.shape, max(1.5, 6.0 / min(grid.spacing)), self.R).numpy()
        fat = (near > 0.04 + 0.03 * uneven) | (uneven > 1.0)
        return np.where(fat & (tissue == Tissue.MUSCLE), np.uint8(Tissue.FAT), tissue)

    def _varied(self, tissue: TissueMap, grid: Grid, field: float) -> FloatArray:
        """Logarithms of T1, T2 and density, (3, X, Y, Z)."""
        table = np.zeros((3, len(Tissue)), dtype=np.float32)
        texture = np.zeros(len(Tissue), dtype=np.float32)
        for kind, known in RELAXATION.items():
            t1 = known.t1 * (field / FIELD_STRENGTHS[-1]) ** known.field_power
            times = np.array([t1, known.t2]) * np.exp(known.spread * self.R.standard_normal(2))
            table[:, kind] = np.log([*times, max(known.density, 1e-6)])
            texture[kind] = 0.2 if kind in FLUID else 2.0 if kind >= OUTSIDE else 1.0
        table[:, [Tissue.VENTRICLE, Tissue.MIDLINE_VENTRICLE]] = table[:, [Tissue.CSF]]
        table[:, Tissue.AGEING_WHITE] = table[:, Tissue.WHITE]
        strength = texture[tissue]
        finest = max(1.25, FINE_MM / min(grid.spacing))
        coarse = spread(smooth_lattice(grid, COARSE_MM, 2, self.R), grid.shape).numpy()
        maps = table[:, tissue]
        for quantity, (smooth, fine) in enumerate(TEXTURE):
            varied = smooth * coarse[quantity] + fine * smooth_noise(tissue.shape, finest, self.R).numpy()
            maps[quantity] += strength * varied
            maps[2] += 0.3 * strength * varied  # more water, longer times
        return np.asarray(maps)

    def _age(self, maps: FloatArray, tissue: TissueMap, grid: Grid, age: float) -> None:
        """Let white matter grow old, in place."""
        years = float(np.clip((age - YOUNG) / (OLD - YOUNG), 0, HEAVIEST))
        burden = min(years * float(np.exp(self.R.normal(0, 0.35))), HEAVIEST)  # people of one age differ
        rim = periventricular(tissue, grid, 1.0 + 2.0 * burden, self.R)
        rim[tissue == Tissue.AGEING_WHITE] = 1.0
        for quantity, (everywhere, beside) in enumerate(AGEING):
            maps[quantity] += everywhere * years * np.isin(tissue, WHITE_MATTER)
            maps[quantity] += (0.1 + burden) * beside * rim

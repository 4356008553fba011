"""Error and z-map of each modality alone, on the reference's grid and on its own."""

from __future__ import annotations

import numpy as np
import torch

from mri3d.errors import UsageError
from mri3d.grid import Affine, Grid
from mri3d.scoring.detection import ModalityMap
from mri3d.scoring.normative import Normative
from mri3d.scoring.scorer import Scorer
from mri3d.transforms.case import Case, Item, Stage
from mri3d.transforms.model_grid import onto
from mri3d.transforms.resampling import resample
from mri3d.volumes.volume import BoolArray, FloatArray, Volume


class MapModalities(Stage):
    """Make the maps of each modality, where they are asked for.

    Args:
        scorer: how residuals become scores.
        normative: healthy statistics; without them there are error maps alone.
        grid: the model grid.
        grids: ``reference``, or ``native`` for maps on the modality's own grid too.

    Raises:
        UsageError: other ``grids``.
    """

    name = "score"

    def __init__(self, scorer: Scorer, normative: Normative | None, grid: Grid, grids: str) -> None:
        if grids not in ("reference", "native"):
            raise UsageError("per_modality", "no, reference or native", str(grids), "Mend it")
        self.scorer, self.normative, self.grid, self.native = scorer, normative, grid, grids == "native"

    def apply(self, item: Item) -> Item:
        """Set ``modality_maps`` (tuple of ModalityMap), in the order of the modalities."""
        image, pred, mask = (torch.as_tensor(item[key]).cpu().numpy() for key in ("image", "pred", "mask"))
        made: list[ModalityMap] = []
        for channel, modality in enumerate(item["case"].channels):
            own = slice(channel, channel + 1)
            if mask[own].any():
                normative = None if self.normative is None else self._alone(self.normative, item["case"], channel)
                error, zscore, _ = self.scorer.of_subject(image[own], pred[own], mask[own], normative)
                maps = {"error": error, **({} if zscore is None else {"zscore": zscore})}
                made += self._placed(item["case"], modality, maps, mask[channel])
        return {**item, "modality_maps": tuple(made)}

    @staticmethod
    def _alone(normative: Normative, case: Case, channel: int) -> Normative:
        return (normative if case.complete else normative.of_partial(tuple(case.subject.images))).alone(channel)

    def _placed(
        self, case: Case, modality: str, maps: dict[str, FloatArray], shown: BoolArray
    ) -> list[ModalityMap]:
        assert case.volume is not None and case.brain is not None and case.alignment is not None
        to_template = np.asarray(np.linalg.inv(case.alignment.template_to_source), dtype=np.float64)
        places = [(False, case.volume, case.brain.mask, to_template)]
        if self.native and modality in case.coregistrations:
            volume = case.volumes[modality]
            back = np.asarray(np.linalg.inv(case.coregistrations[modality].to_moving), dtype=np.float64)
            brain = resample(case.brain.mask.astype(np.float32), case.volume.grid, volume.grid, back) > 0.5
            places.append((True, volume, brain, to_template @ back))
        return [
            ModalityMap(modality, kind, native, self._on(volume, brain, data, shown, world), volume)
            for native, volume, brain, world in places
            for kind, data in maps.items()
        ]

    def _on(self, volume: Volume, brain: BoolArray, data: FloatArray, shown: BoolArray, world: Affine) -> FloatArray:
        inside = brain & (resample(shown.astype(np.float32), self.grid, volume.grid, world) > 0.5)
        if not inside.any():
            return np.zeros(volume.grid.shape, np.float32)
        return onto(volume.grid, inside, data, shown, self.grid, world)

"""Make a bundle's statistics and calibration from healthy subjects that training did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mri3d.errors import UsageError
from mri3d.grid import Grid
from mri3d.scoring.calibration import Calibration
from mri3d.scoring.normative import ResidualSums
from mri3d.scoring.scorer import Scorer
from mri3d.transforms.case import Item
from mri3d.transforms.dataset import Guarded
from mri3d.volumes.volume import BoolArray, FloatArray

MIN_SUBJECTS = 5
"""Fewer people give no standard deviation worth a threshold."""


class Calibrator:
    """Residual statistics from all calibration subjects; thresholds from each scored by the others' statistics.

    All scans of a person are left out of the statistics that person is scored by (leave one out, jackknife), so that
    everybody serves both purposes and nobody is scored by themselves. This is slightly conservative: a new subject is
    scored by one person's scans more.

    Args:
        network: eval-mode network on ``device``.
        inferer: MONAI inferer, called as ``inferer(image, network)``.
        scorer: how residuals become scores.
        grid: the model grid.
        device: where the network is.
        voxel_quantile: share of healthy brain voxels below the voxel threshold.
        hashes: gives the hashes of what the calibration depends on, from bundle root, preprocessing and scorer.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: Callable[..., torch.Tensor],
        scorer: Scorer,
        grid: Grid,
        device: torch.device,
        voxel_quantile: float,
        hashes: Callable[[Path, Guarded, Scorer], dict[str, str]],
    ) -> None:
        self.network, self.inferer, self.device = network, inferer, device
        self.scorer, self.grid, self.voxel_quantile = scorer, grid, voxel_quantile
        self.hashes = hashes

    def run(self, items: Sequence[Item], root: Path | str, preprocessing: Guarded) -> Calibration:
        """Write the statistics and ``calibration.json`` into a bundle's ``models``.

        Args:
            items: preprocessed healthy scans, ``image`` and ``mask`` of shape (1, *grid.shape), and ``participant``,
                whom the scan shows.
            root: the bundle.
            preprocessing: the chain that made the items.

        Raises:
            UsageError: fewer than five people.
        """
        scans: dict[str, list[int]] = {}
        for index, item in enumerate(items):
            scans.setdefault(item["participant"], []).append(index)
        if len(scans) < MIN_SUBJECTS:
            raise UsageError(
                root,
                f"at least {MIN_SUBJECTS} calibration subjects",
                str(len(scans)),
                "Give healthy volumes of more people",
            )
        masks = [np.asarray(item["mask"][0]) for item in items]
        residuals = [self._residual(item) for item in tqdm(items, desc="calibrate", unit="subject")]
        sums = ResidualSums.of(residuals, masks)
        models = Path(root) / "models"
        sums.normative(self.grid).save(models)
        scores, tail = self._leave_one_out(sums, residuals, masks, list(scans.values()))
        hashes = self.hashes(Path(root), preprocessing, self.scorer)
        calibration = Calibration(tuple(scores), tail, self.voxel_quantile, hashes)
        calibration.save(models / "calibration.json")
        return calibration

    @torch.no_grad()
    def _residual(self, item: Item) -> FloatArray:
        self.network.eval()
        image = item["image"].to(self.device)[None]
        reconstruction = self.inferer(image, self.network)[0, 0].float().cpu().numpy()
        return self.scorer.residual(item["image"][0].numpy(), reconstruction, item["mask"][0].numpy())

    def _leave_one_out(
        self,
        sums: ResidualSums,
        residuals: Sequence[FloatArray],
        masks: Sequence[BoolArray],
        people: Sequence[Sequence[int]],
    ) -> tuple[list[float], float]:
        """Each person's score, the largest of their scans', and the quantile of all brain voxels' z."""
        scores, voxels = [], []
        for scans in people:
            others = sums
            for i in scans:
                others = others.without(residuals[i], masks[i])
            normative = others.normative(self.grid)
            zscores = [normative.zscore(residuals[i], masks[i]) for i in scans]
            scores.append(max(self.scorer.value(z, masks[i]) for z, i in zip(zscores, scans, strict=True)))
            voxels += [z[masks[i]] for z, i in zip(zscores, scans, strict=True)]
        return scores, float(np.quantile(np.concatenate(voxels), self.voxel_quantile))

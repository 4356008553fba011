"""The scoring steps as MONAI transforms: on the model grid, then on the source grid."""

from __future__ import annotations

import torch

from mri3d.grid import Grid
from mri3d.scoring.calibration import Calibration, uncalibrated
from mri3d.scoring.components import find_components
from mri3d.scoring.detection import Component, Detection, ModelSpace
from mri3d.scoring.normative import Normative
from mri3d.scoring.scorer import Scorer
from mri3d.scoring.slices import judge_slices
from mri3d.transforms.case import Case, Item, Stage
from mri3d.volumes.volume import BoolArray, FloatArray


class ScoreResidual(Stage):
    """Error map, z-map and score from ``image``, ``pred`` and ``mask``.

    Args:
        scorer: how residuals become scores.
        normative: healthy statistics; without them there is no z-map.
        keep_reconstruction: take the reference's reconstruction along to the source grid.
    """

    name = "score"

    def __init__(self, scorer: Scorer, normative: Normative | None, keep_reconstruction: bool = False) -> None:
        self.scorer, self.normative, self.keep_reconstruction = scorer, normative, keep_reconstruction

    def apply(self, item: Item) -> Item:
        """Set ``error``, ``zscore`` and, if kept, ``recon`` (1, *grid.shape), and ``score`` (float).

        And ``model_zscore``, the z-map as an array that stays on the model grid, and ``typical``, the
        departure that is usual within the scan, by modality.
        """
        image, pred, mask = (torch.as_tensor(item[key]).cpu().numpy() for key in ("image", "pred", "mask"))
        case: Case = item["case"]
        normative = self.normative
        if normative is not None and not case.complete:
            normative = normative.of_partial(tuple(case.subject.images))
        error, zscore, item["score"] = self.scorer.of_subject(image, pred, mask, normative)
        if normative is not None:
            typical = self.scorer.typical(self.scorer.residual(image, pred, mask), mask, normative)
            item["typical"] = dict(zip(case.channels, map(float, typical), strict=True))
        item["error"] = torch.from_numpy(error)[None]
        item["zscore"] = None if zscore is None else torch.from_numpy(zscore)[None]
        item["model_zscore"] = zscore
        item["recon"] = torch.from_numpy((pred * mask)[:1]) if self.keep_reconstruction else None
        return item


class JudgeSlices(Stage):
    """A score and a decision for each axial slice of the model grid, from ``error``, ``zscore`` and ``mask``.

    Args:
        grid: the model grid.
        calibration: of the bundle; None where it has none.
    """

    name = "score"

    def __init__(self, grid: Grid, calibration: Calibration | None) -> None:
        self.grid, self.calibration = grid, calibration

    def apply(self, item: Item) -> Item:
        """Set ``slices`` (tuple of SliceScore); without a z-map there are none."""
        if item["zscore"] is None:
            return item
        error, zscore, mask = (torch.as_tensor(item[key])[0].cpu().numpy() for key in ("error", "zscore", "mask"))
        calibration = _calibration_for(item["case"], self.calibration)
        known = {} if calibration is None else calibration.slices
        item["slices"] = judge_slices(error, zscore, mask, self.grid, known)
        return item


class Decide(Stage):
    """Threshold, components and decision, from maps on the source grid.

    Args:
        grid: the model grid.
        calibration: of the bundle; None where it has none.
        min_ml: smallest component of the anomaly mask, in ml.
    """

    name = "decide"

    def __init__(self, grid: Grid, calibration: Calibration | None, min_ml: float) -> None:
        self.grid, self.calibration, self.min_ml = grid, calibration, min_ml

    def apply(self, item: Item) -> Item:
        """Set ``detection`` (Detection)."""
        case: Case = item["case"]
        assert case.volume is not None and case.brain is not None and case.alignment is not None
        anomaly: BoolArray | None = None
        components: tuple[Component, ...] = ()
        warnings = case.warnings
        calibration = _calibration_for(case, self.calibration)
        if calibration is None:
            warnings += ("The bundle has no calibration, so there is no decision and no anomaly mask.",)
        elif item["zscore"] is not None:
            anomaly, components = find_components(
                item["zscore"], case.volume.grid, calibration.voxel_threshold, self.min_ml
            )
            warnings += calibration.doubts(item["zscore"][case.brain.mask], item.get("typical"))
        image, pred, mask = (torch.as_tensor(item[key])[0].cpu().numpy() for key in ("image", "pred", "mask"))
        item["detection"] = Detection(
            subject=case.subject,
            volume=case.volume,
            brain=case.brain.mask,
            brain_source=case.brain.source,
            alignment_dice=case.alignment.dice,
            alignment_correlation=case.alignment.correlation,
            error=item["error"],
            zscore=item["zscore"],
            anomaly=anomaly,
            voxel_threshold=None if calibration is None else calibration.voxel_threshold,
            score=uncalibrated(item["score"]) if calibration is None else calibration.judge(item["score"]),
            components=components,
            model=ModelSpace(
                self.grid,
                image,
                pred * mask,
                mask,
                item.get("model_zscore"),
                _images(item),
                case.alignment.template_to_source,
            ),
            slices=item.get("slices", ()),
            regions=item.get("regions") or (),
            covariates=item.get("covariates") or {},
            reconstruction=item["recon"],
            others={name: case.volumes[name] for name in case.coregistrations},
            coregistrations=case.coregistrations,
            modality_maps=item.get("modality_maps", ()),
            warnings=warnings,
            seconds=case.seconds,
        )
        return item


def _calibration_for(case: Case, calibration: Calibration | None) -> Calibration | None:
    """That of subjects with the same modalities."""
    if calibration is None or case.complete:
        return calibration
    return calibration.of_partial(tuple(case.subject.images))


def _images(item: Item) -> dict[str, FloatArray]:
    """Modality to image on the model grid, of those that the subject has."""
    case: Case = item["case"]
    channels = zip(case.channels, torch.as_tensor(item["image"]).cpu().numpy(), strict=True)
    return {name: image for name, image in channels if name in case.subject.images}

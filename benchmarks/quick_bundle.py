"""A detector that is quick instead of good, so that what is measured is what stands around it.

Brains that are already stripped and lie in the template's space are taken as they are: neither extraction nor
registration is run. All else is a detector like any other, calibrated healthy brains included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from mri3d.commands.preflight import Training
from mri3d.commands.train import train
from mri3d.transforms import processes
from mri3d.transforms.case import Case, Item, Stage
from mri3d.volumes.alignment import Alignment
from mri3d.volumes.atomic import write_json
from mri3d.volumes.brain import Brain
from mri3d.volumes.coregistration import Coregistration

SUBJECTS = 12
"""Enough to calibrate with."""


class TakeAsAligned(Stage):
    """The brain is what is not 0, and lies on the template and on the other modalities already."""

    name = "align"

    def apply(self, item: Item) -> Item:
        """Set ``case.brain``, ``case.alignment`` and ``case.coregistrations``."""
        case: Case = item["case"]
        assert case.volume is not None
        others = list(case.volumes)[1:]
        item["case"] = replace(
            case,
            brain=Brain(case.volume.data != 0, "stripped input"),
            alignment=Alignment(np.eye(4), 1.0, 1.0),
            coregistrations={name: Coregistration(np.eye(4), 1.0, 9.0, 0.0, 1.0, 1.0) for name in others},
        )
        return item


def make_quick_bundle(root: Path, healthy: Path, modalities: Sequence[str] = ("T1w",), missing: bool = False) -> Path:
    """Train the bundle ``root`` on the stripped brains in a folder, of which there should be :data:`SUBJECTS`."""
    grid = {"_target_": "mri3d.grid.Grid.centred", "shape": [32, 48, 32], "spacing": 5.0, "centre": [0.0, -17.0, 5.0]}
    stages = [
        {
            "_target_": "mri3d.transforms.source.LoadVolumes",
            "modalities": "@modalities",
            "missing": "@missing_modalities",
        },
        {"_target_": f"{__name__}.{TakeAsAligned.__name__}"},
        {"_target_": "mri3d.transforms.model_grid.ToModelGrid", "grid": "@grid"},
        {"_target_": "mri3d.transforms.intensity.NormaliseIntensity"},
    ]
    recipe = {
        "network_def": {
            "_target_": "mri3d.models.atlas.Atlas", "shape": "$@grid.shape", "in_channels": "$len(@modalities)",
        },
        "grid": grid,
        "preprocessing": {"_target_": "mri3d.transforms.dataset.Guarded", "transforms": stages},
        "missing_modalities": missing,
        "training": {"shares": {"train": 0.5, "validation": 0.05, "calibration": 0.45, "test": 0.0}},
    }  # fmt: skip
    path = root.with_suffix(".yaml")
    write_json(path, recipe)  # which is YAML too
    # one process, since starting others takes longer than the work
    with mock.patch.object(processes, "MAX_WORKERS", 1):
        train(Training(healthy, root, str(path), "cpu", {}, 0, list(modalities), "refuse"))
    return root

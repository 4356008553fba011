"""What a search for settings makes better, measured on validation subjects alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from monai.bundle import ConfigParser

from mri3d.scoring.simulated import Simulated, average_precision, simulate
from mri3d.training.prepare import Prepared
from mri3d.training.split import Split


class Objective(Protocol):
    """One number of a training."""

    name: str
    """In words, for people."""

    direction: Literal["minimize", "maximize"]

    fixed: Sequence[str]
    """Keys, with all below them, that must not be searched: they would change the measure, or do not change it."""

    def of_epoch(self, parser: ConfigParser) -> float:
        """What the network is worth after the epoch that is just over."""

    def of_training(self, parser: ConfigParser) -> float:
        """What the network that the training keeps is worth."""


class Reconstruction:
    """The validation loss: of an epoch its own, of a training that of its best epoch."""

    name = "validation loss"
    direction: Literal["minimize", "maximize"] = "minimize"
    # the validation loss itself is made of the first three
    fixed = ("training.loss", "training.corruption", "training.focus", "scorer")

    def of_epoch(self, parser: ConfigParser) -> float:
        """See :class:`Objective`."""
        return float(parser.get_parsed_content("history").rows[-1]["val_loss"])

    def of_training(self, parser: ConfigParser) -> float:
        """See :class:`Objective`."""
        return float(min(row["val_loss"] for row in parser.get_parsed_content("history").rows))


@dataclass
class Lesions:
    """The average precision of simulated anomalies in the validation subjects.

    Anomalies and measure are those of :mod:`mri3d.scoring.simulated`: no calibration and no statistics of healthy
    residuals come in. The network that counts is that of the epoch with the best validation loss, which is what a
    training keeps.
    """

    subjects: tuple[Simulated, ...] | None = None

    name = "average precision of simulated anomalies"
    direction: Literal["minimize", "maximize"] = "maximize"
    # they scale all voxels of a subject alike, or choose among them afterwards, which leaves their order
    fixed = ("scorer.top_share", "scorer.standardise")

    def of_epoch(self, parser: ConfigParser) -> float:
        """See :class:`Objective`."""
        return self._measure(parser, parser.get_parsed_content("network"))

    def of_training(self, parser: ConfigParser) -> float:
        """See :class:`Objective`."""
        return self._measure(parser, parser.get_parsed_content("trained"))

    def _measure(self, parser: ConfigParser, network: torch.nn.Module) -> float:
        if self.subjects is None:  # they are the same in all trials
            prepared: Prepared = parser.get_parsed_content("prepared")
            split: Split = parser.get_parsed_content("split")
            self.subjects = simulate(prepared.load(split.validation))
        inferer, scorer, device = (parser.get_parsed_content(key) for key in ("inferer", "scorer", "device"))
        return average_precision(self.subjects, network, inferer, scorer, device)


OBJECTIVES: dict[str, Any] = {"lesions": Lesions, "reconstruction": Reconstruction}

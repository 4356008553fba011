"""A training so small that an epoch takes milliseconds, wired like the recipe's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from ignite.metrics import Average, Loss
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from torch import nn

from mri3d.models.autoencoder import ConvAutoEncoder
from mri3d.training.checkpoint import BestWeights, TrainingState
from mri3d.training.history import History
from mri3d.training.losses import BrainMSELoss, prepare_batch
from mri3d.training.progress import TrainingProgress


class Killed(Exception):
    """What ends a training from outside."""


@dataclass
class Training:
    """The parts of a training in a folder: state and history below, best weights in ``model.pt``."""

    folder: Path
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    validator: SupervisedEvaluator
    history: History
    trainer: SupervisedTrainer
    drawn: list[int]

    def run(self, kill_in_epoch: int | None = None) -> None:
        """Run to the end, or until the first batch of an epoch, which then is lost."""

        def kill(engine: SupervisedTrainer) -> None:
            if engine.state.epoch == kill_in_epoch:
                raise Killed

        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, kill)
        if kill_in_epoch is None:
            self.trainer.run()
        else:
            with pytest.raises(Killed):
                self.trainer.run()


def batches(seed: int, scale: float = 1.0) -> list[dict[str, torch.Tensor]]:
    """Three batches of two images."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    return [{"image": scale * torch.rand(2, 1, 8, 8, generator=generator), "mask": mask} for _ in range(3)]


@pytest.fixture
def training(tmp_path: Path) -> Callable[..., Training]:
    """Makes the parts anew, as a new process would; the folder is all that stays."""

    def make(
        folder: str = "run", epochs: int = 4, teach: float = 1.0, rate: float = 0.01, patience: int = 99
    ) -> Training:
        torch.manual_seed(0)
        network = ConvAutoEncoder(2, channels=(4, 4), latent_channels=2)
        optimizer = torch.optim.Adam(network.parameters(), rate)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=0.02 * rate)
        loss, drawn, place = BrainMSELoss(), [], tmp_path / folder
        engine: dict[str, Any] = {"device": "cpu", "network": network, "prepare_batch": prepare_batch}
        engine |= {"metric_cmp_fn": lambda new, best: new < best, "decollate": False}
        validator = SupervisedEvaluator(
            val_data_loader=batches(seed=1),
            key_val_metric={"val_loss": Loss(loss, output_transform=lambda out: (out["pred"], out["label"]))},
            val_handlers=[BestWeights(network, place / "model.pt")],
            **engine,
        )
        history = History(
            place, validator, lambda: optimizer.param_groups[0]["lr"], lambda rows, path: drawn.append(len(rows)),
            patience,
        )
        trainer = SupervisedTrainer(
            max_epochs=epochs,
            train_data_loader=batches(seed=2, scale=teach),
            optimizer=optimizer,
            loss_function=loss,
            key_train_metric={"train_loss": Average(output_transform=lambda out: out["loss"].item())},
            train_handlers=[
                TrainingState(place, {"network": network, "optimizer": optimizer, "scheduler": scheduler}),
                LrScheduleHandler(scheduler, print_lr=False),
                ValidationHandler(interval=1, validator=validator, epoch_level=True),
                history,
                TrainingProgress(validator),
            ],
            **engine,
        )
        return Training(place, network, optimizer, scheduler, validator, history, trainer, drawn)

    return make

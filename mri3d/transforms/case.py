"""What is known of a subject while it goes down the line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from monai.transforms.transform import Transform

from mri3d.errors import Mri3dError
from mri3d.volumes.alignment import Alignment
from mri3d.volumes.brain import Brain
from mri3d.volumes.coregistration import Coregistration
from mri3d.volumes.subject import Subject
from mri3d.volumes.volume import Volume

Item = dict[str, Any]
"""A dictionary as MONAI passes it on: ``case`` (Case), and from the model grid on ``image`` and ``mask``, tensors of
shape (C, *grid.shape), a channel a modality. A channel of ``mask`` is the brain as far as its modality shows it; the
first one, the reference, shows all of it. A modality that the subject lacks shows nothing."""


@dataclass(frozen=True, eq=False)
class Case:
    """The source side of an item; later steps fill in what earlier ones could not know.

    Args:
        subject: whose it is.
        volumes: modality to source volume, untouched; the first is the reference.
        brain: the brain mask, on the reference grid.
        alignment: the affine to the template.
        coregistrations: where the other modalities lie in the reference's world.
        modalities: that the bundle knows, in the order of the channels; those of the subject where left out.
        warnings: what a user should know, whole sentences.
        seconds: time by stage.
        error: why the subject failed; later steps then pass it by.
    """

    subject: Subject
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    brain: Brain | None = None
    alignment: Alignment | None = None
    coregistrations: Mapping[str, Coregistration] = field(default_factory=dict)
    modalities: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: Mri3dError | None = None

    @property
    def volume(self) -> Volume | None:
        """The volume whose grid the maps lie on, once it is read."""
        return next(iter(self.volumes.values()), None)

    @property
    def channels(self) -> tuple[str, ...]:
        """The modality of each channel of the item's tensors, those that the subject lacks included."""
        return self.modalities or tuple(self.subject.images)

    @property
    def complete(self) -> bool:
        """Whether the subject has all modalities that the bundle knows."""
        return len(self.subject.images) == len(self.channels)

    def spent(self, stage: str, seconds: float) -> Case:
        """The case with the time of a stage added."""
        return replace(self, seconds={**self.seconds, stage: self.seconds.get(stage, 0.0) + seconds})


class Stage(Transform):
    """A step of the line: takes an item, returns a new one, and notes how long it took under ``name``."""

    name: str

    def apply(self, item: Item) -> Item:
        """The step itself; ``item`` is a fresh dictionary that may be changed."""
        raise NotImplementedError

    def __call__(self, item: Item) -> Item:
        """Apply the step and add its time to the case."""
        start = time.perf_counter()
        item = self.apply(dict(item))
        item["case"] = item["case"].spent(self.name, time.perf_counter() - start)
        return item

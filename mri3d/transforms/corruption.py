"""What a restoring network has to take away again: noise of many scales, and anomalies made up of nothing but chance.

None of it knows real lesions: shapes are random blobs, and intensities change by random amounts in either direction.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms.transform import MapTransform, RandomizableTransform
from torch.nn import functional

Item = dict[Hashable, Any]
RADII = (2.0, 16.0)
"""Smallest and largest typical radius of an anomaly in voxels."""

SHOWN = 0.7
"""How often a modality shows an anomaly, where there are several."""

CORRUPTED = 0.03
"""Change in normalised intensity from which a voxel counts as corrupted: about the noise of a scan."""


def smooth_noise(shape: Sequence[int], scale: float, rng: np.random.RandomState) -> torch.Tensor:
    """Gaussian noise on a grid ``scale`` voxels wide, interpolated linearly to ``shape``; about unit variance."""
    coarse = [max(2, int(np.ceil(n / scale)) + 1) for n in shape]
    values = torch.from_numpy(rng.standard_normal((1, 1, *coarse)).astype(np.float32))
    return functional.interpolate(values, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]


class RandCoarseNoised(RandomizableTransform, MapTransform):
    """Add smooth noise inside the brain (Kascenas et al. 2022, PMLR 172:653).

    Args:
        keys: images (C, X, Y, Z), each channel with noise of its own, which stays inside ``mask``.
        prob: how often.
        scales: smallest and largest width of the noise in voxels; one is drawn, evenly in its logarithm.
        std: smallest and largest standard deviation in normalised intensity; one is drawn.
    """

    def __init__(
        self, keys: str | Sequence[str], prob: float, scales: Sequence[float], std: Sequence[float]
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        (self.finest, self.coarsest), (self.least, self.most) = scales, std

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Corrupt the images of an item."""
        item = dict(data)
        self.randomize(None)
        if self._do_transform:
            scale = float(np.exp(self.R.uniform(np.log(self.finest), np.log(self.coarsest))))
            std = self.R.uniform(self.least, self.most)
            for key in self.key_iterator(item):
                noise = torch.stack([smooth_noise(channel.shape, scale, self.R) for channel in item[key]])
                item[key] = item[key] + std * noise * item["mask"]
        return item


class RandMissingd(RandomizableTransform, MapTransform):
    """Leave out modalities, as a subject does that lacks them: all of them but the first may be.

    Args:
        keys: tensors (C, X, Y, Z), a channel a modality, such as image and mask; what is left out becomes 0.
        prob: how often some are left out; which, is drawn evenly from all there may be.
    """

    def __init__(self, keys: str | Sequence[str], prob: float) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Leave some out, or none."""
        item = dict(data)
        self.randomize(None)
        others = len(item[self.first_key(item)]) - 1
        if self._do_transform and others > 0:
            kept = self.R.randint(2**others - 1)  # one bit for each; all of them is no choice
            for key in self.key_iterator(item):
                item[key] = item[key].clone()
                item[key][[k + 1 for k in range(others) if not kept >> k & 1]] = 0
        return item


class RandAnomaliesd(RandomizableTransform, MapTransform):
    """Put some random anomalies into the brain.

    An anomaly is a distorted ellipsoid with a soft rim, sometimes with holes. In it tissue becomes brighter or darker,
    fades into another intensity, is replaced by tissue of another place (foreign patch interpolation, Tan et al. 2021,
    arXiv 2011.04197), or gets smooth noise on top. Half of the time part of the change is taken out of the whole
    surroundings, as bias correction does with a real one. Of several modalities, the channels, each changes in a way of
    its own at the same place, or does not show the anomaly.

    Args:
        keys: images (C, X, Y, Z) of intensities in [0, 1.5]; changed inside ``mask`` alone.
        most: largest number of anomalies; the number is drawn evenly from 0 on.
        radii: smallest and largest typical radius in voxels; one is drawn, evenly in its logarithm.
    """

    def __init__(self, keys: str | Sequence[str], most: int = 10, radii: Sequence[float] = RADII) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.most, self.radii = most, tuple(radii)

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Corrupt the images of an item."""
        item = dict(data)
        mask = torch.as_tensor(item["mask"]).float()
        for key in self.key_iterator(item):
            healthy = torch.as_tensor(item[key]).float()
            image = healthy.clone()
            for _ in range(self.R.randint(self.most + 1) if mask.any() else 0):
                self._put_one(image, healthy, mask)
            if self.R.rand() < 0.5:
                channels = zip(image.clamp(min=0), healthy, mask, strict=True)
                image = torch.stack([self._spread(*channel) for channel in channels])
            item[key] = image.clamp(0, 1.5) * mask
        return item

    def _put_one(self, image: torch.Tensor, healthy: torch.Tensor, mask: torch.Tensor) -> None:
        voxels = mask[0].nonzero()
        centre = voxels[self.R.randint(len(voxels))].numpy()
        radius = float(np.exp(self.R.uniform(*np.log(self.radii))))
        radii = radius * np.exp(self.R.normal(0, 0.3, 3)).clip(0.5, 2)
        low = np.maximum(centre - 2 * radii - 2, 0).astype(int)
        high = np.minimum(centre + 2 * radii + 3, mask.shape[1:]).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        share = self._shape(centre, radii, low, high, radius)
        for own, whole, inside in zip(image, healthy, mask, strict=True):
            if len(image) == 1 or self.R.rand() < SHOWN:
                own[box] += share * inside[box] * (self._changed(own[box], whole, inside, box) - own[box])

    def _shape(
        self, centre: np.ndarray, radii: np.ndarray, low: np.ndarray, high: np.ndarray, radius: float
    ) -> torch.Tensor:
        """How much of each voxel of the box is anomalous, 0 to 1."""
        axes = [
            torch.arange(a, b, dtype=torch.float32).sub(c).div(r)
            for a, b, c, r in zip(low, high, centre, radii, strict=True)
        ]
        x, y, z = torch.meshgrid(*axes, indexing="ij")
        size = x.shape
        coarse, fine = (smooth_noise(size, max(2, radius / part), self.R) for part in (2, 5))
        wobble = 0.7 * coarse + 0.3 * fine
        distance = (x**2 + y**2 + z**2).sqrt() + self.R.uniform(0, 0.42) * wobble
        rim = self.R.uniform(0.1, 0.7) / radius
        share = torch.sigmoid((1 - distance) / rim)
        if self.R.rand() < 0.3:
            share = share * (smooth_noise(size, self.R.uniform(2, 6), self.R) > self.R.uniform(-1, 0.5))
        return torch.as_tensor(torch.where(share > 0.03, share, torch.zeros_like(share)))

    def _changed(
        self, values: torch.Tensor, healthy: torch.Tensor, mask: torch.Tensor, box: tuple[slice, ...]
    ) -> torch.Tensor:
        """What the box would be if all of it were anomalous."""
        kind = self.R.choice(["relative", "towards", "foreign", "noise"], p=[0.45, 0.35, 0.1, 0.1])
        if kind == "relative":
            return values * (1 + float(self.R.choice([-1, 1])) * self.R.uniform(0.08, 0.5))
        if kind == "towards":
            return values + self.R.uniform(0.3, 1.0) * (self.R.uniform(0.0, 1.2) - values)
        if kind == "foreign":
            shift = tuple(int(n) for n in self.R.randint(-20, 21, 3))
            other, inside = (torch.roll(part, shift, (0, 1, 2))[box] for part in (healthy, mask))
            return values + self.R.uniform(0.4, 1.0) * torch.where(inside > 0, other - values, torch.zeros_like(values))
        return values + self.R.uniform(0.1, 0.3) * smooth_noise(values.shape, self.R.uniform(1.5, 8), self.R)

    def _spread(self, image: torch.Tensor, healthy: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Take part of the change's coarse mean out again, as if it were a bias field."""
        change = ((image + 0.1).log() - (healthy + 0.1).clamp(min=0.01).log()) * mask
        coarse = functional.avg_pool3d(change[None, None], 8, ceil_mode=True)
        field = functional.interpolate(coarse, size=image.shape, mode="trilinear")[0, 0]
        return image * (-self.R.uniform(0, 1) * field).exp()

"""Train the network that knows the deep structures of the atlas.

    python -m benchmarks.parcellation HEALTHY -o OUT

HEALTHY is a BIDS data set with DLMUSE labels (``derivatives/dlmuse``) of its T1w volumes. The first 80 people who
train ``brain_t1`` train this network, so that nobody by whom a bundle is calibrated or tested is known to it. OUT keeps
the prepared scans, and gets ``regions_dseg.pt``, to be put beside the atlas, and ``agreement.json``: how the volumes go
with those of the labels in ``brain_t1``'s validation part, whose brains are found as in any scan.

A network that has only seen usual shapes draws an unusual one as a usual one, and what is to be seen is the unusual: so
brains are deformed a good deal, with single places shrunk to half or blown up to twice their volume, wherever they lie.
Neither the simulated atrophy of the benchmarks nor any other knowledge of the striatum is part of it.

Alignment and deformation are one, so that an image takes one interpolation from its own grid, as in detection. 3,000
steps take half an hour on two CPU cores.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from nibabel.affines import apply_affine
from scipy import ndimage
from torch import nn
from tqdm import tqdm

from benchmarks.region_atlas import GRID as MODEL_GRID
from benchmarks.region_atlas import label_maps, on_template, regions
from mri3d.bundle import find_bundle
from mri3d.detector import Detector
from mri3d.models.parcellation import DEEP, Parcellation
from mri3d.models.weights import load_network, place, save_network
from mri3d.resources import atlas_path
from mri3d.scoring.region_size import BOX, CUT_OFF, RegionMeasure
from mri3d.training.precision import has_bfloat16
from mri3d.transforms.resampling import resample
from mri3d.volumes.atomic import atomic_write, write_json
from mri3d.volumes.brain import find_brain
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.regions import Atlas
from mri3d.volumes.subject import Subject
from mri3d.volumes.volume import FloatArray

PEOPLE, STEPS, RATE = 80, 3000, 2e-3

REACH_MM = 12.0
"""Around the box, from where tissue may be deformed into it."""

BIAS_MM = 10.0
"""Smoothness of the field that brings a raw scan to normalised intensity."""

LEAST_RAW, CLIP = 1e-3, 1.5
"""Raw intensity below which there is no brain to take the field from, and the normalised one above which it is cut."""

VOXELS, NEAR_MM = 30_000, 6
"""How many voxels of a scan a step learns from, and how far around anybody's structures they lie."""

COARSE = (28, 26, 20)
"""Points at which a deformation is made, before it is interpolated."""

Labelled = tuple[Subject, Path]
"""A scan and its label map."""


@dataclass(frozen=True, eq=False)
class Scan:
    """What lies around the box of a scan, on the scan's own grid.

    Args:
        image: (2, X, Y, Z) normalised intensity, and the brain as 1 in 0.
        labels: (1, X, Y, Z) 0, and from 1 on those of DEEP.
        to_index: (4, 4) affine from the template's world to the voxels of both.
    """

    image: torch.Tensor
    labels: torch.Tensor
    to_index: torch.Tensor

    def at(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (1, 1, X, Y, Z) and labels (X, Y, Z) int64 at points of template space, (3, X, Y, Z) in mm."""
        index = torch.einsum("ij,jxyz->xyzi", self.to_index[:3, :3], points) + self.to_index[:3, 3]
        place = (2 * index / (torch.tensor(self.labels.shape[1:]) - 1) - 1).flip(-1)[None]
        seen = F.grid_sample(self.image[None], place, align_corners=True)
        labels = F.grid_sample(self.labels[None], place, mode="nearest", align_corners=True)
        return torch.where(seen[:, 1:] > 0.5, seen[:, :1].clamp(0, CLIP), 0), labels[0, 0].long()


def numbers() -> torch.Tensor:
    """By MUSE's number (256,) that of the network, uint8."""
    table = torch.zeros(256, dtype=torch.uint8)
    for index, name in enumerate(DEEP, start=1):
        table[list(regions()[name])] = index
    return table


def mirrored() -> torch.Tensor:
    """By a structure's number (1 + structures,) that on the other side, int64."""
    other = {"Left": "Right", "Right": "Left"}
    names = [" ".join((other.get(side, side), rest)) for side, rest in (name.split(" ", 1) for name in DEEP)]
    return torch.tensor([0, *(DEEP.index(name) + 1 for name in names)])


def prepare(detector: Detector, labelled: Labelled, folder: Path) -> Scan:
    """A scan that goes the way of ``mri3d detect --mask LABELS``; kept in the folder."""
    path = folder / f"{labelled[0].participant}.npz"
    if not path.exists():
        found = _prepare(detector, labelled, path.with_name(f"{path.stem}_brainmask.nii.gz"))
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **found)
    with np.load(path) as kept:
        image = np.stack([kept["image"].astype(np.float32), kept["brain"].astype(np.float32)])
        labels = numbers()[torch.from_numpy(kept["labels"].astype(np.int64))].float()
        return Scan(torch.from_numpy(image), labels[None], torch.from_numpy(kept["to_index"]).float())


def _prepare(detector: Detector, labelled: Labelled, path: Path) -> dict[str, np.ndarray]:
    """Normalised intensity, brain and MUSE's labels around the box, and where they lie."""
    subject, volume, known = labelled[0], read_volume(labelled[0].reference), read_volume(labelled[1])
    brain = find_brain(volume, known).mask
    write_map(path, brain.astype(np.uint8), volume)
    item = detector.preprocess(subject, path)
    world, image = item["case"].alignment.template_to_source, item["image"][0].numpy()
    # what the way to the model grid has made of the intensities, as a smooth field
    raw = resample(volume.data, volume.grid, MODEL_GRID, world) * (image > 0)
    field = (_smooth(image) / np.maximum(_smooth(raw), LEAST_RAW)).astype(np.float32)
    corrected = volume.data * resample(field, MODEL_GRID, volume.grid, np.linalg.inv(world))
    to_index = np.linalg.inv(volume.grid.affine) @ world
    corners = apply_affine(to_index, _corners())
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, np.ceil(corners.max(axis=0)) + 1, strict=True))
    to_index[:3, 3] -= low
    return {"image": corrected[box].astype(np.float16), "brain": brain[box], "to_index": to_index,
            "labels": known.data[box].astype(np.uint8)}  # fmt: skip


def _corners() -> FloatArray:
    """Of the box and what may be deformed into it, in template space, (8, 3)."""
    ends = BOX.world([np.zeros(3), np.array(BOX.shape) - 1]) + np.array([[-REACH_MM], [REACH_MM]])
    return np.array(list(product(*ends.T)))


def _smooth(image: FloatArray) -> FloatArray:
    return np.asarray(ndimage.gaussian_filter(image, BIAS_MM / np.array(MODEL_GRID.spacing)))


def augmented(scan: Scan, chance: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A scan in another shape, as often as not mirrored, with other intensities.

    Returns:
        Image (1, 1, X, Y, Z) and labels (X, Y, Z) int64, on the network's box.
    """
    image, labels = scan.at(points_of(chance))
    if _uniform(0, 1, chance) < 0.5:
        image, labels = image.flip(2), mirrored()[labels.flip(0)]
    return _intensities(image, chance), labels


def points_of(chance: torch.Generator) -> torch.Tensor:
    """Where each voxel of the box is taken from, (3, X, Y, Z) in template space, in mm.

    Bends of 2.5 mm over 28, 1.2 over 14 and 0.5 over 8 mm are what heads differ by and more; beside them four places
    of 6 to 14 mm are blown up or shrunk.
    """
    reach = torch.tensor(BOX.shape).float() - 1
    axes = [torch.linspace(-1, 1, size) for size in COARSE]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None] * reach.reshape(1, 3, 1, 1, 1)
    turn = torch.eye(3) + torch.randn(3, 3, generator=chance) * 0.03
    points = torch.einsum("ij,bjxyz->bixyz", turn, at) + torch.randn(1, 3, 1, 1, 1, generator=chance) * 1.5
    for size, lattice in ((2.5, (5, 5, 4)), (1.2, (9, 8, 7)), (0.5, (15, 14, 11))):
        shift = torch.randn(1, 3, *lattice, generator=chance) * size
        points = points + F.interpolate(shift, size=COARSE, mode="trilinear", align_corners=True)
    for _ in range(4):
        middle = torch.tensor([_uniform(-reach, reach, chance) for reach in (35, 35, 25)]).reshape(1, 3, 1, 1, 1)
        width, strength = _uniform(6, 14, chance), _uniform(-0.22, 0.22, chance)
        away = at - middle
        points = points + strength * away * torch.exp(-away.square().sum(1, keepdim=True) / (2 * width**2))
    middle = torch.tensor(BOX.world((np.array(BOX.shape) - 1) / 2)).float()
    return F.interpolate(points, size=BOX.shape, mode="trilinear", align_corners=True)[0] + middle[:, None, None, None]


def _intensities(x: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Another field, contrast, scale, sharpness (of one axis or all) and noise."""
    brain = (x > 0).float()
    if _uniform(0, 1, chance) < 0.7:
        field = torch.randn(1, 1, 3, 3, 3, generator=chance) * 0.1
        x = x * F.interpolate(field, size=x.shape[2:], mode="trilinear", align_corners=True).exp()
    x = x.clamp(0, 1.6)
    if _uniform(0, 1, chance) < 0.7:
        x = x ** _uniform(0.7, 1.4, chance)
    x = x * _uniform(0.88, 1.12, chance) + _uniform(-0.05, 0.05, chance) * brain
    if _uniform(0, 1, chance) < 0.35:
        size = [3, 3, 3]
        if _uniform(0, 1, chance) < 0.5:
            size = [1, 1, 1]
            size[int(_uniform(0, 3, chance))] = 3
        share = _uniform(0.3, 1, chance)
        x = share * F.avg_pool3d(x, size, 1, [each // 2 for each in size]) + (1 - share) * x
    noise = torch.randn(x.shape, generator=chance) * _uniform(0, 0.05, chance)
    return (x + noise) * brain


def _uniform(low: float, high: float, chance: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=chance))


def near_structures(scans: Sequence[Scan]) -> torch.Tensor:
    """Indices of the voxels of the box that lie around anybody's structures."""
    points = torch.from_numpy(np.moveaxis(BOX.world(np.moveaxis(np.indices(BOX.shape), 0, -1)), -1, 0).copy()).float()
    anywhere = torch.stack([scan.at(points)[1] > 0 for scan in scans]).any(dim=0)
    wider = ndimage.binary_dilation(anywhere, iterations=NEAR_MM // 2)
    return torch.from_numpy(np.flatnonzero(wider))


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, which makes chances true, and Dice, which keeps small structures from being forgotten.

    Args:
        logits: (N, structures + 1) of some voxels.
        labels: (N,) int64.
    """
    chances = logits.softmax(dim=1)
    hit = torch.zeros(logits.shape[1]).index_add(0, labels, chances.gather(1, labels[:, None])[:, 0])[1:]
    truth = torch.bincount(labels, minlength=logits.shape[1])[1:]
    dice = (2 * hit + 1) / (chances.sum(dim=0)[1:] + truth + 1)
    return F.cross_entropy(logits, labels) + 0.5 * (1 - dice).mean()


def train(scans: Sequence[Scan], steps: int, seed: int = 0) -> Parcellation:
    """Fit a network to these scans, one of them a step; the mean of its weights over the last steps is returned."""
    torch.manual_seed(seed)
    chance, network = torch.Generator().manual_seed(seed), place(Parcellation(), "cpu")
    mean, near = copy.deepcopy(network), near_structures(scans)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4)
    progress = tqdm(range(steps), unit="step")
    for step in progress:
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, step / 100 + 0.02) * (0.505 + 0.5 * np.cos(np.pi * step / steps))
        image, labels = augmented(scans[int(torch.randint(len(scans), (1,), generator=chance))], chance)
        # no axis of the box comes down to the 2 voxels at which torch's bfloat16 fails
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16(torch.device("cpu"))):
            logits = network(image.contiguous(memory_format=torch.channels_last_3d))
        some = near[torch.randint(len(near), (VOXELS,), generator=chance)]
        loss = loss_of(logits[0].flatten(1).T[some].float(), labels.flatten()[some])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        _follow(mean, network, min(0.995, (step + 1) / (step + 10)))
        progress.set_postfix(loss=f"{loss.item():.3f}")
    return mean.eval()


@torch.no_grad()
def _follow(mean: nn.Module, network: nn.Module, keep: float) -> None:
    for own, new in zip(mean.parameters(), network.parameters(), strict=True):
        own.lerp_(new, 1 - keep)


def agreement(measure: RegionMeasure, detector: Detector, people: Sequence[Labelled]) -> dict[str, dict[str, float]]:
    """How the logarithms of the volumes go with those of the labels, over some scans, by structure."""
    names = [name for name in DEEP if name not in CUT_OFF]
    own, theirs = [], []
    for subject, path in tqdm(people, desc="agreement", unit="scan"):
        item, known = detector.preprocess(subject), read_volume(path)
        sizes = measure(item["image"][0].numpy(), MODEL_GRID)
        volumes = {measure.atlas.names[n]: size.ml for n, size in sizes.items()}
        world = item["case"].alignment.template_to_source
        there = on_template(known.data.astype(np.int32), known.grid, world, MODEL_GRID)
        own.append([np.log(volumes[name]) for name in names])
        theirs.append([np.log(np.isin(there, regions()[name]).sum() * MODEL_GRID.voxel_ml) for name in names])
    found, truth = np.array(own), np.array(theirs)
    return {
        name: {"r": np.corrcoef(found[:, i], truth[:, i])[0, 1], "mean_difference": (found - truth)[:, i].mean()}
        for i, name in enumerate(names)
    }


def main() -> None:
    """Prepare, train and measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    split = json.loads((find_bundle("brain_t1") / "models" / "split.json").read_text(encoding="utf-8"))
    people, checked = split["train"][:PEOPLE], split["validation"]
    subjects = {subject.participant: subject for subject in discover(words.healthy).subjects}
    maps = label_maps(words.healthy)
    known = {person: (subjects[person], maps[person]) for person in (*people, *checked)}
    # regions themselves are not measured, whatever the bundle's healthy people were measured by
    detector = Detector.load("brain_t1", "cpu", {"regions": None})
    folder, path = words.output / "scans", words.output / "regions_dseg.pt"
    folder.mkdir(parents=True, exist_ok=True)
    scans = [prepare(detector, known[person], folder) for person in tqdm(people, desc="prepare", unit="scan")]
    save_network(train(scans, words.steps), path)
    measure = RegionMeasure(Atlas.load(atlas_path()), load_network(Parcellation(), path))
    found = agreement(measure, detector, [known[person] for person in checked])
    write_json(words.output / "agreement.json", {"trained_on": people, "measured_on": checked, "structures": found})
    for name, of in found.items():
        print(f"{name:24} r {of['r']:.2f}, mean difference of the logarithms {of['mean_difference']:+.2f}")


if __name__ == "__main__":
    main()

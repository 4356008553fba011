"""Train the network that knows the deep regions of the atlas.

    python -m benchmarks.parcellation HEALTHY --split bundles/brain_t1/models/split.json --atlas configs/atlas -o OUT

HEALTHY is a BIDS data set with DLMUSE labels (``derivatives/dlmuse``) of its T1w volumes. The people who train
``brain_t1`` train this network, too, less six, so that nobody whom a bundle calibrates or tests by is known to it. A
scan goes the way of ``mri3d detect --mask LABELS`` to the model grid, and its labels go along. OUT keeps the prepared
scans, gets ``regions_dseg.pt``, to be put beside the atlas, and ``agreement.json``: the Dice of every region in the
split's validation part, whose brains are found as in any scan.

Brains are deformed a good deal in training, since a network that has only seen usual shapes draws an unusual one as a
usual one, and what is to be seen is the unusual. On one CPU core a step takes about a second.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from benchmarks.region_atlas import GRID as MODEL_GRID
from benchmarks.region_atlas import on_template, regions
from mri3d.detector import Detector
from mri3d.grid import Grid
from mri3d.models.parcellation import Parcellation
from mri3d.models.weights import load_network, place, save_network
from mri3d.scoring.region_size import BOX, parcellation_of
from mri3d.training.precision import autocast
from mri3d.transforms.resampling import resample
from mri3d.volumes.atomic import atomic_write, write_json
from mri3d.volumes.brain import find_brain
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.regions import Atlas
from mri3d.volumes.subject import Subject

LEFT_OUT = slice(0, 90, 15)
"""Of those who train ``brain_t1``: who do not train this network, so that 80 of the 165 are unknown to it."""

STEPS, RATE = 1500, 3e-3

DEEP = 22
"""The atlas's first regions: those that lie deep, from caudate to internal capsule."""

MARGIN = 8
"""Voxels around the box that may be deformed into it."""

Scan = tuple[torch.Tensor, torch.Tensor]
"""Image (X, Y, Z) float32 and labels (X, Y, Z) of the atlas's numbers, in the box and its margin."""


@dataclass(frozen=True)
class Study:
    """The labelled scans.

    Args:
        subjects: participant to scan.
        labels: participant to label map.
        detector: whose preprocessing is taken.
        folder: where prepared scans are kept.
    """

    subjects: dict[str, Subject]
    labels: dict[str, Path]
    detector: Detector
    folder: Path

    def scan(self, person: str, by_labels: bool) -> Scan:
        """A person's scan and labels around the box; with the labels as brain mask, or the mask of any scan."""
        path = self.folder / f"{person}.npz"
        if not path.exists():
            image, labels = self._prepare(person, by_labels)
            with atomic_write(path) as temporary:
                np.savez_compressed(temporary, image=image.astype(np.float16), labels=labels)
        with np.load(path) as kept:
            return torch.from_numpy(kept["image"].astype(np.float32)), torch.from_numpy(kept["labels"])

    def _prepare(self, person: str, by_labels: bool) -> tuple[np.ndarray, np.ndarray]:
        known, volume = read_volume(self.labels[person]), read_volume(self.subjects[person].reference)
        mask = self.folder / f"{person}_brainmask.nii.gz"
        write_map(mask, find_brain(volume, known if by_labels else None).mask.astype(np.uint8), volume)
        item = self.detector.preprocess(self.subjects[person], mask)
        world, around = item["case"].alignment.template_to_source, with_margin()
        image = resample(item["image"][0].numpy(), MODEL_GRID, around)
        return image, number_of()[on_template(known.data.astype(np.int32), known.grid, world, around)]


def with_margin() -> Grid:
    """The box and its margin."""
    affine = BOX.affine.copy()
    affine[:3, 3] = BOX.world([-MARGIN] * 3)
    return Grid(tuple(size + 2 * MARGIN for size in BOX.shape), affine)


def number_of() -> np.ndarray:
    """MUSE's numbers to those of the atlas's deep regions."""
    table = np.zeros(256, np.uint8)
    for index, numbers in enumerate(list(regions().values())[:DEEP], start=1):
        table[list(numbers)] = index
    return table


def mirrored() -> torch.Tensor:
    """Each region's number to that of the region on the other side."""
    names, other = list(regions())[:DEEP], {"Left": "Right", "Right": "Left"}
    pairs = [name.partition(" ") for name in names]
    return torch.tensor([0, *(names.index(f"{other[side]} {rest}") + 1 for side, _, rest in pairs)])


def augmented(scan: Scan, chance: torch.Generator) -> Scan:
    """A scan in another shape, as often as not mirrored, with other intensities.

    Returns:
        ``image`` (1, 1, X, Y, Z) and ``labels`` (X, Y, Z) int64, in the box.
    """
    image, labels = scan
    grid = _points(image.shape, chance)
    x = F.grid_sample(image[None, None], grid, align_corners=True)
    y = F.grid_sample(labels[None, None].float(), grid, mode="nearest", align_corners=True)[0, 0].long()
    if _uniform(0, 1, chance) < 0.5:
        x, y = x.flip(2), mirrored()[y.flip(0)]
    return _intensities(x, chance), y


def _points(shape: Sequence[int], chance: torch.Generator) -> torch.Tensor:
    """Where each voxel of the box is taken from, as :func:`torch.nn.functional.grid_sample` has it."""
    axes = [torch.linspace(-1, 1, size) for size in shape]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    turn = torch.eye(3) + torch.randn(3, 3, generator=chance) * 0.03
    voxel = 2 / torch.tensor(shape).reshape(1, 3, 1, 1, 1)
    points = torch.einsum("ij,bjxyz->bixyz", turn, points) + torch.randn(1, 3, 1, 1, 1, generator=chance) * voxel
    # 1.5 voxels of bends some 15 voxels wide, 0.7 voxel of those half as wide
    for size, lattice in ((1.5, (5, 7, 5)), (0.7, (9, 12, 8))):
        shift = torch.randn(1, 3, *lattice, generator=chance) * size
        points = points + F.interpolate(shift, size=tuple(shape), mode="trilinear", align_corners=True) * voxel
    inner = (slice(MARGIN, -MARGIN),) * 3
    return points[(..., *inner)].permute(0, 2, 3, 4, 1).flip(-1)


def _intensities(x: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Another field, contrast, scale, sharpness and noise."""
    brain = (x > 0).float()
    if _uniform(0, 1, chance) < 0.7:
        field = torch.randn(1, 1, 3, 3, 3, generator=chance) * 0.08
        x = x * F.interpolate(field, size=x.shape[2:], mode="trilinear", align_corners=True).exp()
    x = x.clamp(0, 1.6)
    if _uniform(0, 1, chance) < 0.7:
        x = x ** _uniform(0.75, 1.35, chance)
    x = x * _uniform(0.9, 1.1, chance) + _uniform(-0.04, 0.04, chance)
    if _uniform(0, 1, chance) < 0.2:
        x = (x + F.avg_pool3d(x, 3, 1, 1)) / 2
    noise = torch.randn(x.shape, generator=chance) * _uniform(0, 0.04, chance)
    return (x + noise) * brain


def _uniform(low: float, high: float, chance: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=chance))


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, which makes chances true, and the regions' Dice, which keeps the small ones from being forgotten.

    Args:
        logits: (1, regions + 1, X, Y, Z).
        labels: (X, Y, Z) int64.
    """
    chances = logits.softmax(dim=1)[0].flatten(1)
    truth = F.one_hot(labels.flatten(), logits.shape[1]).T.to(chances.dtype)
    both, own = (chances * truth).sum(dim=1)[1:], truth.sum(dim=1)[1:]
    dice = (2 * both + 1) / (chances.sum(dim=1)[1:] + own + 1)
    return F.cross_entropy(logits, labels[None]) + 0.3 * (1 - dice).mean()


def train(network: Parcellation, scans: Sequence[Scan], steps: int, seed: int = 0) -> Parcellation:
    """Fit a network to these scans, one of them a step."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # so that it begins at what the atlas expects
        network.head[2].weight.mul_(0.1)
        network.head[2].bias.zero_()
    place(network, "cpu")
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    progress = tqdm(range(steps), unit="step")
    for _ in progress:
        image, labels = augmented(scans[int(torch.randint(len(scans), (1,), generator=chance))], chance)
        with autocast(image):
            logits = network(image.contiguous(memory_format=torch.channels_last_3d))
        loss = loss_of(logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        progress.set_postfix(loss=f"{float(loss):.3f}")
    return network.eval()


@torch.no_grad()
def agreement(network: Parcellation, scans: Sequence[Scan]) -> dict[str, float]:
    """Mean Dice of each region over some scans."""
    inner, dice = (slice(MARGIN, -MARGIN),) * 3, np.zeros((len(scans), DEEP))
    for row, (image, labels) in enumerate(tqdm(scans, desc="agreement", unit="scan")):
        found, truth = network(image[inner][None, None])[0].argmax(dim=0), labels[inner].long()
        both = torch.bincount(found[found == truth].flatten(), minlength=DEEP + 1)
        sizes = sum(torch.bincount(each.flatten(), minlength=DEEP + 1) for each in (found, truth))
        dice[row] = (2 * both / sizes.clamp(min=1))[1:].numpy()
    return dict(zip(list(regions())[:DEEP], map(float, dice.mean(axis=0)), strict=True))


def main() -> None:
    """Prepare, train and measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--split", type=Path, required=True, help="split.json of brain_t1")
    parser.add_argument("--atlas", type=Path, required=True, help="folder of regions_dseg.nii.gz")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    split = json.loads(words.split.read_text(encoding="utf-8"))
    labels = {
        path.name.removesuffix("_dseg.nii.gz"): path for path in (words.healthy / "derivatives").rglob("*_dseg.nii.gz")
    }
    subjects = {subject.participant: subject for subject in discover(words.healthy).subjects}
    torch.manual_seed(0)
    network = parcellation_of(Atlas.load(words.atlas / "regions_dseg.nii.gz"), DEEP)
    (words.output / "scans").mkdir(parents=True, exist_ok=True)
    study = Study(subjects, labels, Detector.load("brain_t1", "cpu"), words.output / "scans")
    people = [person for person in split["train"] if person not in split["train"][LEFT_OUT]]
    scans = [study.scan(person, True) for person in tqdm(people, desc="prepare", unit="scan")]
    path = words.output / "regions_dseg.pt"
    save_network(train(network, scans, words.steps), path)
    network = load_network(network, path)
    checked = [study.scan(person, False) for person in split["validation"]]
    found = agreement(network, checked)
    write_json(words.output / "agreement.json", {"people": people, "validation": split["validation"], "dice": found})
    print("\n".join(f"{name:32} {value:.2f}" for name, value in found.items()))


if __name__ == "__main__":
    main()

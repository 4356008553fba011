"""Build the atlas of regions: where in the template's space each structure lies in most healthy people.

    python -m benchmarks.region_atlas HEALTHY --split bundles/brain_t1/models/split.json -o configs/atlas

HEALTHY is a BIDS data set with DLMUSE labels (``derivatives/dlmuse``) of its T1w volumes. Every volume is aligned as
``mri3d detect --mask LABELS`` aligns it, its labels are brought along, and at each voxel of the model grid the region
of most people wins, where most people have one. It is the atlas of the people of the split who do not train, 74 of 165:
it says where structures lie, not how healthy people vary, and no statistic is taken from it.

Numbers are those of MUSE (Doshi et al. 2016, doi 10.1016/j.neuroimage.2015.11.073), where right is even and left odd
from 100 on. ``check`` holds them against what is known of anatomy (side, place, volume) and refuses a map that
disagrees.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from tqdm import tqdm

from mri3d.grid import Affine, Grid
from mri3d.volumes.alignment import align
from mri3d.volumes.brain import find_brain
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume
from mri3d.volumes.regions import Atlas

GRID = Grid.centred((80, 96, 80), 2.0, (0.0, -17.0, 5.0))
"""The model grid of ``configs/workflow/common.yaml``."""

PAIRED: Mapping[str, tuple[int, ...]] = {
    "Caudate": (36,),
    "Putamen": (57,),
    "Accumbens Area": (23,),
    "Pallidum": (55,),
    "Thalamus": (59,),
    "Hippocampus": (47,),
    "Amygdala": (31,),
    "Basal Forebrain": (76,),
    "Ventral DC": (61,),
    "Lateral Ventricle": (51, 49),
    "Internal Capsule": (91, 93),
    "Frontal Grey Matter": (
        104, 112, 118, 120, 124, 136, 140, 142, 146, 150, 152, 162, 164, 178, 182, 186, 190, 192, 204,
    ),
    "Parietal Grey Matter": (106, 148, 168, 174, 176, 194, 198),
    "Temporal Grey Matter": (116, 122, 132, 154, 170, 180, 184, 200, 202, 206),
    "Occipital Grey Matter": (108, 114, 128, 134, 144, 156, 160, 196),
    "Cingulate Gyrus": (100, 138, 166),
    "Insula": (102, 172),
    "Frontal White Matter": (81,),
    "Parietal White Matter": (85,),
    "Temporal White Matter": (87,),
    "Occipital White Matter": (83,),
    "Cerebellum Grey Matter": (38,),
    "Cerebellum White Matter": (40,),
}  # fmt: skip
"""A structure's numbers in MUSE on the right."""

MIDLINE: Mapping[str, tuple[int, ...]] = {
    "3rd Ventricle": (4,),
    "4th Ventricle": (11,),
    "Corpus Callosum": (95,),
    "Fornix": (89, 90),
    "Brain Stem": (35,),
    "Cerebellar Vermis": (71, 72, 73),
}

LEFT_BEFORE_RIGHT = {23: 30, 76: 75}
"""Where the left is not the right's number and 1."""

KNOWN = {
    "Caudate": ((13, 11, 10), (2.0, 6.0)),
    "Putamen": ((26, 3, 0), (2.5, 7.0)),
    "Pallidum": ((20, -4, 0), (0.8, 3.0)),
    "Thalamus": ((11, -18, 7), (6.0, 14.0)),
    "Hippocampus": ((26, -22, -14), (2.0, 6.0)),
    "Amygdala": ((23, -5, -19), (0.6, 2.5)),
}
"""Roughly where a structure's middle lies in MNI space on the right (mm), and its volume in template space (ml)."""

FAR_MM = 6.0


def regions() -> dict[str, tuple[int, ...]]:
    """Name to numbers in MUSE, in the order of the atlas's own numbers from 1."""
    found: dict[str, tuple[int, ...]] = {}
    for name, right in PAIRED.items():
        found[f"Left {name}"] = tuple(LEFT_BEFORE_RIGHT.get(number, number + 1) for number in right)
        found[f"Right {name}"] = right
    return {**found, **MIDLINE}


def build(healthy: Path, people: Collection[str], grid: Grid = GRID) -> Atlas:
    """The atlas of these participants of a data set."""
    table = np.zeros(256, np.uint8)
    for index, numbers in enumerate(regions().values(), start=1):
        table[list(numbers)] = index
    votes = np.zeros((len(regions()) + 1, *grid.shape), np.uint16)  # of no region the first, which stays empty
    for labels, own, world in aligned(healthy, people):
        mine = table[on_template(labels, own, world, grid)]
        for index in range(1, len(votes)):
            votes[index] += mine == index
    return Atlas(vote(votes, len(people)).astype(np.int32), grid, dict(enumerate(regions(), start=1)))


def vote(votes: npt.NDArray[np.uint16], people: int) -> npt.NDArray[np.uint8]:
    """The region of most people at each voxel; 0 where most have none.

    Args:
        votes: (regions + 1, X, Y, Z) people with each region at a voxel, no region first.
        people: how many there are.
    """
    most = votes[1:].argmax(axis=0) + 1
    return np.where(2 * votes[1:].sum(axis=0) > people, most, 0).astype(np.uint8)


def label_maps(healthy: Path) -> dict[str, Path]:
    """Participant to label map."""
    return {path.name.removesuffix("_dseg.nii.gz"): path for path in (healthy / "derivatives").rglob("*_dseg.nii.gz")}


def aligned(healthy: Path, people: Collection[str]) -> Iterator[tuple[npt.NDArray[np.int32], Grid, Affine]]:
    """The labels of each scan, where they lie, and where the template lies in the scan."""
    labels = label_maps(healthy)
    found = [subject for subject in discover(healthy).subjects if subject.participant in people]
    for subject in tqdm(found, unit="subject"):
        known = read_volume(labels[subject.participant])
        volume = read_volume(subject.reference)
        brain = find_brain(volume, known)
        yield known.data.astype(np.int32), known.grid, align(volume, brain.mask).template_to_source


def on_template(labels: npt.NDArray[np.int32], own: Grid, world: Affine, grid: Grid) -> npt.NDArray[np.int32]:
    """Labels on a grid in template space, each that of the nearest voxel."""
    to_own = grid.index_affine_to(own, world)
    return np.asarray(ndimage.affine_transform(labels, to_own[:3, :3], to_own[:3, 3], output_shape=grid.shape, order=0))


def check(atlas: Atlas) -> list[str]:
    """What of the atlas disagrees with known anatomy, a line each; empty if nothing does."""
    numbers = {name: index for index, name in atlas.names.items()}
    found = [f"{name} labels no voxel" for name in regions() if name not in numbers]
    middles = {name: middle_of(atlas, number) for name, number in numbers.items()}
    for name, (x, *_) in middles.items():
        if (name.startswith("Right") and x < 2) or (name.startswith("Left") and x > -2):
            found.append(f"{name} lies at x = {x:.0f} mm")
    for name, (place, (least, most)) in KNOWN.items():
        for side, sign in (("Left", -1), ("Right", 1)):
            own = f"{side} {name}"
            if own not in numbers:
                continue
            away = float(np.linalg.norm(middles[own] - np.multiply(place, (sign, 1, 1))))
            ml = float((atlas.labels == numbers[own]).sum()) * atlas.grid.voxel_ml
            if away > FAR_MM or not least <= ml <= most:
                found.append(f"{own}: {away:.0f} mm from its place, {ml:.1f} ml")
    return found


def middle_of(atlas: Atlas, number: int) -> npt.NDArray[np.float64]:
    """The centre of a region in mm."""
    return np.asarray(atlas.grid.world(np.argwhere(atlas.labels == number)).mean(axis=0))


def main() -> None:
    """Build, check and write the atlas."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--split", type=Path, required=True, help="of a bundle: who does not train counts")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of regions_dseg.nii.gz and its table")
    words = parser.parse_args()
    parts = json.loads(words.split.read_text(encoding="utf-8"))
    people = {person for part, members in parts.items() if part != "train" for person in members}
    atlas = build(words.healthy, people)
    if wrong := check(atlas):
        raise SystemExit("\n".join(["the atlas disagrees with anatomy:", *wrong]))
    atlas.save(words.output / "regions_dseg.nii.gz")
    for number, name in atlas.names.items():
        x, y, z = middle_of(atlas, number)
        ml = (atlas.labels == number).sum() * atlas.grid.voxel_ml
        print(f"{number:3} {name:28} {ml:7.1f} ml at {x:4.0f} {y:4.0f} {z:4.0f} mm")


if __name__ == "__main__":
    main()

"""Measure the regions of healthy people for a bundle whose own calibration cannot serve for it.

    python -m benchmarks.region_norm HEALTHY --bundle bundles/brain_t1t2flair --split bundles/brain_t1/models/split.json

Regions are measured in T1w alone, by an atlas and its network, and on nothing that a bundle has learnt. Most who
calibrate ``brain_t1t2flair`` have taught that network, so that their regions say nothing of how others vary; those
who calibrate ``brain_t1`` have not. HEALTHY is a BIDS data set with the T1w of those people and their
``participants.tsv``. The scans go through the bundle's own preprocessing, without the other modalities. Whom the
bundle then knows, by any of its parts, is added to its ``models/split.json``, so that none of them counts as unseen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from benchmarks.parcellation import PEOPLE
from mri3d.bundle import SPLIT, find_bundle
from mri3d.commands.synth import PREFIX
from mri3d.detector import Detector
from mri3d.errors import some
from mri3d.resources import atlas_path
from mri3d.scoring.region_statistics import RegionStatistics
from mri3d.scoring.regions import fit_regions
from mri3d.training.split import Split
from mri3d.transforms.case import Item
from mri3d.volumes.atomic import write_json
from mri3d.volumes.discovery import discover
from mri3d.volumes.participants import read_table
from mri3d.workflow import open_workflow


def run(healthy: Path, bundle: Path, split: Path) -> RegionStatistics:
    """Write the regions of the split's calibration people into the bundle's ``models``.

    Raises:
        SystemExit: somebody's scan is missing.
        Mri3dError: a scan cannot be preprocessed.
    """
    settings = {"device": "$mri3d.workflow.pick_device('cpu')", "regions": None}
    parser = open_workflow(bundle, "inference", settings).parser
    grid, chain = parser.get_parsed_content("grid"), parser.get_parsed_content("preprocessing")
    other = Split.load(split)
    scans = {subject.participant: subject.reference for subject in discover(healthy).subjects}
    if missing := [person for person in other.calibration if person not in scans]:
        raise SystemExit(f"{healthy}: no T1w of {some(missing)}, who calibrate by {split}")
    detector = Detector.load(bundle, "cpu", {"regions": None})  # which may be those of another version
    items = [
        _measurable(detector, person, scans[person])
        for person in tqdm(other.calibration, desc="preprocess", unit="scan")
    ]
    statistics = fit_regions(items, atlas_path(), grid, bundle, chain, read_table(healthy))
    write_json(bundle / SPLIT, known_by(Split.load(bundle / SPLIT), other).as_dict())
    return statistics


def _measurable(detector: Detector, person: str, scan: Path) -> Item:
    """What :func:`mri3d.scoring.regions.fit_regions` takes of a scan; the other modalities' empty channels are left."""
    item = detector.preprocess(scan)
    affine = item["case"].alignment.template_to_source
    return {"participant": person, "image": item["image"][:1], "template_to_source": affine}


def known_by(own: Split, other: Split) -> Split:
    """A bundle's split with everybody whom its weights, its network of regions or its healthy regions know.

    Args:
        own: whom the bundle's weights and thresholds are of, some of them simulated from people of ``other``.
        other: whose calibration people the regions are of; the first who train by it have taught the network.
    """
    train, validation, calibration = ({*map(_scanned, names)} for names in (own.train, own.validation, own.calibration))
    train |= {*own.train, *other.train[:PEOPLE]}
    validation = ({*own.validation} | validation) - train
    calibration = ({*own.calibration, *other.calibration} | calibration) - train - validation
    return Split(*(tuple(sorted(names)) for names in (train, validation, calibration)), own.test)


def _scanned(person: str) -> str:
    """The name of who was scanned, of a head that ``mri3d synth --beside`` simulated from the scan's labels."""
    return f"sub-{person.removeprefix(PREFIX)}" if person.startswith(PREFIX) else person


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--split", required=True, type=Path, help="the split whose calibration people are measured")
    arguments = parser.parse_args()
    statistics = run(arguments.healthy, find_bundle(arguments.bundle), arguments.split)
    print(f"{len(statistics.values)} regions of {len(statistics.people)} people")


if __name__ == "__main__":
    main()

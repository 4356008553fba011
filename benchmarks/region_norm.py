"""Measure the regions of healthy people for a bundle whose own calibration cannot serve for it.

    python -m benchmarks.region_norm HEALTHY --bundle bundles/brain_t1t2flair --split bundles/brain_t1/models/split.json

Regions are measured in T1w alone, by an atlas and its network, and on nothing that a bundle has learnt. Most who
calibrate ``brain_t1t2flair`` have taught that network, so that their regions say nothing of how others vary; those
who calibrate ``brain_t1`` have not. HEALTHY is a BIDS data set with the T1w of those people and their
``participants.tsv``. The scans go through the bundle's own preprocessing, without the other modalities.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from mri3d.bundle import find_bundle
from mri3d.detector import Detector
from mri3d.resources import atlas_path
from mri3d.scoring.region_statistics import RegionStatistics
from mri3d.scoring.regions import fit_regions
from mri3d.transforms.case import Item
from mri3d.volumes.discovery import discover
from mri3d.volumes.participants import read_table
from mri3d.workflow import open_workflow

PART = "calibration"


def run(healthy: Path, bundle: Path, split: Path) -> RegionStatistics:
    """Write the regions of the split's calibration people into the bundle's ``models``.

    Raises:
        Mri3dError: a scan cannot be preprocessed.
    """
    settings = {"device": "$mri3d.workflow.pick_device('cpu')", "regions": None}
    parser = open_workflow(bundle, "inference", settings).parser
    grid, chain = parser.get_parsed_content("grid"), parser.get_parsed_content("preprocessing")
    people = json.loads(split.read_text(encoding="utf-8"))[PART]
    scans = {subject.participant: subject.reference for subject in discover(healthy).subjects}
    detector = Detector.load(bundle, "cpu")
    items = [_measurable(detector, person, scans[person]) for person in tqdm(people, desc="preprocess", unit="scan")]
    return fit_regions(items, atlas_path(), grid, bundle, chain, read_table(healthy))


def _measurable(detector: Detector, person: str, scan: Path) -> Item:
    item = detector.preprocess(scan)
    alignment = item["case"].alignment
    return {
        "participant": person,
        "image": item["image"][:1],
        "template_to_source": alignment.template_to_source,
    }


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

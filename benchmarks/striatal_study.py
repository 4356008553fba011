"""A study to try group comparison on: healthy heads, half of them with simulated atrophy of the striatum.

    python -m benchmarks.striatal_study HEALTHY -o STUDY
    mri3d detect STUDY -o OUT
    mri3d compare OUT --groups STUDY/participants.tsv --column diagnosis --covariates age,sex,tiv -o REPORT

HEALTHY is a BIDS data set with DLMUSE labels (``derivatives/dlmuse``). STUDY becomes one of 80 of its people, those
whom the bundle has not been trained on first, under new names: by age, every other one is a control, as scanned, and
the next a simulated patient, whose caudate and putamen have lost 10 to 30 % of their volume
(:mod:`benchmarks.simulated_atrophy`). Nobody in it is a patient. Many of them have a part in the shipped bundles: the
network that measures regions has seen none of them, so that differences in the size of regions are as for anybody, but
their own scores and z-maps are not those of strangers.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.region_atlas import label_maps
from benchmarks.simulated_atrophy import shrink_striatum
from mri3d.bundle import find_bundle
from mri3d.volumes.atomic import atomic_write, write_json
from mri3d.volumes.brain import find_brain
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.participants import read_table

LEAST, MOST = 0.1, 0.3
"""Share of its volume that a simulated patient's striatum has lost."""

PEOPLE = 80

Line = dict[str, str]


def chosen(bundle: Path) -> list[str]:
    """Who is in the study."""
    split = json.loads((bundle / "models" / "split.json").read_text(encoding="utf-8"))
    # the last who train, since the first 80 have trained the network that measures regions
    return [*split["test"], *split["validation"], *split["calibration"], *reversed(split["train"])][:PEOPLE]


def make(healthy: Path, people: Sequence[str], output: Path, seed: int = 0) -> list[Line]:
    """Write the study; the lines of its table."""
    subjects = {subject.participant: subject for subject in discover(healthy).subjects}
    labels = label_maps(healthy)
    table, rng = read_table(healthy), np.random.default_rng(seed)
    ages = {person: float(table.get(person, {}).get("age") or 50) for person in people}
    lines = []
    for index, person in enumerate(tqdm(sorted(people, key=lambda each: (ages[each], each)), unit="head")):
        patient = index % 2 == 1
        name = f"sub-{'patient' if patient else 'control'}{index // 2 + 1:02}"
        place = output / name / "anat" / f"{name}_T1w.nii.gz"
        share = float(rng.uniform(LEAST, MOST)) if patient else 0.0
        if not place.exists():
            volume = read_volume(subjects[person].reference)
            mask = find_brain(volume).mask.astype(np.uint8)
            data = volume.data
            if patient:
                known = read_volume(labels[person]).data.astype(np.int32)
                data = shrink_striatum(volume.data, known, volume.grid, share).data
            place.parent.mkdir(parents=True, exist_ok=True)
            # what is deformed lies within the brain, whose outline is that of the scan as it was
            write_map(place.with_name(f"{name}_T1w_brainmask.nii.gz"), mask, volume)
            write_map(place, data, volume)
        own = {column: table.get(person, {}).get(column) or "n/a" for column in ("age", "sex")}
        lines.append({"participant_id": name, **own, "diagnosis": "patient" if patient else "control",
                      "striatum_lost": f"{share:.3f}"})  # fmt: skip
    return sorted(lines, key=lambda line: line["participant_id"])


def main() -> None:
    """Make the study from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--bundle", default="brain_t1")
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    words.output.mkdir(parents=True, exist_ok=True)
    lines = make(words.healthy, chosen(find_bundle(words.bundle)), words.output)
    with atomic_write(words.output / "participants.tsv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    told = {"Name": "Simulated atrophy of the striatum in healthy heads", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    write_json(words.output / "dataset_description.json", told)
    print(f"{len(lines)} people in {words.output}")


if __name__ == "__main__":
    main()

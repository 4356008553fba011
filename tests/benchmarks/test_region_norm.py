"""Regions of healthy people for a bundle of several modalities, from their T1w."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks import region_norm
from mri3d.bundle import REGIONS, find_bundle
from tests.brains import CENTRE, FOV, brain_on, write_brain
from tests.helpers import head_grid


def test_the_people_of_a_part_are_measured_by_the_bundles_own_preprocessing(tmp_path: Path) -> None:
    bundle, shipped = tmp_path / "bundle", find_bundle("brain_t1t2flair")
    shutil.copytree(shipped, bundle, ignore=shutil.ignore_patterns("regions*"))
    grid = head_grid("RAS", (2.0, 2.0, 2.0), 4.0, FOV, CENTRE)
    for seed in range(3):
        place = tmp_path / "healthy" / f"sub-{seed}" / "anat" / f"sub-{seed}_T1w.nii.gz"
        place.parent.mkdir(parents=True)
        write_brain(place, grid, brain_on(grid, seed))
    (tmp_path / "healthy" / "participants.tsv").write_text("participant_id\tage\nsub-0\t30\nsub-1\t40\nsub-2\t50\n")
    (tmp_path / "split.json").write_text(json.dumps({"train": ["sub-1"], "calibration": ["sub-2", "sub-0"]}))
    made = region_norm.run(tmp_path / "healthy", bundle, tmp_path / "split.json")
    assert [person["age"] for person in made.people] == [50, 30]
    known = json.loads((shipped / "models" / REGIONS[0]).read_text(encoding="utf-8"))
    assert made.sha256 == known["sha256"]
    written = json.loads((bundle / "models" / REGIONS[0]).read_text(encoding="utf-8"))["regions"]
    for name in ("Left Caudate", "Right Lateral Ventricle"):
        far = abs(written[name]["mean"] - known["regions"][name]["mean"]) / known["regions"][name]["std"]
        assert far < 4, name

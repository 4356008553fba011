"""Regions of healthy people for a bundle of several modalities, from their T1w."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import region_norm
from mri3d.bundle import REGIONS, SPLIT, find_bundle
from mri3d.training.split import Split
from mri3d.volumes.atomic import write_json
from tests.brains import CENTRE, FOV, brain_on, write_brain
from tests.helpers import head_grid, write_nifti

GRID = head_grid("RAS", (2.0, 2.0, 2.0), 4.0, FOV, CENTRE)


def test_the_people_of_a_part_are_measured_by_the_bundles_own_preprocessing(tmp_path: Path) -> None:
    bundle, shipped = tmp_path / "bundle", find_bundle("brain_t1t2flair")
    shutil.copytree(shipped, bundle)
    known = json.loads((bundle / "models" / REGIONS[0]).read_text(encoding="utf-8"))
    write_json(bundle / "models" / REGIONS[0], {**known, "sha256": dict.fromkeys(known["sha256"], "of an older mri3d")})
    for seed in range(3):
        place = tmp_path / "healthy" / f"sub-{seed}" / "anat" / f"sub-{seed}_T1w.nii.gz"
        place.parent.mkdir(parents=True)
        write_brain(place, GRID, brain_on(GRID, seed))
    (tmp_path / "healthy" / "participants.tsv").write_text("participant_id\tage\nsub-0\t30\nsub-1\t40\nsub-2\t50\n")
    write_json(tmp_path / "split.json", Split(("sub-1",), (), ("sub-2", "sub-0")).as_dict())
    write_json(bundle / SPLIT, Split(("sub-syn0",), (), ("sub-syn4",), ("sub-syn5",)).as_dict())
    made = region_norm.run(tmp_path / "healthy", bundle, tmp_path / "split.json")
    assert [person["age"] for person in made.people] == [50, 30]
    assert made.sha256 == known["sha256"]
    everyone = ("sub-0", "sub-1", "sub-syn0"), (), ("sub-2", "sub-4", "sub-syn4"), ("sub-syn5",)
    assert Split.load(bundle / SPLIT) == Split(*everyone)
    written = json.loads((bundle / "models" / REGIONS[0]).read_text(encoding="utf-8"))["regions"]
    for name in ("Left Caudate", "Right Lateral Ventricle"):
        far = abs(written[name]["mean"] - known["regions"][name]["mean"]) / known["regions"][name]["std"]
        assert far < 4, name


def test_people_without_a_scan_are_named(tmp_path: Path) -> None:
    (tmp_path / "healthy").mkdir()
    write_nifti(tmp_path / "healthy" / "sub-1_T1w.nii.gz", GRID, brain_on(GRID), dtype=np.int16)
    write_json(tmp_path / "split.json", Split((), (), ("sub-7", "sub-1")).as_dict())
    with pytest.raises(SystemExit, match=r"no T1w of sub-7, who calibrate"):
        region_norm.run(tmp_path / "healthy", find_bundle("brain_t1t2flair"), tmp_path / "split.json")

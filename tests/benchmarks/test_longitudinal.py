"""Visits that are simulated from one scan, and what is told of the changes between them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.longitudinal import CAUDATES, LOST, NOISE, OTHERS, PUTAMINA, changes, metrics_of, page, visit
from tests.helpers import ellipsoid, head_grid, volume_of

GRID = head_grid("PSR", (2.0, 2.5, 3.0), 12.0)


def test_a_visit_is_the_same_head_elsewhere_with_noise_of_its_own() -> None:
    head = ellipsoid(GRID, 0.6).astype(np.float32) * 100
    volume = volume_of(head, GRID)
    first, again, other = (visit(volume, head, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    inside = [data > 50 for data in (head, first, other)]
    assert all(abs(each.sum() / inside[0].sum() - 1) < 0.02 for each in inside[1:])
    moved = np.linalg.norm(np.diff([GRID.world(np.argwhere(each).mean(axis=0)) for each in inside], axis=0), axis=1)
    assert (moved > 1).all() and (moved < 40).all()
    deep = ndimage.binary_erosion(inside[1], iterations=4)  # away from the edge, where splines swing
    assert first[deep].std() == pytest.approx(100 * NOISE, rel=0.2)
    assert (first[head.shape[0] // 2, 0, 0] == 0) and first.min() == 0


def write_changes(path: Path, loss: dict[str, float]) -> Path:
    """Of three people, each with an error of their own."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("participant", "later", "region", "change_percent", "error"))
        for session, percent in loss.items():
            for person, error in (("sub-1", -1.0), ("sub-2", 0.0), ("sub-3", 1.0)):
                writer.writerows((person, session, name, -percent + error, "") for name in (*CAUDATES, *PUTAMINA))
                writer.writerows((person, session, name, 2 * error, "") for name in OTHERS)
    return path


def test_changes_are_put_together_by_visit(tmp_path: Path) -> None:
    found = changes(write_changes(tmp_path / "changes.csv", {"ses-2": 0.0, "ses-3": 1.0, "ses-4": 9.0}))
    told = metrics_of(found)
    assert told["people"] == 3 and [told[session]["lost"] for session in found] == list(LOST.values())[1:]
    assert told["ses-4"]["caudate"] == told["ses-4"]["putamen"] == {"mean": pytest.approx(-9.0), "sd": pytest.approx(1)}
    assert told["ses-4"]["others_mean_size"] == pytest.approx(4 / 3)
    # of the six pairs of two people three are the right way round and two are ties
    assert told["ses-2"]["auroc"] is None and told["ses-4"]["auroc"] == 1.0
    assert told["ses-3"]["auroc"] == pytest.approx((3 + 0.5 * 2) / 6)
    assert "| 10 % | \N{MINUS SIGN}9.0 % (SD 1.0) |" in page(told)


def test_a_visit_that_failed_ends_the_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "changes.csv"
    path.write_text("participant,later,region,change_percent,error\nsub-1,ses-2,,,no brain\n")
    with pytest.raises(SystemExit, match="sub-1 ses-2: no brain"):
        changes(path)

"""Regions against healthy people: z, p and q are what they are said to be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mri3d.bundle import load_regions
from mri3d.errors import BundleError
from mri3d.grid import Grid
from mri3d.scoring.detection import RegionScore
from mri3d.scoring.regions import (
    ATLAS_FILE,
    RegionStatistics,
    corrected,
    growth_of,
    judge_regions,
    region_hashes,
)
from mri3d.transforms.dataset import Guarded
from mri3d.transforms.intensity import NormaliseIntensity
from mri3d.volumes.regions import Atlas

GRID = Grid.centred((24, 24, 24), 4.0, (0.0, 0.0, 0.0))
CHAIN = Guarded([NormaliseIntensity(98.0)])


def atlas() -> Atlas:
    labels = np.zeros(GRID.shape, np.int32)
    labels[4:8, 9:15, 9:15], labels[16:20, 9:15, 9:15] = 1, 2
    labels[0, 0, :5] = 3  # too small to be measured
    return Atlas(labels, GRID, {1: "Left Box", 2: "Right Box", 3: "Crumb"})


def statistics(n: int = 12, seed: int = 0) -> RegionStatistics:
    rng = np.random.default_rng(seed)
    values = {name: tuple(rng.normal(0.02, 0.05, n)) for name in ("Left Box", "Right Box")}
    return RegionStatistics(values, region_hashes(atlas(), CHAIN))


def score(p: float | None, index: int = 1) -> RegionScore:
    return RegionScore(index, f"region {index}", 1.0, None, None, None, None if p is None else 1.0, p, None)


def test_p_is_that_of_crawford_and_howell() -> None:
    healthy = statistics()
    values = np.array(healthy.values["Left Box"])
    judged = healthy.judge("Left Box", 0.3)
    assert judged is not None
    z, p = judged
    assert z == pytest.approx((0.3 - values.mean()) / values.std(ddof=1))
    # one person against n is Student's two-sample test with a sample of one
    assert p == pytest.approx(stats.ttest_ind([0.3], values).pvalue, rel=1e-6)
    assert healthy.judge("Left Box", 2 * values.mean() - 0.3)[1] == pytest.approx(p), "smaller counts as larger"
    assert healthy.judge("Nowhere", 0.3) is None


def test_p_of_healthy_people_is_uniform() -> None:
    rng = np.random.default_rng(1)
    p = []
    for _ in range(4000):
        *values, new = rng.normal(3.0, 2.0, 8)
        judged = RegionStatistics({"a": tuple(values)}, {}).judge("a", new)
        p.append(judged[1])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.012), "a z-test would have 0.10"


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=30))
def test_q_is_that_of_benjamini_and_hochberg(p: list[float]) -> None:
    q = [each.q for each in corrected([score(value, i) for i, value in enumerate(p)])]
    order = np.argsort(p)
    # the largest k with p(k) <= k / m * alpha tells which are found at alpha
    for alpha in (0.01, 0.05, 0.3):
        passed = [k for k in range(1, len(p) + 1) if p[order[k - 1]] <= k / len(p) * alpha * (1 + 1e-12)]
        found = {int(i) for i in order[: max(passed, default=0)]}
        limit = alpha * (1 + 1e-9)
        assert {i for i, value in enumerate(q) if value is not None and value <= limit} >= found
        assert all(p[i] <= alpha for i, value in enumerate(q) if value is not None and value <= alpha)


def test_regions_without_p_have_no_q_and_do_not_count() -> None:
    scores = corrected([score(0.01, 1), score(None, 2), score(0.04, 3)])
    assert [each.q for each in scores] == [pytest.approx(0.02), None, pytest.approx(0.04)]
    assert corrected([score(None)])[0].q is None


def test_growth_is_against_the_surroundings() -> None:
    growth = np.full(GRID.shape, 0.2, np.float32)
    found = growth_of(growth, atlas().labels, GRID)
    assert set(found) == {1, 2}, "five voxels are no region"
    assert found[1].share == pytest.approx(np.exp(0.2), rel=1e-5)
    assert found[1].relative == pytest.approx(0.0, abs=1e-6), "all of the brain grew alike"
    growth[atlas().labels == 1] -= 0.3
    found = growth_of(growth, atlas().labels, GRID)
    assert found[1].share == pytest.approx(np.exp(-0.1), rel=1e-5)
    assert -0.3 < found[1].relative < -0.15
    assert abs(found[2].relative) < 0.02


def test_a_region_that_shrank_is_found_on_its_own_side() -> None:
    growth = np.zeros(GRID.shape, np.float32)
    growth[atlas().labels == 1] = -0.5
    zscore = np.where(atlas().labels == 2, 4.0, 1.0).astype(np.float32)
    mask = np.ones(GRID.shape, bool)
    scores = judge_regions(atlas(), atlas().labels, GRID, growth, zscore, mask, 3.0, statistics(), 0.1)
    left, right = scores
    assert (left.name, right.name) == ("Left Box", "Right Box")
    assert left.z < -4 and left.q < 0.01 and right.q > 0.05
    assert left.volume_ml == pytest.approx(144 * 0.1 * np.exp(-0.5))
    assert (left.mean_z, left.peak_z, left.fraction) == (1.0, 1.0, 0.0)
    assert (right.mean_z, right.peak_z, right.fraction) == (4.0, 4.0, 1.0)


def test_what_is_not_known_is_not_told() -> None:
    growth, mask = np.zeros(GRID.shape, np.float32), np.zeros(GRID.shape, bool)
    zscore = np.ones(GRID.shape, np.float32)
    for each in judge_regions(atlas(), atlas().labels, GRID, growth, zscore, mask, None, None, 0.1):
        assert (each.mean_z, each.peak_z, each.fraction, each.z, each.p, each.q) == (None,) * 6
        assert each.volume_ml > 0


def test_statistics_are_read_as_they_were_written(tmp_path: Path) -> None:
    statistics().save(tmp_path / "regions.json")
    found = RegionStatistics.load(tmp_path / "regions.json")
    assert found is not None and found.people == 12
    for name, values in statistics().values.items():
        np.testing.assert_allclose(found.values[name], values, atol=1e-6)
    assert found.sha256 == statistics().sha256
    assert RegionStatistics.load(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"regions": {"a": {"values": [1, 2, 3]}, "b": {"values": [1]}}, "sha256": {}}',
     '{"regions": {"a": {"values": [1, 2]}}, "sha256": {}}',
     '{"regions": {"a": {"values": [1, 2, NaN]}}, "sha256": {}}'],
)  # fmt: skip
def test_damaged_statistics_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "regions.json").write_text(text)
    with pytest.raises(BundleError, match=r"regions\.json"):
        RegionStatistics.load(tmp_path / "regions.json")


def test_nobody_is_judged_by_himself() -> None:
    values = (0.0, 0.1, -0.1, 0.05, 5.0)
    healthy = RegionStatistics({"a": values}, {})
    assert healthy.without(4).values["a"] == values[:4]
    assert healthy.without(4).judge("a", 5.0)[1] < 1e-4 < healthy.judge("a", 5.0)[1]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    models = tmp_path / "bundle" / "models"
    models.mkdir(parents=True)
    atlas().save(models / ATLAS_FILE)
    statistics().save(models / "regions.json")
    return tmp_path / "bundle"


def test_a_bundle_gives_its_atlas_with_the_statistics_of_it(bundle: Path) -> None:
    known, healthy = load_regions(bundle, None, CHAIN)
    assert known.names == atlas().names
    assert healthy.people == 12
    assert load_regions(bundle.parent, None, CHAIN) == (None, None)


def test_another_atlas_has_no_statistics_and_the_same_one_has(bundle: Path, tmp_path: Path) -> None:
    atlas().save(tmp_path / "same_dseg.nii.gz")
    replace(atlas(), names={1: "A", 2: "B", 3: "C"}).save(tmp_path / "other_dseg.nii.gz")
    assert load_regions(bundle, tmp_path / "same_dseg.nii.gz", CHAIN)[1].people == 12
    known, healthy = load_regions(bundle, tmp_path / "other_dseg.nii.gz", CHAIN)
    assert known.names[1] == "A"
    assert healthy is None


def test_statistics_of_other_parts_are_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match="others: settings"):
        load_regions(bundle, None, Guarded([NormaliseIntensity(90.0)]))
    labels = atlas().labels.copy()
    labels[5, 10, 10] = 2
    replace(atlas(), labels=labels).save(bundle / "models" / ATLAS_FILE)
    with pytest.raises(BundleError, match="others: atlas"):
        load_regions(bundle, None, CHAIN)
    told = json.loads((bundle / "models" / "regions.json").read_text())
    assert told["people"] == 12 and set(told["regions"]["Left Box"]) == {"mean", "std", "values"}

"""A z is as rare among healthy voxels as in a normal distribution, and one person can be taken out again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from mri3d.errors import BundleError
from mri3d.scoring.tail import RAREST, Tail, TailCounts, Tails

HEAVY = Tail(np.array([0.7, 2.0, 4.0, 8.0]), np.array([0.5, 0.1, 0.01, 0.001]))


def people(n: int, seed: int, freedom: float = 3.0) -> list[np.ndarray]:
    """Departures with the heavy tails of Student's t."""
    rng = np.random.default_rng(seed)
    return [np.abs(rng.standard_t(freedom, size=rng.integers(2000, 3000))).astype(np.float32) for _ in range(n)]


def tail_of(departures: list[np.ndarray]) -> Tail:
    found = TailCounts.of(departures).tail()
    assert found is not None
    return found


def test_at_the_levels_it_is_the_normal_quantile_of_their_share():
    assert HEAVY.normal(HEAVY.levels.astype(np.float32)) == pytest.approx(norm.isf(HEAVY.shares / 2), rel=1e-6)
    assert HEAVY.normal(np.zeros(3, np.float32)) == pytest.approx(0)


def test_beyond_the_last_level_the_share_falls_by_a_power_of_the_departure():
    # a tenth from 4 to 8: each further doubling is rarer by as much
    assert HEAVY.exponent == pytest.approx(np.log(10) / np.log(2))
    found = HEAVY.normal(np.array([16, 32, 8 * 2.0**40], np.float32))
    assert found[:2] == pytest.approx(norm.isf(np.array([1e-4, 1e-5]) / 2), rel=1e-6)
    assert np.isfinite(found[2])


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(1.0, 30.0))
def test_it_keeps_the_order_and_nothing_departs_less_than_zero(seed: int, freedom: float):
    tail = tail_of(people(3, seed, freedom))
    departures = np.sort(np.random.default_rng(seed).exponential(10, 500)).astype(np.float32)
    found = tail.normal(departures)
    assert found.dtype == np.float32
    assert (np.diff(found) >= 0).all()
    assert found[0] >= 0


def test_of_healthy_voxels_as_many_pass_a_z_as_in_a_normal_distribution():
    tail = tail_of(people(60, seed=1))
    fresh = tail.normal(np.concatenate(people(200, seed=2)))
    for z in (0.5, 1.0, 2.0, 3.0, 3.7):
        assert np.mean(fresh > z) == pytest.approx(2 * norm.sf(z), rel=0.15)
    assert np.mean(fresh > 4.2) == pytest.approx(2 * norm.sf(4.2), rel=0.6)  # extrapolated: 13 voxels of 500,000


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_leaving_one_out_equals_never_having_counted_it(n: int, seed: int):
    departures = people(n, seed)
    counts = TailCounts.of(departures)
    found = counts.without(departures[0])
    others = np.concatenate(departures[1:])
    assert found.voxels == others.size
    assert found.counts == pytest.approx([(others >= level).sum() for level in counts.levels])


def test_one_person_s_rare_voxels_do_not_make_the_others_tail():
    departures = people(5, seed=3)
    departures[0][:200] = 1e4
    assert tail_of(departures).normal(np.array([1e4], np.float32)) < 3.5
    alone = TailCounts.of(departures).without(departures[0]).tail()
    assert alone is not None
    assert alone.levels[-1] < 100
    assert alone.normal(np.array([1e4], np.float32)) > 5


def test_levels_end_where_too_few_voxels_lie_beyond():
    few, many = people(1, seed=4), people(60, seed=4)
    assert tail_of(few).shares[-1] == pytest.approx(10 / few[0].size, rel=0.1)
    assert tail_of(many).shares[-1] == pytest.approx(RAREST, rel=0.1)


def test_voxels_of_which_half_do_not_depart_at_all_keep_a_zero():
    departures = [np.maximum(np.random.default_rng(5).normal(size=20_000), 0).astype(np.float32)]
    tail = tail_of(departures)
    found = tail.normal(departures[0])
    assert (found[departures[0] == 0] == 0).all()
    assert np.mean(found > norm.isf(0.005)) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("values", [np.zeros(100, np.float32), np.full(100, 2.0, np.float32)])
def test_where_nothing_differs_there_is_no_tail(values: np.ndarray):
    assert TailCounts.of([values]).tail() is None


def test_saved_and_loaded_it_is_the_same(tmp_path: Path):
    other, path = Tail(np.array([1.0, 2.0]), np.array([0.5, 0.1])), tmp_path / "tail.json"
    Tails(HEAVY).save(path)
    found = Tails.load(path)
    assert found.together is not None and (found.alone, found.partial) == ((), {})
    assert (found.together.levels == HEAVY.levels).all() and (found.together.shares == HEAVY.shares).all()
    Tails(HEAVY, (None, other), {"T1w": Tails(other), "T1w+T2w": Tails(other, (other, None))}).save(path)
    found = Tails.load(path)
    assert found.alone[0] is None and found.alone[1] is not None and (found.alone[1].shares == other.shares).all()
    assert found.partial["T1w"].together is not None and found.partial["T1w"].alone == ()
    assert (found.partial["T1w"].together.levels == other.levels).all()
    one, none = found.partial["T1w+T2w"].alone
    assert one is not None and (one.shares == other.shares).all() and none is None
    Tails().save(path)
    assert not path.exists() and Tails.load(path).together is None


@pytest.mark.parametrize(
    "contents",
    ["", "[]", '{"levels": [1, 2]}', '{"levels": [1, 2], "shares": [0.1]}', '{"levels": [2, 1], "shares": [0.2, 0.1]}',
     '{"levels": [1, 2], "shares": [0.1, 0.2]}', '{"levels": [1, NaN], "shares": [0.2, 0.1]}',
     '{"levels": [1, 2], "shares": [1.0, 0.1]}', '{"levels": [1, 2], "shares": [0.1, 0]}'],
)  # fmt: skip
def test_a_damaged_file_is_refused(tmp_path: Path, contents: str):
    (tmp_path / "tail.json").write_text(contents)
    with pytest.raises(BundleError, match="Calibrate the bundle again, or restore the file"):
        Tails.load(tmp_path / "tail.json")

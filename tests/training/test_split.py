"""People, not files, are split; nobody serves twice, and every part covers all ages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri3d.errors import UsageError
from mri3d.training.split import PARTS, Split, check_people, keep_split, split_participants

SHARES = {"train": 0.6, "validation": 0.1, "calibration": 0.2, "test": 0.1}
PEOPLE = [f"sub-{i:03d}" for i in range(100)]


@st.composite
def shares(draw: st.DrawFn) -> dict[str, float]:
    """Shares in which each part that must have somebody has at least 5 %."""
    weights = [draw(st.integers(10, 100)) for _ in range(3)] + [draw(st.integers(0, 50))]
    return {part: weight / sum(weights) for part, weight in zip(PARTS, weights, strict=True)}


def sizes(split: Split) -> dict[str, int]:
    return {part: len(names) for part, names in split.as_dict().items()}


@given(st.integers(40, 120), shares(), st.integers(0, 99), st.floats(0, 1))
def test_every_person_is_in_one_part_and_parts_have_their_share(n, wanted, seed, known):
    people = PEOPLE[:n] if n <= 100 else [f"p{i}" for i in range(n)]
    rng = np.random.default_rng(seed)
    ages = {person: float(rng.integers(20, 80)) for person in people if rng.random() < known}
    split = split_participants(people, wanted, seed, ages)
    dealt = [person for names in split.as_dict().values() for person in names]
    assert sorted(dealt) == sorted(people)
    for part, size in sizes(split).items():
        assert abs(size - wanted[part] * n) <= 1 + 1e-9


@given(st.permutations(PEOPLE[:30]), st.integers(0, 99))
def test_neither_order_nor_repetition_of_files_changes_the_split(files: list[str], seed: int):
    ages = {person: float(i % 7) for i, person in enumerate(PEOPLE[:25])}
    wanted = split_participants(PEOPLE[:30], SHARES, seed, ages)
    assert split_participants(files + files[:11], SHARES, seed, ages) == wanted


def test_the_sessions_of_a_person_stay_together():
    files = [person for person in PEOPLE[:20] for _ in range(3)]
    split = split_participants(files, SHARES, 0)
    assert sizes(split) == {"train": 12, "validation": 2, "calibration": 4, "test": 2}


def test_the_seed_decides():
    splits = {split_participants(PEOPLE, SHARES, seed).train for seed in range(5)}
    assert len(splits) == 5
    assert split_participants(PEOPLE, SHARES, 3) == split_participants(PEOPLE, SHARES, 3)


@pytest.mark.parametrize("seed", range(3))
def test_every_part_covers_all_ages(seed: int):
    order = np.random.default_rng(9).permutation(100)
    ages = {person: 20.0 + 0.6 * int(rank) for person, rank in zip(PEOPLE, order, strict=True)}
    split = split_participants(PEOPLE, SHARES, seed, ages)
    for names in split.as_dict().values():
        mine = [ages[name] for name in names]
        assert np.mean(mine) == pytest.approx(50, abs=4)
        assert min(mine) < 29
        assert max(mine) > 71
    # no part takes a run of the age line for itself
    train = np.isin(sorted(PEOPLE, key=ages.get), split.train)
    assert np.convolve(train, np.ones(10), "valid").min() >= 5
    assert np.convolve(train, np.ones(10), "valid").max() <= 7


def test_people_of_unknown_age_are_dealt_out_as_well():
    ages = {person: 20.0 + i for i, person in enumerate(PEOPLE[:50])}
    split = split_participants(PEOPLE, SHARES, 0, ages)
    assert sizes(split) == {"train": 60, "validation": 10, "calibration": 20, "test": 10}
    assert 20 <= sum(name in ages for name in split.train) <= 40


def test_a_share_of_nothing_gets_nobody():
    split = split_participants(PEOPLE, {"train": 0.7, "validation": 0.1, "calibration": 0.2}, 0)
    assert sizes(split) == {"train": 70, "validation": 10, "calibration": 20, "test": 0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"train": 0.7, "validation": 0.1, "calibration": 0.1},
        {"train": 0.7, "validation": 0.1, "calibration": 0.1, "holdout": 0.1},
        {"train": 1.1, "validation": 0.1, "calibration": 0.1, "test": -0.3},
        {},
    ],
)
def test_shares_that_are_none_are_refused(wrong: dict[str, float]):
    with pytest.raises(UsageError, match="shares of train, validation, calibration, test that sum up to 1"):
        split_participants(PEOPLE, wrong, 0)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_people_are_refused_with_the_part_that_has_none(n: int):
    with pytest.raises(UsageError, match=f"at least one participant for .*, found {n} in all"):
        split_participants(PEOPLE[:n], SHARES, 0)


def test_a_stored_split_is_kept_whatever_would_be_drawn_now(tmp_path: Path):
    path = tmp_path / "models" / "split.json"
    first = keep_split(path, PEOPLE, SHARES, 0)
    assert first == split_participants(PEOPLE, SHARES, 0)
    assert json.loads(path.read_text()) == {part: list(getattr(first, part)) for part in PARTS}
    before = path.read_bytes()
    again = keep_split(path, PEOPLE[:50], {**SHARES, "train": 0.7, "test": 0.0}, seed=1)
    assert again == first
    assert path.read_bytes() == before


@pytest.mark.parametrize("part", ["train", "validation", "calibration"])
def test_a_stored_split_that_leaves_a_part_without_anybody_is_refused(tmp_path: Path, part: str):
    path = tmp_path / "split.json"
    stored = keep_split(path, PEOPLE, SHARES, 0)
    rest = [person for person in PEOPLE if person not in getattr(stored, part)]
    with pytest.raises(UsageError, match=f"nobody of them in its part {part}.*mri3d train") as caught:
        keep_split(path, rest, SHARES, 0)
    assert caught.value.where == str(path)


def test_a_stored_split_of_other_people_is_refused(tmp_path: Path):
    keep_split(tmp_path / "split.json", PEOPLE, SHARES, 0)
    with pytest.raises(UsageError, match="a split of these 30 participants"):
        keep_split(tmp_path / "split.json", [f"patient-{i}" for i in range(30)], SHARES, 0)


def test_a_split_without_a_test_part_is_kept(tmp_path: Path):
    shares = {"train": 0.7, "validation": 0.1, "calibration": 0.2}
    first = keep_split(tmp_path / "split.json", PEOPLE, shares, 0)
    assert keep_split(tmp_path / "split.json", PEOPLE, shares, 0) == first


def test_too_few_to_calibrate_are_told_of_with_the_number_it_takes():
    shares = {"train": 0.6, "validation": 0.16, "calibration": 0.24}
    check_people(PEOPLE[:19], shares, 0, None, least=5)
    with pytest.raises(UsageError, match=r"at least 19 people, of whom 5 calibrate, found 16 people.*--folds"):
        check_people(PEOPLE[:16], shares, 0, None, least=5)


def test_folds_take_fewer_people_but_each_network_needs_some_to_train_and_to_validate():
    shares = {"train": 0.68, "validation": 0.08, "calibration": 0.24}
    check_people(PEOPLE[:7], shares, 0, None, least=5, folds=5)
    for n, reason in ((4, "at least 5 people"), (6, "at least one participant for validation")):
        with pytest.raises(UsageError, match=reason):
            check_people(PEOPLE[:n], shares, 0, None, least=5, folds=5)


def test_unusable_volumes_do_not_leave_too_few_to_calibrate(tmp_path: Path):
    shares = {"train": 0.6, "validation": 0.16, "calibration": 0.24}
    with pytest.raises(UsageError, match="at least 5 people to calibrate, found 4 usable"):
        keep_split(tmp_path / "split.json", PEOPLE[:16], shares, 0, least_calibrated=5)
    assert not (tmp_path / "split.json").exists()
    stored = keep_split(tmp_path / "split.json", PEOPLE[:24], shares, 0, least_calibrated=5)
    left = [person for person in PEOPLE[:24] if person not in stored.calibration[:2]]
    with pytest.raises(UsageError, match="at least 5 people to calibrate, found 4 usable"):
        keep_split(tmp_path / "split.json", left, shares, 0, least_calibrated=5)

"""What a column says of people, and what no covariate can be made from."""

from __future__ import annotations

import numpy as np
import pytest

from mri3d.errors import UsageError
from mri3d.evaluation.design import as_covariate, described, number_in, one_sided, refuse_commas


def test_numbers_are_told_by_their_mean_and_extent() -> None:
    told = described("age", ["20", None, "40", "60"])
    assert told == {"mean": 40.0, "sd": 20.0, "min": 20.0, "max": 60.0, "unknown": 1}
    assert described("age", ["20"]) == {"mean": 20.0, "sd": None, "min": 20.0, "max": 20.0, "unknown": 0}


def test_kinds_are_counted_even_where_their_codes_are_numbers() -> None:
    assert described("sex", ["M", "F", "M", None]) == {"counts": {"F": 1, "M": 2}, "unknown": 1}
    assert described("site", ["1", "2", "1"]) == {"counts": {"1": 2, "2": 1}, "unknown": 0}
    assert described("dose", ["1", "high"]) == {"counts": {"1": 1, "high": 1}, "unknown": 0}
    assert described("age", [None, None]) == {"counts": {}, "unknown": 2}


def test_decimal_commas_pass_for_nothing() -> None:
    refuse_commas("score", {"a": "3.5", "b": None, "c": "1, 2", "d": "-4"})
    with pytest.raises(UsageError, match=r"numbers with a decimal point, found '3,5' of b and 1 more"):
        refuse_commas("score", {"a": "3.5", "b": "3,5", "c": "-0,25"})


def test_no_number_is_beyond_all_measure() -> None:
    assert [number_in(cell) for cell in ("1e11", "1e308", "inf", "nan", "x")] == [1e11, None, None, None, None]


def test_a_covariate_that_is_alike_in_a_group_is_told_of() -> None:
    groups = np.array([0, 0, 0, 1, 1, 1])
    dose = as_covariate("dose", dict(zip("abcdef", ("0", "0", "0", "1", "2", "3"), strict=True)))
    sex = as_covariate("sex", dict(zip("abcdef", "MFMMFF", strict=True)))
    assert one_sided([dose, sex], groups, ("control", "patient")) == ["dose in control"]

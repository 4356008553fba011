"""What a covariate says of the people of a group."""

from __future__ import annotations

import numpy as np
import pytest

from mri3d.evaluation.design import as_covariate

HELD = np.array([True, True, True, False])


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (("20", "40", "60", "99"), "40.0 ± 20.0 (20.0 to 60.0)"),
        (("0.1", "0.2", "0.3", "9"), "0.200 ± 0.100 (0.100 to 0.300)"),
        (("1000", "2000", "3000", "9"), "2000 ± 1000 (1000 to 3000)"),
        (("-0.5", "-0.5", "-0.5", "1"), "-0.50 ± 0.00 (-0.50 to -0.50)"),
    ],
)
def test_numbers_are_told_to_three_digits_of_their_spread(cells: tuple[str, ...], told: str) -> None:
    assert as_covariate("dose", dict(zip("abcd", cells, strict=True))).summary(HELD) == told


def test_kinds_are_counted_and_those_of_others_are_not() -> None:
    assert as_covariate("sex", dict(zip("abcd", "MFMX", strict=True))).summary(HELD) == "F 1, M 2"

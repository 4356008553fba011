"""A study's table and pictures, whatever became of its trials."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from mri3d.reporting.study_files import Outcome, draw_history, draw_importance, widen, write_trials

NAN = float("nan")
TRIALS = (
    Outcome(1, "complete", 0.5, {"a": 0.1, "b": [4, 8]}, 6, 10.0),
    Outcome(2, "failed", NAN, {"a": 0.2, "b": None}, 0, 1.0, "out of memory"),
    Outcome(3, "complete", 0.7, {"a": 0.3, "b": [8, 8]}, 6, 9.5),
    Outcome(4, "pruned", 0.1, {"a": 0.4, "b": "odd"}, 3, 5.0),
)


def test_a_line_a_trial(tmp_path: Path):
    write_trials(TRIALS, ["a", "b"], tmp_path / "trials.csv")
    rows = list(csv.reader((tmp_path / "trials.csv").open(newline="")))
    assert rows[0] == ["trial", "state", "value", "a", "b", "epochs", "seconds", "cause"]
    assert rows[1] == ["1", "complete", "0.5", "0.1", "[4, 8]", "6", "10", ""]
    assert rows[2] == ["2", "failed", "", "0.2", "", "0", "1", "out of memory"]


@pytest.mark.parametrize("trials", [(), TRIALS[1:2], TRIALS[3:], TRIALS, TRIALS * 10], ids=len)
@pytest.mark.parametrize("smallest", [True, False])
def test_a_history_is_drawn_of_any_trials(tmp_path: Path, trials: tuple[Outcome, ...], smallest: bool):
    draw_history(trials, "validation loss", smallest, tmp_path / "history.png")
    assert imread(tmp_path / "history.png").std() > 0.01


def test_importance_is_drawn_of_any_number_of_keys(tmp_path: Path):
    for count in (1, 12):
        shares = {f"training.key_{n}": 1 / count for n in range(count)}
        draw_importance(shares, "validation loss", 2, tmp_path / "importance.png")
        assert imread(tmp_path / "importance.png").std() > 0.01


@pytest.mark.parametrize(
    ("values", "span"), [((0.101, 0.1011), 0.05 * 0.10105), ((0.1, 0.4), 0.33), ((-2.0, -2.001), 0.1)]
)
def test_trials_that_came_out_alike_look_alike(values: tuple[float, float], span: float) -> None:
    axes = Figure().add_subplot()
    axes.plot([1, 2], values)
    widen(axes)
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(span, rel=0.01)
    assert low < min(values) and max(values) < high

"""The losses of every epoch, kept over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from mri3d.training.history import COLUMNS, read_history


def test_a_row_an_epoch_with_what_belongs_to_it(training, monkeypatch):
    monkeypatch.setattr("mri3d.training.history.DRAW_SECONDS", 0.0)
    parts = training()
    parts.run()
    rows = parts.history.rows
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    # the first epoch ran at the recipe's rate and the last one above the schedule's end
    assert rows[0]["learning_rate"] == pytest.approx(0.01)
    assert [row["learning_rate"] for row in rows] == sorted((row["learning_rate"] for row in rows), reverse=True)
    assert rows[-1]["learning_rate"] > 0.02 * 0.01 * 1.5
    assert rows[-1]["val_loss"] == parts.validator.state.metrics["val_loss"]
    assert rows[-1]["train_loss"] == pytest.approx(parts.trainer.state.metrics["train_loss"])
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert all(0 < row["seconds"] < 10 for row in rows)
    assert parts.drawn == [1, 2, 3, 4]


def test_the_curve_of_a_fast_training_is_drawn_first_and_last(training):
    parts = training()
    parts.run()
    assert parts.drawn == [1, 4]


def test_the_table_gives_the_rows_back(training):
    parts = training()
    parts.run()
    assert (parts.folder / "history.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    assert read_history(parts.folder) == [{k: float(v) for k, v in row.items()} for row in parts.history.rows]


def test_no_table_is_no_rows(tmp_path: Path):
    assert read_history(tmp_path) == []


def test_after_a_restart_a_worse_epoch_does_not_count_as_best(training):
    first = training()
    first.run(kill_in_epoch=3)
    best = min(first.history.rows, key=lambda row: row["val_loss"])
    second = training(teach=-50.0)
    second.run()
    assert second.validator.state.best_metric == pytest.approx(best["val_loss"])
    assert second.validator.state.best_metric_epoch == best["epoch"]
    assert [row["epoch"] for row in second.history.rows] == [1, 2, 3, 4]
    assert second.history.rows[:2] == read_history(first.folder)[:2]


def test_a_row_of_an_epoch_that_is_run_again_is_not_kept_twice(training):
    first = training()
    first.run(kill_in_epoch=3)
    rows = (first.folder / "history.csv").read_text()
    # killed between the table and the checkpoint of epoch 3
    (first.folder / "history.csv").write_text(rows + "3,9.0,0.0,0.1,1.0\n")
    second = training()
    second.run()
    assert [row["epoch"] for row in second.history.rows] == [1, 2, 3, 4]
    assert second.history.rows[2]["train_loss"] < 9
    assert second.validator.state.best_metric > 0

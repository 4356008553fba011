from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mri3d.reporting.compared_figure import Compared, draw_compared
from mri3d.reporting.panels import Overlay
from mri3d.reporting.subject_figure import DECISIONS, draw_subject
from mri3d.reporting.training_curve import draw_training_curve
from mri3d.scoring.detection import Component, Score
from mri3d.volumes.volume import FloatArray

Build = Callable[..., Any]
UNCALIBRATED = Score(0.05, "uncalibrated", None, {}, None, None)


@pytest.fixture(autouse=True)
def _no_warnings() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def pixels(path: Path) -> npt.NDArray[np.int16]:
    return np.asarray(Image.open(path).convert("RGB")).astype(np.int16)


def column_of_overlay(path: Path) -> float:
    """Mean column of the strong colours of the overlay in the axial panel, the leftmost of the upper row."""
    red, _, blue = np.moveaxis(pixels(path)[120:480, 25:310], -1, 0)
    return float(np.nonzero(red - blue > 100)[1].mean())


@pytest.mark.parametrize("axcodes", ["RAS", "LAS", "PSR", "ILP"])
def test_a_lesion_on_the_left_is_drawn_on_the_right_of_the_picture(
    axcodes: str,
    head_grid: Build,
    ball: Build,
    lesion_mm: tuple[float, float, float],
    make_detection: Build,
    template: FloatArray,
    tmp_path: Path,
) -> None:
    grid = head_grid(axcodes)
    columns = {}
    for side, sign in (("left", 1), ("right", -1)):
        place = (sign * lesion_mm[0], lesion_mm[1], lesion_mm[2])
        lesion = ball(grid, place, (12, 12, 12))
        changes = {
            "zscore": np.where(lesion, 9.0, 0.0).astype(np.float32),
            "anomaly": lesion,
            "components": (Component(1, 5.0, 9.0, place, 9.0),),
        }
        draw_subject(make_detection(grid, **changes), tmp_path / f"{side}.png", template)
        columns[side] = column_of_overlay(tmp_path / f"{side}.png")
    assert columns["left"] > columns["right"] + 60


def test_the_picture_is_a_whole_png_of_modest_size(
    head_grid: Build, make_detection: Build, template: FloatArray, tmp_path: Path
) -> None:
    draw_subject(make_detection(head_grid("LPS", (0.9, 0.9, 5.0), tilt=7.0)), tmp_path / "a.png", template)
    content = (tmp_path / "a.png").read_bytes()
    assert struct.unpack(">II", content[16:24]) == (1100, 790)
    assert len(content) < 400_000
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_warnings_stand_in_the_picture_between_the_map_and_the_checks(
    count: int, make_detection: Build, template: FloatArray, tmp_path: Path
) -> None:
    warning = "The scan ends within the brain (43 cm2 of it lie on its edge); maps mislead there."
    draw_subject(make_detection(warnings=(warning,) * count), tmp_path / "a.png", template)
    red, green, blue = np.moveaxis(pixels(tmp_path / "a.png"), -1, 0)
    rows, columns = np.nonzero((red > 180) & (green > 170) & (blue < 110) & (np.indices(red.shape)[1] < 985))
    rows, columns = (at[(rows > 495) & (rows < 545)] for at in (rows, columns))
    lines = min(count, 2)
    assert (len(rows) > 500 * lines) if lines else not len(rows)
    assert not lines or (rows.max() < 530 and columns.max() < 1075)


def test_no_part_of_the_detection_is_changed(make_detection: Build, template: FloatArray, tmp_path: Path) -> None:
    detection = make_detection()
    arrays = (detection.volume.data, detection.brain, detection.error, detection.zscore, detection.anomaly, template)
    before = [np.copy(a) for a in arrays]
    draw_subject(detection, tmp_path / "a.png", template)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"zscore": None, "anomaly": None, "voxel_threshold": None, "components": (), "score": UNCALIBRATED},
        {"anomaly": None, "voxel_threshold": None, "components": (), "score": UNCALIBRATED},
        {"components": (), "score": Score(0.01, "normal", 0.04, {}, 0.5, 0.05)},
    ],
    ids=["no statistics", "no threshold", "no finding"],
)
def test_what_is_missing_is_left_out(
    changes: dict[str, object], head_grid: Build, make_detection: Build, template: FloatArray, tmp_path: Path
) -> None:
    grid = head_grid()
    if "voxel_threshold" not in changes:
        changes = changes | {"anomaly": np.zeros(grid.shape, dtype=bool)}
    draw_subject(make_detection(grid, **changes), tmp_path / "a.png", template)
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["a$b$c_{^}", "s" * 300, "\u60a3\u8005-01", "a\nb", "\udce9t\xe9"])
def test_any_file_name_can_be_a_title(name: str, make_detection: Build, template: FloatArray, tmp_path: Path) -> None:
    draw_subject(make_detection(name=name), tmp_path / "a.png", template)


def test_an_error_map_of_zeros_can_be_drawn(
    head_grid: Build, make_detection: Build, template: FloatArray, tmp_path: Path
) -> None:
    grid = head_grid()
    flat = np.zeros(grid.shape, dtype=np.float32)
    changes = {"error": flat, "zscore": None, "anomaly": None, "voxel_threshold": None, "components": ()}
    draw_subject(make_detection(grid, score=UNCALIBRATED, **changes), tmp_path / "a.png", template)


def test_the_overlay_is_clear_below_and_strong_above_the_threshold(make_detection: Build) -> None:
    overlay = Overlay.of(make_detection())
    opacity = overlay.colours()(overlay.norm()([0.0, 3.1, 3.2, 4.0, 6.4, 50.0]))[:, 3]
    assert opacity[:2].tolist() == [0.0, 0.0]
    assert 0.1 < opacity[2] < 0.4
    assert opacity[3:] == pytest.approx(0.9, abs=0.01)


def test_the_scale_rests_on_the_threshold_and_not_on_the_subject(make_detection: Build) -> None:
    detection = make_detection()
    assert detection.zscore is not None
    worse = make_detection(zscore=3 * detection.zscore)
    first, second = Overlay.of(detection), Overlay.of(worse)
    assert (first.low, first.solid, first.high) == (second.low, second.solid, second.high) == (
        pytest.approx(3.12), 4.0, pytest.approx(6.4),
    )  # fmt: skip


def test_decisions_differ_in_words_and_signs() -> None:
    assert len({words for words, _ in DECISIONS.values()}) == len({words[0] for words, _ in DECISIONS.values()}) == 3


def test_training_curve(tmp_path: Path) -> None:
    history = [{"epoch": float(e), "train_loss": 1 / e, "val_loss": 0.1 + abs(e - 6) / 10} for e in range(1, 11)]
    history[3]["val_loss"] = float("nan")
    del history[4]["val_loss"]
    for name, epochs in (("run", history), ("first", history[:1]), ("none", [])):
        draw_training_curve(epochs, tmp_path / f"{name}.png")
        assert pixels(tmp_path / f"{name}.png").std() > 1


@pytest.mark.parametrize("axcodes", ["RAS", "PSR"])
def test_the_truth_is_outlined_where_it_lies(
    axcodes: str, head_grid: Build, ball: Build, make_detection: Build, tmp_path: Path
) -> None:
    detection = make_detection(head_grid(axcodes))
    columns = {}
    for side, x in (("left", -30.0), ("right", 30.0)):
        truth = ball(detection.volume.grid, (x, 10.0, 10.0), (14, 14, 14)) & detection.brain
        scan, grid = detection.volume.data, detection.volume.grid
        case = Compared(
            "a$b\n", grid, scan, "the scan", detection.brain, Overlay.of(detection), detection.anomaly, truth, "words"
        )
        draw_compared(case, tmp_path / f"{side}.png")
        red, green, blue = np.moveaxis(pixels(tmp_path / f"{side}.png")[440:740, 25:270], -1, 0)
        columns[side] = float(np.nonzero((green - red > 80) & (green > blue))[1].mean())
    assert columns["left"] > columns["right"] + 40


def test_a_truth_outside_of_an_empty_brain_can_be_drawn(make_detection: Build, ball: Build, tmp_path: Path) -> None:
    detection = make_detection()
    grid = detection.volume.grid
    empty = np.zeros(grid.shape, dtype=bool)
    truth = ball(grid, (80.0, 0.0, 0.0), (8, 8, 8))
    overlay = Overlay.of_zscore(np.zeros(grid.shape, dtype=np.float32), None)
    case = Compared("a", grid, detection.volume.data, "the scan", empty, overlay, None, truth, "")
    draw_compared(case, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000

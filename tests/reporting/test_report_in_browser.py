"""The report as people meet it: opened from disk, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mri3d.reporting.names import REPORT, SIMPLE_VIEW, VIEW
from mri3d.reporting.report import write_report
from mri3d.reporting.subject_files import write_detection
from mri3d.reporting.table import row_of
from mri3d.reporting.view import has_niivue
from mri3d.scoring.detection import Detection, Score
from tests.browser import coloured, eventually, needs_chromium, open_page

pytestmark = needs_chromium
needs_niivue = pytest.mark.skipif(not has_niivue(), reason="NiiVue was not at hand when mri3d was installed: needs npm")
BUNDLE = {"name": "b", "version": "1", "sha256": "0" * 64}


def study(root: Path, *detections: Detection) -> str:
    for detection in detections:
        for path in detection.subject.images.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        write_detection(detection, root, BUNDLE)
    write_report(root, [row_of(each, Path("study")) for each in detections], {"bundle": "b"})
    return (root / REPORT).as_uri()


@pytest.fixture
def report(
    make_detection: Callable[..., Detection],
    head_grid: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.chdir(tmp_path)
    # stored from front to back and tilted, so that a viewer that takes voxels for places would be elsewhere
    far = make_detection(head_grid("PSR", 3.0, 12.0), name="sub-far")
    score = Score(0.01, "normal", 0.041, far.score.thresholds, 0.5, 1 / 21)
    near = make_detection(name="sub-near", anomaly=np.zeros_like(make_detection().anomaly), components=(), score=score)
    return study(tmp_path / "out", near, far)


@needs_niivue
def test_from_the_table_to_what_was_found(report: str, lesion_mm: tuple[float, float, float]) -> None:
    with open_page(report) as page:
        names = page.locator("tbody tr td.name")
        assert names.all_inner_texts() == ["sub-far", "sub-near"], "worst first"
        page.get_by_role("button", name="score").click()
        assert names.all_inner_texts() == ["sub-near", "sub-far"], "sorted by score, lowest first"
        assert page.locator(".scores a").count() == 2
        page.locator("td.name a", has_text="sub-far").click()
        page.wait_for_selector("#viewer[data-state=shown]")
        canvas, here = page.locator("#viewer canvas"), page.locator(".viewer-here")

        expected = f"L {-lesion_mm[0]:.1f}  A {lesion_mm[1]:.1f}  S {lesion_mm[2]:.1f} mm"
        assert here.inner_text().startswith(expected) and here.inner_text().endswith("z 9.0")
        shown = coloured(canvas)
        assert shown > 500, "the lesion is seen over the scan"

        page.locator("input[name=threshold]").fill("0.4")
        assert eventually(lambda: coloured(canvas) > 3 * shown), "half a healthy deviation is everywhere in the brain"
        page.locator("input[name=opacity]").fill("0")
        assert eventually(lambda: coloured(canvas) < 0.1 * shown)
        page.locator("input[name=anomaly]").check()
        assert eventually(lambda: coloured(canvas) > 0.5 * shown), "the mask is where the map was"

        canvas.focus()
        for _ in range(4):
            page.keyboard.press("ArrowUp")
        assert not here.inner_text().startswith(expected)
        page.get_by_role("button", name="Go to 1").press("Enter")
        assert here.inner_text().startswith(expected)
        page.get_by_role("link", name="Closer to healthy").click()
        assert page.locator("h1").inner_text() == "sub-near"


@needs_niivue
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_on_a_phone_or_in_the_dark(report: str, width: int) -> None:
    with open_page(report, "dark", width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 24)"
        page.locator("td.name a").first.click()
        page.wait_for_selector("#viewer[data-state=shown]")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_niivue_a_simpler_viewer_takes_its_place(
    make_detection: Callable[..., Detection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mri3d.reporting.view.has_niivue", lambda: False)
    monkeypatch.setattr("mri3d.reporting.report.has_niivue", lambda: False)
    made = make_detection(name="sub-01")
    with open_page(study(tmp_path / "out", replace(made))) as page:
        page.locator("td.name a").click()
        assert "A simpler viewer" in page.locator("main").inner_text()
        frame = page.frame_locator("iframe")
        frame.locator("canvas").first.wait_for()
    assert (tmp_path / "out" / f"sub-01{SIMPLE_VIEW}").exists() and not (tmp_path / "out" / f"sub-01{VIEW}").exists()

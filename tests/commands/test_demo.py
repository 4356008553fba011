"""The demonstration does what it says."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from mri3d.cli import main
from mri3d.commands import demo
from mri3d.commands.detect import Summary
from mri3d.errors import Mri3dError
from mri3d.reporting.view import has_niivue
from tests.browser import CHROMIUM, coloured, eventually, open_page


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Folder and words of a demonstration."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, CliRunner().invoke(main, ["demo", "-o", str(folder), "--device", "cpu"])


def test_demo_finds_the_lesion_and_nothing_else(shown):
    tmp_path, result = shown
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    decisions = {subject["subject"]: subject["decision"] for subject in said["subjects"]}
    lesioned = next(subject for subject in said["subjects"] if subject["lesion"])
    assert decisions.pop(lesioned["subject"]) == "anomalous"
    assert set(decisions.values()) == {"normal"}

    found = nib.load(tmp_path / "results" / f"{lesioned['subject']}_anomaly.nii.gz")
    truth = nib.load(next((tmp_path / "truth").iterdir()))
    np.testing.assert_array_equal(found.affine, truth.affine)
    a, b = (np.asarray(image.dataobj) > 0 for image in (found, truth))
    dice = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert dice > 0.4
    assert lesioned["dice"] == pytest.approx(dice)
    assert f"Dice {dice:.2f}" in result.output

    grids = [nib.load(path).affine for path in sorted((tmp_path / "volumes").iterdir())]
    oblique = [np.abs(affine[:3, :3]).astype(bool).sum() > 3 for affine in grids]
    assert any(oblique) and not all(oblique)
    for path in ("results/report.html", "results/results.csv"):
        assert (tmp_path / path).is_file() and path.split("/")[1] in result.output


@pytest.mark.skipif(CHROMIUM is None or not has_niivue(), reason="needs Chromium, and npm at installation")
def test_its_report_shows_the_lesion(shown):
    folder, _ = shown
    with open_page((folder / "results" / "report.html").as_uri()) as page:
        page.locator("td.name a").first.click()
        assert "anomalous" in page.locator(".facts").inner_text()
        page.wait_for_selector("#viewer[data-state=shown]")
        canvas = page.locator("#viewer canvas")
        assert eventually(lambda: coloured(canvas) > 500), "the z-map lies over the scan"
        before = coloured(canvas)
        page.locator("input[name=threshold]").fill("4.6")
        assert eventually(lambda: 0 < coloured(canvas) < 0.8 * before), "less of it passes a higher threshold"


def test_a_demo_that_fails_says_so_and_shows_nothing_of_the_one_before(tmp_path, monkeypatch):
    results = tmp_path / "results"
    results.mkdir()
    name = demo.SCANS[0].name
    earlier = [results / f"{name}{ending}" for ending in (".json", ".png", "_zscore.nii.gz", "_recon.nii.gz")]
    earlier += [results / "results.csv", results / "run.json", results / "report.html", tmp_path / "demo.json"]
    others = [results / "mine.json", results / f"{name}_notes.txt", tmp_path / "mine.csv"]
    for path in (*earlier, *others):
        path.touch()
    monkeypatch.setattr(demo, "find_bundle", lambda name: tmp_path)
    monkeypatch.setattr(demo.Anatomy, "load", lambda path: None)
    monkeypatch.setattr(demo, "make_volumes", lambda anatomy, folder: None)
    monkeypatch.setattr(demo, "detect", lambda *_: Summary("4 subjects: 1 failed.", ("a.nii.gz: no brain",)))
    with pytest.raises(Mri3dError, match=r"a\.nii\.gz: no brain"):
        demo.run(tmp_path, "cpu")
    assert not [path for path in earlier if path.exists()]
    assert all(path.exists() for path in others)

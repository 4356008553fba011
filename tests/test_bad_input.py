"""Bad files among good ones, and a run that is killed: nothing good is lost."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from mri3d.bundle import DEFAULT_BUNDLE, find_bundle
from mri3d.cli import main
from mri3d.reporting.table import read_results
from tests.brains import CENTRE, FOV, brain_on, write_brain
from tests.helpers import head_grid, write_nifti
from tests.serving.server import write_scan

ROOT = Path(__file__).parents[1]
GRID = head_grid("RAS", (2.0, 2.0, 2.0), 0.0, FOV, CENTRE)


def _make_bad(folder: Path) -> dict[str, str]:
    """Nine files that must not be scored, and a word that each one's cause must hold."""
    whole = write_nifti(folder / "truncated_T1w.nii.gz", GRID, brain_on(GRID, 3), dtype=np.int16)
    whole.write_bytes(whole.read_bytes()[:20000])
    (folder / "empty_T1w.nii.gz").write_bytes(b"")
    (folder / "text_T1w.nii.gz").write_text("this is no volume")
    zeros = np.zeros(GRID.shape, np.float32)
    write_nifti(folder / "zeros_T1w.nii.gz", GRID, zeros)
    one = type(GRID)((*GRID.shape[:2], 1), GRID.affine)
    write_nifti(folder / "slice_T1w.nii.gz", one, np.ones(one.shape, np.float32))
    write_nifti(folder / "series_T1w.nii.gz", GRID, np.ones((*GRID.shape, 3), np.float32))
    holes = brain_on(GRID, 4).astype(np.float32)
    holes[30, 40, 30:33] = np.nan
    write_nifti(folder / "nan_T1w.nii.gz", GRID, holes)
    write_nifti(folder / "affine_T1w.nii.gz", GRID, brain_on(GRID, 4), srow_x=[np.nan] * 4, dtype=np.int16)
    huge = write_nifti(folder / "huge.nii", GRID, zeros, dim=[3, 3000, 3000, 3000, 1, 1, 1, 1])
    (folder / "huge_T1w.nii.gz").write_bytes(gzip.compress(huge.read_bytes()[:352]))
    huge.unlink()
    return {
        "truncated": "", "empty": "", "text": "", "zeros": "", "slice": "slice", "series": "3", "nan": "3",
        "affine": "affine", "huge": "GiB",
    }  # fmt: skip


def test_good_volumes_are_done_and_bad_ones_named(tmp_path, without_regions):
    for seed in (1, 2):
        write_brain(tmp_path / "in" / f"good{seed}_T1w.nii.gz", GRID, brain_on(GRID, seed))
    causes = _make_bad(tmp_path / "in")
    words = ["detect", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--bundle", str(without_regions)]
    result = CliRunner().invoke(main, [*words, "--device", "cpu"])
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    rows = {str(row["subject"])[:-4]: row for row in read_results(tmp_path / "out" / "results.csv")}
    assert len(rows) == 11
    assert {name for name, row in rows.items() if row["status"] == "ok"} == {"good1", "good2"}
    for name, word in causes.items():
        assert rows[name]["status"] == "failed"
        assert "expected" in str(rows[name]["error"]) and word in str(rows[name]["error"])
        assert f"{name}_T1w" in result.output
        assert not list((tmp_path / "out").glob(f"{name}_*"))
    assert (tmp_path / "out" / "good1_T1w_zscore.nii.gz").exists()
    assert "9 failed" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_monais_own_command_tells_failures_by_its_exit_code(tmp_path):
    (tmp_path / "text_T1w.nii.gz").write_text("this is no volume")
    config = find_bundle(DEFAULT_BUNDLE) / "configs" / "inference.yaml"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config]
    places = ["--dataset_dir", tmp_path, "--output_dir", tmp_path / "out"]
    done = subprocess.run([*map(str, command + places)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "mri3d: 1 of 1 subjects failed" in done.stderr and "Traceback" not in done.stderr
    assert read_results(tmp_path / "out" / "results.csv")[0]["status"] == "failed"
    assert (tmp_path / "out" / "report.html").exists()


def test_killed_run_resumes_with_what_is_missing(tmp_path, quick_bundle):
    for seed in range(6):
        write_scan(tmp_path / "in" / f"sub-{seed}_T1w.nii.gz", seed)
    command = [sys.executable, "-m", "mri3d.cli", "detect", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    command += ["--bundle", str(quick_bundle)]
    process = subprocess.Popen([*command, "--device", "cpu"], stderr=subprocess.DEVNULL, cwd=ROOT)
    table = tmp_path / "out" / "results.csv"
    deadline = time.monotonic() + 240
    while not (table.exists() and len(read_results(table)) >= 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {str(row["subject"]) for row in read_results(table)}
    assert 2 <= len(done) < 6
    before = {path: path.stat().st_mtime_ns for name in done for path in (tmp_path / "out").glob(f"{name}*")}

    refused = CliRunner().invoke(main, command[3:])
    assert refused.exit_code == 2 and "--resume" in refused.output

    resumed = CliRunner().invoke(main, [*command[3:], "--resume", "--device", "cpu"])
    assert resumed.exit_code == 0, resumed.output
    assert len(read_results(table)) == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads((tmp_path / "out" / "run.json").read_text())["subjects"] == 6

    changed = tmp_path / "in" / "sub-0_T1w.nii.gz"
    write_scan(changed, 9)
    again = CliRunner().invoke(main, [*command[3:], "--resume", "--device", "cpu"])
    assert again.exit_code == 0, again.output
    redone = {path.name for path in before if path.exists() and path.stat().st_mtime_ns != before[path]}
    assert redone == {path.name for path in before if path.name.startswith("sub-0_")}

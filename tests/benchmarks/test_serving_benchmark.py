"""The benchmark of the server, on fewer uploads: every answer right and its own, through a crash too."""

from __future__ import annotations

from pathlib import Path

from benchmarks.serving import draw_scans, measure


def test_clients_get_their_own_answers_through_a_crash(quick_bundle: Path, tmp_path: Path):
    scans = draw_scans(tmp_path / "scans", 8, 1000)
    summary = measure(quick_bundle, scans, clients=4, kill=True, root=tmp_path).summary()
    assert summary["jobs"] == {"done": 8}
    assert 4 <= summary["accepted_before_kill"] < 8
    assert 0 < summary["seconds_to_accept"]["p50"] <= summary["seconds_to_accept"]["p99"]
    assert summary["resident_mib"]["most"] < 4096

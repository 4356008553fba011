from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mri3d.errors import Mri3dError, UsageError
from mri3d.reporting.results import read_folder
from tests.helpers import head_grid, volume_of, write_nifti
from tests.maps import GRID, MIN_ML, THRESHOLDS, VOXEL_THRESHOLD, Made, write_maps

STUDY = [Made("a/sub-01_T1w", [((0, 0, 10), 15)]), Made("b/sub-02_T1w", seed=1)]


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    return write_maps(tmp_path / "maps", STUDY)


def test_what_was_written_is_read_again(maps: Path):
    found = read_folder(maps)
    assert [result.key for result in found.scored] == ["a/sub-01_T1w", "b/sub-02_T1w"] and not found.failed
    assert (found.voxel_threshold, found.thresholds, found.min_ml) == (VOXEL_THRESHOLD, THRESHOLDS, MIN_ML)
    scores, brain, grid = found.scored[0].read_maps()
    assert grid.matches(GRID) and np.array_equal(brain, scores > 0)
    assert np.array_equal(found.scored[0].read_anomaly(), scores > VOXEL_THRESHOLD)
    assert found.scored[1].read_anomaly().dtype == bool  # may be empty
    assert found.scored[0].who.participant == "sub-01" and found.scored[0].who.name == "sub-01_T1w"


def test_the_brain_is_where_either_map_is_not_zero(maps: Path):
    result = read_folder(maps).scored[0]
    scores, brain, _ = result.read_maps()
    inside = tuple(np.argwhere(brain)[0])
    scores[inside] = 0.0
    write_nifti(maps / "a" / "sub-01_T1w_zscore.nii.gz", GRID, scores)
    again, same, _ = result.read_maps()
    assert again[inside] == 0.0 and np.array_equal(brain, same)


def test_a_bundle_without_statistics_is_read_by_its_error_maps(tmp_path: Path):
    root = write_maps(tmp_path, STUDY[:1], maps=["error"])
    scores, _, _ = read_folder(root).scored[0].read_maps()
    assert np.allclose(scores, volume_of(STUDY[0].zscore(scores > 0) / 30, GRID).data, atol=1e-6)


def test_the_scan_is_shown_where_it_still_is(maps: Path, tmp_path: Path):
    result = read_folder(maps).scored[0]
    assert result.read_scan(GRID) is None
    scan = write_nifti(tmp_path / "scan.nii.gz", GRID)
    result = type(result)(maps, result.key, {**result.sidecar, "inputs": {"T1w": {"path": str(scan)}}})
    shown = result.read_scan(GRID)
    assert shown is not None and shown.shape == GRID.shape
    assert result.read_scan(head_grid("RAS")) is None


def test_maps_on_two_grids_are_an_error_of_the_subject(maps: Path):
    other = head_grid("LPS", (5.0, 5.0, 6.0), degrees=11.0)
    write_nifti(maps / "a" / "sub-01_T1w_zscore.nii.gz", other, np.random.default_rng(0).random(other.shape))
    with pytest.raises(Mri3dError, match="zscore"):
        read_folder(maps).scored[0].read_maps()


def test_a_sidecar_that_is_none_is_named(maps: Path):
    path = maps / "b" / "sub-02_T1w.json"
    made = json.loads(path.read_text())
    for content, words in (("{", "sub-02_T1w"), (json.dumps({"subject": "x"}), "participant"), ("[]", "sub-02_T1w")):
        path.write_text(content)
        with pytest.raises(UsageError, match=words):
            read_folder(maps)
    path.write_text(json.dumps(made | {"settings": {"min_ml": 9.0}}))
    with pytest.raises(UsageError, match="another settings for b/sub-02_T1w"):
        read_folder(maps)


DAMAGED = {
    "participant": None,
    "inputs": {},
    "score": "high",
    "thresholds": {"mean+3std": 3.0},
    "voxel_threshold": "3.3",
    "maps": None,
    "bundle": "brain_t1",
    "settings": None,
    "regions": [{"name": "Left Caudate", "volume_ml": 3.0, "z": "1,5"}],
    "template_to_source": [[0.0] * 4] * 4,
}


@pytest.mark.parametrize(("key", "value"), DAMAGED.items(), ids=DAMAGED)
def test_a_sidecar_with_something_else_in_it_is_named(maps: Path, key: str, value: object):
    path = maps / "b" / "sub-02_T1w.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UsageError, match=f"b/sub-02_T1w: .*sub-02_T1w.json with {key} that cannot be read"):
        read_folder(maps)


def test_a_folder_in_which_all_failed_is_none(tmp_path: Path):
    root = write_maps(tmp_path, [])
    with pytest.raises(UsageError, match="at least one scored subject"):
        read_folder(root)


def test_scores_of_subjects_that_lack_a_modality_are_ranked_with_the_others(maps: Path):
    path = maps / "b" / "sub-02_T1w.json"
    made = json.loads(path.read_text())
    low, high = sorted(THRESHOLDS.values())
    both = {"T1w": {"path": "a"}, "T2w": {"path": "b"}}
    first = maps / "a" / "sub-01_T1w.json"
    first.write_text(json.dumps(json.loads(first.read_text()) | {"inputs": both}))
    own = {name: 10 * value - 3 for name, value in THRESHOLDS.items()}
    score = 10 * (low + 2 * (high - low)) - 3
    path.write_text(json.dumps(made | {"score": score, "thresholds": own, "voxel_threshold": 9}))
    found = read_folder(maps)
    assert found.thresholds == THRESHOLDS and found.voxel_threshold == VOXEL_THRESHOLD
    assert found.score_of(found.scored[1]) == pytest.approx(low + 2 * (high - low))
    assert found.score_of(found.scored[0]) == found.scored[0].sidecar["score"]
    assert 9 * found.map_scale_of(found.scored[1]) == pytest.approx(VOXEL_THRESHOLD)

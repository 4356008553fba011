"""Maps against their truth, from the folder to the report."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import average_precision_score, roc_auc_score

from mri3d.cli import main
from mri3d.transforms.lesion import lesion_shape
from mri3d.transforms.resampling import resample
from tests.brains import CENTRE, FOV, SMALLER_HEAD, anatomy, brain_on, write_brain
from tests.helpers import ellipsoid, head_grid, write_nifti
from tests.maps import GRID, THRESHOLDS, VOXEL_THRESHOLD, Made, write_maps, write_truths

STUDY = [
    Made("sub-01/anat/sub-01_T1w", seed=1),
    Made("sub-02/anat/sub-02_T1w", seed=2),
    Made("sub-03/anat/sub-03_ses-1_T1w", [((-30, 0, 10), 18)], seed=3),
    Made("sub-03/anat/sub-03_ses-2_T1w", [((-30, 0, 10), 20), ((25, -40, 10), 11)], seed=4),
    Made("sub-04/anat/sub-04_T1w", [((20, 10, 20), 12)], contrast=2.0, seed=5),
]


def run(*words: object) -> Any:
    return CliRunner().invoke(main, ["evaluate", *map(str, words)])


def evaluated(*words: object) -> tuple[dict[str, Any], list[dict[str, str]], Any]:
    """Metrics, rows and the command's result; ``-o`` comes last."""
    result = run(*words)
    assert "Traceback" not in result.output and not isinstance(result.exception, AssertionError | ValueError), result
    output = Path(str(words[words.index("-o") + 1]))
    with (output / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return json.loads((output / "metrics.json").read_text(encoding="utf-8")), rows, result


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    write_maps(root / "maps", STUDY)
    write_truths(root / "truth", STUDY)
    return root


@pytest.fixture(scope="module")
def whole(study: Path) -> tuple[dict[str, Any], list[dict[str, str]], Any]:
    return evaluated(study / "maps", "--truth", study / "truth", "-o", study / "out")


def voxels_of(subjects: list[Made]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and truths of the voxels that count, by hand."""
    brain = ellipsoid(GRID, 0.9)
    inside = [brain | subject.truth() for subject in subjects]
    scores = np.concatenate([s.zscore(brain)[at] for s, at in zip(subjects, inside, strict=True)])
    return scores, np.concatenate([s.truth()[at] for s, at in zip(subjects, inside, strict=True)])


def test_voxel_metrics_are_those_of_the_lesioned_scans_pooled(whole):
    metrics, _, result = whole
    assert result.exit_code == 0
    scores, truth = voxels_of(STUDY[2:])
    assert metrics["voxel_ap"]["value"] == pytest.approx(average_precision_score(truth, scores), abs=1e-6)
    assert metrics["voxel_auroc"]["value"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    flagged = scores >= VOXEL_THRESHOLD
    dice = 2 * (flagged & truth).sum() / (flagged.sum() + truth.sum())
    assert metrics["dice_normals"]["value"] == pytest.approx(dice)
    assert metrics["dice_best"]["value"] >= dice
    assert metrics["voxel_sensitivity"]["value"] == pytest.approx(flagged[truth].mean())
    assert metrics["voxel_precision"]["value"] == pytest.approx(truth[flagged].mean())


def test_subjects_lesions_and_reconstruction(whole):
    metrics, rows, _ = whole
    counted = ("subjects", "people", "healthy", "abnormal", "lesion_masks", "without_truth", "failed")
    assert [metrics[name] for name in counted] == [5, 4, 2, 3, 3, 0, 0]
    scores = [float(row["score"]) for row in rows]
    abnormal = [row["truth"] == "abnormal" for row in rows]
    assert abnormal == [False, False, True, True, True]
    assert metrics["subject_auroc"]["value"] == pytest.approx(roc_auc_score(abnormal, scores))
    decided = metrics["decision"]["mean+3std"]
    assert decided["threshold"] == THRESHOLDS["mean+3std"]
    assert decided["confusion"]["healthy"]["normal"] == 2
    assert decided["confusion"]["abnormal"]["anomalous"] == sum(s > 5.5 for s in scores[2:])
    assert sum(size["lesions"] for size in metrics["lesion_sensitivity_by_size"].values()) == 4
    found = sum(float(row["lesions_detected"] or 0) for row in rows)
    assert metrics["lesion_sensitivity"]["value"] == pytest.approx(found / 4)
    assert metrics["mse"]["value"] == pytest.approx(np.mean([0.002, 0.003, 0.004, 0.005, 0.006]))
    assert {"psnr", "ssim", "froc_score", "exceedance", "false_positive_ml", "flagged"} <= set(metrics)
    assert all(len(metrics[name]["ci95"]) == 2 for name in ("voxel_ap", "subject_auroc", "mse", "dice_normals"))


def test_the_report_holds_its_figures_and_tells_best_dice_apart(study, whole):
    page = (study / "out" / "report.html").read_text(encoding="utf-8")
    figures = {path.name for path in (study / "out" / "figures").iterdir()}
    assert figures == {
        "scores.png", "voxels.png", "roc.png", "precision_recall.png", "confusion.png", "froc.png", "dice_by_size.png",
        "best_1.png", "best_2.png", "worst_1.png",
    }  # fmt: skip
    assert page.count("data:image/png;base64,") == len(figures)
    assert "best Dice (label-chosen)" in page and "src=\"./" not in page
    assert "5 subjects: 3 abnormal (3 with a lesion mask), 2 healthy" in page
    assert "best Dice (label-chosen)" in whole[2].output


def test_scans_of_one_person_are_drawn_together(study, whole, tmp_path):
    apart = [replace(s, participant=str(i)) for i, s in enumerate(STUDY)]
    write_maps(tmp_path / "maps", apart)
    metrics, _, _ = evaluated(tmp_path / "maps", "--truth", study / "truth", "-o", tmp_path / "out")
    assert metrics["people"] == 5
    assert metrics["mse"]["value"] == whole[0]["mse"]["value"] and metrics["mse"]["ci95"] != whole[0]["mse"]["ci95"]


def test_a_lesion_that_brain_extraction_cut_away_is_missed(tmp_path):
    outside = Made("sub-01_T1w", [((0, -15, 10), 12), ((0, 95, 10), 12)], contrast=20.0)
    write_maps(tmp_path / "maps", [outside])
    write_truths(tmp_path / "truth", [outside])
    metrics, rows, _ = evaluated(tmp_path / "maps", "--truth", tmp_path / "truth", "-o", tmp_path / "out")
    within = (outside.truth() & ellipsoid(GRID, 0.9)).sum() / outside.truth().sum()
    assert 0.3 < within < 0.7 and metrics["voxel_sensitivity"]["value"] <= within
    assert (rows[0]["lesions"], rows[0]["lesions_detected"]) == ("2", "1")


def test_the_truth_moves_no_threshold(study, whole, tmp_path):
    swapped = [replace(s, lesions=[((10, 10, 10), 10)] if not s.lesions else ()) for s in STUDY]
    write_truths(tmp_path / "truth", swapped)
    metrics, _, _ = evaluated(study / "maps", "--truth", tmp_path / "truth", "-o", tmp_path / "out")
    assert metrics["made"] == whole[0]["made"] | {"truth": str(tmp_path / "truth")}
    thresholds = {name: of["threshold"] for name, of in metrics["decision"].items()}
    assert thresholds == THRESHOLDS and metrics["voxel_ap"]["value"] < 0.1


# What the data cannot give


def test_only_healthy_subjects(tmp_path):
    write_maps(tmp_path / "maps", STUDY[:2])
    write_truths(tmp_path / "truth", STUDY[:2])
    metrics, _, result = evaluated(tmp_path / "maps", "--truth", tmp_path / "truth", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert {"exceedance", "false_positive_ml", "flagged", "mse", "false_findings_a_scan"} <= set(metrics)
    assert not {"voxel_ap", "dice_best", "dice_normals", "subject_auroc", "lesion_sensitivity"} & set(metrics)
    assert set(metrics["decision"]["mean+3std"]) == {"threshold", "accuracy", "specificity", "confusion"}


def test_only_one_abnormal_subject(tmp_path):
    write_maps(tmp_path / "maps", STUDY[2:3])
    write_truths(tmp_path / "truth", STUDY[2:3])
    metrics, _, result = evaluated(tmp_path / "maps", "--truth", tmp_path / "truth", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert metrics["voxel_ap"]["ci95"] is None and metrics["voxel_ap"]["value"] > 0.5
    assert not {"subject_auroc", "exceedance", "flagged"} & set(metrics)


def test_labels_without_masks(study, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("subject,label\nsub-01,healthy\nsub-02,0\nsub-03,1\nsub-99,1\n")
    metrics, rows, result = evaluated(study / "maps", "--truth", table, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert (metrics["subjects"], metrics["without_truth"], metrics["subject_auroc"]["value"]) == (4, 1, 1.0)
    assert not {"voxel_ap", "dice_normals", "lesion_sensitivity"} & set(metrics)
    assert [row["lesions"] for row in rows] == ["0", "0", "", ""]


def test_an_uncalibrated_bundle_has_voxel_ranking_and_no_decisions(study, tmp_path):
    bare = {"voxel_threshold": None, "thresholds": {}, "anomalous_ml": None, "decision": "uncalibrated"}
    write_maps(tmp_path / "maps", STUDY, **bare, maps=["error"])
    metrics, _, result = evaluated(tmp_path / "maps", "--truth", study / "truth", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert {"voxel_ap", "dice_best", "subject_auroc", "mse"} <= set(metrics)
    assert not {"dice_normals", "decision", "froc_score", "exceedance", "flagged"} & set(metrics)


# What goes wrong


def test_subjects_whose_truth_cannot_be_used_fail_alone(study, tmp_path):
    truth = tmp_path / "truth"
    write_truths(truth, STUDY)
    name = truth / "sub-01/anat/sub-01_T1w_mask.nii.gz"
    other = head_grid("LPS", (5.0, 5.0, 6.0), degrees=12.0)
    write_nifti(name, other, np.zeros(other.shape), dtype=np.uint8)
    again = truth / "sub-02/anat/sub-02_T1w_label-other_mask.nii.gz"
    write_nifti(again, GRID, np.zeros(GRID.shape), dtype=np.uint8)
    metrics, rows, result = evaluated(study / "maps", "--truth", truth, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert (metrics["subjects"], metrics["failed"]) == (3, 2)
    failed = {row["subject"]: row["error"] for row in rows if row["status"] == "failed"}
    assert set(failed) == {STUDY[0].key, STUDY[1].key}
    for grid in (GRID, other):
        assert str(np.round(grid.affine[:3], 3).tolist()) in failed[STUDY[0].key]
    assert "label-other" in failed[STUDY[1].key]
    assert all(key in result.stderr for key in failed)


def test_a_mask_that_contradicts_its_label_is_an_error(study, tmp_path):
    table = tmp_path / "truth.csv"
    masks = study / "truth"
    lines = [f"{STUDY[i].key},{label},{masks / STUDY[i].key}_mask.nii.gz" for i, label in ((0, 1), (2, 0))]
    table.write_text("\n".join(["subject,label,mask", *lines, "sub-02,0,"]))
    _, rows, result = evaluated(study / "maps", "--truth", table, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert [row["status"] for row in rows] == ["ok", "failed", "failed"]
    assert "label abnormal, found an empty one" in rows[1]["error"]
    assert "label healthy, found one with lesions" in rows[2]["error"]


def test_a_subject_that_detect_could_not_score_is_named(study, tmp_path):
    write_maps(tmp_path / "maps", STUDY[1:])
    table = tmp_path / "maps" / "results.csv"
    table.write_text(table.read_text() + "sub-01_T1w,sub-01/anat/sub-01_T1w.nii.gz,failed,,,,,,,,no brain\n")
    _, rows, result = evaluated(tmp_path / "maps", "--truth", study / "truth", "-o", tmp_path / "out")
    assert result.exit_code == 1 and "no brain" in result.stderr
    assert rows[-1]["subject"] == STUDY[0].key and rows[-1]["status"] == "failed"


@pytest.mark.parametrize("place", ["empty", "nothing"])
def test_maps_that_are_none_are_wrong_usage(study, tmp_path, place):
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / place, "--truth", study / "truth", "-o", tmp_path / "out")
    assert result.exit_code == 2 and "mri3d detect" in result.output and not (tmp_path / "out").exists()


def test_maps_of_two_bundles_are_wrong_usage(study, tmp_path):
    write_maps(tmp_path / "maps", STUDY)
    path = tmp_path / "maps" / f"{STUDY[1].key}.json"
    made = json.loads(path.read_text())
    path.write_text(json.dumps(made | {"bundle": made["bundle"] | {"sha256": "1" * 64}}))
    result = run(tmp_path / "maps", "--truth", study / "truth", "-o", tmp_path / "out")
    assert result.exit_code == 2 and "another bundle" in result.output


def test_results_are_not_replaced_unasked_and_those_of_others_never(study, whole, tmp_path):
    assert run(study / "maps", "--truth", study / "truth", "-o", study / "out").exit_code == 2
    assert run(study / "maps", "--truth", study / "truth", "-o", study / "out", "--overwrite").exit_code == 0
    table = (study / "maps" / "results.csv").read_bytes()
    assert run(study / "maps", "--truth", study / "truth", "-o", study / "maps", "--overwrite").exit_code == 2
    assert (study / "maps" / "results.csv").read_bytes() == table and not (study / "maps" / "report.html").exists()
    (tmp_path / "report.html").write_text("mine")
    assert run(study / "maps", "--truth", study / "truth", "-o", tmp_path, "--overwrite").exit_code == 2
    assert (tmp_path / "report.html").read_text() == "mine"


def test_an_evaluation_written_anew_keeps_no_figure_of_the_one_before(study, tmp_path):
    words = ("-o", tmp_path / "out", "--overwrite")
    assert run(study / "maps", "--truth", study / "truth", *words).exit_code == 0
    table = tmp_path / "labels.csv"
    table.write_text("subject,label\nsub-01,0\n")
    assert run(study / "maps", "--truth", table, *words).exit_code == 0
    assert {p.name for p in (tmp_path / "out" / "figures").iterdir()} == {"scores.png", "voxels.png", "confusion.png"}


def test_an_evaluation_that_was_interrupted_can_be_replaced(study, tmp_path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        (tmp_path / "out" / "figures").mkdir(parents=True)
        raise KeyboardInterrupt

    words = ("--truth", study / "truth", "-o", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("mri3d.commands.evaluate.draw_figures", interrupted)
        assert run(study / "maps", *words).exit_code == 130
    assert run(study / "maps", *words, "--overwrite").exit_code == 0


# Other detectors


def test_differences_are_paired(study, tmp_path):
    weaker = [replace(s, contrast=0.7 * s.contrast) for s in STUDY]
    write_maps(tmp_path / "weak", weaker)
    words = (study / "maps", "--truth", study / "truth", "-o", tmp_path / "out")
    metrics, _, result = evaluated(*words, "--compare", tmp_path / "weak", "--compare", study / "maps")
    assert result.exit_code == 0
    alone, _, _ = evaluated(tmp_path / "weak", "--truth", study / "truth", "-o", tmp_path / "other")
    found = metrics["difference"][str(tmp_path / "weak")]
    assert found["subjects"] == 5
    for name in ("voxel_ap", "dice_normals", "subject_auroc"):
        assert found[name]["value"] == pytest.approx(metrics[name]["value"] - alone[name]["value"])
    assert found["voxel_ap"]["value"] > 0
    same = metrics["difference"][str(study / "maps")]
    assert all(same[name] == {"value": 0.0, "ci95": [0.0, 0.0]} for name in ("voxel_ap", "dice_normals"))


def test_only_subjects_of_both_folders_are_compared(study, tmp_path):
    write_maps(tmp_path / "some", STUDY[1:4])
    words = (study / "maps", "--truth", study / "truth", "-o", tmp_path / "out")
    metrics, _, _ = evaluated(*words, "--compare", tmp_path / "some")
    found = metrics["difference"][str(tmp_path / "some")]
    assert found["subjects"] == 3 and found["voxel_ap"]["value"] == 0.0
    write_maps(tmp_path / "none", [Made("sub-77_T1w")])
    result = run(study / "maps", "--truth", study / "truth", "-o", tmp_path / "o", "--compare", tmp_path / "none")
    assert result.exit_code == 2 and "none of them" in result.output


# From volumes


def test_from_volumes_to_metrics(tmp_path, without_regions):
    grid = head_grid("LAS", (2.0, 2.0, 2.0), 7.0, FOV, CENTRE)
    for name, lesion in (("sub-01", False), ("sub-02", True)):
        image = tmp_path / "in" / name / "anat" / f"{name}_T1w.nii.gz"
        write_brain(image, grid, brain_on(grid, seed=3, lesion=lesion))
    truth = resample(lesion_shape(anatomy().grid), anatomy().grid, grid, SMALLER_HEAD) > 0.5
    masks = tmp_path / "derivatives" / "lesions"
    write_nifti(masks / "sub-02/anat/sub-02_T1w_label-lesion_mask.nii.gz", grid, truth, dtype=np.uint8)
    write_nifti(masks / "sub-01/anat/sub-01_T1w_label-lesion_mask.nii.gz", grid, 0 * truth, dtype=np.uint8)
    words = ["detect", str(tmp_path / "in"), "-o", str(tmp_path / "maps"), "--bundle", str(without_regions)]
    made = CliRunner().invoke(main, [*words, "--device", "cpu"])
    assert made.exit_code == 0, made.output
    metrics, rows, result = evaluated(tmp_path / "maps", "--truth", tmp_path / "derivatives", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output

    stem = tmp_path / "maps" / "sub-02" / "anat" / "sub-02_T1w"
    error, zscore = (nib.load(f"{stem}_{kind}.nii.gz").get_fdata() for kind in ("error", "zscore"))
    counted = (error != 0) | (zscore != 0) | truth
    ap = average_precision_score(truth[counted], zscore[counted])
    assert metrics["voxel_ap"]["value"] == pytest.approx(ap, abs=1e-6) and ap > 0.5
    sidecar = json.loads(stem.with_suffix(".json").read_text())
    flagged = zscore[counted] >= sidecar["voxel_threshold"]
    dice = 2 * (flagged & truth[counted]).sum() / (flagged.sum() + truth.sum())
    assert metrics["dice_normals"]["value"] == pytest.approx(dice, abs=1e-6) and dice > 0.2
    assert metrics["subject_auroc"]["value"] == 1.0
    assert float(rows[1]["ssim"]) == pytest.approx(sidecar["fidelity"]["ssim"], rel=1e-4)
    assert 0 < metrics["mse"]["value"] < 0.05 and 10 < metrics["psnr"]["value"] < 60
    assert metrics["lesion_sensitivity"]["value"] == 1.0

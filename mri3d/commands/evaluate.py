"""Hold the maps of a detection run against what is known of its subjects.

The truth decides how the maps are judged and nothing else: every threshold is the one that the bundle's healthy
subjects gave, as the maps' sidecars tell it.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mri3d import __version__
from mri3d.errors import InputError, Mri3dError, UsageError, some
from mri3d.evaluation import cohort
from mri3d.evaluation.bootstrap import Estimate
from mri3d.evaluation.cohort import Maps, Scan
from mri3d.reporting.compared_figure import Compared, draw_compared
from mri3d.reporting.evaluation_figures import draw_figures
from mri3d.reporting.evaluation_page import METRICS, counts, write_evaluation_page
from mri3d.reporting.names import REPORT
from mri3d.reporting.ownership import PageFolder, writable
from mri3d.reporting.panels import Overlay
from mri3d.reporting.results import Result, Results, read_folder
from mri3d.volumes.atomic import atomic_write, write_json
from mri3d.volumes.naming import participant_of
from mri3d.volumes.truth import Truth, Truths, Who, find_truths, read_mask

logger = logging.getLogger(__name__)

JSON, TABLE, FIGURES = "metrics.json", "metrics.csv", "figures"
COLUMNS = (
    "subject", "participant", "status", "truth", "decision", "score", "lesion_ml", "lesions", "lesions_detected",
    "false_findings", "dice_normals", "ap", "sensitivity", "precision", "anomalous_ml", "exceedance",
    "false_positive_ml", "mse", "psnr", "ssim", "error",
)  # fmt: skip
MOST_CASES = 3
"""Best cases that are shown, and worst ones."""


@dataclass(frozen=True)
class Outcome:
    """What became of an evaluation.

    Args:
        words: the counts and the main metrics, a line each.
        failures: subject and cause of everyone who has a truth and could not be evaluated.
    """

    words: str
    failures: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Measured:
    """An output folder and what was measured in it.

    Args:
        results: the folder.
        scans: what was measured, by subject's key.
        errors: why others could not be, likewise.
    """

    results: Results
    scans: Mapping[str, Scan]
    errors: Mapping[str, str]

    def metrics(self, keys: Iterable[str] | None = None) -> dict[str, Any]:
        """Every metric on these subjects; on all when left out."""
        chosen = list(self.scans if keys is None else keys)
        scans = [self.scans[key] for key in chosen]
        return cohort.metrics(scans, self.results.voxel_threshold, self.results.thresholds)


def evaluate(
    maps: Path | str,
    truth: Path | str | None,
    output: Path | str,
    compare: Sequence[Path | str] = (),
    overwrite: bool = False,
) -> Outcome:
    """Write ``metrics.json``, ``metrics.csv``, ``figures`` and ``report.html``.

    Args:
        maps: a folder that ``mri3d detect`` wrote.
        truth: lesion masks or a table, see :func:`mri3d.volumes.truth.find_truths`; None where all are healthy.
        output: where the results go.
        compare: other such folders of the same subjects, whose metrics are taken from those of ``maps``.
        overwrite: replace an earlier evaluation.

    Raises:
        UsageError: the folders or the truth cannot be used, results stand there already, or nobody could be evaluated.
    """
    output = Path(output)
    folder = PageFolder(output, "evaluate", JSON, (TABLE, REPORT, f"{FIGURES}/*.png"))
    folder.refuse_standing(overwrite)
    results = read_folder(Path(maps))
    others = {str(folder): read_folder(Path(folder)) for folder in compare}
    truths = _truths_of(results, None if truth is None else Path(truth))
    ours = measure(results, truths.known)
    errors = {**{key: str(error) for key, error in truths.errors.items()}, **ours.errors}
    if not ours.scans:
        found = next(iter(errors.values()), "none")
        raise UsageError(maps, "at least one subject that can be evaluated", found, "Mend maps and truth")

    metrics = _counted(ours, truths, errors) | ours.metrics()
    differences = {}
    for name, other in others.items():
        differences[name], failed = _difference(ours, metrics, other, truths.known)
        errors |= {f"{name}: {key}": error for key, error in failed.items()}
    if differences:
        metrics["difference"] = differences
    rows = _rows(ours, truths, errors)
    made = _made(results, truth)
    with writable(output):
        folder.clear()
        write_json(output / JSON, {**_plain(metrics), "made": made})
        figures = draw_figures(
            list(ours.scans.values()), metrics, rows, results.voxel_threshold, results.thresholds, output / FIGURES
        )
        cases = _draw_cases(ours, truths.known, rows, output / FIGURES)
        _write_rows(output / TABLE, rows)
        write_evaluation_page(output / REPORT, metrics, rows, figures, cases, made)
    return Outcome(_in_words(metrics), tuple(f"{key}: {error}" for key, error in errors.items()))


def measure(results: Results, truths: Mapping[str, Truth]) -> Measured:
    """Measure every scored subject whose truth is known."""
    scans, errors = {}, {key: f"it was not scored: {results.failed[key]}" for key in truths if key in results.failed}
    held = [result for result in results.scored if result.key in truths]
    for result in tqdm(held, desc="evaluate", unit="subject"):
        try:
            scans[result.key] = _measure(result, results, truths[result.key])
        except Mri3dError as error:
            errors[result.key] = str(error)
    return Measured(results, scans, errors)


def _measure(result: Result, results: Results, truth: Truth) -> Scan:
    scores, brain, grid = result.read_maps()
    scores = scores * results.map_scale_of(result)
    lesions = None if truth.mask is None else read_mask(truth.mask, grid)
    abnormal = bool(truth.abnormal if lesions is None else lesions.any())
    if truth.abnormal is not None and abnormal != truth.abnormal:
        label, found = ("abnormal", "an empty one") if truth.abnormal else ("healthy", "one with lesions")
        raise InputError(str(truth.mask), f"a mask that fits the label {label}", found, "Mend the label or the mask")
    if lesions is None and not abnormal:
        lesions = np.zeros(scores.shape, dtype=bool)
    made = result.sidecar
    return cohort.measure(
        subject=made["participant"],
        abnormal=abnormal,
        score=results.score_of(result),
        maps=Maps(scores, brain, lesions, grid.voxel_ml),
        voxel_threshold=results.voxel_threshold,
        min_ml=results.min_ml,
        fidelity=made.get("fidelity", {}),
        anomalous_ml=made["anomalous_ml"],
    )


def _truths_of(results: Results, source: Path | None) -> Truths:
    """What is known of the subjects, those that could not be scored included; who and what is left out is said."""
    failed = [Who(key, participant_of(Path(key))) for key in results.failed]
    people = [*(result.who for result in results.scored), *failed]
    if source is None:
        return Truths({who.key: Truth(abnormal=False) for who in people}, {})
    truths = find_truths(source, people)
    without = [who.name for who in people if who.key not in truths.known and who.key not in truths.errors]
    for names, words in ((without, "without a truth, left out"), (truths.unused, "of no scored subject, not used")):
        if names:
            logger.info("%s: %s", words, some(names))
    return truths


def _difference(
    ours: Measured, metrics: Mapping[str, Any], other: Results, truths: Mapping[str, Truth]
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Paired differences to another folder on the subjects that both have, and who of these failed there."""
    theirs = measure(other, {key: truth for key, truth in truths.items() if key in ours.scans})
    if not theirs.scans:
        wanted = f"subjects of {ours.results.root}, such as {next(iter(ours.scans))}"
        raise UsageError(other.root, wanted, "none of them", "Run mri3d detect on the same input")
    common = [key for key in ours.scans if key in theirs.scans]
    own = metrics if len(common) == len(ours.scans) else ours.metrics(common)
    return {"subjects": len(common), **cohort.differences(own, theirs.metrics(common))}, theirs.errors


def _counted(ours: Measured, truths: Truths, errors: Mapping[str, str]) -> dict[str, Any]:
    scans = ours.scans.values()
    everyone = len(ours.results.scored) + len(ours.results.failed)
    return {
        "subjects": len(scans),
        "people": len({scan.subject for scan in scans}),
        "healthy": sum(not scan.abnormal for scan in scans),
        "abnormal": sum(scan.abnormal for scan in scans),
        "lesion_masks": sum(scan.voxels is not None for scan in scans),
        "without_truth": everyone - len(truths.known) - len(truths.errors),
        "failed": len(errors),
    }


def _rows(ours: Measured, truths: Truths, errors: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row a subject that has a truth, failures last."""
    rows = []
    by_key = {result.key: result for result in ours.results.scored}
    for key, scan in ours.scans.items():
        made = by_key[key].sidecar
        rows.append({
            "subject": key,
            "participant": scan.subject,
            "status": "ok",
            "truth": "abnormal" if scan.abnormal else "healthy",
            "decision": made["decision"],
            "score": scan.score,
            "anomalous_ml": made["anomalous_ml"],
            **cohort.numbers(scan, ours.results.voxel_threshold),
        })  # fmt: skip
    failed = [key for key in (*truths.errors, *truths.known) if key in errors and key not in ours.scans]
    return rows + [{"subject": key, "status": "failed", "error": errors[key]} for key in failed]


def _draw_cases(
    ours: Measured, truths: Mapping[str, Truth], rows: Sequence[Mapping[str, Any]], folder: Path
) -> dict[str, str]:
    """Pictures of the scans whose lesions are found best and worst; file name to caption."""
    by = "dice_normals" if ours.results.voxel_threshold is not None else "ap"
    ranked = sorted((row for row in rows if by in row), key=lambda row: -row[by])
    worst = min(MOST_CASES, len(ranked) // 2)
    best = min(MOST_CASES, len(ranked) - worst)
    chosen = [(f"best_{i}", row) for i, row in enumerate(ranked[:best], start=1)]
    chosen += [(f"worst_{i}", row) for i, row in enumerate(ranked[::-1][:worst], start=1)]
    by_key = {result.key: result for result in ours.results.scored}
    made = {}
    for name, row in chosen:
        words = f"{'Dice' if by == 'dice_normals' else 'AP'} {row[by]:.2f}"
        if "lesion_ml" in row:
            words += f", lesions of {row['lesion_ml']:.1f} ml, {row['lesions_detected']:.0f} of {row['lesions']:.0f}"
            words += f" detected, {row['false_findings']:.0f} false findings"
        mask = truths[row["subject"]].mask
        assert mask is not None
        draw_compared(_compared(by_key[row["subject"]], mask, words), folder / f"{name}.png")
        made[f"{name}.png"] = f"{name.split('_')[0].capitalize()}: {row['subject']}, {words}"
    return made


def _compared(result: Result, mask: Path, words: str) -> Compared:
    values, brain, grid = result.read_maps()
    kinds, threshold = result.sidecar["maps"], result.sidecar["voxel_threshold"]
    overlay = Overlay.of_zscore(values, threshold) if "zscore" in kinds else Overlay.of_error(values, brain)
    scan = result.read_scan(grid)
    return Compared(
        name=result.who.name,
        grid=grid,
        scan=values if scan is None else scan,
        scan_name="the map" if scan is None else "the scan",
        brain=brain,
        overlay=overlay,
        found=result.read_anomaly() if "anomaly" in kinds else None,
        truth=read_mask(mask, grid),
        words=words,
    )


def _made(results: Results, truth: Path | str | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "command": "evaluate",
        "maps": str(results.root),
        "truth": "none: all subjects are healthy" if truth is None else str(truth),
        "bundle": dict(results.bundle),
        "smallest finding in ml": results.min_ml,
        "mri3d": __version__,
    }
    return said if results.voxel_threshold is None else {**said, "voxel threshold": results.voxel_threshold}


def _in_words(metrics: Mapping[str, Any]) -> str:
    lines = [f"{counts(metrics)}."]
    for name in METRICS:
        if name in metrics:
            value, ci95 = metrics[name].value, metrics[name].ci95
            interval = "" if ci95 is None else f" ({ci95[0]:.3g} to {ci95[1]:.3g})"
            lines.append(f"{METRICS[name][0]}: {value:.3g}{interval}")
    for other, found in metrics.get("difference", {}).items():
        pairs = ((METRICS[name][0], of) for name, of in found.items() if isinstance(of, Estimate))
        said = ", ".join(f"{name} {of.value:+.3g}" for name, of in pairs)
        lines.append(f"difference to {other}: {said or 'no metric that both have'}")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Estimates as JSON has them, at any depth."""
    if isinstance(value, Estimate):
        return value.as_dict()
    return {key: _plain(of) for key, of in value.items()} if isinstance(value, Mapping) else value


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        cells = (row.get(column) for column in COLUMNS)
        writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else "" if cell is None else cell for cell in cells])
    with atomic_write(path) as temporary:
        temporary.write_bytes(text.getvalue().encode("utf-8", errors="backslashreplace"))

"""The report of an evaluation: one HTML file that holds its figures and needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mri3d.evaluation.bootstrap import Estimate
from mri3d.evaluation.lesions import MIN_COVERED, RATES
from mri3d.reporting.html import FIGURE_STYLE, definitions, figure, scrolling_table, write_document

METRICS = {
    "voxel_ap": ("voxel AP", "average precision of the voxels of scans with a lesion, over all thresholds"),
    "voxel_auroc": ("voxel AUROC", "the same voxels; close to 1 even for poor maps, since healthy voxels are so many"),
    "dice_best": ("best Dice (label-chosen)", "threshold chosen with the labels: an upper bound, never a result"),
    "dice_normals": ("Dice", "voxels pooled, at the threshold set on healthy subjects only"),
    "dice_normals_subject_mean": ("Dice, mean of scans", "at the same threshold, each scan counting alike"),
    "voxel_sensitivity": ("voxel sensitivity", "share of lesion voxels above that threshold"),
    "voxel_precision": ("voxel precision", "share of voxels above that threshold that lie in lesions"),
    "lesion_sensitivity": ("lesions detected", f"share of lesions of which at least {MIN_COVERED:.0%} are marked"),
    "false_findings_a_scan": (
        "false findings a scan", f"marked regions of which less than {MIN_COVERED:.0%} lies in lesions, on all scans",
    ),
    "froc_score": (
        "FROC score", f"mean share of lesions detected at {', '.join(f'{r:g}' for r in RATES)} false findings a scan",
    ),
    "subject_auroc": ("subject AUROC", "how often an abnormal subject has a larger score than a healthy one"),
    "subject_ap": ("subject AP", "average precision of the subjects' scores"),
    "false_positive_ml": ("false-positive ml", "volume of the anomaly mask on healthy subjects"),
    "exceedance": ("exceedance", "share of healthy subjects' brain voxels above the voxel threshold"),
    "flagged": ("healthy subjects flagged", "share of healthy subjects that are called anomalous"),
    "mse": ("MSE", "of the reconstruction, inside the brain, in normalised intensity"),
    "psnr": ("PSNR in dB", "of the reconstruction, peak 1"),
    "ssim": ("SSIM", "of the reconstruction, inside the brain"),
}  # fmt: skip
"""Name in ``metrics.json`` to name and meaning in words."""

OWN_STYLE = """
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 0 1.5rem;
  align-items: start; }
"""


def write_evaluation_page(
    path: Path,
    metrics: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, str],
    cases: Mapping[str, str],
    made: Mapping[str, Any],
) -> None:
    """Write the report.

    Args:
        path: where the page goes; figures lie in the folder ``figures`` beside it and are taken into it.
        metrics: what :func:`mri3d.evaluation.cohort.metrics` gives, counts of subjects and, by compared folder,
            ``difference``.
        rows: a row a subject, as in ``metrics.csv``.
        figures: file name to caption.
        cases: likewise, of the best and worst cases.
        made: how it was made, by name.
    """
    folder = path.parent / "figures"
    sections = [_metrics_table(metrics), _by_size(metrics), _differences(metrics), "<h2>Figures</h2>"]
    sections.append(f'<div class="figures">{"".join(figure(folder / n, words) for n, words in figures.items())}</div>')
    if cases:
        sections.append("<h2>Best and worst cases</h2>")
        sections += [figure(folder / name, words) for name, words in cases.items()]
    sections += ["<h2>Subjects</h2>", _rows_table(rows), "<h2>How it was made</h2>", definitions(made)]
    header = f"""<h1>Evaluation</h1><p class="lead">{escape(counts(metrics))}.</p>
<p class="soft">Thresholds come from other, healthy subjects; the truth had no part in them. Intervals are 95 %
bootstrap intervals over people.</p>"""
    write_document(path, f"Evaluation: {counts(metrics)}", header, "".join(sections), FIGURE_STYLE + OWN_STYLE)


def counts(metrics: Mapping[str, Any]) -> str:
    """Who was evaluated, such as ``8 subjects: 5 abnormal (4 with a lesion mask), 3 healthy; 1 left out, 1 failed``."""
    count = metrics["subjects"]
    masks = f" ({metrics['lesion_masks']} with a lesion mask)" if metrics["abnormal"] else ""
    words = f"{count} subject{'' if count == 1 else 's'}: {metrics['abnormal']} abnormal{masks}, "
    words += f"{metrics['healthy']} healthy"
    others = [f"{metrics[key]} {said}" for key, said in (("without_truth", "without truth"), ("failed", "failed"))
              if metrics[key]]  # fmt: skip
    return "; ".join([words, ", ".join(others)] if others else [words])


def _metrics_table(metrics: Mapping[str, Any]) -> str:
    lines = [(*METRICS[name], metrics[name]) for name in METRICS if name in metrics]
    for name, found in metrics.get("decision", {}).items():
        threshold = f"score above {name.replace('+', ' + ').replace('std', ' std')}, {found['threshold']:.3g}"
        measures = [of for of in ("accuracy", "sensitivity", "specificity") if of in found]
        lines += [(f"subject {of}", threshold, found[of]) for of in measures]
    body = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{_value(of)}</td><td class="number">{_interval(of)}</td>'
        f'<td class="soft">{escape(meaning)}</td></tr>'
        for name, meaning, of in lines
    )
    return _table("Metrics", (("metric", ""), ("value", "number"), ("95 % interval", "number"), ("meaning", "")), body)


def _by_size(metrics: Mapping[str, Any]) -> str:
    sizes: Mapping[str, Any] = metrics.get("lesion_sensitivity_by_size", {})
    if not sizes:
        return ""
    body = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{of["lesions"]}</td><td class="number">'
        f'{_value(of["detected"])}</td><td class="number">{_interval(of["detected"])}</td></tr>'
        for name, of in sizes.items()
    )
    heads = (("size", ""), ("lesions", "number"), ("share detected", "number"), ("95 % interval", "number"))
    return f"<h2>Lesions by size</h2>{_table('Lesions by size', heads, body)}"


def _differences(metrics: Mapping[str, Any]) -> str:
    parts = []
    for name, found in metrics.get("difference", {}).items():
        estimates = {key: of for key, of in found.items() if isinstance(of, Estimate)}
        body = "".join(
            f'<tr><td>{escape(METRICS[key][0])}</td><td class="number">{of.value:+.3f}</td>'
            f'<td class="number">{_interval(of, signed=True)}</td></tr>'
            for key, of in estimates.items()
        )
        heads = (("metric", ""), ("difference", "number"), ("95 % interval", "number"))
        words = f"These maps minus those of {escape(name)}, on the {found['subjects']} subjects that both have."
        parts.append(f"<p>{words} An interval without 0 speaks for a real difference.</p>")
        parts.append(_table(f"Difference to {name}", heads, body))
    return f"<h2>Compared with other detectors</h2>{''.join(parts)}" if parts else ""


ROWS = {
    "subject": "subject",
    "truth": "truth",
    "decision": "decision",
    "score": "score",
    "lesion_ml": "lesion ml",
    "lesions": "lesions",
    "lesions_detected": "detected",
    "false_findings": "false findings",
    "dice_normals": "Dice",
    "ap": "AP",
    "anomalous_ml": "anomalous ml",
    "error": "notes",
}
"""The columns of ``metrics.csv`` that the page shows, and their names there."""


def _rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [column for column in ROWS if any(row.get(column) not in (None, "") for row in rows)]
    words = {"subject", "truth", "decision", "error"}
    heads = "".join(
        f'<th scope="col" class="{"" if column in words else "number"}"><button>{ROWS[column]}</button></th>'
        for column in shown
    )
    body = "".join(f"<tr>{''.join(_cell(column, row.get(column), words) for column in shown)}</tr>" for row in rows)
    return scrolling_table("Subjects", heads, body)


def _cell(column: str, value: Any, words: set[str]) -> str:
    said = "" if value is None else escape(str(value)) if column in words else f"{value:.3g}"
    kind = "name" if column == "subject" else "notes" if column == "error" else "" if column in words else "number"
    return f'<td class="{kind}" data-value="{said}">{said}</td>'


def _table(label: str, heads: Sequence[tuple[str, str]], body: str) -> str:
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in heads)
    return scrolling_table(label, head, body)


def _value(estimate: Estimate) -> str:
    return f"{estimate.value:.3g}"


def _interval(estimate: Estimate, signed: bool = False) -> str:
    if estimate.ci95 is None:
        return ""
    low, high = (f"{bound:+.3f}" if signed else f"{bound:.3g}" for bound in estimate.ci95)
    return f"{low} to {high}"

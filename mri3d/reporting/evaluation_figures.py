"""What an evaluation looks like: one figure a question, each left out where the data cannot answer it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mri3d.evaluation import lesions, subjects, voxels
from mri3d.evaluation.cohort import AT_NORMALS, Scan, spread_edges
from mri3d.evaluation.subjects import Curve
from mri3d.reporting.figure import save_png

# Okabe and Ito's colours, told apart by colour-blind readers too; each goes with a word and a marker or line style.
HEALTHY, ABNORMAL, INK, GRID = "#0072b2", "#d55e00", "#1b2126", "#dddddd"
DPI = 130
MOST_FALSE = 10.0
"""False findings a scan up to which the FROC curve is shown; nobody would read on."""


def draw_figures(
    scans: Sequence[Scan],
    metrics: Mapping[str, Any],
    numbers: Sequence[Mapping[str, float]],
    voxel_threshold: float | None,
    thresholds: Mapping[str, float],
    folder: Path,
) -> dict[str, str]:
    """Write the figures as PNG.

    Args:
        scans: what was measured.
        metrics: what :func:`mri3d.evaluation.cohort.metrics` says of them.
        numbers: what :func:`mri3d.evaluation.cohort.numbers` says of each.
        voxel_threshold: of the map; None where the detector has none.
        thresholds: of the score, by name.
        folder: where the files go.

    Returns:
        File name to caption, in the order of reading.
    """
    made: dict[str, str] = {}

    def draw(name: str, caption: str, size: tuple[float, float], fill: Callable[[Figure], None]) -> None:
        figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
        fill(figure)
        save_png(figure, folder / name)
        made[name] = caption

    with_lesions = [scan for scan in scans if scan.voxels is not None]
    both = len({scan.abnormal for scan in scans}) == 2
    draw("scores.png", "Scores of the subjects, and the thresholds set on other, healthy subjects.", (7.4, 3.2),
         lambda figure: _scores(figure, scans, thresholds))  # fmt: skip
    if voxel_threshold is not None and any(scan.spread is not None for scan in scans):
        draw("voxels.png", "Brain voxels by their value in the map; the last bin holds all that is beyond it.",
             (7.4, 3.6), lambda figure: _spread(figure, scans, voxel_threshold))  # fmt: skip
    curves = {}
    if with_lesions:
        curves["voxels", "voxel_auroc", "voxel_ap"] = voxels.curve([s.voxels for s in with_lesions if s.voxels])
    if both:
        curves["subjects", "subject_auroc", "subject_ap"] = subjects.curve(
            [scan.score for scan in scans], [scan.abnormal for scan in scans]
        )
    if curves:
        draw("roc.png", "ROC: how much is found at what share of false alarms.", (4.6, 4.6),
             lambda figure: _roc(figure, curves, metrics))  # fmt: skip
        draw("precision_recall.png", "Precision and recall; dotted, what guessing would give.", (4.6, 4.6),
             lambda figure: _precision_recall(figure, curves, metrics))  # fmt: skip
    if "decision" in metrics:
        draw("confusion.png", "Decisions at the thresholds set on other, healthy subjects; the last one decides.",
             (3.5 * len(metrics["decision"]), 3.4), lambda figure: _confusion(figure, metrics["decision"]))  # fmt: skip
    if "froc_score" in metrics:
        draw("froc.png", "Lesions detected against false findings a scan; the point is the voxel threshold in use.",
             (5.6, 4.2), lambda figure: _froc(figure, scans, metrics))  # fmt: skip
    sized = [of for of in numbers if "dice_normals" in of and "lesion_ml" in of]
    if sized:
        draw("dice_by_size.png", "Dice at the voxel threshold of normals against lesion volume, a point a scan.",
             (5.6, 4.2), lambda figure: _dice_by_size(figure, sized))  # fmt: skip
    return made


def _axes(figure: Figure, **labels: Any) -> Axes:
    axes: Axes = figure.add_subplot(**labels)
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _scores(figure: Figure, scans: Sequence[Scan], thresholds: Mapping[str, float]) -> None:
    axes = _axes(figure, xlabel="score (larger is more abnormal)")
    groups = (("healthy", False, HEALTHY, "o"), ("abnormal", True, ABNORMAL, "^"))
    ticks: list[str] = []
    for name, truth, colour, marker in groups:
        values = [scan.score for scan in scans if scan.abnormal == truth]
        if not values:
            continue
        height = len(ticks)
        ticks.append(f"{name}\n(n = {len(values)})")
        if len(values) >= 5:
            axes.boxplot(values, orientation="horizontal", positions=[height], widths=0.6, showfliers=False, zorder=1,
                         boxprops={"color": colour}, whiskerprops={"color": colour}, capprops={"color": colour},
                         medianprops={"color": colour, "linewidth": 2}, manage_ticks=False)  # fmt: skip
        # A fixed scatter, so that a figure drawn again is the same.
        offsets = np.random.default_rng(0).uniform(-0.2, 0.2, len(values))
        axes.scatter(values, height + offsets, s=22, c=colour, marker=marker, alpha=0.65, linewidths=0, zorder=2)
    axes.set_yticks(range(len(ticks)), ticks)
    axes.set_ylim(-0.6, len(ticks) - 0.4)
    for (name, threshold), style in zip(thresholds.items(), (":", "--", "-."), strict=False):
        axes.axvline(threshold, color=INK, linestyle=style, linewidth=1.3, label=f"{_spaced(name)} = {threshold:.2f}")
    if thresholds:
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(thresholds))


def _spread(figure: Figure, scans: Sequence[Scan], voxel_threshold: float) -> None:
    axes = _axes(figure, xlabel="z-map", ylabel="share of voxels a bin", yscale="log")
    edges = spread_edges(voxel_threshold)
    parts: list[tuple[str, list[Any], str, str]] = [
        ("healthy subjects", [s.spread[0] for s in scans if s.spread is not None and not s.abnormal], HEALTHY, "-"),
        ("abnormal subjects, outside lesions", [s.spread[0] for s in scans if s.spread is not None and s.abnormal],
         "#009e73", "--"),
        ("in lesions", [s.spread[1] for s in scans if s.spread is not None and s.abnormal], ABNORMAL, "-"),
    ]  # fmt: skip
    for name, counts, colour, style in parts:
        pooled = np.sum(counts, axis=0) if counts else np.zeros(0)
        if pooled.sum():
            axes.stairs(pooled / pooled.sum(), edges, color=colour, linestyle=style, linewidth=1.6, label=name)
    label = f"voxel threshold = {voxel_threshold:.2f}"
    axes.axvline(voxel_threshold, color=INK, linestyle=":", linewidth=1.3, label=label)
    last = max(float(edges[1:][np.sum(counts, axis=0) > 0].max()) for _, counts, *_ in parts if np.sum(counts))
    axes.set_xlim(0, max(last, 1.2 * voxel_threshold))
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


_STYLES = {"voxels": (ABNORMAL, "-"), "subjects": (HEALTHY, "--")}


def _roc(figure: Figure, curves: Mapping[tuple[str, str, str], Curve], metrics: Mapping[str, Any]) -> None:
    axes = _axes(figure, xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    for (what, area, _), curve in curves.items():
        if area in metrics:
            colour, style = _STYLES[what]
            label = f"{what}: AUROC {_estimate(metrics[area])}"
            points = np.concatenate([[0.0], curve.false_positive_rate]), np.concatenate([[0.0], curve.recall])
            # Below the lowest lesion voxel all voxels are flagged at once.
            axes.plot(*points, style, color=colour, linewidth=1.8, label=label)
    axes.plot([0, 1], [0, 1], ":", color="#888888", linewidth=1, label="guessing")
    _unit_square(axes)


def _precision_recall(figure: Figure, curves: Mapping[tuple[str, str, str], Curve], metrics: Mapping[str, Any]) -> None:
    axes = _axes(figure, xlabel="recall", ylabel="precision", aspect="equal")
    for (what, _, average), curve in curves.items():
        colour, style = _STYLES[what]
        label = f"{what}: AP {_estimate(metrics[average])}"
        axes.plot(curve.recall, curve.precision, style, color=colour, linewidth=1.8, label=label)
        axes.axhline(curve.precision[-1], color=colour, linestyle=":", linewidth=1)
    _unit_square(axes)


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)


def _confusion(figure: Figure, decision: Mapping[str, Any]) -> None:
    panels = figure.subplots(1, len(decision), squeeze=False)[0]
    for axes, (name, found) in zip(panels, decision.items(), strict=True):
        rows = (found["confusion"][truth] for truth in ("healthy", "abnormal"))
        counts = np.array([[row["normal"], row["anomalous"]] for row in rows])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
        for row, column in np.ndindex(2, 2):
            share = f"\n{shares[row, column]:.0%}" if counts[row].sum() else ""
            colour = "white" if shares[row, column] > 0.7 else INK
            axes.text(column, row, f"{counts[row, column]}{share}", ha="center", va="center", color=colour, fontsize=12)
        axes.set_xticks([0, 1], ["normal", "anomalous"])
        axes.set_yticks([0, 1], ["healthy", "abnormal"], rotation=90, va="center")
        axes.set(xlabel="decision", ylabel="truth")
        title = f"score > {_spaced(name)} ({found['threshold']:.2f})\naccuracy {_estimate(found['accuracy'])}"
        axes.set_title(title, fontsize=9.5)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)


def _froc(figure: Figure, scans: Sequence[Scan], metrics: Mapping[str, Any]) -> None:
    axes = _axes(figure, xlabel="false findings a scan", ylabel="share of lesions detected", ylim=(-0.02, 1.02))
    held = [scan.lesions for scan in scans if scan.lesions is not None]
    curve = lesions.froc(held)
    assert curve is not None
    label = f"FROC score {_estimate(metrics['froc_score'])}"
    axes.plot(curve.false_findings, curve.sensitivity, "-", color=ABNORMAL, linewidth=1.8, label=label)
    false = float(np.mean([scan.false_findings[AT_NORMALS] for scan in held]))
    share = metrics["lesion_sensitivity"]
    axes.plot(false, share.value, "o", color=INK, markersize=7, zorder=3,
              label=f"at the voxel threshold: {_estimate(share)}\nwith {false:.2f} false findings a scan")  # fmt: skip
    if share.ci95 is not None:
        axes.vlines(false, *share.ci95, color=INK, linewidth=1.2)
    end = max(false * 1.2, min(float(curve.false_findings[-1]), MOST_FALSE), 1.0)
    axes.set_xlim(-0.02 * end, end)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _dice_by_size(figure: Figure, numbers: Sequence[Mapping[str, float]]) -> None:
    axes = _axes(figure, xlabel="lesion volume of the scan in ml", ylabel="Dice at the voxel threshold", xscale="log")
    volumes = [of["lesion_ml"] for of in numbers]
    axes.scatter(volumes, [of["dice_normals"] for of in numbers], s=30, c=ABNORMAL, alpha=0.75, linewidths=0)
    for edge in lesions.SIZES_ML:
        if min(volumes) < edge < max(volumes):
            axes.axvline(edge, color="#999999", linestyle=":", linewidth=1)
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _estimate(estimate: Any) -> str:
    interval = "" if estimate.ci95 is None else f" ({estimate.ci95[0]:.2f}\N{EN DASH}{estimate.ci95[1]:.2f})"
    return f"{estimate.value:.2f}{interval}"


def _spaced(name: str) -> str:
    """``mean+3std`` as ``mean + 3 std``."""
    return name.replace("+", " + ").replace("std", " std")

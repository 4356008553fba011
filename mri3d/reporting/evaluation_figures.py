"""What an evaluation looks like: one figure a question, each left out where the data cannot answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mri3d.evaluation import lesions, subjects, voxels
from mri3d.evaluation.bootstrap import FloatArray
from mri3d.evaluation.cohort import AT_NORMALS, Scan, spread_edges
from mri3d.evaluation.subjects import Curve
from mri3d.reporting.panels import save_png

# Okabe and Ito's colours, told apart by colour-blind readers too; each goes with a word and a marker or line style.
HEALTHY, ABNORMAL, OUTSIDE, INK, GRID = "#0072b2", "#d55e00", "#009e73", "#1b2126", "#dddddd"
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
    made = {}
    for plot in _plots(scans, metrics, numbers, voxel_threshold, thresholds):
        figure = Figure(figsize=plot.size, dpi=DPI, facecolor="white", layout="constrained")
        plot.fill(figure)
        save_png(figure, folder / plot.name)
        made[plot.name] = plot.caption
    return made


class _Plot(NamedTuple):
    """One figure: file name, caption, size in inches, and what draws it."""

    name: str
    caption: str
    size: tuple[float, float]
    fill: Callable[[Figure], None]


def _plots(
    scans: Sequence[Scan],
    metrics: Mapping[str, Any],
    numbers: Sequence[Mapping[str, float]],
    voxel_threshold: float | None,
    thresholds: Mapping[str, float],
) -> Iterator[_Plot]:
    """The figures that the data can give."""
    caption = "Scores of the subjects, and the thresholds set on other, healthy subjects."
    yield _Plot("scores.png", caption, (7.4, 3.2), partial(_scores, scans=scans, thresholds=thresholds))
    spreads = [(scan.abnormal, scan.spread) for scan in scans if scan.spread is not None]
    if voxel_threshold is not None and spreads:
        caption = "Brain voxels by their value in the map."
        fill = partial(_spread, spreads=spreads, voxel_threshold=voxel_threshold)
        yield _Plot("voxels.png", caption, (7.4, 3.6), fill)
    if curves := _curves(scans):
        caption = "ROC: how much is found at what share of false alarms."
        yield _Plot("roc.png", caption, (4.6, 4.6), partial(_roc, curves=curves, metrics=metrics))
        caption = "Precision and recall; dotted, what guessing would give."
        precision_recall = partial(_precision_recall, curves=curves, metrics=metrics)
        yield _Plot("precision_recall.png", caption, (4.6, 4.6), precision_recall)
    if "decision" in metrics:
        caption = "Decisions at the thresholds set on other, healthy subjects; the last one decides."
        size = (3.5 * len(metrics["decision"]), 3.4)
        yield _Plot("confusion.png", caption, size, partial(_confusion, decision=metrics["decision"]))
    if "froc_score" in metrics:
        caption = "Lesions detected against false findings a scan; the point is the voxel threshold in use."
        yield _Plot("froc.png", caption, (5.6, 4.2), partial(_froc, scans=scans, metrics=metrics))
    if sized := [of for of in numbers if "dice_normals" in of and "lesion_ml" in of]:
        caption = "Dice at the voxel threshold of normals against lesion volume, a point a scan."
        yield _Plot("dice_by_size.png", caption, (5.6, 4.2), partial(_dice_by_size, numbers=sized))


Curves = Mapping[tuple[str, str, str], Curve]
"""By what is ranked and the names of its area and average precision among the metrics."""


def _curves(scans: Sequence[Scan]) -> Curves:
    found = {}
    if cases := [scan.voxels for scan in scans if scan.voxels is not None]:
        found["voxels", "voxel_auroc", "voxel_ap"] = voxels.curve(cases)
    abnormal = [scan.abnormal for scan in scans]
    if len(set(abnormal)) == 2:
        found["subjects", "subject_auroc", "subject_ap"] = subjects.curve([scan.score for scan in scans], abnormal)
    return found


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


def _spread(figure: Figure, spreads: Sequence[tuple[bool, FloatArray]], voxel_threshold: float) -> None:
    axes = _axes(figure, xlabel="z-map", ylabel="share of voxels a bin", yscale="log")
    edges = spread_edges(voxel_threshold)
    parts = (
        ("healthy subjects", [of[0] for abnormal, of in spreads if not abnormal], HEALTHY, "-"),
        ("abnormal subjects, outside lesions", [of[0] for abnormal, of in spreads if abnormal], OUTSIDE, "--"),
        ("in lesions", [of[1] for abnormal, of in spreads if abnormal], ABNORMAL, "-"),
    )
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


def _roc(figure: Figure, curves: Curves, metrics: Mapping[str, Any]) -> None:
    axes = _axes(figure, xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    for (what, area, _), curve in curves.items():
        if area in metrics:
            colour, style = _STYLES[what]
            label = f"{what}: AUROC {_estimate(metrics[area])}"
            # From nothing flagged on; below the lowest lesion voxel all voxels are flagged at once.
            points = np.concatenate([[0.0], curve.false_positive_rate]), np.concatenate([[0.0], curve.recall])
            axes.plot(*points, style, color=colour, linewidth=1.8, label=label)
    axes.plot([0, 1], [0, 1], ":", color="#888888", linewidth=1, label="guessing")
    _unit_square(axes)


def _precision_recall(figure: Figure, curves: Curves, metrics: Mapping[str, Any]) -> None:
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
    axes.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _dice_by_size(figure: Figure, numbers: Sequence[Mapping[str, float]]) -> None:
    axes = _axes(figure, xlabel="lesion volume of the scan in ml", ylabel="Dice at the voxel threshold", xscale="log")
    volumes = [of["lesion_ml"] for of in numbers]
    axes.scatter(volumes, [of["dice_normals"] for of in numbers], s=30, c=ABNORMAL, alpha=0.75, linewidths=0)
    for edge in lesions.SIZES_ML:
        if min(volumes) < edge < max(volumes):
            axes.axvline(edge, color="#999999", linestyle=":", linewidth=1)
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")


def _estimate(estimate: Any) -> str:
    interval = "" if estimate.ci95 is None else f" ({estimate.ci95[0]:.2f}\N{EN DASH}{estimate.ci95[1]:.2f})"
    return f"{estimate.value:.2f}{interval}"


def _spaced(name: str) -> str:
    """``mean+3std`` as ``mean + 3 std``."""
    return name.replace("+", " + ").replace("std", " std")

"""The picture of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mri3d.reporting.panels import save_png


def draw_training_curve(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Write the PNG of the losses by epoch, the best epoch marked.

    Args:
        history: one mapping an epoch with ``epoch``, ``train_loss`` and, where it was validated, ``val_loss``; losses
            are positive.
        path: where the PNG goes.
    """
    figure = Figure(figsize=(7.0, 4.2), dpi=120, facecolor="white", layout="constrained")
    axes = figure.add_subplot(yscale="log", xlabel="epoch", ylabel="loss (log scale)")
    for key, name, colour, style in (
        ("train_loss", "training", "#0072b2", "-"),
        ("val_loss", "validation", "#d55e00", "--"),
    ):
        points = [(row["epoch"], row[key]) for row in history if np.isfinite(row.get(key, np.nan))]
        if not points:
            continue
        epochs, losses = zip(*points, strict=True)
        axes.plot(epochs, losses, style, color=colour, label=name, marker="." if len(points) < 40 else "")
        if key == "val_loss":
            best = int(np.argmin(losses))
            label = f"best: epoch {epochs[best]:g}, {losses[best]:.4g}"
            axes.plot(epochs[best], losses[best], "*", color="black", markersize=13, label=label, zorder=3)
    axes.grid(True, which="both", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if history:
        axes.legend(frameon=False)
    save_png(figure, path)

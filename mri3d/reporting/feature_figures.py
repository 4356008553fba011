"""Pictures of what goes on in a network: its feature maps, its latent, and what the decoder makes of other latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from mri3d.evaluation.latent import LatentStatistics
from mri3d.grid import Grid
from mri3d.reporting.montage import Montage, Tile, draw_montage
from mri3d.reporting.panels import save_png
from mri3d.reporting.planes import AXIAL, bounds_and_centre
from mri3d.volumes.volume import FloatArray

MOST_MAPS = 11
"""Feature maps on a picture, beside the input: four rows of three."""

ALIVE, DEAD, INK, LINES = "#0072b2", "#d55e00", "#1b2126", "#dddddd"  # Okabe and Ito's colours on white
COLOURS = "viridis"
BRAIN = (0.0, 1.1)
"""Normalised intensity from black to white."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The image that a network was shown.

    Args:
        image: (X, Y, Z) normalised intensity.
        grid: where it lies.
    """

    image: FloatArray
    grid: Grid

    @property
    def middle_mm(self) -> tuple[float, float, float]:
        """The middle of the brain."""
        inside = self.image > 0
        index = bounds_and_centre(inside)[1] if inside.any() else tuple((n - 1) / 2 for n in self.image.shape)
        x, y, z = self.grid.world(index)
        return float(x), float(y), float(z)

    def coarse(self, shape: Sequence[int]) -> Grid:
        """The grid of a level's maps: each of its voxels stands for a block of the image's.

        A level that is no whole fraction of the image's shape is one of an image padded behind its ends.
        """
        factors = np.array([2.0 ** round(np.log2(n / m)) for n, m in zip(self.grid.shape, shape, strict=True)])
        affine = self.grid.affine @ np.diag([*factors, 1.0])
        affine[:3, 3] = self.grid.world((factors - 1) / 2)
        x, y, z = shape
        return Grid((x, y, z), affine)


def draw_features(seen: Seen, maps: FloatArray, title: str, words: str, path: Path) -> None:
    """Write the PNG of a level's feature maps, those that vary most first, beside the image.

    Args:
        seen: what the network was shown.
        maps: (maps, X, Y, Z) of a level.
        title: of the picture.
        words: below it, before what is said of all such pictures.
        path: where the PNG goes.
    """
    spread = maps.reshape(len(maps), -1).std(axis=1)
    chosen = np.argsort(-spread, kind="stable")[:MOST_MAPS]
    grid = seen.coarse(maps.shape[1:])
    tiles = [Tile("what the network was shown", seen.image, seen.grid, BRAIN)]
    for number in chosen:
        low, high = (float(v) for v in np.percentile(maps[number], (1, 99)))
        name = f"map {number}:  {_number(low)} to {_number(high)}"
        tiles.append(Tile(name, maps[number], grid, (low, high), COLOURS))
    count = "all" if len(chosen) == len(maps) else f"the {len(chosen)} of {len(maps)} that vary most"
    words = f"{words}Shown: {count}, each on a scale of its own, from dark blue (lowest) to yellow (highest)."
    draw_montage(Montage(title, words, tiles, 3, seen.middle_mm), path)


def draw_latent(values: FloatArray, statistics: LatentStatistics, unit: str, prior: bool, path: Path) -> None:
    """Write the PNG of a latent's numbers, and of how much each unit varies.

    Args:
        values: all numbers of the latent for one volume, in any shape.
        statistics: of its units.
        unit: what a unit is called, in the plural.
        prior: whether there is a standard normal prior to compare with.
        path: where the PNG goes.
    """
    figure = Figure(figsize=(9.4, 3.4), dpi=120, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers = values.ravel()
    left.hist(numbers, bins=40, density=True, color=ALIVE, alpha=0.75, label="this volume")
    if prior:
        x = np.linspace(min(numbers.min(), -4.0), max(numbers.max(), 4.0), 300)
        left.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), "--", color=INK, label="the prior")
        left.legend(frameon=False)
    left.set(xlabel="value", ylabel="density", title=f"The {numbers.size} numbers of the latent")
    order = np.argsort(-statistics.unit_std, kind="stable")
    colours = [DEAD if statistics.dead[number] else ALIVE for number in order]
    right.bar(range(len(order)), statistics.unit_std[order], color=colours, width=0.9 if len(order) < 80 else 1.0)
    if len(order) <= 40:
        right.set_xticks(range(len(order)), [str(number) for number in order], fontsize=8)
    dead = int(statistics.dead.sum())
    title = f"Spread of its {len(order)} {unit}: {dead if dead else 'none'} dead"
    right.set(xlabel=f"{unit}, liveliest first", ylabel="standard deviation", title=title)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, axis="y", color=LINES, linewidth=0.6)
        axes.set_axisbelow(True)
    save_png(figure, path)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a variational decoder makes of latents.

    Args:
        traversal: for each traversed unit its name and a volume (X, Y, Z) a step.
        steps: what was added to the unit.
        mean: (X, Y, Z) from the mean of the volume's latent.
        draws: from latents drawn around it.
        samples: from latents drawn from the prior.
    """

    traversal: Sequence[tuple[str, Sequence[FloatArray]]]
    steps: Sequence[float]
    mean: FloatArray
    draws: Sequence[FloatArray]
    samples: Sequence[FloatArray]


def draw_traversal(seen: Seen, decoded: Decoded, path: Path) -> None:
    """Write the PNG of a latent traversal: a row a unit, a column a step."""
    tiles = [
        Tile(f"{name}: {_signed(step)}", volume, seen.grid, BRAIN)
        for name, volumes in decoded.traversal
        for step, volume in zip(decoded.steps, volumes, strict=True)
    ]
    words = "One unit of the latent is changed, the others stay. In the middle column nothing is changed. Axial planes "
    words += "through the middle of the brain."
    columns = len(decoded.steps)
    draw_montage(Montage("Latent traversal", words, tiles, columns, seen.middle_mm, (AXIAL,), 1.7), path)


def draw_draws(seen: Seen, decoded: Decoded, path: Path) -> None:
    """Write the PNG of the reconstruction from the mean, and from latents drawn around it."""
    spread = np.std(decoded.draws, axis=0)
    limits = (0.0, max(float(np.percentile(spread, 99.8)), 1e-6))
    tiles = [
        Tile("input", seen.image, seen.grid, BRAIN),
        Tile("from the mean", decoded.mean, seen.grid, BRAIN),
        Tile(f"spread of the draws:  0 to {_number(limits[1])}", spread, seen.grid, limits, "magma"),
        *[Tile(f"draw {i}", volume, seen.grid, BRAIN) for i, volume in enumerate(decoded.draws[:3], 1)],
    ]
    words = "A volume has a mean and a spread for each number of its latent; a draw takes numbers from there by chance."
    draw_montage(Montage("Reconstructions from one latent", words, tiles, 3, seen.middle_mm), path)


def draw_samples(seen: Seen, decoded: Decoded, path: Path) -> None:
    """Write the PNG of what is decoded from the prior, beside a reconstruction."""
    tiles = [
        Tile("for comparison: a reconstruction", decoded.mean, seen.grid, BRAIN),
        *[Tile(f"sample {i}", volume, seen.grid, BRAIN) for i, volume in enumerate(decoded.samples, 1)],
    ]
    words = "Decoded from numbers drawn by chance from the standard normal prior, without any volume."
    draw_montage(Montage("Samples from the prior", words, tiles, 3, seen.middle_mm), path)


def _number(value: float) -> str:
    return (f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}").replace("-", "\N{MINUS SIGN}")


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def stacked(maps: npt.NDArray[np.float32]) -> FloatArray:
    """Maps of a network as (maps, X, Y, Z): those of one window, or of all axial slices side by side.

    Args:
        maps: (1, maps, X, Y, Z), or (slices, maps, X, Y).
    """
    return np.asarray(maps[0] if maps.ndim == 5 else np.moveaxis(maps, 0, -1), dtype=np.float32)

"""What the levels and the latent of a network look like: pictures, and what they show in numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from mri3d.evaluation.latent import divergence, latent_statistics
from mri3d.models.autoencoder import VariationalAutoEncoder
from mri3d.models.features import Features, features
from mri3d.reporting.feature_figures import (
    Decoded,
    Seen,
    draw_draws,
    draw_features,
    draw_latent,
    draw_samples,
    draw_traversal,
    stacked,
)
from mri3d.reporting.inspection_page import (
    LatentFacts,
    LevelFacts,
    Picture,
    VariationalFacts,
    draws_words,
    level_words,
    samples_words,
    traversal_words,
)
from mri3d.volumes.volume import BoolArray, FloatArray

STEPS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""Of a traversal, in standard deviations of the prior."""

TRAVERSED, SAMPLES, DRAWS = 4, 5, 16
CONSTANT = 1e-4
"""Of a level's spread: a map that varies less is constant."""


def draw_levels(found: Features, seen: Seen, folder: Path, prefix: str) -> Iterator[tuple[LevelFacts, Picture]]:
    """Write the PNG of each level's feature maps; what it shows in numbers, and the picture, one level after the other.

    Args:
        found: of the network, shown ``seen``.
        seen: what the network was given, as a volume.
        folder: where the pictures go.
        prefix: of their names.
    """
    volumes = [stacked(level.maps.numpy()) for level in found.levels]
    count = len(volumes)
    coarsest = int(np.argmin([prod(maps.shape[1:]) for maps in volumes]))
    bar = tqdm(zip(found.levels, volumes, strict=True), total=count, desc="draw", unit="level", leave=False)
    for number, (level, maps) in enumerate(bar, 1):
        grid = seen.coarse(maps.shape[1:])
        block = tuple(round(a / b) for a, b in zip(grid.spacing, seen.grid.spacing, strict=True))
        spread = maps.reshape(len(maps), -1).std(axis=1)
        facts = LevelFacts(
            name=level.name,
            way="bottom" if number - 1 == coarsest else "down" if number - 1 < coarsest else "up",
            maps=len(maps), shape=maps.shape[1:], block=block, voxel_mm=tuple(round(mm, 3) for mm in grid.spacing),
            mean=float(maps.mean()), std=float(maps.std()),
            dead_maps=tuple(np.flatnonzero(spread <= CONSTANT * spread.max()).tolist()),
        )  # fmt: skip
        path = folder / f"{prefix}level{number:02}_{re.sub(r'[^A-Za-z0-9.]', '_', level.name)}.png"
        shape = " \N{MULTIPLICATION SIGN} ".join(map(str, facts.shape))
        title = f"Level {number} of {count}: {len(maps)} maps of {shape}"
        draw_features(seen, maps, title, f"Module {level.name}. ", path)
        alt = f"Feature maps of level {number}, {level.name}, in three planes, beside the input"
        yield facts, Picture(path, level_words(facts, number, count), alt)


def draw_latents(
    network: nn.Module, found: Features, windows: Sequence[torch.Tensor], seen: Seen, folder: Path, prefix: str
) -> tuple[LatentFacts, list[Picture]] | None:
    """Write the PNGs of the latent; what they show in numbers, and the pictures. None where there is no bottleneck.

    Args:
        network: in eval mode.
        found: of the network, shown ``windows[0]``.
        windows: what it is given of each brain; the units' spread is over these and their mirror images.
        seen: ``windows[0]`` as a volume.
        folder: where the pictures go.
        prefix: of their names.
    """
    if found.latent is None:
        return None
    inputs = torch.cat([each for window in windows for each in (window, window.flip(2))])
    inputs = inputs[(inputs > 0).flatten(1).any(1)]  # slices without brain all look alike
    latents = features(network, inputs).latent
    assert latents is not None
    window = windows[0]
    inside = int((window > 0).flatten(1).sum(1).max())
    facts = LatentFacts(
        tuple(found.latent.shape[1:]), tuple(window.shape[1:]), inside, len(inputs), latent_statistics(latents.numpy())
    )
    path = folder / f"{prefix}latent.png"
    variational = isinstance(network, VariationalAutoEncoder)
    draw_latent(found.latent.numpy(), facts.statistics, facts.unit, variational, path)
    dead = int(facts.statistics.dead.sum())
    words = (
        "Left, how often each value occurs among the latent's "
        f"numbers{', and the prior they were pulled to' if variational else ''}. Right, how much each of its "
        f"{facts.unit} varies; a unit without spread would be wasted. Here {dead or 'none'} "
        f"{'are' if dead > 1 else 'is'} dead."
    )
    pictures = [Picture(path, words, "Histogram of the latent's numbers, and spread of its units")]
    if found.latent.dim() == window.dim():
        path = folder / f"{prefix}latent_maps.png"
        maps = stacked(found.latent.numpy())
        draw_features(seen, maps, f"The latent: {len(maps)} maps", "", path)
        words = (
            "The latent itself, as the decoder gets it. It is still laid out in space: each block is a few numbers "
            "on one region of the brain, and from those alone, and from its neighbours', the region is drawn again."
        )
        pictures.append(Picture(path, words, "The maps of the latent in three planes, beside the input"))
    return facts, pictures


@torch.no_grad()
def draw_variational(
    network: VariationalAutoEncoder, x: torch.Tensor, seen: Seen, folder: Path, prefix: str = ""
) -> tuple[VariationalFacts, list[Picture]]:
    """Write the PNGs of a latent traversal, of draws around the mean of a volume, and of samples from the prior.

    Args:
        network: in eval mode.
        x: what it is given, (1, channels, *window) or (slices, channels, width, height).
        seen: the same as a volume.
        folder: where ``traversal.png``, ``draws.png`` and ``samples.png`` go.
        prefix: of their names.

    Returns:
        What they show in numbers, and the pictures.
    """
    mean, log_variance = network.encode(x)
    spread = (0.5 * log_variance).exp()

    def decode(latent: torch.Tensor) -> FloatArray:
        volume: FloatArray = stacked(network.decoder(latent)[:, :1].float().cpu().numpy())[0]
        return volume

    by_unit = np.moveaxis(divergence(mean.cpu().numpy(), log_variance.cpu().numpy()), 1, 0).reshape(mean.shape[1], -1)
    kl = by_unit.sum(axis=1)
    traversed = np.argsort(-kl, kind="stable")[:TRAVERSED].tolist()
    unit = "map" if mean.dim() > 2 else "number"
    decoded = Decoded(
        traversal=[(f"{unit} {k}", [decode(_shifted(mean, k, step)) for step in STEPS]) for k in traversed],
        steps=STEPS,
        mean=decode(mean),
        draws=[decode(mean + spread * torch.randn_like(mean)) for _ in range(DRAWS)],
        samples=[decode(torch.randn_like(mean)) for _ in range(SAMPLES)],
    )
    brain: BoolArray = seen.image > 0
    facts = VariationalFacts(
        kl_nats=tuple(kl.tolist()),
        mean_std=float(mean.std()),
        drawn_std=float(spread.mean()),
        draw_spread=float(np.std(decoded.draws, axis=0)[brain].mean()),
        sample_correlations=tuple(_correlation(sample, decoded.mean, brain) for sample in decoded.samples),
        input_correlation=_correlation(seen.image, decoded.mean, brain),
        traversed=tuple(traversed),
    )
    told = (
        ("traversal", traversal_words(facts, f"{unit}s"), "Axial planes along a latent traversal"),
        ("draws", draws_words(facts), "Reconstructions from the mean of the latent and from drawn latents"),
        ("samples", samples_words(facts), "Volumes decoded from samples of the prior, beside a reconstruction"),
    )
    pictures = [Picture(folder / f"{prefix}{name}.png", words, alt) for name, words, alt in told]
    for draw, picture in zip((draw_traversal, draw_draws, draw_samples), pictures, strict=True):
        draw(seen, decoded, picture.path)
    return facts, pictures


def _shifted(latent: torch.Tensor, unit: int, step: float) -> torch.Tensor:
    shifted = latent.clone()
    shifted[:, unit] += step
    return shifted


def _correlation(a: FloatArray, b: FloatArray, brain: BoolArray) -> float:
    """0 where one of them is constant."""
    if not brain.any() or a[brain].std() == 0 or b[brain].std() == 0:
        return 0.0
    return float(np.corrcoef(a[brain], b[brain])[0, 1])

"""The numbers beside the pictures of a network, where they can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mri3d.grid import Grid
from mri3d.models.autoencoder import VariationalAutoEncoder
from mri3d.models.features import features
from mri3d.reporting.feature_figures import Seen
from mri3d.reporting.network_pictures import DRAWS, SAMPLES, draw_latents, draw_levels, draw_variational

GRID = Grid.centred((16, 16, 16), 2.0, (0.0, 0.0, 0.0))
RNG = np.random.default_rng(0)
IMAGE = np.pad(RNG.uniform(0.5, 1.0, (12, 12, 12)), 2).astype(np.float32)
SEEN = Seen(IMAGE, GRID)
X = torch.from_numpy(IMAGE)[None, None]


class Halving(nn.Module):
    """Two maps at half resolution, the image's mean and a constant one, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(1, 2, 2, stride=2)
        self.up = nn.ConvTranspose3d(2, 1, 2, stride=2)
        nn.init.constant_(self.down.weight, 1 / 8)
        nn.init.zeros_(self.down.weight[1])
        nn.init.constant_(self.down.bias, 3.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) to the same."""
        result: torch.Tensor = self.up(self.down(x))
        return result


@torch.no_grad()
def test_a_level_is_told_with_its_own_numbers(tmp_path: Path) -> None:
    ((facts, picture),) = draw_levels(features(Halving(), X), SEEN, tmp_path, "")
    assert (facts.name, facts.maps, facts.shape) == ("down", 2, (8, 8, 8))
    assert (facts.block, facts.voxel_mm) == ((2, 2, 2), (4.0, 4.0, 4.0))
    assert facts.dead_maps == (1,)
    assert facts.mean == pytest.approx(3 + IMAGE.mean() / 2, rel=1e-5)
    assert picture.path.is_file() and picture.path.parent == tmp_path


def known_vae() -> VariationalAutoEncoder:
    """Its latent has one map that follows the image, and one that is the prior, whatever the image."""
    torch.manual_seed(0)
    network = VariationalAutoEncoder(3, channels=(4,), latent_channels=2, norm="instance").eval()
    for name, weights in network.named_parameters():
        if name.startswith(("mean", "log_variance")):
            (nn.init.zeros_(weights) if weights.dim() == 1 else nn.init.zeros_(weights[1]))
    return network


@torch.no_grad()
def test_a_variational_latent_is_told_with_its_own_numbers(tmp_path: Path) -> None:
    network = known_vae()
    mean, log_variance = network.encode(X)
    facts, pictures = draw_variational(network, X, SEEN, tmp_path)
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=(0, 2, 3, 4))
    assert facts.kl_nats == pytest.approx(kl.tolist(), rel=1e-4)
    assert facts.mean_std == pytest.approx(float(mean.std()))
    assert facts.drawn_std == pytest.approx(float((0.5 * log_variance).exp().mean()))
    assert facts.traversed[0] == int(kl.argmax())
    assert len(facts.sample_correlations) == SAMPLES and DRAWS > 2
    assert facts.input_correlation == pytest.approx(
        np.corrcoef(IMAGE[IMAGE > 0], network(X)[0, 0].numpy()[IMAGE > 0])[0, 1], rel=1e-4
    )
    assert 0 < facts.draw_spread < 10
    assert [picture.path.name for picture in pictures] == ["traversal.png", "draws.png", "samples.png"]


@torch.no_grad()
def test_the_latents_spread_is_over_brains_and_their_mirror_images(tmp_path: Path) -> None:
    network = known_vae()
    found = draw_latents(network, features(network, X), [X], SEEN, tmp_path, "")
    assert found is not None
    latents = torch.cat([network.encode(X)[0], network.encode(X.flip(2))[0]])  # left and right are the first axis
    assert found[0].statistics.unit_std == pytest.approx(
        latents.transpose(0, 1).flatten(1).std(dim=1, correction=0).numpy(), rel=1e-3, abs=1e-6
    )


def test_no_bottleneck_no_latent(tmp_path: Path) -> None:
    assert draw_latents(Halving(), features(Halving(), X), [X], SEEN, tmp_path, "") is None

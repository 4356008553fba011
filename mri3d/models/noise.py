"""How strong the noise on an image is."""

from __future__ import annotations

import torch
from torch.nn import functional


def object_threshold(x: torch.Tensor) -> torch.Tensor:
    """The intensity that parts an object from its dark background, midway between their means.

    Found by iteration (Ridler and Calvard 1978, doi 10.1109/TSMC.1978.4310039).

    Args:
        x: values of any shape.

    Returns:
        A scalar that at least the largest value reaches.
    """
    threshold = x.mean()
    for _ in range(10):
        above = x >= threshold
        n = above.sum()
        total = (x * above).sum()
        bright = total / n.clamp(min=1)
        dark = (x.sum() - total) / (x.numel() - n).clamp(min=1)
        threshold = torch.where(n < x.numel(), (bright + dark) / 2, threshold)
    return torch.minimum(threshold, x.max())


def noise_level(x: torch.Tensor) -> torch.Tensor:
    """The standard deviation of white noise on each image.

    The median absolute value of the finest diagonal Haar subband over 0.6745 (Donoho and Johnstone 1994,
    doi 10.1093/biomet/81.3.425). Only blocks of the object count, as of a Rician image (Coupe et al. 2010,
    doi 10.1016/j.media.2010.03.001): in air the noise of a magnitude image is narrower, in a stripped one there is
    none. Of these only the flattest count: fine anatomy would be taken for noise. Noise that neighbouring voxels share,
    as after an interpolation, is underestimated.

    Args:
        x: (batch, channels, *spatial) in 3D, at least 2 voxels along each axis; an odd last voxel is left out.

    Returns:
        (batch, channels, 1, 1, 1) in the unit of ``x``.
    """
    mean = functional.avg_pool3d(x, 2)
    detail = x[:, :, : 2 * mean.shape[2], : 2 * mean.shape[3], : 2 * mean.shape[4]]
    detail = detail[:, :, ::2] - detail[:, :, 1::2]
    detail = detail[:, :, :, ::2] - detail[:, :, :, 1::2]
    detail = (detail[..., ::2] - detail[..., 1::2]).abs() / 8**0.5
    sigma = torch.zeros(x.shape[0], x.shape[1], 1, 1, 1, dtype=x.dtype, device=x.device)
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            # what is as bright as can be may be clipped, and tells nothing of the noise
            clipped = functional.max_pool3d(x[b, c][None], 2)[0] >= x[b, c].max()
            inside = mean[b, c] >= object_threshold(mean[b, c])
            whole = inside & ~clipped
            blocks = _flattest(mean[b, c], whole if bool(whole.any()) else inside)
            # the median absolute value of a normal distribution of unit variance
            sigma[b, c] = detail[b, c][blocks].median() / 0.6745
    return sigma


def _flattest(x: torch.Tensor, inside: torch.Tensor, part: int = 5, fewest: int = 500) -> torch.Tensor:
    """The fifth of an object around which the intensity changes least, or more where that is too few for a median."""
    steepness = _steepness(x)
    among = steepness[inside]
    n = among.numel()
    return inside & (steepness <= torch.kthvalue(among, max(n // part, min(n, fewest))).values)


def _steepness(x: torch.Tensor) -> torch.Tensor:
    """The squared gradient of ``x`` (X, Y, Z), by central differences and up to a factor."""
    around = functional.pad(x[None, None], [1, 1, 1, 1, 1, 1], mode="replicate")[0, 0]
    along_x = around[2:, 1:-1, 1:-1] - around[:-2, 1:-1, 1:-1]
    along_y = around[1:-1, 2:, 1:-1] - around[1:-1, :-2, 1:-1]
    along_z = around[1:-1, 1:-1, 2:] - around[1:-1, 1:-1, :-2]
    return along_x**2 + along_y**2 + along_z**2

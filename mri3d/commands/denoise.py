"""Take the noise off scans, on their own voxels."""

from __future__ import annotations

import inspect
import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from mri3d.bundle import describe
from mri3d.errors import BundleError, Mri3dError, PreprocessingError, UsageError
from mri3d.models.noise import noise_level, object_threshold
from mri3d.recipe import config_of
from mri3d.reporting.names import path_of
from mri3d.reporting.ownership import check_inside, refuse_standing, writable
from mri3d.reporting.subject_files import versions
from mri3d.transforms.intensity import scale_of
from mri3d.volumes.atomic import write_json
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.subject import Subject
from mri3d.volumes.volume import FloatArray, Volume
from mri3d.workflow import find_subjects, open_workflow, plain_errors, set_device

IMAGE, SIDECAR = "_denoised.nii.gz", "_denoised.json"
"""How the files of a subject end."""

WINDOW, MULTIPLE = 160, 32
"""Longest side of a window in voxels, and what every side is a multiple of: networks halve the resolution up to five
times."""

MOST_NOISE = 0.5
"""Of the bright intensity: in more there is no scan left to see, and the number was meant in another unit."""

BORDER = 16
"""Voxels at a window's faces of which the result is not used: the default network sees 15 voxels far, and takes what
lies beyond a window for zeros. A volume is mirrored by as many beyond its own faces."""


@dataclass(frozen=True, eq=False)
class Denoised:
    """A volume without its noise.

    Args:
        data: (X, Y, Z) float32 in the volume's own unit and order.
        sigma: standard deviation of the noise in the same unit, given or estimated.
        scale: the intensity that the network saw as 1.
    """

    data: FloatArray
    sigma: float
    scale: float


class Denoiser:
    """A bundle's network, ready to take noise off volumes.

    Args:
        root: the bundle's folder.
        device: see :func:`mri3d.workflow.pick_device`.

    Raises:
        BundleError: its network is no fully convolutional one in 3D, or the bundle is not whole.
        UsageError: an unknown device.
    """

    def __init__(self, root: Path, device: str = "auto") -> None:
        parser = open_workflow(root, "inference", set_device(device)).parser
        with plain_errors():
            self.device: torch.device = parser.get_parsed_content("device")
            self.network: nn.Module = parser.get_parsed_content("network")
            grid = parser.get_parsed_content("grid").shape
        _refuse_bound_to_a_grid(root, self.network, grid, self.device)
        self.takes_sigma = "sigma" in inspect.signature(self.network.forward).parameters

    @torch.no_grad()
    def __call__(self, volume: Volume, sigma: float | None = None) -> Denoised:
        """Denoise a volume.

        Args:
            volume: of magnitudes, in any order and unit.
            sigma: standard deviation of its noise in its unit; estimated where left out.

        Raises:
            PreprocessingError: its intensities have no scale, too many are negative, or noise drowns the scan.
        """
        image = torch.from_numpy(np.ascontiguousarray(volume.data))[None, None]
        level = noise_level(image) if sigma is None else torch.tensor(sigma)
        bright = image >= object_threshold(image)
        scale = scale_of(image[bright].numpy(), volume.path)
        if level > MOST_NOISE * scale:
            expected = f"noise of at most {MOST_NOISE * scale:.4g}, half the scan's bright intensity"
            remedy = "Give --sigma in the scan's own intensity units" if sigma is not None else "Look at the scan"
            raise PreprocessingError(volume.path, expected, f"{float(level):.4g}", remedy)
        if sigma == 0 and self.takes_sigma:
            return Denoised(volume.data.copy(), 0.0, scale)
        known = (level.to(self.device) / scale,) if self.takes_sigma else ()
        padded = torch.from_numpy(_mirrored(volume.data) / np.float32(scale))[None, None]
        result = _in_windows(padded, lambda window: self.network(window.to(self.device), *known).cpu())[0, 0].numpy()
        data = scale * result[tuple(slice(BORDER, BORDER + n) for n in volume.grid.shape)]
        # a magnitude is never negative; where the source is, so may the result be
        return Denoised(np.maximum(data, min(float(volume.data.min()), 0.0)), float(level), scale)


def _mirrored(data: FloatArray) -> FloatArray:
    """A volume continued beyond its faces, to sides that networks can halve."""
    sides = [max(MULTIPLE * math.ceil((n + 2 * BORDER) / MULTIPLE), 2 * MULTIPLE) for n in data.shape]
    return np.pad(data, [(BORDER, side - n - BORDER) for side, n in zip(sides, data.shape, strict=True)], "symmetric")


def _in_windows(x: torch.Tensor, run: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """``run`` on overlapping windows of ``x`` (1, 1, X, Y, Z), the innermost parts of its results side by side.

    They are what ``run`` would give on the whole, as long as it sees no further than the border, which stays 0.
    """
    windows = [min(side, WINDOW) for side in x.shape[2:]]
    starts = [
        sorted({min(start, side - window) for start in range(0, side - 2 * BORDER, window - 2 * BORDER)})
        for side, window in zip(x.shape[2:], windows, strict=True)
    ]
    result: torch.Tensor = torch.zeros_like(x)
    for corner in itertools.product(*starts):
        whole = tuple(slice(start, start + window) for start, window in zip(corner, windows, strict=True))
        core = tuple(slice(side.start + BORDER, side.stop - BORDER) for side in whole)
        inner = tuple(slice(BORDER, window - BORDER) for window in windows)
        result[0, 0][core] = run(x[:, :, *whole])[0, 0][inner]
    return result


def _refuse_bound_to_a_grid(root: Path, network: nn.Module, grid: Sequence[int], device: torch.device) -> None:
    """Try the network on a window that is not the model grid; it must not fail, and have learnt something."""
    window = [2 * MULTIPLE if n != 2 * MULTIPLE else 3 * MULTIPLE for n in grid]
    try:
        with torch.no_grad():
            given = torch.as_tensor(network(torch.zeros(1, 1, *window, device=device))).shape
    except (RuntimeError, ValueError, IndexError):
        given = None
    if given != (1, 1, *window) or not any(True for _ in network.parameters()):
        raise BundleError(
            root,
            "a fully convolutional network in 3D, which takes a window of any volume",
            f"{type(network).__name__}, which needs the whole model grid, slices, or no weights at all",
            "Use the default bundle brain_t1_denoise, or train one with --recipe noise",
        )


def denoise(
    source: Path,
    root: Path,
    output: Path,
    sigma: float | None = None,
    device: str = "auto",
    modalities: Sequence[str] | None = None,
    overwrite: bool = False,
) -> tuple[int, list[str]]:
    """Write every volume of an input without its noise, on its own grid.

    A subject gets ``NAME_denoised.nii.gz`` and ``NAME_denoised.json``, which tells the noise's standard deviation.

    Args:
        source: a volume, folder or datalist.
        root: the bundle's folder.
        output: where to; its folders mirror those of ``source``.
        sigma: standard deviation of the noise in the volumes' unit; estimated for each where left out.
        device: see :func:`mri3d.workflow.pick_device`.
        modalities: what belongs to a subject; the first is denoised. The bundle's own where left out.
        overwrite: replace earlier results.

    Returns:
        How many volumes were written, and a line for each that could not be used.

    Raises:
        UsageError: nothing to denoise, results that stand there already, a noise that no network could take.
        BundleError: see :class:`Denoiser`.
    """
    if sigma is not None and not 0 <= sigma < math.inf:
        raise UsageError("--sigma", "a number from 0 on", f"{sigma:g}", "Give it in the volume's intensity units")
    subjects = _pending(find_subjects(source, modalities or config_of(root)["modalities"]), output, overwrite)
    denoiser = Denoiser(root, device)
    if sigma is not None and not denoiser.takes_sigma:
        expected = "a bundle whose network is told the noise, such as brain_t1_denoise"
        raise UsageError("--sigma", expected, str(root), "Leave --sigma out, or use another bundle")
    failures = []
    for subject in tqdm(subjects, desc="denoise", unit="volume"):
        with writable(output, "Mend permissions and free space, then use --overwrite"):
            try:
                _write(subject, denoiser, sigma, describe(root), output)
            except Mri3dError as error:
                failures.append(str(error))
                for ending in (IMAGE, SIDECAR):
                    path_of(output, subject.key, ending).unlink(missing_ok=True)
    return len(subjects) - len(failures), failures


def _pending(subjects: Iterable[Subject], output: Path, overwrite: bool) -> list[Subject]:
    """The subjects without those that are former results, in place of which the new ones go.

    Raises:
        UsageError: results stand there, or files that are none of ours; or a link leads out of the output.
    """
    subjects = list(subjects)
    places = {os.path.abspath(path_of(output, subject.key, IMAGE)) for subject in subjects}
    pending = [subject for subject in subjects if os.path.abspath(subject.reference) not in places]
    check_inside(output, pending)
    for subject in pending:
        image, sidecar = (path_of(output, subject.key, ending) for ending in (IMAGE, SIDECAR))
        refuse_standing([image], sidecar, overwrite)
    return pending


def _write(
    subject: Subject, denoiser: Denoiser, sigma: float | None, bundle: Mapping[str, str], output: Path
) -> None:
    start = time.perf_counter()
    volume = read_volume(subject.reference)
    result = denoiser(volume, sigma)
    origin = "estimated" if sigma is None else "given"
    made: dict[str, Any] = {
        "source": str(subject.reference.resolve()),
        "sigma": result.sigma,
        "sigma_note": f"standard deviation of the noise in the scan's unit, {origin}",
        "scale": result.scale,
        "scale_note": "the intensity that the network saw as 1",
        "seconds": round(time.perf_counter() - start, 3),
        "warnings": list(volume.warnings),
        "bundle": dict(bundle),
        "versions": versions(),
    }
    # the sidecar tells whose the image is: it stands before it, and never beside one of an earlier run
    image = path_of(output, subject.key, IMAGE)
    image.unlink(missing_ok=True)
    write_json(path_of(output, subject.key, SIDECAR), made)
    write_map(image, result.data, volume, "mri3d denoised")

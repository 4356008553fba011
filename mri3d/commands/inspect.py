"""A look into a trained detector: what its layers see, what its latent holds, what it does with two brains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mri3d.detector import Detector
from mri3d.errors import UsageError
from mri3d.grid import Grid
from mri3d.models.autoencoder import VariationalAutoEncoder
from mri3d.models.features import features, parts_of
from mri3d.reporting.feature_figures import (
    Seen,
    stacked,
)
from mri3d.reporting.inspection_page import (
    Inspection,
    Part,
    Picture,
    ScanFacts,
    write_inspection_page,
)
from mri3d.reporting.network_pictures import draw_latents, draw_levels, draw_variational
from mri3d.reporting.ownership import PageFolder, writable
from mri3d.reporting.reconstruction_figure import Side, draw_reconstructions
from mri3d.reporting.subject_files import versions
from mri3d.scoring.fidelity import fidelity
from mri3d.transforms.case import Item
from mri3d.transforms.lesion import put_lesion
from mri3d.volumes.atomic import write_json

PAGE, NUMBERS, FIGURES = "inspect.html", "inspect.json", "figures"
SEED = 0


def inspect(
    volume: Path, bundle: Path, output: Path, abnormal: Path | None, device: str, overwrite: bool = False
) -> Inspection:
    """Write ``inspect.html``, ``inspect.json`` and ``figures``.

    Args:
        volume: what the network is shown, best a healthy brain.
        bundle: the bundle's folder.
        output: where the results go.
        abnormal: a volume to set beside it; None puts the demonstration's lesion into ``volume``.
        device: see :func:`mri3d.workflow.pick_device`.
        overwrite: replace an earlier inspection.

    Returns:
        What was found, with the pictures that were written.

    Raises:
        UsageError: no volume, an unknown device, or results that stand there already.
        BundleError: the bundle's parts do not belong together.
        Mri3dError: a volume is unfit.
    """
    folder = PageFolder(output, "inspect", NUMBERS, (PAGE, f"{FIGURES}/*.png"))
    folder.refuse_standing(overwrite)
    detector = Detector.load(bundle, device)
    if len(detector.modalities) > 1:
        expected, several = "a bundle of one modality", ",".join(detector.modalities)
        raise UsageError(bundle, expected, several, "Inspect another, or look at its maps with mri3d detect")
    torch.manual_seed(SEED)
    with tqdm(total=5, desc="inspect", unit="step") as bar:
        item = detector.preprocess(volume)
        bar.update()
        sides, given = _two_sides(detector, item, abnormal)
        bar.update()
        made = {
            "command": "inspect", "volume": str(volume), "abnormal": str(abnormal or "the volume with a lesion put in"),
            "bundle": detector.bundle, "device": str(detector.device), "seed": SEED, "versions": versions(),
        }  # fmt: skip
        with writable(output):
            folder.clear()
            write_json(output / NUMBERS, {"made": made})
            reconstruction = _draw_sides(sides, output / FIGURES)
            bar.update()
            parts = _look(detector, given, sides[0].detection.model.grid, output / FIGURES)
            bar.update()
            found = Inspection(
                bundle=detector.bundle["name"], volume=sides[0].detection.subject.name, made=made, parts=parts,
                scans=[_scan(side) for side in sides], origin=_origin(abnormal), reconstruction=reconstruction,
            )  # fmt: skip
            _write(found, output)
        bar.update()
    return found


def _two_sides(detector: Detector, item: Item, abnormal: Path | None) -> tuple[list[Side], list[Item]]:
    """The volume and the abnormal one, as scored and as given to the network."""
    first = detector.score(item)
    if abnormal is not None:
        other = detector.preprocess(abnormal)
        return [Side("given", first), Side("abnormal", detector.score(other))], [item, other]
    changed, lesion = put_lesion(item, first.model.grid)
    return [Side("given", first), Side("with a lesion", detector.score(changed), lesion)], [item, changed]


def _origin(abnormal: Path | None) -> str:
    if abnormal is not None:
        return f"Beside it stands {abnormal.name}."
    return (
        "The brain beside it is the same one with a lesion put in by computer: an ellipsoid in the white matter of "
        "the right frontal lobe, darkened by 75 % of the way to cerebrospinal fluid, which is easier to find than "
        "most real lesions."
    )


def _draw_sides(sides: Sequence[Side], folder: Path) -> Picture:
    path = folder / "reconstruction.png"
    draw_reconstructions(sides, _place(sides[-1]), path)
    words = (
        "From top to bottom: what the network is shown, what it gives back, the difference of the two, and the "
        "z-map that detection reports. In the reconstruction look for what is missing; in the residual, for how "
        "much of it is plain anatomy; in the z-map, for what is left once healthy residuals are taken into account."
    )
    return Picture(path, words, "Input, reconstruction, residual and z-map of both brains in three planes each")


def _place(side: Side) -> tuple[float, float, float]:
    """The middle of a known lesion, or where the map is highest."""
    model = side.detection.model
    if side.lesion is not None and side.lesion.any():
        index = np.argwhere(side.lesion).mean(axis=0)
    else:
        values = np.abs(model.image - model.reconstruction) * model.mask if model.zscore is None else model.zscore
        index = np.array(np.unravel_index(int(values.argmax()), values.shape), dtype=np.float64)
    x, y, z = model.grid.world(index)
    return float(x), float(y), float(z)


def _scan(side: Side) -> ScanFacts:
    detection, model = side.detection, side.detection.model
    inside = outside = None
    if side.lesion is not None and side.lesion.any() and model.zscore is not None:
        inside = float(model.zscore[side.lesion].mean())
        outside = float(model.zscore[model.mask & ~side.lesion].mean())
    score = detection.score
    known = fidelity(model.image, model.reconstruction, model.mask)
    return ScanFacts(side.name, score.value, score.decision, score.threshold, known, inside, outside)


def _look(detector: Detector, items: Sequence[Item], grid: Grid, folder: Path) -> list[Part]:
    """Every network of the detector, by the pictures of its levels."""
    windows = [_window(detector.given(item), grid, detector.root) for item in items]
    image = stacked(windows[0][:, :1].cpu().numpy())[0]
    # a window's place in the model grid is of no matter here: its pictures are of itself alone
    seen = Seen(image, Grid((image.shape[0], image.shape[1], image.shape[2]), grid.affine))
    parts = []
    for name, network in parts_of(detector.network).items():
        found, prefix = features(network, windows[0]), f"member{name}_" if name else ""
        title, kind = f"Member {name}" if name else "", type(network).__name__
        if not found.levels:
            parts.append(Part(title, kind, without_layers=_in_its_own_words(network)))
            continue
        levels = [*draw_levels(found, seen, folder, prefix)]
        latent = draw_latents(network, found, windows, seen, folder, prefix)
        variational = None
        if isinstance(network, VariationalAutoEncoder):
            variational = draw_variational(network, windows[0], seen, folder, prefix)
        parts.append(Part(title, kind, levels, latent, variational, slicewise=windows[0].dim() == 4))
    return parts


def _window(given: torch.Tensor, grid: Grid, bundle: Path) -> torch.Tensor:
    """All slices of a network of two dimensions; else the window that holds most of the brain.

    Raises:
        UsageError: windows that are parts of slices.
    """
    if given.dim() == 4:
        if (*given.shape[2:], given.shape[0]) != grid.shape:
            found = "windows of {} x {}".format(*given.shape[2:])
            raise UsageError(bundle, "a network that sees whole axial slices", found, "Build it with the whole window")
        return given
    best = int((given > 0).flatten(1).sum(1).argmax())
    return given[best : best + 1]


def _in_its_own_words(network: torch.nn.Module) -> str:
    """The first paragraph of a network's documentation."""
    words = type(network).__doc__ or ""
    return " ".join(words.strip().split("\n\n")[0].split())


def _write(found: Inspection, output: Path) -> None:
    numbers = {
        "made": dict(found.made),
        "scans": [asdict(scan) for scan in found.scans],
        "networks": [
            {
                "name": part.name,
                "network": part.network,
                "levels": [asdict(facts) for facts, _ in part.levels],
                "latent": None if part.latent is None else part.latent[0].as_dict(),
                "variational": None if part.variational is None else asdict(part.variational[0]),
            }
            for part in found.parts
        ],
        "pictures": {picture.path.relative_to(output).as_posix(): picture.alt for picture in found.pictures},
    }
    write_json(output / NUMBERS, numbers)
    write_inspection_page(output / PAGE, found)

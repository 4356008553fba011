"""Bundles: where they are, and whether their parts belong together."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri3d.errors import BundleError, UsageError
from mri3d.resources import bundles_dir

if TYPE_CHECKING:
    from mri3d.scoring.regions import Regions

DEFAULT_BUNDLE = "brain_t1"
DENOISING_BUNDLE = "brain_t1_denoise"
ANATOMY_BUNDLE = "brain_t1_cae"
"""The bundle that holds the mean and modes of healthy brains, from which the demonstration draws."""

SPLIT = Path("models", "split.json")
"""Who trained, validated, calibrates and tests."""

CONTROLS = Path("models", "controls.json")
"""Every control's score, where all were scored out of fold."""

INITIAL = Path("training", "initial.pt")
"""The weights a training starts from, while it lasts."""

FOLDS = Path("training", "folds.json")
"""How many folds a cross-fitting has, while it lasts."""

CALIBRATION = "calibration.json"
REGIONS = ("regions.json", "regions_dseg.nii.gz", "regions_dseg.tsv", "regions_dseg.pt")
"""Healthy people's regions, the atlas they are of, its names, and the network that knows the deep ones."""

STATISTICS = ("residual_mean.nii.gz", "residual_std.nii.gz", "residual_tail.json")


def shipped() -> tuple[str, ...]:
    """Names of the bundles that come with the package."""
    return tuple(sorted(path.parent.parent.name for path in bundles_dir().glob("*/configs/inference.yaml")))


def find_bundle(name: str | Path) -> Path:
    """The folder of a bundle: the name of a shipped one, or a path.

    A shipped name never means a folder that happens to lie in the working directory, since configs are code.

    Raises:
        BundleError: it is neither.
    """
    for root in (bundles_dir() / str(name), Path(name)):
        if (root / "configs" / "inference.yaml").is_file():
            return root.resolve()
    raise BundleError(
        name, "a bundle folder with configs/inference.yaml, or the name of a shipped bundle", "neither",
        f"Shipped are: {', '.join(shipped()) or 'none'}",
    )


def weights_of(bundle: Path) -> Path:
    """A bundle's weights.

    Raises:
        BundleError: it has none.
    """
    weights = bundle / "models" / "model.pt"
    if not weights.is_file():
        raise BundleError(weights, "the weights of a trained bundle", "none", "Train it first: mri3d train")
    return weights


def running_root() -> str:
    """The root of the bundle whose config is being run, so that a bundle runs from any working directory.

    MONAI tells a config nothing of its own place; the workflow that evaluates it does. Outside of one, the config named
    on the command line, and at last the working directory are taken.
    """
    frame = sys._getframe(1)
    while frame is not None:
        # not getattr: a config parser takes every attribute for a key of the config
        folder = getattr(frame.f_locals.get("self"), "__dict__", {}).get("config_root_path")
        if folder is not None:
            return str(Path(folder).resolve().parent)
        frame = frame.f_back  # type: ignore[assignment]
    words = [word for argument in sys.argv for word in argument.split("=", 1)]
    for flag, value in itertools.pairwise(words):
        if flag.lstrip("-") == "config_file":
            return str(Path(value).resolve().parent.parent)
    return str(Path.cwd())


def hashes(
    root: Path | str, weights: Path | str, preprocessing: Any, scorer: Any, network: Any
) -> dict[str, str]:
    """SHA-256 of what a calibration depends on, by name.

    Args:
        root: the bundle, whose ``statistics`` are hashed.
        weights: the file of the ``weights``.
        preprocessing: the chain; its stages and their parameters are ``settings``.
        scorer: how residuals become scores; part of ``settings``.
        network: the module; its architecture is part of ``settings``.
    """
    models = Path(root) / "models"
    settings = json.dumps([preprocessing.settings(), vars(scorer), repr(network)], sort_keys=True)
    return {
        "weights": _sha256(Path(weights)),
        "statistics": _sha256(*(models / name for name in STATISTICS)),
        "settings": hashlib.sha256(settings.encode()).hexdigest(),
    }


def load_normative(root: Path | str) -> Any:
    """The bundle's statistics of healthy residuals; None where it has none."""
    from mri3d.scoring.normative import Normative

    models = Path(root) / "models"
    return Normative.load(models) if any((models / name).exists() for name in STATISTICS) else None


def load_calibration(
    root: Path | str, weights: Path | str, preprocessing: Any, scorer: Any, network: Any
) -> Any:
    """The bundle's calibration, once it is proved to belong to its other parts; None where it has none.

    The arguments are those of :func:`hashes`.

    Raises:
        BundleError: weights, statistics or settings are not those it was made with.
    """
    from mri3d.scoring.calibration import Calibration

    path = Path(root) / "models" / CALIBRATION
    calibration = Calibration.load(path)
    if calibration is None:
        return None
    found = hashes(root, weights, preprocessing, scorer, network)
    changed = [part for part, digest in found.items() if calibration.sha256.get(part) != digest]
    if changed:
        raise BundleError(
            path, "a calibration made with this bundle's weights, statistics and settings",
            f"one made with other {' and '.join(changed)}", "Restore the bundle, or train and calibrate it anew",
        )
    return calibration


def load_regions(
    root: Path | str, atlas: Path | str | None, preprocessing: Any, covariates: Sequence[str] = ()
) -> Regions | None:
    """What the bundle knows of regions; None where it has none.

    Args:
        root: the bundle.
        atlas: a label map to be taken in place of the bundle's own, of which it may know no healthy people.
        preprocessing: the chain.
        covariates: what is to be taken into account.

    Raises:
        UsageError: a label map that was given is unfit, or there is nothing that covariates would change.
        BundleError: the bundle's own atlas, network or settings are not those its statistics were made with.
    """
    from mri3d.scoring.region_size import RegionMeasure
    from mri3d.scoring.region_statistics import RegionStatistics, region_hashes
    from mri3d.scoring.regions import Regions

    models = Path(root) / "models"
    path = models / REGIONS[0]
    statistics = RegionStatistics.load(path)
    if atlas is None and statistics is None:
        if covariates:
            expected, remedy = "a bundle that knows healthy people's regions", "Leave them out, or take such a bundle"
            raise UsageError("--covariates", expected, f"{Path(root).name}, which does not", remedy)
        return None
    measure = RegionMeasure.load(models / REGIONS[1] if atlas is None else Path(atlas))
    if statistics is None:
        return Regions(measure, None)
    found = region_hashes(measure, preprocessing)
    changed = [part for part, digest in found.items() if statistics.sha256.get(part) != digest]
    if atlas is not None and ("atlas" in changed or "network" in changed):
        return Regions(measure, None)
    if changed:
        raise BundleError(
            path, "regions measured with this bundle's atlas, network and settings",
            f"others ({' and '.join(changed)}), as an older mri3d may have made",
            "Restore the bundle, or calibrate it anew",
        )
    return Regions(measure, statistics)


def describe(root: Path | str) -> dict[str, str]:
    """Name, version and hash of a bundle, for provenance; the hash covers configs and models."""
    root = Path(root)
    path = root / "configs" / "metadata.json"
    try:
        version = str(json.loads(path.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(path, "the bundle's metadata with its version", f"{error!r}", "Restore the bundle") from error
    files = [*sorted((root / "configs").glob("*.yaml")), root / "models" / "model.pt"]
    files += [root / "models" / name for name in (*STATISTICS, CALIBRATION, *REGIONS)]
    present = [path for path in files if path.exists()]
    return {"name": root.name, "version": version, "sha256": _sha256(*present)}


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes() if path.exists() else b"missing")
    return digest.hexdigest()

"""Bundles: where they are, whether their parts belong together, and how they are built from recipes."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mri3d import __version__
from mri3d.errors import BundleError, UsageError
from mri3d.resources import bundles_dir, configs_dir
from mri3d.volumes.atomic import write_json, write_text

DEFAULT_BUNDLE = "brain_t1_cae"
CALIBRATION = "calibration.json"
RECIPE = "recipe.json"
"""What a bundle's configs were built from: the recipe's name and the overrides."""
STATISTICS = ("residual_mean.nii.gz", "residual_std.nii.gz")
COMMON = "common"
LAYERS = {"train": ("train",), "inference": ("inference",), "evaluate": ("inference", "evaluate")}
"""What each workflow's config is merged from, on top of ``common`` and the recipe; later parts win."""


def shipped() -> tuple[str, ...]:
    """Names of the bundles that come with the package."""
    return tuple(sorted(path.parent.parent.name for path in bundles_dir().glob("*/configs/inference.yaml")))


def recipes() -> tuple[str, ...]:
    """Names of the recipes that ``train`` takes."""
    return tuple(sorted(path.stem for path in configs_dir().glob("*.yaml") if path.stem not in (COMMON, *LAYERS)))


def find_bundle(name: str | Path) -> Path:
    """The folder of a bundle: a path, or the name of a shipped one.

    Raises:
        BundleError: it is neither.
    """
    for root in (Path(name), bundles_dir() / str(name)):
        if (root / "configs" / "inference.yaml").is_file():
            return root.resolve()
    raise BundleError(
        name, "a bundle folder with configs/inference.yaml, or the name of a shipped bundle", "neither",
        f"Shipped are: {', '.join(shipped()) or 'none'}",
    )


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
    for flag, value in zip(sys.argv, sys.argv[1:], strict=False):
        if flag.lstrip("-") == "config_file":
            return str(Path(value).resolve().parent.parent)
    return str(Path.cwd())


def hashes(root: Path | str, preprocessing: Any, scorer: Any) -> dict[str, str]:
    """SHA-256 of what a calibration depends on: ``weights``, ``statistics`` and ``settings``."""
    models = Path(root) / "models"
    settings = json.dumps([preprocessing.settings(), vars(scorer)], sort_keys=True)
    return {
        "weights": _sha256(models / "model.pt"),
        "statistics": _sha256(*(models / name for name in STATISTICS)),
        "settings": hashlib.sha256(settings.encode()).hexdigest(),
    }


def load_normative(root: Path | str) -> Any:
    """The bundle's statistics of healthy residuals; None where it has none."""
    from mri3d.scoring.normative import Normative

    models = Path(root) / "models"
    return Normative.load(models) if any((models / name).exists() for name in STATISTICS) else None


def load_calibration(root: Path | str, preprocessing: Any, scorer: Any) -> Any:
    """The bundle's calibration, once it is proved to belong to its other parts; None where it has none.

    Raises:
        BundleError: weights, statistics or settings are not those it was made with.
    """
    from mri3d.scoring.calibration import Calibration

    path = Path(root) / "models" / CALIBRATION
    calibration = Calibration.load(path)
    if calibration is None:
        return None
    found = hashes(root, preprocessing, scorer)
    changed = [part for part, digest in found.items() if calibration.sha256.get(part) != digest]
    if changed:
        raise BundleError(
            path, "a calibration made with this bundle's weights, statistics and settings",
            f"one made with other {' and '.join(changed)}", "Restore the bundle, or train and calibrate it anew",
        )
    return calibration


def describe(root: Path | str) -> dict[str, str]:
    """Name, version and hash of a bundle, for provenance; the hash covers configs and models."""
    root = Path(root)
    path = root / "configs" / "metadata.json"
    try:
        version = str(json.loads(path.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(path, "the bundle's metadata with its version", f"{error!r}", "Restore the bundle") from error
    files = [*sorted((root / "configs").glob("*.yaml")), root / "models" / "model.pt"]
    files += [root / "models" / name for name in (*STATISTICS, CALIBRATION)]
    present = [path for path in files if path.exists()]
    return {"name": root.name, "version": version, "sha256": _sha256(*present)}


def build(recipe: str | Path, root: Path, overrides: Mapping[str, Any] | None = None) -> None:
    """Write a bundle's configs, metadata and documents from a recipe; weights and documents already there stay.

    Args:
        recipe: the name of a shipped recipe, or a YAML file.
        root: the bundle's folder.
        overrides: config keys, with ``#`` between levels, to new values.

    Raises:
        UsageError: no such recipe, or a key that it does not have.
    """
    parts = [_read(COMMON), _read_recipe(recipe)]
    configs = {}
    unknown = set(overrides or {})
    for workflow in LAYERS:
        config = _merged([*parts, *(_read(name) for name in LAYERS[workflow])])
        if workflow != "train":
            config.pop("training", None)
        for key, value in (overrides or {}).items():
            if replace_key(config, key, value):
                unknown.discard(key)
        configs[workflow] = config
    if unknown:
        raise UsageError(f"--set {sorted(unknown)[0]}", "a key of the recipe", "none", f"Keys are: {_keys(configs)}")
    for workflow, config in configs.items():
        write_text(root / "configs" / f"{workflow}.yaml", _dump(config))
    write_json(root / "configs" / "metadata.json", _metadata(root, configs["inference"]))
    # a file's name alone: its folder is of no use elsewhere
    name = str(recipe) if str(recipe) in recipes() else Path(recipe).name
    write_json(root / "configs" / RECIPE, {"recipe": name, "overrides": dict(overrides or {})})
    assets = configs_dir() / "bundle"
    for source, target in (
        ("logging.conf", "configs/logging.conf"), ("LICENSE", "LICENSE"), ("README.md", "docs/README.md"),
    ):
        if not (root / target).exists():
            write_text(root / target, (assets / source).read_text(encoding="utf-8").replace("{name}", root.name))


def replace_key(config: dict[str, Any], key: str, value: Any) -> bool:
    """Set a nested key that exists; False where it does not."""
    *path, last = key.replace("::", "#").replace(".", "#").split("#")
    node: Any = config
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        return False
    node[last] = value
    return True


def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((configs_dir() / f"{name}.yaml").read_text(encoding="utf-8")))


def _read_recipe(recipe: str | Path) -> dict[str, Any]:
    if str(recipe) in recipes():
        return _read(str(recipe))
    path, known = Path(recipe), f"one of {', '.join(recipes())}, or a YAML file"
    if not path.is_file() or path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--recipe {recipe}", known, "neither", "Mend the name")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--recipe {recipe}", "a YAML file", reason, "Mend the file") from error
    if not isinstance(content, dict) or not {"network_def", "training"} <= set(content):
        raise UsageError(f"--recipe {recipe}", "a recipe with network_def and training", "another", "Mend the file")
    return content


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Later parts win; imports add up."""
    merged: dict[str, Any] = {}
    for part in parts:
        merged.update({key: value for key, value in part.items() if key != "imports"})
    imports = [line for part in parts for line in part.get("imports", [])]
    return {"imports": imports, **merged}


def _dump(config: dict[str, Any]) -> str:
    header = "# Built from mri3d's recipes by `mri3d bundle build`; self-contained."
    return f"{header}\n{yaml.safe_dump(config, sort_keys=False, width=120, allow_unicode=True)}"


def _metadata(root: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Base metadata with what follows from the recipe filled in; a version history already there is kept."""
    base: dict[str, Any] = json.loads((configs_dir() / "bundle" / "metadata.json").read_text(encoding="utf-8"))
    own = root / "configs" / "metadata.json"
    if own.exists():
        kept = json.loads(own.read_text(encoding="utf-8"))
        base.update({key: kept[key] for key in ("version", "changelog", "name", "description") if key in kept})
    base["required_packages_version"] = {**base["required_packages_version"], "mri3d": __version__}
    modalities, shape = config["modalities"], config["grid"]["shape"]
    for side, entry in (("inputs", "image"), ("outputs", "pred")):
        data = base["network_data_format"][side][entry]
        data.update(num_channels=len(modalities), spatial_shape=list(shape))
        data["channel_def"] = {str(i): name for i, name in enumerate(modalities)}
    return base


def _keys(configs: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(sorted({key for config in configs.values() for key in config if key not in ("imports", "run")}))


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes() if path.exists() else b"missing")
    return digest.hexdigest()

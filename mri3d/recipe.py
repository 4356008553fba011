"""Recipes: what a detector is made from, and the bundle configs that are built from them."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from mri3d import __version__
from mri3d.errors import BundleError, UsageError
from mri3d.resources import configs_dir
from mri3d.volumes.atomic import write_json, write_text

DEFAULT_RECIPE = "restore"
"""What is trained where nothing else is asked for: the recipe of the default bundle."""

LAYERS = {
    "train": ("common", "prepare", "train"),
    "inference": ("common", "inference"),
    "evaluate": ("common", "inference", "evaluate"),
}
"""The parts in ``configs/workflow`` that each workflow's config is merged from, under the recipe; later ones win."""

FIT = {"train": "fit"}
"""What takes a part's place where the recipe names no epochs: there is nothing to learn by gradients."""

LEARNING = ("epochs", "batch_size", "learning_rate", "patience")
"""What a recipe's ``training`` names where there is something to learn by gradients."""

PREPARATION = ("modalities", "grid", "bias_correction", "preprocessing")
"""The keys that decide what comes onto the model grid."""

SEARCH = "search"
"""A recipe's section for `mri3d tune`; it is no part of the configs."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where PyYAML has been built with libyaml."""

RECORD = "recipe.json"
"""What a bundle's configs were built from: the recipe's name and the overrides."""


def recipes() -> tuple[str, ...]:
    """Names of the recipes that ``train`` takes."""
    return tuple(sorted(path.stem for path in configs_dir().glob("*.yaml")))


def build(recipe: str | Path, root: Path, overrides: Mapping[str, Any] | None = None) -> None:
    """Write a bundle's configs, metadata and documents from a recipe; weights and documents already there stay.

    Args:
        recipe: the name of a shipped recipe, or a YAML file.
        root: the bundle's folder.
        overrides: config keys, with ``.``, ``#`` or ``::`` between levels, to new values.

    Raises:
        UsageError: no such recipe, or a key that it does not have; nothing is written then.
    """
    record = {"recipe": name_of(recipe), "overrides": dict(overrides or {})}
    _write(root, merge(recipe, overrides or {}), record)


def name_of(recipe: str | Path) -> str:
    """What a recipe goes by in a bundle's record; of a file its name, since its folder is of no use elsewhere."""
    return str(recipe) if str(recipe) in recipes() else Path(recipe).name


def copy(bundle: Path, root: Path, overrides: Mapping[str, Any]) -> None:
    """Write the configs of another bundle, with overrides, as a new one; documents are begun anew.

    Raises:
        UsageError: a key that the configs do not have; nothing is written then.
        BundleError: a config is missing or damaged.
    """
    made, configs = record_of(bundle), {name: config_of(bundle, name) for name in LAYERS}
    record = {"recipe": made["recipe"], "overrides": {**made["overrides"], **overrides}}
    _override(configs, overrides)
    _write(root, configs, record)
    for licence in ("LICENSE", "docs/data_license.txt"):
        if (bundle / licence).exists():
            write_text(root / licence, (bundle / licence).read_text(encoding="utf-8"))


def modalities_of(bundle: Path) -> list[str]:
    """The modalities of a bundle."""
    return list(config_of(bundle)["modalities"])


def config_of(bundle: Path, workflow: str = "inference") -> dict[str, Any]:
    """The config of one of a bundle's workflows, as it is written.

    Raises:
        BundleError: it is missing or damaged.
    """
    path = bundle / "configs" / f"{workflow}.yaml"
    try:
        return dict(parsed(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise BundleError(path, "the config of a bundle", f"{error!r}", "Restore the bundle") from error


def network_of(bundle: Path) -> dict[str, Any]:
    """The ``network_def`` of a bundle."""
    return dict(config_of(bundle)["network_def"])


def record_of(bundle: Path) -> dict[str, Any]:
    """What a bundle was built from: ``recipe``, its name, and ``overrides``, what was set otherwise.

    Raises:
        BundleError: the record is missing or damaged.
    """
    path = bundle / "configs" / RECORD
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
        return {"recipe": str(made["recipe"]), "overrides": dict(made["overrides"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(path, "the record of a bundle's recipe", f"{error!r}", "Restore the bundle") from error


def recorded(bundle: Path) -> tuple[str, dict[str, Any]]:
    """The recipe that a bundle was built from, and what was set otherwise in it but for its training.

    Raises:
        BundleError: its record is missing, or names no shipped recipe.
    """
    made = record_of(bundle)
    if made["recipe"] not in recipes():
        raise BundleError(
            bundle / "configs" / RECORD, f"one of {', '.join(recipes())}", made["recipe"],
            "Give its file with --recipe",
        )  # fmt: skip
    own = ("seed", "modalities", "cache_dir")
    kept = {key: v for key, v in made["overrides"].items() if key not in own and not key.startswith("training")}
    return made["recipe"], kept


def refuse_other_preparation(bundle: Path, config: Mapping[str, Any]) -> None:
    """Hold a bundle whose weights are to be used to the way onto the model grid that ``config`` describes.

    Raises:
        UsageError: it has another grid, other modalities or other preprocessing.
        BundleError: its config is missing or damaged.
    """
    own = config_of(bundle)
    for key in PREPARATION:
        if own.get(key) != config[key]:
            remedy = "Set it alike, or choose another bundle"
            raise UsageError(bundle, f"a bundle with the {key} {config[key]}", str(own.get(key)), remedy)


def _write(root: Path, configs: Mapping[str, dict[str, Any]], record: Mapping[str, Any]) -> None:
    for workflow, config in configs.items():
        write_text(root / "configs" / f"{workflow}.yaml", _dump(config))
    write_json(root / "configs" / "metadata.json", _metadata(root, configs["inference"]))
    write_json(root / "configs" / RECORD, dict(record))
    assets = configs_dir() / "bundle"
    for source, target in (
        ("logging.conf", "configs/logging.conf"), ("LICENSE", "LICENSE"), ("README.md", "docs/README.md"),
    ):
        if not (root / target).exists():
            write_text(root / target, (assets / source).read_text(encoding="utf-8").replace("{name}", root.name))


def merge(recipe: str | Path, overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The configs of a recipe by workflow, overrides applied to each that has the key.

    Raises:
        UsageError: no such recipe, or a key that none of its configs has.
    """
    own = _read_recipe(recipe)
    own.pop(SEARCH, None)
    other = {} if "epochs" in own["training"] else FIT
    layers = {
        workflow: [_read(f"workflow/{other.get(part, part)}") for part in parts] for workflow, parts in LAYERS.items()
    }
    _check_keys(recipe, own, chain.from_iterable(layers.values()))
    configs = {workflow: _merged([*parts, own]) for workflow, parts in layers.items()}
    for workflow, config in configs.items():
        if workflow != "train":
            config.pop("training", None)
    _override(configs, overrides)
    return configs


def search_of(recipe: str | Path) -> Any:
    """The ``search`` section of a recipe as it is written; None where it has none.

    Raises:
        UsageError: no such recipe.
    """
    return _read_recipe(recipe).get(SEARCH)


def with_settings(recipe: str | Path, overrides: Mapping[str, Any]) -> str:
    """A recipe of its own in YAML, equal to ``recipe`` with overrides; without comments and ``search``.

    Raises:
        UsageError: no such recipe, or a key that it does not have.
    """
    own, merged = _read_recipe(recipe), merge(recipe, overrides)["train"]
    own.pop(SEARCH, None)
    for key in overrides:
        # a recipe wins over the shared parts key by key down to the second level, and whole below that
        top, *below = _names(key)
        if not below:
            own[top] = merged[top]
        else:
            own[top] = {**own.get(top, {}), below[0]: merged[top][below[0]]}
    return yaml.safe_dump(own, sort_keys=False, width=120, allow_unicode=True)


def _check_keys(recipe: str | Path, own: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> None:
    """Refuse keys of a recipe that nothing would read, and a training by gradients that lacks one of its own."""
    known, training = {"network_def", "imports"}, set(LEARNING)
    for part in parts:
        known |= set(part)
        training |= set(part.get("training", {}))
    unknown = sorted({*own} - known) + [f"training.{key}" for key in sorted({*own["training"]} - training)]
    if unknown:
        raise UsageError(f"--recipe {recipe}", "keys of the configuration alone", unknown[0], "Mend its name")
    missing = [key for key in LEARNING if "epochs" in own["training"] and key not in own["training"]]
    if missing:
        raise UsageError(f"--recipe {recipe}", f"training.{missing[0]}", "none", "Add it to the recipe")


def _override(configs: Mapping[str, dict[str, Any]], overrides: Mapping[str, Any]) -> None:
    for key, value in overrides.items():
        replaced = {workflow for workflow, config in configs.items() if replace_key(config, key, value)}
        if not replaced:
            raise unknown_key(key, configs.values())


def replace_key(config: dict[str, Any], key: str, value: Any) -> bool:
    """Set a nested key that exists, of a mapping the keys that are given; False where it does not.

    In a list a key is a number from 0 on.
    """
    *path, last = _names(key)
    node: Any = config
    for name in path:
        node = _step(node, name)
    if _step(node, last) is MISSING:
        return False
    node[int(last) if isinstance(node, list) else last] = over(_step(node, last), value)
    return True


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """What stands at a nested key; None where there is none."""
    node: Any = config
    for name in _names(key):
        node = _step(node, name)
    return None if node is MISSING else node


MISSING = object()


def _names(key: str) -> list[str]:
    return re.split(r"::|[#.]", key)


def _step(node: Any, name: str) -> Any:
    """What stands in a mapping or list under a name or number; ``MISSING`` where nothing does."""
    if isinstance(node, Mapping):
        return node.get(name, MISSING)
    if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
        return node[int(name)]
    return MISSING


def over(old: Any, new: Any) -> Any:
    """A new value set over an old one: whole, or key by key if it is a mapping that names no target of its own."""
    if isinstance(old, Mapping) and isinstance(new, Mapping) and "_target_" not in new:
        return {**old, **new}
    return new


def unknown_key(key: str, configs: Iterable[Mapping[str, Any]]) -> UsageError:
    """The error for a key that no config has, with those that look like it."""
    known = sorted({name for config in configs for name in _dotted(config)})
    close = difflib.get_close_matches(key, known, n=3)
    remedy = f"Close to it: {', '.join(close)}" if close else "The bundle's configs show what can be set"
    return UsageError(f"--set {key}", "a key of the configuration", "none of that name", remedy)


def parsed(text: str) -> Any:
    """What a YAML file holds.

    Raises:
        yaml.YAMLError: it is none.
    """
    return yaml.load(text, LOADER)


def literal(path: Path | str) -> str:
    """A path as a config value: absolute, so that MONAI takes no leading ``$``, ``@`` or ``%`` for its own syntax."""
    return os.path.abspath(path)


def _dotted(config: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in config.items():
        if key not in ("imports", "_meta_") and not str(key).startswith("_"):
            yield prefix + key
            if isinstance(value, Mapping):
                yield from _dotted(value, f"{prefix}{key}.")


def _read(name: str) -> dict[str, Any]:
    return dict(parsed((configs_dir() / f"{name}.yaml").read_text(encoding="utf-8")))


def _read_recipe(recipe: str | Path) -> dict[str, Any]:
    if str(recipe) in recipes():
        return _read(str(recipe))
    path, known = Path(recipe), f"one of {', '.join(recipes())}, or a YAML file"
    if not path.is_file() or path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--recipe {recipe}", known, "neither", "Mend the name")
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--recipe {recipe}", "a YAML file", reason, "Mend the file") from error
    parts = ("network_def", "training")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in parts):
        raise UsageError(f"--recipe {recipe}", "a recipe with network_def and training", "another", "Mend the file")
    return content


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Later parts win, within mappings key by key; imports add up."""
    merged: dict[str, Any] = {"imports": [line for part in parts for line in part.get("imports", [])]}
    for part in parts:
        for key, value in part.items():
            if key != "imports":
                merged[key] = over(merged.get(key), value)
    return merged


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
    modalities = config["modalities"]
    # a network of two dimensions sees axial slices, along the first two axes
    shape = config["grid"]["shape"][: config["network_def"].get("spatial_dims", 3)]
    for side, entry in (("inputs", "image"), ("outputs", "pred")):
        data = base["network_data_format"][side][entry]
        data.update(num_channels=len(modalities), spatial_shape=list(shape))
        data["channel_def"] = {str(i): name for i, name in enumerate(modalities)}
    return base

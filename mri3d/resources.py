"""Where the recipes, the shipped bundles and the viewer lie, installed or in a checkout."""

from __future__ import annotations

from pathlib import Path


def configs_dir() -> Path:
    """The folder of the recipes."""
    return _folder("configs")


def bundles_dir() -> Path:
    """The folder of the shipped bundles."""
    return _folder("bundles")


def atlas_path() -> Path:
    """The atlas of regions that a bundle gets where its recipe names no other."""
    return _folder("configs") / "atlas" / "regions_dseg.nii.gz"


def viewer_dir() -> Path:
    """The folder of the viewer's scripts."""
    return Path(__file__).resolve().parent / "viewer"


def _folder(name: str) -> Path:
    # A wheel carries the folder inside the package; a checkout, installed editably or not at all, has it beside.
    package = Path(__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name

"""Imports in mri3d point downward only. ``ARCHITECTURE.md`` tells what each layer is; ``LAYERS`` is what holds."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mri3d"

LAYERS = {
    "errors": 0,
    "grid": 0,
    "interrupts": 0,
    "resources": 0,
    "extras": 1,
    "volumes": 1,
    "models": 1,
    "evaluation": 1,
    "transforms": 2,
    "synthesis": 3,
    "checking": 3,
    "training": 3,
    "scoring": 3,
    "reporting": 4,
    "recipe": 5,
    "bundle": 5,
    "workflow": 6,
    "detector": 7,
    "search": 7,
    "serving": 8,
    "commands": 9,
    "cli": 10,
}

# Each takes seconds to load, or loads one that does.
HEAVY = {"torch", "monai", "ignite", "deepbet"}
WITHOUT_HEAVY = {"errors", "extras", "grid", "interrupts", "resources", "evaluation", "volumes", "cli"}

Sources = Mapping[str, str]  # a module's dotted name to its text


@dataclass(frozen=True)
class Import:
    """One name that a module imports.

    Args:
        target: the dotted name.
        line: where.
        at_load: whether it happens when the module is loaded: neither in a function nor for type checkers only.
    """

    target: str
    line: int
    at_load: bool

    @property
    def root(self) -> str:
        return self.target.partition(".")[0]

    @property
    def place(self) -> str | None:
        """The place in mri3d it belongs to, None for other packages and for ``mri3d.__version__``."""
        if self.root != "mri3d" or self.target == "mri3d.__version__":
            return None
        # The package itself hands out Detector, so that whoever imports the package has the detector.
        return "detector" if self.target in ("mri3d", "mri3d.Detector") else self.target.split(".")[1]


def read_package() -> dict[str, str]:
    return {_module_name(path): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def _module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def place_of(module: str) -> str:
    """The first name below mri3d; the package's own ``__init__`` has none."""
    return module.partition(".")[2].partition(".")[0]


def imports(text: str) -> list[Import]:
    return list(_imports(ast.parse(text), at_load=True))


def _imports(node: ast.AST, at_load: bool) -> Iterator[Import]:
    match node:
        case ast.Import(names=names):
            yield from (Import(alias.name, node.lineno, at_load) for alias in names)
        case ast.ImportFrom(level=0, module=str(module), names=names):
            # `from mri3d import volumes` names a module, `from mri3d.grid import Grid` a member: the place is the same.
            yield from (Import(f"{module}.{alias.name}", node.lineno, at_load) for alias in names)
        case ast.ImportFrom():
            # Refused rather than resolved: every import in mri3d says where it leads.
            yield Import("mri3d.a relative import", node.lineno, at_load)
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            yield from _all_imports(node.body, False)
            yield from _all_imports(node.orelse, at_load)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            yield from _all_imports(ast.iter_child_nodes(node), False)
        case _:
            yield from _all_imports(ast.iter_child_nodes(node), at_load)


def _all_imports(nodes: Iterable[ast.AST], at_load: bool) -> Iterator[Import]:
    for node in nodes:
        yield from _imports(node, at_load)


def homeless(sources: Sources) -> list[str]:
    return [module for module in sources if module != "mri3d" and place_of(module) not in LAYERS]


def upward(sources: Sources) -> list[str]:
    """Every import that does not point downward. ``mri3d/__init__`` is free: it hands out what lies above it."""
    return [
        f"{module}:{found.line} imports {found.target}"
        for module, text in sources.items()
        if module != "mri3d"
        for found in imports(text)
        if found.place is not None and not _allowed(place_of(module), found.place)
    ]


def _allowed(importer: str, imported: str) -> bool:
    if importer == imported:
        return True
    return imported in LAYERS and LAYERS[imported] < LAYERS.get(importer, 0)


def heavy(sources: Sources) -> list[str]:
    """Slow libraries that load with a module which ``mri3d --help``, or arrays alone, must not wait for."""
    return [
        f"{module}:{found.line} imports {found.target}"
        for module, text in sources.items()
        if place_of(module) in WITHOUT_HEAVY | {""}
        for found in imports(text)
        if found.at_load and found.root in HEAVY
    ]


def slow_start(sources: Sources) -> list[str]:
    """What loads with the command line, or with ``import mri3d``, and is more than words."""
    light = {f"mri3d.{place}" for place, layer in LAYERS.items() if layer == 0} | {"mri3d.__version__"}
    return [
        f"{module}:{found.line} imports {found.target}"
        for module, text in sources.items()
        if place_of(module) in ("cli", "")
        for found in imports(text)
        if found.at_load
        and found.root not in sys.stdlib_module_names | ({"click"} if place_of(module) == "cli" else set())
        and not (place_of(module) == "cli" and ".".join(found.target.split(".")[:2]) in light)
    ]


def test_every_module_belongs_to_a_layer() -> None:
    assert homeless(read_package()) == []


def test_imports_point_downward() -> None:
    assert upward(read_package()) == []


def test_light_modules_load_without_the_slow_libraries() -> None:
    assert heavy(read_package()) == []


def test_the_command_line_loads_nothing_slow() -> None:
    assert slow_start(read_package()) == []


def test_the_package_is_read_whole() -> None:
    sources = read_package()
    assert {"mri3d", "mri3d.grid", "mri3d.volumes", "mri3d.volumes.nifti"} <= set(sources)
    assert sum(found.place is not None for text in sources.values() for found in imports(text)) > 50


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("mri3d.volumes.nifti", "from mri3d.transforms.case import Case"),
        ("mri3d.volumes.nifti", "from mri3d.models import autoencoder"),
        ("mri3d.volumes", "from mri3d import scoring"),
        ("mri3d.grid", "import mri3d.errors"),
        ("mri3d.scoring.steps", "import mri3d"),
        ("mri3d.scoring.steps", "from mri3d import Detector"),
        ("mri3d.scoring.steps", "from mri3d.training.split import Split"),
        ("mri3d.scoring.steps", "from . import residual"),
        ("mri3d.scoring.steps", "def f():\n    from mri3d.bundle import build"),
        ("mri3d.scoring.steps", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mri3d.detector"),
        ("mri3d.scoring.steps", "try:\n    import mri3d.cli\nexcept ImportError:\n    pass"),
        ("mri3d.bundle", "from mri3d.workflow import merge"),
        ("mri3d.detector", "from mri3d.nowhere import anything"),
    ],
)
def test_an_upward_import_is_caught(module: str, line: str) -> None:
    assert upward({module: line}) != []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("mri3d.volumes.nifti", "from mri3d.volumes.atomic import atomic_write"),
        ("mri3d.volumes.nifti", "from mri3d.grid import Grid"),
        ("mri3d.volumes.nifti", "from mri3d import __version__, errors"),
        ("mri3d.workflow", "from mri3d.recipe import build"),
        ("mri3d.cli", "def f():\n    from mri3d import Detector"),
        ("mri3d", "def f():\n    from mri3d.detector import Detector"),
        ("mri3d.evaluation.voxels", "import torch.nn"),
    ],
)
def test_a_downward_import_is_not(module: str, line: str) -> None:
    assert upward({module: line}) == []


def test_a_module_without_a_layer_is_caught() -> None:
    assert homeless({"mri3d": "", "mri3d.grid": "", "mri3d.utils.misc": ""}) == ["mri3d.utils.misc"]


def test_a_slow_library_is_caught_where_it_loads_with_the_module() -> None:
    for line in ("import torch.nn as nn", "class A:\n    from monai.data import Dataset", "if 1:\n    import ignite"):
        assert heavy({"mri3d.volumes.brain": line}) != []
        assert heavy({"mri3d.models.weights": line}) == []
    for line in ("def f():\n    import torch", "if TYPE_CHECKING:\n    import torch"):
        assert heavy({"mri3d.volumes.brain": line}) == []


@pytest.mark.parametrize(
    ("line", "slow"),
    [
        ("import json", False),
        ("import click", False),
        ("from mri3d import __version__", False),
        ("from mri3d.errors import UsageError", False),
        ("def f():\n    import numpy", False),
        ("import numpy", True),
        ("from mri3d import Detector", True),
        ("from mri3d.volumes.naming import ImageName", True),
    ],
)
def test_a_slow_command_line_is_caught(line: str, slow: bool) -> None:
    assert (slow_start({"mri3d.cli": line}) != []) == slow

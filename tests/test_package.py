"""What a user gets: the public names, a quick import, the recipes and bundles, and every package in the wheel."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import pytest

import mri3d
from mri3d.resources import bundles_dir, configs_dir

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_public_names() -> None:
    assert mri3d.__all__ == ["Detector", "__version__"]
    assert all(hasattr(mri3d, name) for name in mri3d.__all__)
    with pytest.raises(AttributeError, match="Detektor"):
        mri3d.Detektor  # noqa: B018


def test_import_is_quick() -> None:
    slow = "{'torch', 'monai', 'numpy', 'matplotlib'}"
    code = f"import mri3d, sys; found = {slow} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_version_is_told_once_and_the_same_everywhere() -> None:
    version = re.escape(mri3d.__version__)
    assert re.search(rf"^version: {version}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert re.search(rf"\b{version}\b", (ROOT / "CHANGELOG.md").read_text())


def test_recipes_and_bundles_are_found() -> None:
    assert (configs_dir() / "cae.yaml").is_file()
    assert bundles_dir().is_dir()


def test_a_wheel_has_them_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mri3d"
    (package / "configs").mkdir(parents=True)
    (tmp_path / "configs").mkdir()  # some other package's
    monkeypatch.setattr("mri3d.resources.__file__", str(package / "resources.py"))
    assert configs_dir() == package / "configs"


def test_every_folder_of_code_is_packaged(setup_cfg: configparser.ConfigParser) -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "mri3d").rglob("*.py")}
    expected = {".".join(folder.parts) for folder in folders} | {"mri3d.configs", "mri3d.bundles"}
    assert set(setup_cfg["options"]["packages"].split()) == expected


def test_constraints_pin_every_direct_dependency(setup_cfg: configparser.ConfigParser) -> None:
    extras = setup_cfg["options.extras_require"]
    wanted = (setup_cfg["options"]["install_requires"] + "".join(extras.values())).split()
    names = {_normalised(re.split(r"[>=\[]", line)[0]) for line in wanted} - {"mri3d"}
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert names - {_normalised(pin.split("==")[0]) for pin in pins} == set()


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_installed_package_has_its_command_and_data() -> None:
    try:
        distribution = metadata.distribution("mri3d")
    except metadata.PackageNotFoundError:
        pytest.skip("mri3d is run from a checkout without being installed")
    assert distribution.version == mri3d.__version__
    scripts = distribution.entry_points.select(group="console_scripts")
    assert [(script.name, script.value) for script in scripts] == [("mri3d", "mri3d.cli:main")]
    assert files("mri3d.configs").joinpath("cae.yaml").is_file()
    assert files("mri3d.bundles").is_dir()


def test_a_worker_of_the_tests_takes_its_part_of_the_cores():
    import torch

    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        pytest.skip("one process has all cores")
    assert torch.get_num_threads() == max(1, (os.cpu_count() or 1) // workers)

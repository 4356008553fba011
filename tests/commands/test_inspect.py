"""`mri3d inspect`: pictures of what goes on in a detector, a page that explains them, and the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from mri3d.cli import main
from mri3d.detector import Detector
from tests.brains import brain_on
from tests.helpers import write_nifti
from tests.shared import GRID, train


@pytest.fixture(scope="module")
def vae(trained: Callable[[str], Path]) -> Path:
    return trained("vae")


@pytest.fixture(scope="module")
def looked(vae: Path, healthy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inspection of the VAE, with a lesion put in."""
    output = tmp_path_factory.mktemp("looked") / "out"
    told = run(healthy / "sub-03_T1w.nii.gz", "-o", output, "--bundle", vae)
    assert f"Page: {output / 'inspect.html'}" in told
    return output


def run(*words: object, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, ["inspect", *map(str, words), "--device", "cpu"])
    assert result.exit_code == exit_code, result.output
    return result.output


def numbers_of(output: Path) -> dict:
    return json.loads((output / "inspect.json").read_text())


class Page(HTMLParser):
    """Text and alternative texts of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.alts = "", []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.alts.append(dict(attrs).get("alt"))

    def handle_data(self, data: str) -> None:
        self.text += data


def check_pictures(output: Path) -> set[str]:
    """Every picture is there, shows something, and stands on the page with words and an alternative text."""
    told, page = numbers_of(output)["pictures"], Page(output / "inspect.html")
    assert {path.relative_to(output).as_posix() for path in output.rglob("*.png")} == set(told)
    assert page.alts == list(told.values())
    assert all(page.alts) and len(set(page.alts)) == len(page.alts)
    for name in told:
        assert f"[{name}]" in page.text
        with Image.open(output / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 8
    return {name.removeprefix("figures/") for name in told}


def test_every_level_the_latent_and_the_reconstruction_have_a_picture(looked: Path):
    names = check_pictures(looked)
    levels = [*(f"encoder.{i}" for i in range(4)), *(f"decoder.{i}" for i in range(5))]
    assert {name for name in names if name.startswith("level")} == {
        f"level{number:02}_{name}.png" for number, name in enumerate(levels, 1)
    }
    assert names > {"reconstruction.png", "latent.png", "latent_maps.png", "traversal.png", "draws.png", "samples.png"}


def test_numbers_are_those_of_the_network_and_of_detect(looked: Path, vae: Path, healthy: Path):
    told = numbers_of(looked)
    (network,) = told["networks"]
    assert network["network"] == "VariationalAutoEncoder"
    assert [(level["maps"], level["shape"], level["block"]) for level in network["levels"][:2]] == [
        (4, [16, 24, 16], [2, 2, 2]), (4, [8, 12, 8], [4, 4, 4]),
    ]  # fmt: skip
    assert [level["way"] for level in network["levels"]] == [*["down"] * 3, "bottom", *["up"] * 5]
    latent = network["latent"]
    assert latent["shape"] == [8, 2, 3, 2] and latent["numbers"] == 96
    assert latent["compression_ratio"] == 32 * 48 * 32 / 96
    assert len(latent["unit_std"]) == 8 == len(network["variational"]["kl_nats"])
    detection = Detector.load(vae, "cpu").detect(healthy / "sub-03_T1w.nii.gz")
    assert told["scans"][0]["score"] == pytest.approx(detection.score.value)
    assert told["scans"][0]["decision"] == detection.score.decision
    assert told["scans"][1]["fidelity"]["mse"] != told["scans"][0]["fidelity"]["mse"]
    assert told["scans"][1]["z_inside"] >= 0


def test_the_page_explains_and_says_what_is_made_up(looked: Path):
    text = Page(looked / "inspect.html").text
    for words in ("feature map", "edges", "the latent", "residual", "put in by computer", "correlate", "prior"):
        assert words in text, words
    assert "no layers" not in text and "Traceback" not in text


def test_an_abnormal_volume_of_ones_own_stands_beside_it(
    trained: Callable[[str], Path], healthy: Path, tmp_path: Path
):
    bundle = trained("atlas")  # without layers, whose pictures take their time
    other, data = tmp_path / "sub-99_T1w.nii.gz", brain_on(GRID, 99, lesion=True)
    write_nifti(other, GRID, data, dtype=np.int16)
    write_nifti(tmp_path / "sub-99_T1w_brainmask.nii.gz", GRID, (data > 0).astype(np.uint8), dtype=np.uint8)
    run(healthy / "sub-03_T1w.nii.gz", "-o", tmp_path / "out", "--bundle", bundle, "--abnormal", other)
    told = numbers_of(tmp_path / "out")
    detection = Detector.load(bundle, "cpu").detect(other)
    assert [scan["name"] for scan in told["scans"]] == ["given", "abnormal"]
    assert told["scans"][1]["score"] == pytest.approx(detection.score.value)
    assert told["scans"][1]["z_inside"] is None
    text = Page(tmp_path / "out" / "inspect.html").text
    assert "Beside it stands sub-99_T1w.nii.gz" in text and "put in by computer" not in text


@pytest.mark.parametrize("recipe", ["attention_unet", "cae2d"])
def test_u_nets_and_networks_of_slices_are_looked_into(
    recipe: str, trained: Callable[[str], Path], healthy: Path, tmp_path: Path
):
    run(healthy / "sub-03_T1w.nii.gz", "-o", tmp_path / "out", "--bundle", trained(recipe))
    names = check_pictures(tmp_path / "out")
    (network,) = numbers_of(tmp_path / "out")["networks"]
    text = Page(tmp_path / "out" / "inspect.html").text
    assert ("one axial slice at a time" in text) == (recipe == "cae2d")
    assert ("No bottleneck" in text) == (recipe == "attention_unet") == ("latent.png" not in names)
    assert network["levels"][0]["shape"] == ([16, 24, 32] if recipe == "cae2d" else [32, 48, 32])
    assert len([name for name in names if name.startswith("level")]) == len(network["levels"]) > 5
    if recipe == "cae2d":
        assert network["latent"]["shape"] == [4, 2, 3]
        assert network["latent"]["compression_ratio"] == 32 * 48 / 24


def test_an_ensemble_shows_its_members(healthy: Path, trained: Callable[[str], Path], tmp_path: Path):
    members = json.dumps([str(trained(recipe)) for recipe in ("restore", "cae")])
    bundle = train("ensemble", tmp_path / "both", healthy, "--set", f"training.members={members}")
    run(healthy / "sub-03_T1w.nii.gz", "-o", tmp_path / "out", "--bundle", bundle)
    names = check_pictures(tmp_path / "out")
    assert {name[:8] for name in names} == {"member1_", "member2_", "reconstr.png"[:8]}
    parts = numbers_of(tmp_path / "out")["networks"]
    assert [part["network"] for part in parts] == ["RestorationUNet", "ConvAutoEncoder"]
    assert parts[0]["latent"] is None and parts[1]["latent"]["shape"] == [4, 2, 3, 2]


def test_a_detector_without_layers_says_so(healthy: Path, trained: Callable[[str], Path], tmp_path: Path):
    run(healthy / "sub-03_T1w.nii.gz", "-o", tmp_path / "out", "--bundle", trained("atlas"))
    assert check_pictures(tmp_path / "out") == {"reconstruction.png"}
    beside = numbers_of(tmp_path / "out")["scans"][1]
    assert beside["z_inside"] > 2 > beside["z_outside"]
    text = Page(tmp_path / "out" / "inspect.html").text
    assert "no layers to look into" in text and "mean and standard deviation of healthy brains" in text


def test_what_stands_there_is_kept_unless_told_otherwise(
    trained: Callable[[str], Path], healthy: Path, tmp_path: Path
):
    words, out, others = (healthy / "sub-03_T1w.nii.gz", "--bundle", trained("atlas")), tmp_path / "a", tmp_path / "b"
    run(*words, "-o", out)
    assert "Use --overwrite" in run(*words, "-o", out, exit_code=2)
    (others / "figures").mkdir(parents=True)
    (others / "figures" / "mine.png").write_bytes(b"mine")
    for more in ((), ("--overwrite",)):
        assert "of another origin" in run(*words, "-o", others, *more, exit_code=2)
    assert (others / "figures" / "mine.png").read_bytes() == b"mine"
    (out / "figures" / "level99_old.png").write_bytes(b"of an earlier inspection")
    run(*words, "-o", out, "--overwrite")
    check_pictures(out)


def test_a_bad_volume_is_named(vae: Path, tmp_path: Path):
    (tmp_path / "a_T1w.nii.gz").write_bytes(b"no image")
    told = run(tmp_path / "a_T1w.nii.gz", "-o", tmp_path / "out", "--bundle", vae, exit_code=1)
    assert "a_T1w.nii.gz: expected" in told and not (tmp_path / "out").exists()
    told = run(tmp_path / "missing.nii.gz", "-o", tmp_path / "out", "--bundle", vae, exit_code=2)
    assert "missing.nii.gz" in told


def test_what_the_network_is_given_is_what_the_inferer_makes_of_a_volume(vae: Path, healthy: Path):
    detector = Detector.load(vae, "cpu")
    item = detector.preprocess(healthy / "sub-03_T1w.nii.gz")
    assert torch.equal(detector.given(item), item["image"][None])
    pieces = Detector.load(vae, "cpu", {"window": [16, 16, 16]}).given(item)
    assert len(pieces) > 12 and tuple(pieces.shape[1:]) == (1, 16, 16, 16)
    assert torch.equal(pieces[0], item["image"][:, :16, :16, :16])

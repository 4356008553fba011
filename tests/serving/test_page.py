"""The page as people meet it: from the drop of a scan to its maps on their disk."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

from mri3d.reporting.view import has_niivue
from tests.browser import coloured, eventually, needs_chromium, open_page
from tests.serving.server import Server

pytestmark = needs_chromium
needs_niivue = pytest.mark.skipif(not has_niivue(), reason="NiiVue was not at hand when mri3d was installed: needs npm")
TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture(scope="module")
def guarded(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a token, which the page has to ask for."""
    root = tmp_path_factory.mktemp("guarded")
    (root / "token").write_text(TOKEN)
    started = Server(bundle, root / "state", "--token-file", root / "token", "--max-upload-mb", 2)
    yield started
    started.stop()


def drop(page: Any, content: bytes, name: str) -> None:
    """Drop a file on the zone, as a hand would."""
    script = """([text, name]) => {
      const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0)), data = new DataTransfer();
      data.items.add(new File([bytes], name));
      return data;
    }"""
    data = page.evaluate_handle(script, [base64.b64encode(content).decode(), name])
    zone = page.locator(".drop").first
    zone.dispatch_event("dragover", {"dataTransfer": data})
    zone.dispatch_event("drop", {"dataTransfer": data})


def picture(page: Any, name: str) -> None:
    """Keep a screenshot where somebody wants to look at it."""
    if folder := os.environ.get("MRI3D_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@needs_niivue
@pytest.mark.parametrize(("scheme", "width"), [("light", 1000), ("dark", 390)])
def test_from_the_drop_to_the_download(server: Server, scan: Path, tmp_path: Path, scheme: str, width: int):
    with open_page(server.url, scheme, width) as page:
        assert "quick" in page.locator("#model").inner_text()
        assert page.get_by_role("button", name="Find anomalies").is_disabled()
        picture(page, f"{scheme}-1-empty")
        drop(page, scan.read_bytes(), "sub-77_T1w.nii.gz")
        assert "sub-77_T1w.nii.gz" in page.locator(".drop").inner_text()
        page.get_by_role("button", name="Find anomalies").click()
        page.locator("#status", has_text="Looking at the brain").or_(page.locator("#verdict")).first.wait_for()
        picture(page, f"{scheme}-2-progress")
        page.wait_for_selector("#viewer[data-state=shown]")
        page.locator("#picture").evaluate("image => image.decode()")
        picture(page, f"{scheme}-3-result")
        assert page.locator("#verdict").inner_text().endswith(("Anomalous", "Normal"))
        assert "score" in page.locator("#facts").inner_text()
        assert page.locator("#picture").evaluate("image => image.naturalWidth") > 300
        canvas = page.locator("#viewer canvas")
        page.locator("input[name=threshold]").fill("0.4")
        assert eventually(lambda: coloured(canvas) > 300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width

        with page.expect_download() as begun:
            page.get_by_role("link", name="z-map").click()
        begun.value.save_as(tmp_path / "zscore.nii.gz")
        assert begun.value.suggested_filename == "sub-77_T1w_zscore.nii.gz"
        source, found = nib.load(scan), nib.load(tmp_path / "zscore.nii.gz")
        assert found.shape == source.shape and (found.affine == source.affine).all()
        assert page.get_by_role("link").count() == 7


def test_without_a_mouse_and_with_what_is_no_scan(server: Server):
    with open_page(server.url, expected="status of 422") as page:
        page.locator("input[type=file]").wait_for(state="attached")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.type") == "file"
        files = [{"name": "report.nii", "mimeType": "", "buffer": b"<!doctype html>" * 30}]
        page.locator("input[type=file]").set_input_files(files)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.locator("#status", has_text="a web page").wait_for()
        picture(page, "light-4-refused")
        assert page.locator("#result").is_hidden() and page.get_by_role("button", name="Find anomalies").is_enabled()


def test_the_token_is_asked_for_and_kept_nowhere(guarded: Server, scan: Path):
    with open_page(guarded.url, expected="status of 401") as page:
        page.locator("#token").wait_for()
        picture(page, "light-5-token")
        page.locator("#token").fill("wrong")
        page.keyboard.press("Enter")
        page.locator("#status", has_text="Expected the server's token").wait_for()
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.locator(".drop").wait_for()
        drop(page, bytes(3 * 2**20), "large.nii")
        assert "more than the 2 MiB" in page.locator("#limits").inner_text()
        drop(page, scan.read_bytes(), "scan.nii.gz")
        page.get_by_role("button", name="Find anomalies").click()
        page.locator("#verdict").wait_for()
        stored = "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
        assert TOKEN not in page.evaluate(stored)

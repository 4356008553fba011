"""The page as people meet it: from the drop of a scan to its maps on their disk."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import pytest

from mri3d.reporting.view import has_niivue
from tests.browser import coloured, drop, eventually, needs_chromium, open_page, picture
from tests.serving.server import Server

pytestmark = needs_chromium
needs_niivue = pytest.mark.skipif(not has_niivue(), reason="NiiVue was not at hand when mri3d was installed: needs npm")


@needs_niivue
@pytest.mark.parametrize(("scheme", "width"), [("light", 1000), ("dark", 390)])
def test_from_the_drop_to_the_download(server: Server, scan: Path, tmp_path: Path, scheme: str, width: int):
    with open_page(server.url, scheme, width) as page:
        page.locator("#model", has_text="quick").wait_for()  # asked of the server once the page is there
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

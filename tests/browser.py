"""A real browser for the pages: Chromium where the machine has one."""

from __future__ import annotations

import base64
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # graphics without a graphics card
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
PATIENCE_MS = 120_000

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


@contextmanager
def open_page(
    url: str, scheme: str = "light", width: int = 1000, height: int = 900, expected: str | None = None
) -> Iterator[Any]:
    """A page in a browser of its own, which must not complain nor ask for anything that is not there.

    Args:
        url: what to open.
        scheme: ``light`` or ``dark``.
        width: of the window, in pixels.
        height: of the window.
        expected: pattern of the complaints that are part of what is tested.
    """
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
            page.set_default_timeout(PATIENCE_MS)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("requestfailed", lambda request: complaints.append(request.url[:200]))
            page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
            page.goto(url)
            yield page
        finally:
            browser.close()
    assert [complaint for complaint in complaints if not (expected and re.search(expected, complaint))] == []


def pixels(element: Any) -> npt.NDArray[np.int16]:
    """(height, width, 3) of a screenshot of an element."""
    return np.asarray(Image.open(BytesIO(element.screenshot())).convert("RGB")).astype(np.int16)


def coloured(element: Any) -> int:
    """How many pixels are not grey: what lies over a scan."""
    shown = pixels(element)
    return int((shown.max(axis=-1) - shown.min(axis=-1) > 60).sum())


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


def eventually(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether something comes true in time: a page draws when it can."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.2)
    return False

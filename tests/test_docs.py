"""What the documents point to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("bundles/*/docs/*.md"), *ROOT.glob("data/*.md"), *ROOT.glob("docs/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_and_nothing_is_left_to_fill_in(page: Path):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target
    assert not re.findall(r"\b[A-Z]{4,}_[A-Z_]{3,}\b", re.sub(r"`[^`]*`", "", text))


def test_every_module_of_the_way_of_a_volume_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = "checking|volumes|transforms|scoring|reporting|models|training|evaluation"
    for module in re.findall(rf"`((?:{folders})/[\w/]+\.py)`", text):
        assert (ROOT / "mri3d" / module).is_file(), module
    for name in re.findall(r"`(\w+\.py)`", text):  # a row names the folder once
        assert list((ROOT / "mri3d").rglob(name)), name

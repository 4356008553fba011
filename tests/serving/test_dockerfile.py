"""The image's recipe, as far as it can be read: what it copies is there, and it runs as nobody with known options."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mri3d.cli import main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_what_it_copies_is_there_and_not_ignored():
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists() and source.split("/")[0] in let_in, source


def test_it_serves_as_nobody_and_asks_for_a_token():
    last = TEXT.rpartition("\nFROM ")[2]
    assert re.search(r"^USER (\d+):\1$", last, re.MULTILINE) and "USER 0" not in last
    program, command, *words = json.loads(re.search(r"^ENTRYPOINT (.+)$", last, re.MULTILINE)[1])
    known = {option for parameter in main.commands[command].params for option in parameter.opts}
    assert program.endswith("/mri3d") and {word for word in words if word.startswith("--")} <= known
    assert "--token-file" in words

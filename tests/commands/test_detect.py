"""What a run is summed up as."""

from __future__ import annotations

import pytest

from mri3d.commands import detect


def row(decision: str | None, warnings: str | None = None) -> dict[str, str | None]:
    return {"status": "ok" if decision else "failed", "decision": decision, "warnings": warnings}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("normal")], "1 subject: 1 normal."),
        ([row("normal"), row("anomalous"), row("normal")], "3 subjects: 1 anomalous, 2 normal."),
        (
            [row("normal", "The scan ends within the brain."), row(None, "One. | Two."), row("normal")],
            "3 subjects: 1 failed, 2 normal; 2 with warnings (see the table).",
        ),
    ],
)
def test_the_summary_counts_decisions_and_subjects_with_warnings(rows: list[dict[str, str | None]], words: str):
    assert detect.in_words(rows) == words

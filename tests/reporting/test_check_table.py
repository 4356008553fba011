"""What a check says."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from mri3d.checking.facts import Facts
from mri3d.checking.judgement import judge
from mri3d.errors import UnreadableFileError
from mri3d.reporting.check_page import write_check_page
from mri3d.reporting.check_table import COLUMNS, counts, in_words, row_of, summary
from mri3d.volumes.discovery import Skipped
from tests.facts import facts_of, many
from tests.helpers import subject_of


def _unread(name: str) -> Facts:
    return Facts(subject_of(name), error=UnreadableFileError(name, "a file", "<nothing> & more", "Copy it"))


def test_a_row_has_every_column_and_an_unread_file_its_cause():
    facts = [*many(5), _unread("/in/z.nii.gz")]
    rows = [row_of(each, judge(facts), Path("/in")) for each in facts]
    assert all(set(row) == {*COLUMNS, "key"} for row in rows[:5])
    assert set(rows[5]) <= {*COLUMNS, "key"}
    assert [row["status"] for row in rows] == ["ok"] * 5 + ["error"]
    assert rows[0]["spacing_mm"] == "2x2x2" and rows[0]["brain_ml"] == 1300
    assert str(rows[5]["errors"]).startswith("file: expected a file")


def test_the_summary_counts_and_leaves_out_what_is_unknown():
    told = summary([*many(4), facts_of("x", orientation="RAS")], [Skipped(Path("derivatives"), "a folder")] * 2)
    assert told["volumes"] == "5 of 5 people, T1w"
    assert told["orientations"] == "PSR (4), RAS (1)"
    assert told["brain"] == "1300 to 1500, median 1400 ml"
    assert told["passed over"] == "derivatives and 1 more (a folder)"
    assert set(summary([_unread("z.nii.gz")], [])) == {"volumes"}


def test_errors_are_all_told_and_notes_of_one_kind_summed_up():
    facts = [facts_of(f"e{i}", labels=1) for i in range(9)] + [facts_of(f"n{i}", cut_cm2=9.0) for i in range(9)]
    words = in_words(summary(facts, []), judge(facts), (), counts(facts, judge(facts)), 100)
    assert words.count("error  e") == 9 and words.count("note   n") == 3
    assert "note   cut, likewise: n3, n4, n5, n6, n7, n8" in words
    assert words.endswith("18 volumes: 9 errors in 9 of them, 9 notes.")
    assert max(map(len, words.splitlines())) <= 100


def test_a_sound_data_set_is_called_so():
    assert counts(many(12), ()) == "12 volumes: no errors, no notes"
    assert counts(many(1), judge([facts_of("a", cut_cm2=9.0)])) == "1 volume: no errors, 1 note"


def test_the_page_escapes_what_files_say(tmp_path):
    facts = [*many(2), _unread("z.nii.gz")]
    findings = judge(facts)
    rows = [row_of(each, findings, Path()) for each in facts]
    write_check_page(tmp_path / "report.html", "3 volumes", {"volumes": "<b>"}, findings, rows, ("Few.",), ())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;nothing&gt; &amp; more" in page and "<nothing>" not in page and "<b>" not in page
    assert "sub-00_T1w" in page and "Few." in page
    assert PurePosixPath("z").name in page

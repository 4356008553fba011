from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from mri3d.errors import Mri3dError
from mri3d.reporting.page import LINKS, write_page
from mri3d.reporting.table import Row, failed_row, row_of
from mri3d.scoring.detection import Detection, Score
from mri3d.volumes.subject import Subject

EVIL = '<script>alert("x")</script>'
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (1100).to_bytes(4, "big") + (790).to_bytes(4, "big")
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Links, tags, text and headings of a page, whose tags must be closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [link for link in (values.get("href"), values.get("src")) if link]
        self.ids += [values["id"]] if values.get("id") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def row(make: Callable[..., Detection], name: str, score: float, decision: str, folder: str = ".") -> Row:
    subject = Subject(name, name, PurePosixPath(folder), {"T1w": Path("study") / folder / f"{name}.nii.gz"})
    threshold = None if decision == "uncalibrated" else 0.04
    return row_of(make(subject=subject, score=Score(score, decision, threshold, {}, None, None)), Path("study"))


def failed(name: str, message: str) -> Row:
    subject = Subject(name, name, PurePosixPath("."), {"T1w": Path(f"{name}.nii")})
    return failed_row(subject, Mri3dError(subject.reference, "a head", message, "Look at it"), Path("."))


def test_the_summary_counts_and_the_worst_come_first(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    rows = [failed("broken", "no brain in it"), row(make_detection, "fine", 0.01, "normal")]
    rows += [row(make_detection, "bad", 0.05, "anomalous"), row(make_detection, "worst", 0.5, "anomalous")]
    write_page(tmp_path / "report.html", rows, {"bundle": "demo"})
    text = Page(tmp_path / "report.html").text
    assert "4 subjects: 2 anomalous, 1 normal, 1 failed." in text
    places = [text.index(name) for name in ("worst", "bad", "fine", "broken")]
    assert places == sorted(places)
    assert "no brain in it" in text
    assert "not a medical device" in text


def test_what_users_name_their_files_is_text_and_nothing_else(
    make_detection: Callable[..., Detection], tmp_path: Path
) -> None:
    rows = [row(make_detection, "plain", 0.01, "normal"), failed("x", f"found {EVIL}")]
    rows[0] |= {"subject": EVIL, "input": f'"{EVIL}', "warnings": f"'{EVIL}'", "key": f'"onerror="{EVIL}'}
    write_page(tmp_path / "report.html", rows, {EVIL: {EVIL: EVIL}})
    page = Page(tmp_path / "report.html")
    assert page.tags.count("script") == 1, "the sorting of the table"
    assert page.text.count(EVIL) == 2 + 1 + 2 + 2 + 3
    assert "onerror" not in page.text


def test_links_are_relative_quoted_and_lead_to_files(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    names = ["a b#c%20d?e", "ftp:x", "\u00e9\u6f22", "q'\"&<i>"]
    rows = [row(make_detection, name, 0.01, "normal", folder="sub 1/an#at") for name in names]
    rows.append(row(make_detection, "no:folder", 0.01, "normal"))
    expected = set()
    for each in rows:
        base = tmp_path / str(each["key"])
        base.parent.mkdir(parents=True, exist_ok=True)
        for ending in (".png", "_zscore.nii.gz", "_anomaly.nii.gz", ".json"):
            base.with_name(base.name + ending).write_bytes(PNG)
            expected.add(base.with_name(base.name + ending))
    write_page(tmp_path / "report.html", rows, {})
    page = Page(tmp_path / "report.html")
    files = set()
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
            continue
        parts = urlsplit(link)
        assert not parts.scheme and not parts.netloc and not parts.query and not parts.fragment
        files.add(tmp_path / unquote(parts.path))
    assert files == expected


def test_only_files_that_exist_are_linked(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    (tmp_path / "a_zscore.nii.gz").touch()
    write_page(tmp_path / "report.html", [row(make_detection, "a", 0.01, "normal")], {})
    assert [link for link in Page(tmp_path / "report.html").links if link[0] != "#"] == ["./a_zscore.nii.gz"]


def test_pictures_hold_their_place_until_loaded(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    write_page(tmp_path / "report.html", [row(make_detection, "a", 0.01, "normal")], {})
    assert 'loading="lazy" width="1100" height="790"' in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_elsewhere(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", [row(make_detection, "a", 0.01, "normal")], {"device": "cpu"})
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http" not in content and "url(" not in content and "@import" not in content


def test_how_it_was_made(tmp_path: Path) -> None:
    run = {"bundle": "demo", "bundle_hash": "ab12", "versions": {"mri3d": "1.0", "torch": "2.9"}, "command": ["a", "b"]}
    write_page(tmp_path / "report.html", [], run)
    text = Page(tmp_path / "report.html").text
    assert "0 subjects." in text
    for words in ("bundle hash", "ab12", "mri3d 1.0, torch 2.9", "a b"):
        assert words in text


def test_uncalibrated_subjects_are_explained(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", [row(make_detection, "a", 0.01, "uncalibrated")], {})
    text = Page(tmp_path / "report.html").text
    assert "1 subject: 1 uncalibrated." in text
    assert "no calibration" in text


def test_every_kind_of_map_of_the_contract_is_known() -> None:
    assert {"_error.nii.gz", "_zscore.nii.gz", "_anomaly.nii.gz", "_recon.nii.gz", ".json"} == set(LINKS)


def test_a_name_that_leaves_no_room_for_an_ending_has_no_links(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", [failed("n" * 245, "too long")], {})
    assert [link for link in Page(tmp_path / "report.html").links if link[0] != "#"] == []

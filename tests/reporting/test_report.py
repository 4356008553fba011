from __future__ import annotations

import json
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pytest

from mri3d.errors import Mri3dError, UsageError
from mri3d.reporting.names import SIDECAR, path_of
from mri3d.reporting.report import remake_report, write_report
from mri3d.reporting.subject_page import LINKS
from mri3d.reporting.table import Row, failed_row, read_results, row_of, write_results
from mri3d.scoring.detection import Detection, Score
from mri3d.volumes.subject import Subject

EVIL = '<script>alert("x")</script>'
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (1100).to_bytes(4, "big") + (790).to_bytes(4, "big")
VOID = {"meta", "img", "br", "link"}


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


def made(root: Path, rows: list[Row]) -> list[Row]:
    """Sidecars for the scored rows, as write_report looks for them."""
    for each in rows:
        if each["status"] == "ok":
            path = path_of(root, str(each["key"]), SIDECAR)
            path.parent.mkdir(parents=True, exist_ok=True)
            thresholds = {"mean+1std": 0.02, "mean+3std": 0.04} if each["threshold"] else {}
            path.write_text(json.dumps({"versions": {"mri3d": "1"}, "thresholds": thresholds, "maps": []}))
    return rows


def test_the_summary_counts_and_the_worst_come_first(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    rows = [failed("broken", "no brain in it"), row(make_detection, "fine", 0.01, "normal")]
    rows += [row(make_detection, "bad", 0.05, "anomalous"), row(make_detection, "worst", 0.5, "anomalous")]
    write_report(tmp_path, made(tmp_path, rows), {"bundle": "demo"})
    text = Page(tmp_path / "report.html").text
    assert "4 subjects: 2 anomalous, 1 normal, 1 failed." in text
    table = text[text.index("Subjects") :]
    places = [table.index(name) for name in ("worst", "bad", "fine", "broken")]
    assert places == sorted(places)
    assert "no brain in it" in text
    assert "not a medical device" in text


def test_scores_stand_in_healthy_standard_deviations(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    # thresholds of 0.02 and 0.04 are those of a mean of 0.01 and a standard deviation of 0.01
    rows = [row(make_detection, "fine", 0.01, "normal"), row(make_detection, "bad", 0.05, "anomalous")]
    rows.append(row(make_detection, "open", 0.7, "uncalibrated"))
    write_report(tmp_path, made(tmp_path, rows), {})
    page = Page(tmp_path / "report.html")
    assert "fine: 0.0 std" in page.text and "bad: 4.0 std" in page.text
    assert "open:" not in page.text, "without thresholds there is no place for it"


def test_pages_lead_to_each_other_from_worst_to_best(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    rows = [row(make_detection, "fine", 0.01, "normal", "a/b"), failed("broken", "nothing")]
    rows += [row(make_detection, "bad", 0.05, "anomalous", "a"), row(make_detection, "worst", 0.5, "anomalous")]
    write_report(tmp_path, made(tmp_path, rows), {})
    links = {name: Page(tmp_path / f"{name}.html").links[1:] for name in ("worst", "a/bad", "a/b/fine")}
    pages = {name: [link for link in found if link.endswith(".html")] for name, found in links.items()}
    assert pages["worst"] == ["./report.html", "./a/bad.html"]
    assert pages["a/bad"] == ["../report.html", "../worst.html", "../a/b/fine.html"]
    assert pages["a/b/fine"] == ["../../report.html", "../../a/bad.html"]
    assert not (tmp_path / "broken.html").exists()


def test_what_users_name_their_files_is_text_and_nothing_else(
    make_detection: Callable[..., Detection], tmp_path: Path
) -> None:
    rows = [row(make_detection, "plain", 0.01, "normal"), failed("x", f"found {EVIL}")]
    rows[0] |= {"subject": EVIL, "input": f'"{EVIL}', "warnings": f"'{EVIL}'", "key": '"onerror="x'}
    write_report(tmp_path, made(tmp_path, rows), {EVIL: {EVIL: EVIL}})
    page = Page(tmp_path / "report.html")
    assert page.tags.count("script") == 1, "the sorting of the table"
    # the title of its mark, its name and warning in the table, the failure, and three times how it was made
    assert page.text.count(EVIL) == 1 + 2 + 1 + 3
    assert "onerror" not in page.text
    subject = Page(tmp_path / '"onerror="x.html')
    assert subject.text.count(EVIL) == 4, "title, heading, input and warning"
    assert subject.tags.count("script") == 1 and "onerror" not in subject.text


def test_links_are_relative_quoted_and_lead_to_files(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    names = ["a b#c%20d?e", "ftp:x", "\u00e9\u6f22", "q'\"&<i>"]
    rows = [row(make_detection, name, 0.01, "normal", folder="sub 1/an#at") for name in names]
    rows.append(row(make_detection, "no:folder", 0.01, "normal"))
    for each in made(tmp_path, rows):
        base = tmp_path / str(each["key"])
        for ending in (".png", "_zscore.nii.gz", "_anomaly.nii.gz", "_view.js"):
            base.with_name(base.name + ending).write_bytes(PNG)
    write_report(tmp_path, rows, {})
    files = set()
    for path in (tmp_path / "report.html", *(tmp_path / f"{each['key']}.html" for each in rows)):
        for link in Page(path).links:
            parts = urlsplit(link)
            assert not parts.scheme and not parts.netloc and not parts.query and not parts.fragment
            files.add((path.parent / unquote(parts.path)).resolve())
    assert all(file.is_file() for file in files)
    assert files >= {(tmp_path / f"{each['key']}{ending}") for each in rows for ending in (".png", ".json", ".html")}


def test_only_files_that_exist_are_linked(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    (tmp_path / "a_zscore.nii.gz").touch()
    write_report(tmp_path, made(tmp_path, [row(make_detection, "a", 0.01, "normal")]), {})
    links = Page(tmp_path / "a.html").links
    assert [link for link in links if not link.endswith(".css")] == ["./report.html", "./a_zscore.nii.gz", "./a.json"]


def test_pictures_hold_their_place_until_loaded(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    write_report(tmp_path, made(tmp_path, [row(make_detection, "a", 0.01, "normal")]), {})
    for name in ("report.html", "a.html"):
        assert 'loading="lazy" width="1100" height="790"' in (tmp_path / name).read_text(encoding="utf-8")


def test_the_pages_load_nothing_from_elsewhere(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    (tmp_path / "a_view.js").touch()
    write_report(tmp_path, made(tmp_path, [row(make_detection, "a", 0.01, "normal")]), {"device": "cpu"})
    for name in ("report.html", "a.html", "report_files/viewer.css", "report_files/viewer.js"):
        content = (tmp_path / name).read_text(encoding="utf-8")
        assert "http" not in content and "url(" not in content and "@import" not in content


def test_how_it_was_made(tmp_path: Path) -> None:
    run = {"bundle": "demo", "bundle_hash": "ab12", "versions": {"mri3d": "1.0", "torch": "2.9"}, "command": ["a", "b"]}
    write_report(tmp_path, [], run)
    text = Page(tmp_path / "report.html").text
    assert "0 subjects." in text
    for words in ("bundle hash", "ab12", "mri3d 1.0, torch 2.9", "a b"):
        assert words in text


def test_uncalibrated_subjects_are_explained(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    write_report(tmp_path, made(tmp_path, [row(make_detection, "a", 0.01, "uncalibrated")]), {})
    text = Page(tmp_path / "report.html").text
    assert "1 subject: 1 uncalibrated." in text
    assert "no calibration" in text


def test_every_kind_of_map_of_the_contract_is_known() -> None:
    maps = {"_error.nii.gz", "_zscore.nii.gz", "_anomaly.nii.gz", "_recon.nii.gz"}
    assert maps | {".json", "_slices.csv", "_regions.csv"} == set(LINKS)


def test_a_name_that_leaves_no_room_for_an_ending_has_no_links(tmp_path: Path) -> None:
    write_report(tmp_path, [failed("n" * 245, "too long")], {})
    assert Page(tmp_path / "report.html").links == []


def test_a_hundred_subjects_stay_a_small_page(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    rows = [row(make_detection, f"s{i:03}", 0.01 + i / 1e4, "normal") for i in range(100)]
    start = time.perf_counter()
    write_report(tmp_path, made(tmp_path, rows), {})
    assert time.perf_counter() - start < 30
    assert (tmp_path / "report.html").stat().st_size < 100_000
    assert len(list(tmp_path.glob("s*.html"))) == 100


def test_the_report_is_made_again_from_what_stands_there(
    make_detection: Callable[..., Detection], tmp_path: Path
) -> None:
    rows = [row(make_detection, "a", 0.0123456, "normal"), failed("x", "nothing, or little")]
    write_results(tmp_path / "results.csv", rows)
    (tmp_path / "run.json").write_text('{"bundle": "demo"}')
    write_report(tmp_path, made(tmp_path, read_results(tmp_path / "results.csv")), {"bundle": "demo"})
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.html")}
    for path in tmp_path.glob("*.html"):
        path.unlink()
    assert remake_report(tmp_path) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.html")} == before
    assert set(before) == {"report.html", "a.html"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.csv", "subject,input\na,a.nii.gz\n"),
        ("results.csv", "one line\nand another\n"),
        ("run.json", "[]"),
        ("run.json", "{"),
    ],
)
def test_what_is_no_result_is_refused(
    make_detection: Callable[..., Detection], tmp_path: Path, name: str, content: str
) -> None:
    write_results(tmp_path / "results.csv", [row(make_detection, "a", 0.01, "normal")])
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match="a folder that mri3d detect wrote"):
        remake_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"thresholds": {"mean+1std": 1}}', '{"thresholds": null}'])
def test_a_broken_sidecar_costs_its_own_page_alone(
    make_detection: Callable[..., Detection], tmp_path: Path, content: str
) -> None:
    rows = made(tmp_path, [row(make_detection, "a", 0.01, "normal"), row(make_detection, "b", 0.02, "normal")])
    (tmp_path / "a.json").write_text(content)
    write_report(tmp_path, rows, {})
    text = Page(tmp_path / "report.html").text
    assert "2 subjects: 2 normal." in text and "b: 1.0 std" in text and "a:" not in text


def test_scores_that_are_no_numbers_have_no_place(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    rows = [row(make_detection, "inf", float("inf"), "anomalous"), row(make_detection, "nan", float("nan"), "normal")]
    rows += [row(make_detection, "zero", 0.01, "normal") | {"threshold": 0.0}]
    write_report(tmp_path, made(tmp_path, rows), {})
    assert Page(tmp_path / "report.html").text.count(" std\n") <= 1


def test_a_page_never_lies_outside_the_folder(make_detection: Callable[..., Detection], tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = [row(make_detection, "a", 0.01, "normal") | {"key": "../a"}]
    (tmp_path / "a.json").write_text("{}")
    write_report(out, rows, {})
    assert not (tmp_path / "a.html").exists(), "a sidecar that says nothing has no page"
    (tmp_path / "a.json").write_text('{"thresholds": {}}')
    with pytest.raises(UsageError, match="within the output"):
        write_report(out, rows, {})
    (tmp_path / "elsewhere").mkdir()
    (out / "report_files").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="within the output"):
        write_report(out, made(out, [row(make_detection, "b", 0.01, "normal")]), {})
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"results\.csv"):
        remake_report(tmp_path)

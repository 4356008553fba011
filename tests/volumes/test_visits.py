"""Which session a scan is of, and in what order sessions came."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from mri3d.errors import UsageError
from mri3d.volumes.participants import read_named_table
from mri3d.volumes.visits import Visit, histories, visit_of


def scan(root: Path, session: str, name: str = "") -> Visit:
    key = f"sub-01/ses-{session}/anat/{name or f'sub-01_ses-{session}_T1w'}"
    return visit_of(key, "sub-01", root / f"{key}.nii.gz")


def labels(visits: list[Visit]) -> list[str]:
    return [visit.session for visit in histories(visits)["sub-01"].visits]


def test_labels_are_sorted_as_people_would(tmp_path: Path) -> None:
    assert labels([scan(tmp_path, each) for each in ("10", "2", "1")]) == ["1", "2", "10"]
    assert labels([scan(tmp_path, each) for each in ("m12", "bl", "m6")]) == ["bl", "m6", "m12"]


def test_a_session_may_be_named_by_its_folder_alone(tmp_path: Path) -> None:
    assert scan(tmp_path, "3", "T1w").session == "3"
    assert visit_of("sub-01_T1w", "sub-01", tmp_path / "sub-01_T1w.nii.gz").session == ""


def test_of_several_scans_of_a_session_one_counts(tmp_path: Path) -> None:
    runs = [scan(tmp_path, "1", f"sub-01_ses-1_run-{run}_T1w") for run in (10, 2)]
    (history,) = histories([*runs, scan(tmp_path, "2")]).values()
    assert history.visits[0].key.endswith("run-2_T1w")
    assert history.repeated == (runs[0].key,) and len(history.visits) == 2


def test_dates_come_before_labels_where_all_are_known(tmp_path: Path) -> None:
    (tmp_path / "sub-01" / "ses-1").mkdir(parents=True)
    sessions = tmp_path / "sub-01" / "sub-01_sessions.tsv"
    sessions.write_text("session_id\tacq_time\nses-1\t2020-05-01\nses-2\t2019-05-01T08:00:00.000Z\n")
    (history,) = histories([scan(tmp_path, "1"), scan(tmp_path, "2")]).values()
    assert [visit.session for visit in history.visits] == ["2", "1"] and history.dated
    assert history.years(history.visits[1]) == pytest.approx(1.0, abs=0.01)
    # a time of the very scan counts before that of its session
    scans = tmp_path / "sub-01" / "ses-1" / "sub-01_ses-1_scans.tsv"
    scans.write_text("filename\tacq_time\nanat/sub-01_ses-1_T1w.nii.gz\t2018-01-01T00:00:00\n")
    assert scan(tmp_path, "1").date == datetime.datetime(2018, 1, 1)
    # one date alone orders nothing
    sessions.write_text("session_id\tacq_time\nses-1\t2020-05-01\nses-2\tn/a\n")
    scans.unlink()
    (history,) = histories([scan(tmp_path, "2"), scan(tmp_path, "1")]).values()
    assert [visit.session for visit in history.visits] == ["1", "2"] and not history.dated
    assert history.years(history.visits[1]) is None


def test_a_table_that_the_user_names(tmp_path: Path) -> None:
    table = tmp_path / "people.tsv"
    lines = ("participant_id\tgroup\tage", "sub-01\tHC \tn/a", "sub-02\t\t31", "sub-01\tHC\tN/A", "")
    table.write_text("\n".join(lines), encoding="utf-8-sig")
    assert read_named_table(table) == {"sub-01": {"group": "HC", "age": None}, "sub-02": {"group": None, "age": "31"}}
    commas = tmp_path / "people.csv"
    commas.write_text("participant_id,group\nsub-01,HC\n")
    assert read_named_table(commas) == {"sub-01": {"group": "HC"}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("participant_id,group\nsub-01,HC\n", "part columns by tabs"),
        ("participant_id\tgroup\nsub-01\tHC\nsub-01\tHD\n", "HC and HD as group of sub-01"),
        ("", "an empty file"),
        ("participant_id\tgroup\n", "a line a person"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    table = tmp_path / "people.tsv"
    table.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_named_table(table)

"""Regions on paper: a table a subject, a tidy one of the cohort, pictures, and the sections of the report."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mri3d.reporting import cohort_regions
from mri3d.reporting.cohort_regions import read_people, write_cohort
from mri3d.reporting.names import SIDECAR, clear, path_of
from mri3d.reporting.region_files import COLUMNS, write_regions
from mri3d.reporting.regions_section import cohort_section, subject_section
from mri3d.reporting.table import Row
from mri3d.scoring.detection import Detection, RegionScore, by_departure


def region(index: int, name: str, z: float | None, q: float | None = 0.5) -> RegionScore:
    return RegionScore(index, name, 4.2, 1.0, 3.5, 0.01, z, None if z is None else 0.1, None if z is None else q)


REGIONS = (region(1, "Left Caudate", -4.5, 0.001), region(2, "Right Caudate", 0.3), region(3, "Brain Stem", 1.2))
UNKNOWN = tuple(region(i, name, None) for i, name in enumerate(("A <b>", "B"), start=1))


class Of:
    """What the writer needs of a detection."""

    def __init__(self, regions: tuple[RegionScore, ...], name: str = "sub-01_T1w") -> None:
        self.regions, self.subject = regions, self
        self.name = name


def write(root: Path, key: str, regions: tuple[RegionScore, ...], participant: str) -> Row:
    detection: Detection = Of(regions, key)  # type: ignore[assignment]
    (root / key).parent.mkdir(parents=True, exist_ok=True)
    write_regions(detection, root, key)
    made = {"participant": participant, "regions": [asdict(each) for each in regions], "maps": []}
    path_of(root, key, SIDECAR).write_text(json.dumps(made))
    return {"key": key, "subject": key.rsplit("/", 1)[-1], "status": "ok"}


def sidecar(root: Path, key: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(path_of(root, key, SIDECAR).read_text(encoding="utf-8"))
    return made


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_has_the_columns_in_their_order(tmp_path: Path) -> None:
    write(tmp_path, "sub-01_T1w", REGIONS, "sub-01")
    lines = read(tmp_path / "sub-01_T1w_regions.csv")
    assert tuple(lines[0]) == COLUMNS == ("index", "name", "volume_ml", "mean_z", "peak_z", "fraction", "z", "p", "q")
    assert [line["name"] for line in lines] == [each.name for each in REGIONS], "in the atlas's order"
    assert (lines[0]["index"], lines[0]["z"], lines[0]["q"]) == ("1", "-4.5", "0.001")


def test_what_is_not_known_is_an_empty_cell(tmp_path: Path) -> None:
    write(tmp_path, "a", UNKNOWN, "a")
    assert [read(tmp_path / "a_regions.csv")[0][name] for name in ("z", "p", "q")] == ["", "", ""]


def test_without_regions_nothing_is_written(tmp_path: Path) -> None:
    write(tmp_path, "a", (), "a")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json"}


def test_smaller_departs_as_much_as_larger() -> None:
    assert [each.name for each in by_departure(REGIONS)] == ["Left Caudate", "Brain Stem", "Right Caudate"]


def test_the_picture_shows_found_regions_in_colour(tmp_path: Path) -> None:
    write(tmp_path, "a", REGIONS, "a")
    pixels = np.asarray(Image.open(tmp_path / "a_regions.png")).reshape(-1, 3)
    blue, vermilion = [(pixels == colour).all(axis=1).sum() for colour in ((0, 114, 178), (213, 94, 0))]
    assert blue > 500, "the caudate is smaller, and found"
    assert vermilion == 0, "nothing that is larger is found"


def test_a_subject_done_anew_keeps_no_regions_of_before(tmp_path: Path) -> None:
    write(tmp_path, "a", REGIONS, "a")
    clear(tmp_path, "a")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def cohort(tmp_path: Path) -> tuple[Path, list[Row]]:
    source, root = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    table = "participant_id\tage\tname\tdiagnosis\nsub-01\t41\tA\tcontrol\nsub-02\tn/a\tB\tpatient\n"
    (source / "participants.tsv").write_text(table)
    rows = [write(root, "sub-01/sub-01_T1w", REGIONS, "sub-01"), write(root, "sub-02/sub-02_T1w", REGIONS, "sub-02")]
    failed: Row = {"key": "sub-03/sub-03_T1w", "subject": "sub-03_T1w", "status": "failed"}
    return root, [*rows, failed]


def test_the_cohort_has_a_line_a_subject_and_region(cohort: tuple[Path, list[Row]]) -> None:
    root, rows = cohort
    write_cohort(root, rows, root.parent / "in")
    lines = read(root / "regions.csv")
    assert list(lines[0]) == ["subject", "participant_id", "age", "diagnosis", *COLUMNS], "name is the region's"
    assert [(line["subject"], line["name"]) for line in lines] == [
        (f"sub-0{i}_T1w", each.name) for i in (1, 2) for each in REGIONS
    ], "a subject that failed has no regions"
    assert {(line["participant_id"], line["age"], line["diagnosis"]) for line in lines} == {
        ("sub-01", "41", "control"), ("sub-02", "", "patient"),
    }  # fmt: skip
    assert Image.open(root / "regions.png").width > 200


def test_without_participants_the_cohort_is_there_too(cohort: tuple[Path, list[Row]], tmp_path: Path) -> None:
    root, rows = cohort
    write_cohort(root, rows, tmp_path / "nowhere")
    assert list(read(root / "regions.csv")[0])[:3] == ["subject", "participant_id", "index"]


def test_a_cohort_without_regions_keeps_none_of_before(cohort: tuple[Path, list[Row]]) -> None:
    root, rows = cohort
    write_cohort(root, rows, root.parent / "in")
    write_cohort(root, rows[2:], root.parent / "in")
    assert not (root / "regions.csv").exists() and not (root / "regions.png").exists()
    assert cohort_section(root) == ""


def test_the_report_has_them(cohort: tuple[Path, list[Row]]) -> None:
    root, rows = cohort
    write_cohort(root, rows, root.parent / "in")
    assert "regions.csv" in cohort_section(root)
    shown = subject_section(root, "sub-01/sub-01_T1w", sidecar(root, "sub-01/sub-01_T1w"))
    assert "1 of 3 regions at q &lt; 0.05" in shown
    assert "Left Caudate" in shown and "Brain Stem</td>" not in shown
    adjusted = {**sidecar(root, "sub-01/sub-01_T1w"), "covariates": {"age": 61.5, "sex": "F"}}
    told = "3 regions at q &lt; 0.05, compared with healthy people of age 62, sex F."
    assert told in subject_section(root, "sub-01/sub-01_T1w", adjusted)
    assert subject_section(root, "sub-03/sub-03_T1w", {}) == ""


def test_names_do_not_become_html(tmp_path: Path) -> None:
    write(tmp_path, "a", (region(1, "A <b>", -9.0, 0.001), region(2, "B", 0.1)), "a")
    shown = subject_section(tmp_path, "a", sidecar(tmp_path, "a"))
    assert "A &lt;b&gt;" in shown and "<b>" not in shown
    write(tmp_path, "b", UNKNOWN, "b")
    assert "2 regions, none of them judged" in subject_section(tmp_path, "b", sidecar(tmp_path, "b"))


def test_sidecars_give_the_regions_back(cohort: tuple[Path, list[Row]]) -> None:
    root, rows = cohort
    people = read_people(root, rows)
    assert people["sub-01/sub-01_T1w"] == ("sub-01", REGIONS)
    assert len(people) == 2


def test_a_heat_map_of_many_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_regions, "MOST_NAMED", 1)
    people = {f"s{i}": (f"s{i}", UNKNOWN) for i in range(3)}
    cohort_regions.draw_heat_map(people, tmp_path / "map.png")
    assert Image.open(tmp_path / "map.png").height > 100

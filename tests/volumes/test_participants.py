"""Ages come from participants.tsv where it has them; nothing else is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from mri3d.errors import UsageError
from mri3d.volumes.participants import (
    age_in,
    fingerprint,
    read_ages,
    read_named_table,
    read_people,
    read_table,
    sex_in,
    table_of,
)


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "participants.tsv").write_bytes(text.encode(encoding))
    return folder


def test_ages_by_participant(tmp_path: Path):
    text = "participant_id\tsex\tage\nsub-01\tF\t34\nsub-02\tM\t61.5\n"
    assert read_ages(table(tmp_path, text)) == {"sub-01": 34.0, "sub-02": 61.5}
    assert read_ages(str(tmp_path)) == {"sub-01": 34.0, "sub-02": 61.5}


def test_people_of_unknown_age_are_left_out(tmp_path: Path):
    text = "participant_id\tage\nsub-01\tn/a\nsub-02\t\nsub-03\t89+\nsub-04\nsub-05\t40\n"
    assert read_ages(table(tmp_path, text)) == {"sub-05": 40.0}


@pytest.mark.parametrize("text", ["", "participant_id\tsex\nsub-01\tF\n", "name\tage\nsub-01\t30\n"])
def test_a_table_without_ages_knows_none(tmp_path: Path, text: str):
    assert read_ages(table(tmp_path, text)) == {}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_table_from_excel_is_read(tmp_path: Path, newline: str, encoding: str):
    text = newline.join(["participant_id\tage", "sub-01\t34", ""])
    assert read_ages(table(tmp_path, text, encoding)) == {"sub-01": 34.0}
    assert read_people(tmp_path) == {"sub-01"}
    assert read_named_table(tmp_path / "participants.tsv") == {"sub-01": {"age": "34"}}


def test_what_two_lines_say_differently_is_not_known(tmp_path: Path):
    text = "participant_id\tage\tsex\nsub-01\t34\tF\nsub-02\t50\tM\nsub-01\t36\tF\nsub-01\t34\tF\n"
    assert read_table(table(tmp_path, text)) == {
        "sub-01": {"age": None, "sex": "F"}, "sub-02": {"age": "50", "sex": "M"},
    }  # fmt: skip


def test_who_is_named_without_sub_is_found_with_it(tmp_path: Path):
    text = "participant_id \t age\n01\t34\nsub-02\t50\nsub-01\t35\n03\t36\n"
    assert read_ages(table(tmp_path, text)) == {"01": 34.0, "sub-01": 35.0, "sub-02": 50.0, "03": 36.0, "sub-03": 36.0}


def test_what_programs_write_for_a_missing_value_is_missing(tmp_path: Path):
    cells = ("n/a", "N/A", "NA", "nan", "NaN", "None", "-", " ", "")
    path = tmp_path / "people.tsv"
    lines = [f"sub-{i}\t{cell}\n" for i, cell in enumerate(cells)]
    path.write_text("".join(["participant_id\tgroup\n", *lines, "a\tx\n"]))
    found = read_named_table(path)
    assert [found[f"sub-{i}"]["group"] for i in range(len(cells))] == [None] * len(cells)
    assert found["a"]["group"] == "x"


def test_an_age_that_is_no_number_of_years_is_unknown(tmp_path: Path):
    text = "participant_id\tage\nsub-01\tnan\nsub-02\tinf\nsub-03\t50\n"
    assert read_ages(table(tmp_path, text)) == {"sub-03": 50.0}


def test_where_there_is_no_table_no_age_is_known(tmp_path: Path):
    assert read_ages(tmp_path) == {}
    assert read_ages(tmp_path / "sub-01_T1w.nii.gz") == {}
    (tmp_path / "list.csv").write_text("image\n")
    assert read_ages(tmp_path / "list.csv") == {}


def test_another_encoding_costs_no_age_and_makes_no_words_alike(tmp_path: Path):
    text = "participant_id\tsite\tage\nsub-01\tGö\t34\nsub-02\tGä\t50\n"
    assert read_ages(table(tmp_path, text, "latin-1")) == {"sub-01": 34.0, "sub-02": 50.0}
    assert [own["site"] for own in read_named_table(tmp_path / "participants.tsv").values()] == ["Gö", "Gä"]


def test_a_quote_that_is_not_closed_swallows_nobody(tmp_path: Path):
    text = 'participant_id\tnotes\tage\nsub-01\t"shaky\t34\nsub-02\tn/a\t50\nsub-03\tshaky"\t20\n'
    assert read_ages(table(tmp_path, text)) == {"sub-01": 34.0, "sub-02": 50.0, "sub-03": 20.0}
    assert len(read_named_table(tmp_path / "participants.tsv")) == 3


def test_quotes_around_every_word_as_of_r_are_no_part_of_it(tmp_path: Path):
    text = '"participant_id"\t"sex"\t"age"\n"sub-01"\t"F"\t34\n'
    assert read_table(table(tmp_path, text)) == {"sub-01": {"sex": "F", "age": "34"}}
    (tmp_path / "people.csv").write_text('"participant_id","notes"\n"sub-01","tired, moved"\n')
    assert read_named_table(tmp_path / "people.csv") == {"sub-01": {"notes": "tired, moved"}}


def test_a_table_that_cannot_be_taken_apart_is_refused_by_its_name(tmp_path: Path):
    path = tmp_path / "people.csv"
    path.write_text('participant_id,notes\nsub-01,"' + 3000 * ("x" * 99 + "\n"))
    with pytest.raises(UsageError, match=r"people\.csv: expected a table, found .*Look for a quote"):
        read_named_table(path)


def test_of_two_columns_of_a_name_neither_is_taken_for_the_other(tmp_path: Path):
    text = "participant_id\tage\tsex\tage\nsub-01\t34\tF\t1\nsub-02\t50\tM\t50\n"
    assert read_ages(table(tmp_path, text)) == {"sub-02": 50.0}
    with pytest.raises(UsageError, match="age more than once"):
        read_named_table(tmp_path / "participants.tsv")


def test_everyone_in_the_table_is_known_whatever_else_it_says(tmp_path):
    assert read_people(tmp_path) is None and read_people(tmp_path / "a.nii.gz") is None
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tage\nsub-1\t30\nsub-2\tn/a\n\t40\nsub-3\n")
    assert read_people(tmp_path) == {"sub-1", "sub-2", "sub-3"}
    table.write_text("name\tage\nsub-1\t30\n")
    assert read_people(tmp_path) is None


def test_the_table_of_a_data_set_is_found_from_within(tmp_path: Path):
    (tmp_path / "study").mkdir()
    study = table(tmp_path / "study", "participant_id\tage\nsub-01\t34\n")
    scan = study / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_T1w.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.touch()
    (study / "list.csv").write_text("image\n")
    for source in (study, study / "list.csv", study / "sub-01", scan.parent, scan):
        assert read_ages(source) == {"sub-01": 34.0}, source
    (study / "others").mkdir()
    assert table_of(study / "others") is None, "a folder of another kind has a table of its own or none"


def test_what_a_cell_says_of_a_person():
    assert [age_in(cell) for cell in ("34", " 61.5", "0", "-9", "999", "89+", "n/a", "", None)] == [
        34.0, 61.5, 0.0, None, None, None, None, None, None,
    ]  # fmt: skip
    known = [sex_in(cell) for cell in ("M", "male", " f ", "Female", "1", "N/A", None)]
    assert known == ["M", "M", "F", "F", None, None, None]


def test_a_mended_table_has_another_fingerprint(tmp_path: Path):
    assert fingerprint(tmp_path) is None
    before = fingerprint(table(tmp_path, "participant_id\tage\nsub-01\t34\n"))
    assert before == fingerprint(tmp_path / "sub-01_T1w.nii.gz")
    assert before != fingerprint(table(tmp_path, "participant_id\tage\nsub-01\t35\n"))

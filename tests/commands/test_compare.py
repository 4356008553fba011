"""Groups of people: who is compared with whom, what is found where, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from mri3d.volumes.alignment import load_template
from mri3d.volumes.discovery import discover
from tests.command_line import mri3d
from tests.study import (
    REGIONS,
    Scored,
    change_sidecar,
    template_to_source,
    write_bundle,
    write_participants,
    write_study,
)

LESION_MNI = (-28.0, 22.0, 14.0)
HC, HD = [f"sub-0{i}" for i in range(1, 6)], [f"sub-1{i}" for i in range(1, 6)]


def scan(name: str, i: int, patient: bool, **changes: Any) -> Scored:
    """Someone whose left caudate has shrunk, and who has a lesion, if a patient."""
    spread = np.random.default_rng(100 + i).normal(0, 0.4, len(REGIONS))
    z = dict(zip(REGIONS, spread, strict=True))
    if patient:
        z["Left Caudate"] -= 3.0
    x, y, z_mm = (template_to_source() @ (*LESION_MNI, 1.0))[:3]
    lesions = (((float(x), float(y), float(z_mm)), 11.0),) if patient else ()
    key = f"{name}/anat/{name}_T1w"
    return Scored(key, z, score=4.0 + float(spread[0]) + 3 * patient, lesions=lesions, seed=i, **changes)


def scans() -> list[Scored]:
    return [scan(name, i, name in HD) for i, name in enumerate((*HC, *HD))]


def table() -> dict[str, dict[str, Any]]:
    return {
        name: {"diagnosis": "HD" if name in HD else "Control", "age": 40 + (i * 7) % 10, "sex": "FM"[i % 2],
               "site": "B" if name in HD else "A"}
        for i, name in enumerate((*HC, *HD))
    }  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    write_study(root / "out", scans(), write_bundle(root / "bundle", trained=["sub-77"]))
    write_participants(root / "in" / "participants.tsv", table())
    return root


@pytest.fixture(scope="module")
def compared(study: Path) -> tuple[Path, str]:
    return study / "report", run(study, study / "report")


def described(path: Path) -> str:
    return str(nib.load(path).header["descrip"].item().decode())  # type: ignore[attr-defined]


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_region_that_shrank_is_found_on_its_side(compared: tuple[Path, str]) -> None:
    rows = {row["region"]: row for row in read(compared[0] / "groups.csv")}
    assert list(rows) == [*REGIONS, "Subject score", "Anomalous ml"]
    left, right = rows["Left Caudate"], rows["Right Caudate"]
    assert (left["group"], left["reference"], left["n"], left["n_reference"]) == ("HD", "Control", "5", "5")
    assert float(left["q"]) < 0.01 and float(right["q"]) > 0.05
    assert float(left["difference"]) == pytest.approx(-3.0, abs=0.8)
    assert float(left["mean"]) - float(left["mean_reference"]) == pytest.approx(float(left["difference"]), abs=1e-4)
    assert float(left["volume_percent"]) == pytest.approx(100 * np.expm1(0.08 * float(left["difference"])), abs=0.1)
    assert float(left["g_low"]) < float(left["g"]) < float(left["g_high"]) < 0
    assert rows["Subject score"]["q"] == "" and float(rows["Subject score"]["p"]) < 0.01
    assert float(rows["Anomalous ml"]["difference"]) > 0


def test_everybody_is_listed_with_the_values_that_are_compared(compared: tuple[Path, str]) -> None:
    """Welch's test by SciPy on the listed values gives the table's p."""
    people = read(compared[0] / "people.csv")
    assert [row["participant"] for row in people] == [*HC, *HD]
    assert [row["group"] for row in people] == ["Control"] * 5 + ["HD"] * 5
    assert [(row["age"], row["sex"]) for row in people] == [(str(of["age"]), of["sex"]) for of in table().values()]
    for row in read(compared[0] / "groups.csv"):
        values = [float(of[row["region"]]) for of in people]
        p = stats.ttest_ind(values[:5], values[5:], equal_var=False).pvalue
        assert p == pytest.approx(float(row["p"]), rel=1e-3)
        assert np.mean(values[5:]) == pytest.approx(float(row["mean"]), abs=1e-4)


def test_the_command_says_what_differs_and_how(compared: tuple[Path, str]) -> None:
    assert "Control 5, HD 5; 0 left out. Reference: Control" in compared[1]
    assert "1 of 3 regions at q < 0.05" in compared[1]
    assert "Left Caudate: smaller, volume -" in compared[1] and "Right Caudate" not in compared[1]


def test_the_mean_map_lies_in_mni_space(compared: tuple[Path, str]) -> None:
    template = load_template()
    image = nib.load(compared[0] / "group-HD_zscore.nii.gz")  # type: ignore[attr-defined]
    data = np.asarray(image.dataobj)
    assert data.dtype == np.float32 and data.shape == template.grid.shape
    assert np.allclose(image.affine, template.grid.affine)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 4)
    place = template.grid.world(np.unravel_index(int(data.argmax()), data.shape))
    assert np.linalg.norm(place - LESION_MNI) < 6
    # its weight lies in the lesion's middle, not at the mirrored place
    bright = np.argwhere(data > 4)
    assert np.linalg.norm(template.grid.world(bright.mean(axis=0)) - LESION_MNI) < 2.5
    i, j, k = np.rint(np.linalg.inv(template.grid.affine) @ (28.0, 22.0, 14.0, 1.0))[:3].astype(int)
    assert data[i, j, k] < 2
    control = np.asarray(nib.load(compared[0] / "group-Control_zscore.nii.gz").dataobj)  # type: ignore[attr-defined]
    assert control.max() < 4 and 0.6 < control[control > 0].mean() < 1.0
    assert data[0, 0, 0] == 0


def test_maps_of_a_comparison_are_never_inputs(compared: tuple[Path, str]) -> None:
    with pytest.raises(Exception, match="a map that mri3d wrote"):
        discover(compared[0])


def test_the_record_and_the_page_say_how(compared: tuple[Path, str]) -> None:
    told = json.loads((compared[0] / "compare.json").read_text(encoding="utf-8"))
    assert told["made"]["model"].startswith("Welch") and told["made"]["bundle"]["name"] == "bundle"
    assert told["groups"] == {"Control": HC, "HD": HD} and told["left_out"] == {}
    assert sorted(told["files"]) == ["group-Control_zscore.nii.gz", "group-HD_zscore.nii.gz", "people.csv"]
    page = (compared[0] / "report.html").read_text(encoding="utf-8")
    assert "HD (5) against Control (5)" in page and "Left Caudate" in page and page.count("data:image/png") == 2
    assert (compared[0] / "groups.png").stat().st_size > 5000


@pytest.fixture
def no_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the mean maps where tables are looked at."""
    monkeypatch.setattr("mri3d.commands.compare.mean_map", lambda results, progress: (None, ()))


def run(study: Path, output: Path, *words: object, exit_code: int = 0, maps: Path | None = None) -> str:
    named = [] if "--bundle" in words else ["--bundle", study / "bundle"]
    column = [] if "--column" in words else ["--column", "diagnosis"]
    maps = maps or study / "out"
    return mri3d("compare", maps, *column, *named, "-o", output, *words, exit_code=exit_code).output


def test_a_covariate_that_is_called_like_a_region_keeps_a_column_of_its_own(
    no_maps: None, study: Path, tmp_path: Path
) -> None:
    rows = {name: {**cells, "Left Caudate": 3 + i * i % 7} for i, (name, cells) in enumerate(table().items())}
    named = write_participants(tmp_path / "people.tsv", rows)
    run(study, tmp_path / "report", "--groups", named, "--covariates", "Left Caudate")
    people = read(tmp_path / "report" / "people.csv")
    assert [of["Left Caudate (2)"] for of in people] == [str(of["Left Caudate"]) for of in rows.values()]
    assert float(people[-1]["Left Caudate"]) < -1


def test_a_table_of_somebody_elses_is_not_replaced(no_maps: None, study: Path, tmp_path: Path) -> None:
    """An earlier comparison, which has no such file, makes the folder ours, and not all that lies there."""
    run(study, tmp_path / "report")
    record = tmp_path / "report" / "compare.json"
    told = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps(told | {"files": []}), encoding="utf-8")
    said = run(study, tmp_path / "report", "--overwrite", exit_code=2)
    assert "people.csv of another origin" in said
    record.write_text(json.dumps(told), encoding="utf-8")
    run(study, tmp_path / "report", "--overwrite")


@pytest.mark.usefixtures("no_maps")
def test_covariates_are_adjusted_for(study: Path, tmp_path: Path) -> None:
    """Controls of 30 and patients of 60, in whom the brain stem shrinks with age alone."""
    rng = np.random.default_rng(1)
    ages = {name: (60 if name in HD else 30) + rng.uniform(-12, 12) for name in (*HC, *HD)}
    aged = [replace(of, z={**of.z, "Brain Stem": -0.1 * ages[of.key[:6]] + rng.normal(0, 0.2)}) for of in scans()]
    write_study(tmp_path / "out", aged, study / "bundle")
    for of in aged:  # heads of slightly different sizes
        world = template_to_source() @ np.diag([*[1 + 1e-3 * rng.uniform(-9, 9)] * 3, 1.0])
        change_sidecar(tmp_path / "out", of.key, template_to_source=world.tolist())
    rows = table()
    for name, age in ages.items():
        rows[name]["age"] = f"{age:.1f}"
    rows[HC[0]]["sex"], rows[HC[1]]["sex"] = "female", "m"  # which are no kinds of their own
    named = write_participants(tmp_path / "people.tsv", rows)
    run(study, tmp_path / "plain", "--groups", named, maps=tmp_path / "out")
    run(study, tmp_path / "aged", "--groups", named, "--covariates", "age,sex,tiv", maps=tmp_path / "out")
    plain, adjusted = ({of["region"]: of for of in read(tmp_path / name / "groups.csv")} for name in ("plain", "aged"))
    assert float(plain["Brain Stem"]["q"]) < 0.01 < 0.05 < float(adjusted["Brain Stem"]["p"])
    # raw means stay, the difference is another
    assert plain["Brain Stem"]["mean"] == adjusted["Brain Stem"]["mean"]
    assert abs(float(adjusted["Brain Stem"]["difference"])) < 1 < abs(float(plain["Brain Stem"]["difference"]))
    # what is listed of everybody says it again
    people = read(tmp_path / "aged" / "people.csv")
    kinds = [[1.0, of["group"] == "HD", of["sex"] == "M"] for of in people]
    sizes = [[float(of["age"]), np.log(float(of["whole brain, ml"]))] for of in people]
    fit = np.linalg.lstsq(np.hstack([kinds, sizes]), [float(of["Brain Stem"]) for of in people], rcond=None)[0]
    assert fit[1] == pytest.approx(float(adjusted["Brain Stem"]["difference"]), abs=1e-3)
    told = json.loads((tmp_path / "aged" / "compare.json").read_text(encoding="utf-8"))
    assert "age (linear), sex (M against F), tiv (linear)" in told["made"]["model"]
    own = np.round([ages[name] for name in HD], 1)
    control, patient = told["composition"]
    assert (patient["group"], patient["people"]) == ("HD", 5)
    assert list(patient["described"]) == ["age", "sex", "whole brain, ml"]
    extent = (own.mean(), own.std(ddof=1), own.min(), own.max(), 0)
    assert tuple(patient["described"]["age"].values()) == pytest.approx(extent)
    sexes = Counter(str(rows[name]["sex"])[0].upper() for name in HC)
    assert control["described"]["sex"] == {"counts": dict(sorted(sexes.items())), "unknown": 0}
    template = load_template()
    size = abs(np.linalg.det(template_to_source()[:3, :3])) * template.brain.sum() * template.grid.voxel_ml
    assert control["described"]["whole brain, ml"]["mean"] == pytest.approx(size, rel=0.03)
    page = (tmp_path / "aged" / "report.html").read_text(encoding="utf-8")
    digits = 2 if own.std(ddof=1) < 10 else 1
    assert f"<td>{own.mean():.{digits}f} ± {own.std(ddof=1):.{digits}f} ({own.min():.{digits}f} to " in page
    # age and sex are told of without being covariates, too
    assert json.loads((tmp_path / "plain" / "compare.json").read_text(encoding="utf-8"))["composition"] == [
        control, patient,
    ]  # fmt: skip


def test_whom_the_table_alone_knows_is_told_of(study: Path, tmp_path: Path, no_maps: None) -> None:
    more = {f"sub-{number}": {**table()[HC[0]]} for number in range(90, 95)}
    named = write_participants(tmp_path / "people.tsv", {**table(), **more})
    said = run(study, tmp_path / "report", "--groups", named)
    assert f"Of 5 in people.tsv there is no scan in {study / 'out'} (sub-90, sub-91, sub-92 and 2 more)." in said
    assert "there is no scan" not in run(study, tmp_path / "all")


def test_people_whom_the_table_names_without_sub_are_found(study: Path, tmp_path: Path, no_maps: None) -> None:
    bare = write_participants(tmp_path / "bare.tsv", {name.removeprefix("sub-"): row for name, row in table().items()})
    said = run(study, tmp_path / "report", "--groups", bare)
    assert "Control 5, HD 5; 0 left out" in said and "there is no scan" not in said


def test_decimal_commas_and_groups_that_differ_by_case_are_refused(study: Path, tmp_path: Path) -> None:
    rows = {name: {**row, "age": f"{row['age']},5"} for name, row in table().items()}
    commas = write_participants(tmp_path / "commas.tsv", rows)
    said = run(study, tmp_path / "r", "--groups", commas, "--covariates", "age", exit_code=2)
    assert "expected numbers with a decimal point, found '40,5' of sub-01 and 9 more" in said
    rows = table()
    rows[HD[0]]["diagnosis"] = "hd"
    said = run(study, tmp_path / "r", "--groups", write_participants(tmp_path / "case.tsv", rows), exit_code=2)
    assert "expected one way to write a group, found HD and hd" in said and not (tmp_path / "r").exists()


def test_a_covariate_that_only_patients_have_is_told_of(study: Path, tmp_path: Path, no_maps: None) -> None:
    rows = {name: {**row, "years_ill": HD.index(name) + 1 if name in HD else 0} for name, row in table().items()}
    named = write_participants(tmp_path / "ill.tsv", rows)
    said = run(study, tmp_path / "r", "--groups", named, "--covariates", "years_ill")
    assert "There is one and the same years_ill in Control: what it does is known from the others alone." in said


def test_a_mean_map_is_not_made_of_one_person_and_the_report_says_of_how_many(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "s")
    for name in HC[:4]:
        (tmp_path / "s" / "out" / name / "anat" / f"{name}_T1w_zscore.nii.gz").unlink()
    (tmp_path / "s" / "out" / HD[0] / "anat" / f"{HD[0]}_T1w_zscore.nii.gz").unlink()
    said = run(tmp_path / "s", tmp_path / "r", exit_code=1)
    told = json.loads((tmp_path / "r" / "compare.json").read_text(encoding="utf-8"))
    assert told["files"] == ["people.csv", "group-HD_zscore.nii.gz"] and len(told["failures"]) == 5
    note = "5 z-maps could not be read; mean maps are of fewer people (Control none of 5, HD 4 of 5)."
    assert note in said and note in told["notes"]
    assert note in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")


def test_a_table_that_has_lost_its_end_is_refused(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "s")
    results = tmp_path / "s" / "out" / "results.csv"
    text = results.read_text()
    results.write_text(text[:-12])
    assert "with a line that is cut short (sub-15_T1w)" in run(tmp_path / "s", tmp_path / "r", exit_code=2)
    results.write_text("".join(text.splitlines(keepends=True)[:-2]))
    (results.parent / "run.json").write_text(json.dumps({"subjects": 10, "failed": 0}))
    assert "8 lines in results.csv where run.json counts 10" in run(tmp_path / "s", tmp_path / "r", exit_code=2)


def test_whom_the_bundle_has_seen_is_left_out(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", trained=["sub-01"], calibrated=["sub-02", "sub-11"])
    write_study(tmp_path / "out", scans(), bundle)
    write_participants(tmp_path / "in" / "participants.tsv", table())
    said = run(tmp_path, tmp_path / "report")
    assert "Control 3, HD 4; 3 left out" in said
    assert "1 left out (sub-01): the bundle was trained on this participant" in said
    assert "2 left out (sub-02, sub-11): the bundle was calibrated on this participant" in said
    told = json.loads((tmp_path / "report" / "compare.json").read_text(encoding="utf-8"))
    assert set(told["left_out"]) == {"sub-01", "sub-02", "sub-11"}
    assert "n = 3" not in said and told["groups"]["Control"] == ["sub-03", "sub-04", "sub-05"]
    assert described(tmp_path / "report" / "group-Control_zscore.nii.gz").startswith("mri3d mean |z| of 3 people")


def test_all_controls_trained_the_bundle(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", trained=HC)
    write_study(tmp_path / "out", scans(), bundle)
    write_participants(tmp_path / "in" / "participants.tsv", table())
    said = run(tmp_path, tmp_path / "report", exit_code=2)
    assert "5 (the bundle was trained on this participant)" in said and "HD (5)" in said and "--folds" in said
    assert not (tmp_path / "report").exists()


def test_what_is_no_age_is_not_known(study: Path, tmp_path: Path) -> None:
    rows = table()
    rows[HC[0]]["age"], rows[HC[1]]["age"] = "-9", "89+"
    named = write_participants(tmp_path / "people.tsv", rows)
    said = run(study, tmp_path / "report", "--groups", named, "--covariates", "age")
    assert f"2 left out ({HC[0]}, {HC[1]}): no age in people.tsv" in said


def test_a_patient_of_a_control_s_name_does_not_take_the_control_s_score(tmp_path: Path) -> None:
    names = [*HC, HD[0]]
    records = [{"participant": name, "fold": 0, "score": 10.0, "regions": {}} for name in names]
    bundle = write_bundle(tmp_path / "bundle", trained=names, controls=records)
    write_study(tmp_path / "out", scans(), bundle)
    write_participants(tmp_path / "in" / "participants.tsv", table())
    said = run(tmp_path, tmp_path / "report")
    assert f"1 left out ({HD[0]}): a control of the bundle has that name, and is none here" in said


@pytest.mark.parametrize("words", [(), ("--visits",)])
def test_regions_that_were_adjusted_before_are_refused(study: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    write_study(tmp_path / "out", scans(), study / "bundle")
    for of in scans():
        settings = json.loads((tmp_path / "out" / f"{of.key}.json").read_text(encoding="utf-8"))["settings"]
        change_sidecar(tmp_path / "out", of.key, settings={**settings, "covariates": ["age"]})
    named = () if words else ("--column", "diagnosis", "--groups", study / "in" / "participants.tsv")
    said = mri3d("compare", tmp_path / "out", *words, *named, "-o", tmp_path / "r", exit_code=2).output
    assert "detected without --covariates" in said and "detected with age" in said


@pytest.mark.parametrize("with_regions", [True, False])
def test_controls_of_the_folds_count_by_what_others_made_of_them(tmp_path: Path, with_regions: bool) -> None:
    records = [{"participant": name, "fold": 0, "score": 10.0 + i, "decision": "normal", "p_value": 0.5}
               for i, name in enumerate(HC)]  # fmt: skip
    if with_regions:
        for i, record in enumerate(records):
            record["regions"] = dict.fromkeys(REGIONS, 2.0 + 0.1 * i)
    bundle = write_bundle(tmp_path / "bundle", trained=HC, calibrated=HC, controls=records)
    write_study(tmp_path / "out", scans(), bundle)
    write_participants(tmp_path / "in" / "participants.tsv", table())
    said = run(tmp_path, tmp_path / "report")
    rows = {row["region"]: row for row in read(tmp_path / "report" / "groups.csv")}
    assert float(rows["Subject score"]["mean_reference"]) == 12.0  # not what the sidecars say, about 4
    assert rows["Anomalous ml"]["n_reference"] == "0" and rows["Anomalous ml"]["p"] == ""
    left = rows["Left Caudate"]
    if with_regions:
        assert float(left["mean_reference"]) == pytest.approx(2.2) and float(left["difference"]) < -4
        assert float(left["volume_percent"]) < 0
    else:
        assert left["n_reference"] == "0" and left["p"] == "" and left["volume_percent"] == ""
        assert "5 of them have no out-of-fold regions" in said
    assert "5 people trained the bundle and count by their out-of-fold scores" in said
    assert (tmp_path / "report" / "group-HD_zscore.nii.gz").exists()
    assert not (tmp_path / "report" / "group-Control_zscore.nii.gz").exists()


@pytest.mark.usefixtures("no_maps")
def test_a_person_counts_once_by_the_first_visit(study: Path, tmp_path: Path) -> None:
    """Sessions 2 and 10 of each patient; in session 10 all are well again."""
    visits = []
    for i, name in enumerate(HD):
        for session, ill in (("10", False), ("2", True)):
            key = f"{name}/ses-{session}/anat/{name}_ses-{session}_T1w"
            visits.append(replace(scan(name, i, ill), key=key))
    write_study(tmp_path / "out", [*(of for of in scans() if of.key[:6] in HC), *visits], study / "bundle")
    write_participants(tmp_path / "in" / "participants.tsv", table())
    said = run(study, tmp_path / "report", maps=tmp_path / "out")
    assert "Control 5, HD 5; 0 left out" in said and "5 further scans do not" in said
    rows = {row["region"]: row for row in read(tmp_path / "report" / "groups.csv")}
    assert rows["Left Caudate"]["n"] == "5" and float(rows["Left Caudate"]["difference"]) < -2


def test_people_who_cannot_be_told_apart_or_found(study: Path, tmp_path: Path) -> None:
    """Two sites that both count from 01, a table with other names, and a scan that was not scored."""
    sites = [replace(of, key=f"site-{site}/{of.key}") for site in "AB" for of in scans()[:3]]
    write_study(tmp_path / "two" / "out", sites, study / "bundle")
    said = run(study, tmp_path / "r", maps=tmp_path / "two" / "out", exit_code=2)
    assert "sub-01 in site-A/sub-01 and in site-B/sub-01" in said
    other = write_participants(tmp_path / "people.tsv", {f"x{name}": row for name, row in table().items()})
    said = run(study, tmp_path / "r", "--groups", other, exit_code=2)
    assert "such as sub-01, found others, such as xsub-01" in said


@pytest.mark.usefixtures("no_maps")
def test_three_groups_missing_cells_and_a_small_group(study: Path, tmp_path: Path) -> None:
    rows = table()
    rows["sub-11"]["diagnosis"] = "n/a"
    rows["sub-12"]["age"] = ""
    rows["sub-05"]["diagnosis"] = "Tourette's / odd"
    del rows["sub-04"]
    named = write_participants(tmp_path / "people.tsv", rows)
    said = run(study, tmp_path / "report", "--groups", named, "--covariates", "age")
    told = json.loads((tmp_path / "report" / "compare.json").read_text(encoding="utf-8"))
    assert told["left_out"] == {
        "sub-04": "no line in people.tsv", "sub-11": "no diagnosis in people.tsv", "sub-12": "no age in people.tsv",
        "sub-05": "the group Tourette's / odd has fewer than 3 people",
    }  # fmt: skip
    assert "Control 3, HD 3; 4 left out" in said and "sub-05" in said
    rows = table()
    for name in HC[:3]:
        rows[name]["diagnosis"] = "Tourette's / odd"
    for name in HD[:2]:
        rows[name]["diagnosis"] = "Control"
    said = run(study, tmp_path / "three", "--groups", write_participants(named, rows), "--reference", "HD", exit_code=0)
    lines = read(tmp_path / "three" / "groups.csv")
    assert {(line["group"], line["reference"]) for line in lines} == {("Control", "HD"), ("Tourette's / odd", "HD")}
    page = (tmp_path / "three" / "report.html").read_text(encoding="utf-8")
    assert "Tourette&#x27;s / odd (3)" in page and "nobody who is compared has a z-map" in page


@pytest.mark.usefixtures("no_maps")
def test_without_healthy_regions_volumes_are_compared(study: Path, tmp_path: Path) -> None:
    write_study(tmp_path / "out", scans(), study / "bundle")
    for name in (*HC, *HD):
        key = f"{name}/anat/{name}_T1w"
        made = json.loads((tmp_path / "out" / f"{key}.json").read_text(encoding="utf-8"))
        change_sidecar(tmp_path / "out", key, regions=[{**of, "z": None} for of in made["regions"]])
    run(study, tmp_path / "report", "--groups", study / "in" / "participants.tsv", maps=tmp_path / "out")
    left = read(tmp_path / "report" / "groups.csv")[0]
    assert left["measure"] == "log ml" and float(left["q"]) < 0.01
    assert float(left["volume_percent"]) == pytest.approx(100 * np.expm1(float(left["difference"])), abs=1e-3)


REFUSED = {
    "no reference": (("--column", "site"), {}, ("A (5), B (5)", "--reference NAME")),
    "unknown reference": (("--reference", "Healthy"), {}, ("a group Healthy", "Control (5), HD (5)")),
    "unknown column": (("--column", "group"), {}, ("a column group", "diagnosis, age, sex, site")),
    "unknown covariate": (("--covariates", "age,height"), {}, ("a column height",)),
    "groups that are too small": (("--column", "age", "--reference", "40"), {}, ("3 people or more", "40 (1)")),
    "a covariate that the groups tell": (("--covariates", "site"), {}, ("--covariates site", "Leave it out")),
    "the groups as covariate": (("--covariates", "diagnosis"), {}, ("--covariates diagnosis",)),
    "two lines that contradict": ((), {"sub-01": {"diagnosis": "HD\nsub-01\tControl"}}, ("one line a person",)),
    "another table": (("--groups", __file__), {}, ("a column participant_id",)),
    "no table": (("--groups", "nowhere.tsv"), {}, ("nowhere.tsv", "found nothing")),
    "visits too": (("--visits",), {}, ("--visits", "--groups")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_usage_says_what_to_do(study: Path, tmp_path: Path, case: str) -> None:
    words, changed, told = REFUSED[case]
    rows = {name: row | changed.get(name, {}) for name, row in table().items()}
    named = [] if "--groups" in words else ["--groups", write_participants(tmp_path / "people.tsv", rows)]
    said = run(study, tmp_path / "report", *words, *named, exit_code=2)
    for each in told:
        assert each in said
    assert "Traceback" not in said and not (tmp_path / "report").exists()


def test_the_bundle_must_be_the_one_that_made_the_maps(study: Path, tmp_path: Path) -> None:
    said = mri3d("compare", study / "out", "--column", "diagnosis", "-o", tmp_path / "r", exit_code=2).output
    assert "one called bundle" in said and "--bundle" in said
    other = write_bundle(tmp_path / "other")
    assert "the bundle that made the maps" in run(study, tmp_path / "r", "--bundle", other, exit_code=2)
    (study / "bundle" / "models" / "split.json").rename(tmp_path / "split.json")
    try:
        assert "split.json" in run(study, tmp_path / "r", exit_code=2)
    finally:
        (tmp_path / "split.json").rename(study / "bundle" / "models" / "split.json")


def test_older_results_and_folders_of_others_are_refused(study: Path, tmp_path: Path) -> None:
    write_study(tmp_path / "out", scans()[:1], study / "bundle")
    change_sidecar(tmp_path / "out", scans()[0].key, template_to_source=None)
    said = run(study, tmp_path / "r", maps=tmp_path / "out", exit_code=2)
    assert "template_to_source" in said and "detect --overwrite" in said
    assert "results.csv" in run(study, tmp_path / "r", maps=tmp_path, exit_code=2)
    assert "of another origin" in run(study, study / "out", "--overwrite", exit_code=2)


def test_earlier_results_are_replaced_when_asked_and_nothing_else(study: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    few = {name: row for name, row in table().items() if name in HC[:3] + HD[:3]}
    run(study, report, "--groups", write_participants(tmp_path / "few.tsv", few))
    assert "Use --overwrite" in run(study, report, exit_code=2)
    (report / "mine_zscore.nii.gz").write_text("mine")
    for name in HD[:3]:
        few[name]["diagnosis"] = "early HD's"
    named = write_participants(tmp_path / "people.tsv", few)
    run(study, report, "--overwrite", "--groups", named)
    held = {path.name for path in report.iterdir()}
    assert "group-early-HD-s_zscore.nii.gz" in held and "group-HD_zscore.nii.gz" not in held
    assert (report / "mine_zscore.nii.gz").read_text() == "mine"
    (report / "group-HD_zscore.nii.gz").write_text("mine too")
    said = run(study, report, "--overwrite", exit_code=2)
    assert "group-HD_zscore.nii.gz of another origin" in said
    assert (report / "group-HD_zscore.nii.gz").read_text() == "mine too"


def test_a_map_that_cannot_be_read_is_told_and_the_others_count(study: Path, tmp_path: Path) -> None:
    write_study(tmp_path / "out", scans(), study / "bundle")
    (tmp_path / "out" / "sub-11" / "anat" / "sub-11_T1w_zscore.nii.gz").write_bytes(b"broken")
    table_of = study / "in" / "participants.tsv"
    said = run(study, tmp_path / "r", "--groups", table_of, maps=tmp_path / "out", exit_code=1)
    assert "failed" in said and "sub-11_T1w_zscore.nii.gz" in said
    assert "of 4 people" in described(tmp_path / "r" / "group-HD_zscore.nii.gz")

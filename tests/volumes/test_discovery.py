"""Which files are inputs, whose they are, and what their outputs are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mri3d.errors import UsageError
from mri3d.volumes.atomic import atomic_write
from mri3d.volumes.discovery import Discovery, discover

THREE = ("T1w", "T2w", "FLAIR")


def tree(root: Path, *files: str) -> Path:
    """Empty files: discovery opens none."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def keys(found: Discovery) -> list[str]:
    return [subject.key for subject in found.subjects]


def reasons(found: Discovery) -> dict[str, str]:
    return {skip.path.name: skip.reason for skip in found.skipped}


def images(found: Discovery) -> dict[str, dict[str, str]]:
    return {
        subject.key: {modality: path.name for modality, path in subject.images.items()} for subject in found.subjects
    }


# -- one modality ------------------------------------------------------------------------------------------------------


def test_bids(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "dataset_description.json",
        "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_run-1_T1w.nii",
        "sub-01/ses-2/anat/sub-01_ses-2_run-2_T1w.nii",
        "sub-01/ses-1/anat/sub-01_ses-1_acq-mprage_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_ce-gadolinium_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_PDw.nii.gz",
        "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz",
        "sub-01/ses-1/dwi/sub-01_ses-1_dwi.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_label-lesion_mask.nii.gz",
    )
    found = discover(tmp_path)
    assert keys(found) == [
        "sub-01/ses-1/anat/sub-01_ses-1_acq-mprage_T1w",
        "sub-01/ses-2/anat/sub-01_ses-2_run-1_T1w",
        "sub-01/ses-2/anat/sub-01_ses-2_run-2_T1w",
        "sub-02/ses-1/anat/sub-02_ses-1_T1w",
    ]
    assert [subject.participant for subject in found.subjects] == ["sub-01", "sub-01", "sub-01", "sub-02"]
    told = reasons(found)
    assert "mask" in told["sub-01_ses-1_label-lesion_mask.nii.gz"]
    for suffix in ("FLAIR", "T2w", "PDw", "task-rest_bold", "dwi"):
        assert suffix.split("_")[-1] in told[f"sub-01_ses-1_{suffix}.nii.gz"]
    assert "T1ce" in told["sub-01_ses-1_ce-gadolinium_T1w.nii.gz"]
    assert len(told) == 7


def test_brats_old_and_new(tmp_path: Path) -> None:
    new, old = "BraTS-GLI-00001-000", "BraTS20_Training_001"
    tree(
        tmp_path,
        *(f"{new}/{new}-{kind}.nii.gz" for kind in ("t1n", "t1c", "t2w", "t2f", "seg")),
        "BraTS-GLI-00001-001/BraTS-GLI-00001-001-t1n.nii.gz",
        *(f"{old}/{old}_{kind}.nii" for kind in ("t1", "t1ce", "t2", "flair", "seg")),
    )
    found = discover(tmp_path)
    assert keys(found) == [f"{new}/{new}-t1n", "BraTS-GLI-00001-001/BraTS-GLI-00001-001-t1n", f"{old}/{old}_t1"]
    assert [subject.participant for subject in found.subjects[:2]] == ["BraTS-GLI-00001", "BraTS-GLI-00001"]
    found = discover(tmp_path, THREE)
    assert images(found) == {
        f"{new}/{new}": {"T1w": f"{new}-t1n.nii.gz", "T2w": f"{new}-t2w.nii.gz", "FLAIR": f"{new}-t2f.nii.gz"},
        "BraTS-GLI-00001-001/BraTS-GLI-00001-001": {"T1w": "BraTS-GLI-00001-001-t1n.nii.gz"},
        f"{old}/{old}": {"T1w": f"{old}_t1.nii", "T2w": f"{old}_t2.nii", "FLAIR": f"{old}_flair.nii"},
    }
    assert found.subjects[2].participant == old


@pytest.mark.parametrize(
    "name",
    [
        "scan.nii",
        "scan.nii.gz",
        "SCAN.NII.GZ",
        "IXI002-Guys-0828-T1.nii.gz",
        "a.b.nii",
        "sub-01_T1w_brain.nii.gz",
        "a\n_.nii",
    ],
)
def test_any_other_name_is_one_t1w(tmp_path: Path, name: str) -> None:
    (subject,) = discover(tree(tmp_path, name)).subjects
    stem = name[: name.lower().index(".nii")]
    assert (subject.name, subject.key) == (stem, stem)
    assert subject.participant == ("sub-01" if name.startswith("sub") else stem.removesuffix("-T1"))
    assert dict(subject.images) == {"T1w": tmp_path / name} and subject.mask is None


@pytest.mark.parametrize(
    "name",
    [
        *("a_mask", "a_brainmask", "a_desc-brain_mask", "a_dseg", "a_seg", "a-seg", "sub-1_label-lesion_mask", "mask"),
        *("a_probseg", "seg", "A_MASK", "a_label-GM_probseg"),
        *("a_error", "a_zscore", "a_anomaly", "a_recon", "a_signed"),
    ],
)
def test_masks_and_our_own_maps_are_never_inputs(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "a.nii.gz", f"{name}.nii.gz")
    found = discover(tmp_path)
    assert keys(found) == ["a"] and list(reasons(found)) == [f"{name}.nii.gz"]
    with pytest.raises(UsageError, match=name):
        discover(tmp_path / f"{name}.nii.gz")


@pytest.mark.parametrize("name", ["unmask.nii", "dseg_T1w.nii", "terror.nii", "mask_of_zorro.nii"])
def test_names_that_only_resemble_masks(tmp_path: Path, name: str) -> None:
    assert len(discover(tree(tmp_path, name)).subjects) == 1


def test_hidden_and_other_files_are_passed_over_in_silence(tmp_path: Path) -> None:
    tree(tmp_path, "a.nii", "._a.nii", ".git/b.nii", "notes.txt", "a.nii.txt", "c.mgz", "a.json")
    with pytest.raises(ValueError), atomic_write(tmp_path / "z.nii.gz") as part:
        part.touch()
        assert keys(discover(tmp_path)) == ["a"]
        raise ValueError
    assert not discover(tmp_path).skipped


def test_derivatives_are_named_once_and_only_below_the_input(tmp_path: Path) -> None:
    inside = "derivatives/fmriprep/sub-01/anat"
    tree(tmp_path, "sub-01/anat/sub-01_T1w.nii", *(f"{inside}/sub-01_{d}T1w.nii" for d in ("", "desc-preproc_")))
    found = discover(tmp_path)
    assert keys(found) == ["sub-01/anat/sub-01_T1w"]
    assert [skip.path for skip in found.skipped] == [tmp_path / "derivatives"]
    assert len(discover(tmp_path / "derivatives/fmriprep").subjects) == 2
    assert len(discover(tmp_path / "derivatives").subjects) == 2
    assert keys(discover(tmp_path / inside / "sub-01_T1w.nii")) == ["sub-01_T1w"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    data = tree(tmp_path / "data", "b/scan.nii")
    tree(tmp_path / "other", "deep/x.nii")
    (data / "b" / "loop").symlink_to(data)
    (data / "a").symlink_to(data / "b")  # sorts before its target
    (data / "outside").symlink_to(tmp_path / "other")
    (data / "annexed.nii").symlink_to(tmp_path / "gone.nii")
    found = discover(data)
    assert keys(found) == ["annexed", "b/scan", "outside/deep/x"]
    assert [skip.path for skip in found.skipped] == [data / "a", data / "b" / "loop"]


def test_many_mutual_links_end(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(12)]
    tree(tmp_path, *(f"{name}/{name}.nii" for name in names))
    for one in names:
        for other in names:
            (tmp_path / one / f"to_{other}").symlink_to(tmp_path / other)
    assert keys(discover(tmp_path)) == sorted(f"{name}/{name}" for name in names)


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    tree(tmp_path, "b/1.nii", "a/2.nii", "a/1.nii", "c.nii", "a-b/1.nii")
    assert keys(discover(tmp_path)) == ["a/1", "a/2", "a-b/1", "b/1", "c"]


@pytest.mark.parametrize("names", [("a.nii", "a.nii.gz"), ("x/a.nii", "x/a.NII.GZ")])
def test_outputs_that_would_collide_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    tree(tmp_path, *names)
    with pytest.raises(UsageError) as caught:
        discover(tmp_path)
    assert all(str(tmp_path / name) in str(caught.value) for name in names)


def test_participants(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "sub-07/ses-1/brain.nii",
        "sub-08.nii",
        "p1/T1.nii.gz",
        "p2/T1.nii.gz",
        "sub-09/sub-10_T1w.nii",
        "sub-11-T1.nii",
    )
    whom = {subject.key: subject.participant for subject in discover(tmp_path).subjects}
    assert whom == {
        "sub-07/ses-1/brain": "sub-07",
        "sub-08": "sub-08",
        "p1/T1": "p1",
        "p2/T1": "p2",
        "sub-09/sub-10_T1w": "sub-10",
        "sub-11-T1": "sub-11",
    }
    assert discover(tmp_path / "sub-07" / "ses-1" / "brain.nii").subjects[0].participant == "sub-07"


def test_whom_a_name_without_sub_tells_is_the_same_alone_and_with_other_modalities(tmp_path: Path) -> None:
    """As dcm2niix -f %i_T1w names scans; a table of people has the number alone."""
    tree(tmp_path, "HD001_T1w.nii.gz", "HD001_FLAIR.nii.gz", "HD002_T1w.nii.gz")
    for modalities in (("T1w",), THREE):
        assert [subject.participant for subject in discover(tmp_path, modalities).subjects] == ["HD001", "HD002"]


def test_relative_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "sub-01/T1w.nii")
    monkeypatch.chdir(tmp_path / "sub-01")
    for source in (".", "T1w.nii", "../sub-01"):
        (subject,) = discover(Path(source)).subjects
        assert (subject.key, subject.participant) == ("T1w", "sub-01")
        assert discover(Path(source), THREE).subjects[0].name == "sub-01"


def test_one_other_modality(tmp_path: Path) -> None:
    tree(tmp_path, "sub-01_T1w.nii", "sub-01_FLAIR.nii", "x-t2f.nii", "nameless.nii")
    found = discover(tmp_path, ("FLAIR",))
    assert keys(found) == ["nameless", "sub-01_FLAIR", "x-t2f"]
    assert all(list(subject.images) == ["FLAIR"] for subject in found.subjects)
    assert "T1w" in reasons(found)["sub-01_T1w.nii"]


# -- several modalities ------------------------------------------------------------------------------------------------


def test_a_subject_of_several_modalities(tmp_path: Path) -> None:
    anat = "sub-01/ses-1/anat"
    tree(
        tmp_path,
        *(f"{anat}/sub-01_ses-1_{rest}.nii.gz" for rest in ("FLAIR", "acq-3d_T2w", "T1w", "PDw")),
        "sub-02/anat/sub-02_T1w.nii",
        "sub-02/anat/sub-02_FLAIR.nii",
        "sub-03/anat/sub-03_T2w.nii",
        "sub-03/anat/sub-03_FLAIR.nii",
    )
    found = discover(tmp_path, THREE)
    assert images(found) == {
        f"{anat}/sub-01_ses-1": {
            "T1w": "sub-01_ses-1_T1w.nii.gz",
            "T2w": "sub-01_ses-1_acq-3d_T2w.nii.gz",
            "FLAIR": "sub-01_ses-1_FLAIR.nii.gz",
        },
        "sub-02/anat/sub-02": {"T1w": "sub-02_T1w.nii", "FLAIR": "sub-02_FLAIR.nii"},
    }
    assert list(found.subjects[0].images) == ["T1w", "T2w", "FLAIR"]
    assert found.subjects[0].reference.name == "sub-01_ses-1_T1w.nii.gz"
    told = reasons(found)
    assert "no T1w" in told["sub-03_T2w.nii"] and "no T1w" in told["sub-03_FLAIR.nii"]
    assert "PDw" in told["sub-01_ses-1_PDw.nii.gz"]


def test_the_first_modality_is_the_reference(tmp_path: Path) -> None:
    tree(tmp_path, "sub-01_T1w.nii", "sub-01_FLAIR.nii", "sub-02_T1w.nii")
    found = discover(tmp_path, ("FLAIR", "T1w"))
    assert images(found) == {"sub-01": {"FLAIR": "sub-01_FLAIR.nii", "T1w": "sub-01_T1w.nii"}}
    assert list(found.subjects[0].images) == ["FLAIR", "T1w"]
    assert "no FLAIR" in reasons(found)["sub-02_T1w.nii"]


def test_runs_are_matched(tmp_path: Path) -> None:
    tree(tmp_path, *(f"sub-01_{rest}.nii" for rest in ("run-1_T1w", "run-2_T1w", "run-1_FLAIR", "run-2_FLAIR")))
    tree(tmp_path, "sub-02_run-1_T1w.nii", "sub-02_run-2_T1w.nii", "sub-02_run-2_FLAIR.nii", "sub-02_T2w.nii")
    tree(tmp_path, "sub-03_run-1_T1w.nii", "sub-03_run-2_FLAIR.nii")
    found = discover(tmp_path, THREE)
    assert images(found) == {
        "sub-01_run-1": {"T1w": "sub-01_run-1_T1w.nii", "FLAIR": "sub-01_run-1_FLAIR.nii"},
        "sub-01_run-2": {"T1w": "sub-01_run-2_T1w.nii", "FLAIR": "sub-01_run-2_FLAIR.nii"},
        "sub-02_run-1": {"T1w": "sub-02_run-1_T1w.nii"},
        "sub-02_run-2": {"T1w": "sub-02_run-2_T1w.nii", "FLAIR": "sub-02_run-2_FLAIR.nii"},
        "sub-03": {"T1w": "sub-03_run-1_T1w.nii", "FLAIR": "sub-03_run-2_FLAIR.nii"},
    }
    assert list(reasons(found)) == ["sub-02_T2w.nii"]


@pytest.mark.parametrize(
    "names",
    [
        ("sub-01_acq-a_T1w.nii", "sub-01_acq-b_T1w.nii"),
        ("sub-01_FLAIR.nii", "sub-01_FLAIR.nii.gz"),
        ("x_T1w.nii", "x-t1.nii"),
        ("x.nii", "x_T1w.nii"),
    ],
)
def test_a_clash_is_a_usage_error_naming_both(tmp_path: Path, names: tuple[str, str]) -> None:
    tree(tmp_path, "sub-01_T2w.nii", *names)
    with pytest.raises(UsageError) as caught:
        discover(tmp_path, THREE)
    assert all(name in str(caught.value) for name in names)


def test_sessions_and_folders_are_kept_apart(tmp_path: Path) -> None:
    tree(tmp_path, *(f"p{n}/{kind}.nii.gz" for n in (1, 2) for kind in ("T1", "FLAIR")))
    tree(tmp_path, *(f"sub-01_ses-{n}_{kind}.nii" for n in (1, 2) for kind in ("T1w", "FLAIR")))
    found = discover(tmp_path, THREE)
    assert keys(found) == ["p1/p1", "p2/p2", "sub-01_ses-1", "sub-01_ses-2"]
    assert all(len(subject.images) == 2 for subject in found.subjects)
    assert [subject.participant for subject in found.subjects] == ["p1", "p2", "sub-01", "sub-01"]


# -- masks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("scan.nii.gz", "scan_brainmask.nii.gz"),
        ("scan.nii.gz", "scan_brainmask.nii"),
        ("sub-01_T1w.nii.gz", "sub-01_T1w_brainmask.nii.gz"),
        ("sub-01_run-1_T1w.nii.gz", "sub-01_run-1_brainmask.nii.gz"),
        ("sub-01_T1w.nii.gz", "sub-01_desc-brain_mask.nii.gz"),
        ("sub-01_desc-preproc_T1w.nii.gz", "sub-01_desc-brain_mask.nii.gz"),
        ("BraTS-GLI-00001-000-t1n.nii.gz", "BraTS-GLI-00001-000_brainmask.nii.gz"),
        ("T1.nii", "brainmask.nii"),
        ("A.NII.GZ", "A_brainmask.NII.GZ"),
    ],
)
def test_a_mask_beside_the_image(tmp_path: Path, image: str, mask: str) -> None:
    tree(tmp_path, f"p/{image}", f"p/{mask}")
    for source in (tmp_path, tmp_path / "p" / image):
        for modalities in (("T1w",), THREE):
            (subject,) = discover(source, modalities).subjects
            assert subject.mask == tmp_path / "p" / mask


def test_the_more_specific_mask_wins_and_lesion_masks_are_no_brain(tmp_path: Path) -> None:
    tree(tmp_path, "a_T1w.nii", "a_T1w_brainmask.nii", "a_brainmask.nii", "b.nii", "b_mask.nii", "b_lesion_mask.nii")
    one, two = discover(tmp_path).subjects
    assert one.mask == tmp_path / "a_T1w_brainmask.nii" and two.mask is None


def test_a_mask_for_one_subject(tmp_path: Path) -> None:
    tree(tmp_path, "in/a.nii", "in/a_brainmask.nii", "drawn.nii")
    mask = tmp_path / "drawn.nii"
    assert discover(tmp_path / "in", mask=mask).subjects[0].mask == mask
    assert discover(tmp_path, mask=mask).subjects[0].mask == mask, "the mask itself is no input"
    tree(tmp_path, "in/b.nii")
    with pytest.raises(UsageError, match="2 subjects"):
        discover(tmp_path / "in", mask=mask)
    with pytest.raises(UsageError, match="nothing"):
        discover(tmp_path / "in", mask=tmp_path / "no.nii")


@pytest.mark.parametrize(
    "layout", ["x/{}.nii.gz", "{}.nii.gz", "{}_mask.nii", "x/{}_brainmask.nii.gz", "{}_brainmask.nii"]
)
def test_a_folder_of_masks(tmp_path: Path, layout: str) -> None:
    tree(tmp_path, "in/x/a.nii.gz", "in/x/b.nii.gz", *(f"masks/{layout.format(name)}" for name in "ab"))
    found = discover(tmp_path / "in", mask=tmp_path / "masks")
    assert [subject.mask for subject in found.subjects] == [tmp_path / "masks" / layout.format(name) for name in "ab"]


def test_a_folder_of_masks_within_the_input_holds_no_inputs(tmp_path: Path) -> None:
    tree(tmp_path, "a.nii", "b.nii", "masks/a.nii", "masks/b.nii")
    found = discover(tmp_path, mask=tmp_path / "masks")
    assert keys(found) == ["a", "b"]
    assert [skip.path for skip in found.skipped] == [tmp_path / "masks"]


def test_an_image_is_not_its_own_mask(tmp_path: Path) -> None:
    tree(tmp_path, "a.nii")
    with pytest.raises(UsageError, match="none for a"):
        discover(tmp_path, mask=tmp_path)
    tree(tmp_path, "a_mask.nii")
    assert discover(tmp_path, mask=tmp_path).subjects[0].mask == tmp_path / "a_mask.nii"


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    tree(tmp_path, "in/x/T1.nii", "in/y/T1.nii", "flat/T1.nii", "some/x/T1.nii")
    with pytest.raises(UsageError, match="x/T1 and y/T1"):
        discover(tmp_path / "in", mask=tmp_path / "flat")
    with pytest.raises(UsageError, match="none for y/T1"):
        discover(tmp_path / "in", mask=tmp_path / "some")


# -- datalists ---------------------------------------------------------------------------------------------------------


def listed(folder: Path, name: str, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder / name


ROWS = [{"image": "x/a.nii", "participant": "anna"}, {"image": "x/b.nii", "mask": "m/b.nii"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.json", ROWS),
        ("l.json", {"data": ROWS}),
        ("l.json", {"name": "Task", "modality": {"0": "T1"}, "training": ROWS[:1], "testing": ROWS[1:]}),
        ("l.csv", "image,mask,participant\nx/a.nii,,anna\n\nx/b.nii,m/b.nii,\n"),
        ("l.CSV", "\ufeffimage,mask,participant_id\r\nx/a.nii,,anna\r\n x/b.nii , m/b.nii ,\r\n"),
        ("l.tsv", "participant_id\timage\tmask\nanna\tx/a.nii\t\n\tx/b.nii\tm/b.nii\n"),
        ("l.tsv", '"image"\t"mask"\t"participant"\n"x/a.nii"\tn/a\t"anna"\n"x/b.nii"\t"m/b.nii"\tn/a\n'),
        ("l.tsv", "participant_id\tT1w\tFLAIR\tmask\nanna\tx/a.nii\tf.nii\t\n\tx/b.nii\t\tm/b.nii\n"),
    ],
)
def test_a_datalist(tmp_path: Path, name: str, content: Any) -> None:
    found = discover(listed(tmp_path, name, content))
    one, two = found.subjects
    assert (one.key, one.participant, one.mask) == ("x/a", "anna", None)
    assert (two.key, two.participant, two.mask) == ("x/b", "b", tmp_path / "m/b.nii")
    assert [dict(s.images) for s in found.subjects] == [{"T1w": tmp_path / "x/a.nii"}, {"T1w": tmp_path / "x/b.nii"}]


def test_a_datalist_of_paths_inside_and_outside(tmp_path: Path) -> None:
    away = tree(tmp_path / "away", "sub-02/z_T1w.nii", "sub-02/z_brainmask.nii") / "sub-02" / "z_T1w.nii"
    path = listed(tmp_path / "lists", "l.json", ["./p/../q/a.nii", "../away/sub-02/y.nii", str(away)])
    found = discover(path)
    assert keys(found) == ["q/a", "y", "z_T1w"]
    assert [subject.participant for subject in found.subjects] == ["a", "sub-02", "sub-02"]
    assert found.subjects[0].reference == tmp_path / "lists/q/a.nii", "missing files fail later, in a row of their own"
    assert found.subjects[2].mask == tmp_path / "away/sub-02/z_brainmask.nii"


def test_a_datalist_named_relative_to_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(tmp_path / "lists", "l.json", ["p/a.nii", "../b.nii", str(tmp_path / "lists" / "q" / "c.nii")])
    monkeypatch.chdir(tmp_path / "lists")
    found = discover(Path("l.json"))
    assert keys(found) == ["p/a", "b", "q/c"]
    assert found.subjects[1].reference == tmp_path / "b.nii"


def test_a_datalist_of_several_modalities(tmp_path: Path) -> None:
    rows = [
        {"image": {"FLAIR": "s/sub-01_acq-2_FLAIR.nii", "T1w": "s/sub-01_T1w.nii", "PDw": "s/p.nii"}, "participant": 7},
        {"image": {"FLAIR": "s/sub-02_FLAIR.nii"}},
        "s/plain.nii",
    ]
    table = "\n".join(
        (
            "T1w,T2w,FLAIR,participant",
            "s/sub-01_T1w.nii,,s/sub-01_acq-2_FLAIR.nii,7",
            ",,s/sub-02_FLAIR.nii,",
            "s/plain.nii,,,",
        )
    )
    for path, place in ((listed(tmp_path, "l.json", rows), "entry 2"), (listed(tmp_path, "l.csv", table), "line 3")):
        found = discover(path, THREE)
        assert images(found) == {
            "s/sub-01": {"T1w": "sub-01_T1w.nii", "FLAIR": "sub-01_acq-2_FLAIR.nii"},
            "s/plain": {"T1w": "plain.nii"},
        }
        assert found.subjects[0].participant == "7"
        assert [skip.reason for skip in found.skipped] == [f"{place} has no T1w"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("l.json", "{", "readable"),
        ("l.json", "7", "JSON int"),
        ("l.json", {"images": []}, "JSON dict"),
        ("l.json", {"data": "a.nii"}, "list"),
        ("l.json", [["a.nii"]], "entry 1"),
        ("l.json", ["a.nii", {"mask": "m.nii"}], "entry 2"),
        ("l.json", [{"image": {"T1w": 3}}], "entry 1"),
        ("l.json", [{"image": "a.nii", "mask": ["m.nii"]}], "entry 1"),
        ("l.json", [""], "entry 1"),
        ("l.json", [], "found none"),
        ("l.csv", "", "column"),
        ("l.csv", "participant_id,age\nsub-01,30\n", "column image or T1w.* Write a table with the column image"),
        ("l.csv", "image;mask\na.nii;m.nii\n", "column image"),
        ("l.csv", "image\na.nii,b.nii\n", "line 2: expected 1 cells, found more"),
        ("l.csv", 'image,mask,participant\na.nii,,"anna\nb.nii,,bo\n', "a table, found .*Look for a quote"),
        ("l.csv", 'image,participant\na.nii,"anna\nb.nii,bo"\n', "line 3: expected every cell on one line"),
        ("l.csv", "image,FLAIR\na.nii,f.nii\n", "the column image or one for each modality, found image and FLAIR"),
        ("l.csv", "image,image\na.nii,b.nii\n", "image more than once"),
        ("l.tsv", "image,mask\na.nii,m.nii\n", "part columns by tabs"),
        ("l.csv", "image,mask\na.nii,\n,m.nii\n", "line 3: expected a path in the column image, found an empty cell"),
        ("l.csv", "image,maks,age\na.nii,m.nii,30\n", "expected the columns image, mask, .* found 'maks', 'age'"),
        ("l.tsv", "image\tt1w\na.nii\tb.nii\n", "found 't1w'"),
        ("l.json", ["a.nii", {"image": "b.nii", "maks": "m"}], "entry 2: expected the keys image, mask, .* 'maks'"),
        ("l.json", [{"image": {"T1w": "a.nii", "Flair": "b.nii"}}], "entry 1: .* found 'Flair'"),
        ("l.json", {"training": ["a.nii"], "test": ["b.nii"]}, "lists under data, training, .* found 'test'"),
        ("l.tsv", "image\n", "found none"),
        ("l.json", ["a.nii", "x/../a.nii"], "a.nii and"),
        ("l.json", ["/p/1/T1.nii", "/p/2/T1.nii"], "/p/1/T1.nii and /p/2/T1.nii"),
    ],
)
def test_a_malformed_datalist(tmp_path: Path, name: str, content: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        discover(listed(tmp_path, name, content))


def test_a_participant_may_bear_any_name(tmp_path: Path) -> None:
    found = discover(listed(tmp_path, "l.csv", "image,participant,\na.nii,NA,\n,,\nb.nii,n/a,\n\n"))
    assert [subject.participant for subject in found.subjects] == ["NA", "b"]


def test_a_datalist_of_another_program(tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_text("image\tparticipant\na.nii\tJosé\n", encoding="utf-16")
    assert discover(tmp_path / "l.tsv").subjects[0].participant == "José"


def test_a_datalist_that_is_no_text(tmp_path: Path) -> None:
    for name, words in (("l.csv", "a column image"), ("l.json", "readable")):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00\x81")
        with pytest.raises(UsageError, match=words):
            discover(tmp_path / name)


# -- nothing found -----------------------------------------------------------------------------------------------------


def test_nothing_found_tells_what_was_passed_over(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing"):
        discover(tmp_path / "no")
    with pytest.raises(UsageError, match="found none"):
        discover(tmp_path)
    with pytest.raises(UsageError, match="dcm2niix"):
        discover(tree(tmp_path, "a.dcm") / "a.dcm")
    tree(tmp_path, *(f"{n}_T2w.nii" for n in range(5)))
    with pytest.raises(UsageError, match=r"5 passed over \(0_T2w.nii: T2w is not among .*; \.\.\.\)"):
        discover(tmp_path)

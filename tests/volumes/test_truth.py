from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mri3d.errors import InputError, Mri3dError, UnreadableFileError, UsageError
from mri3d.grid import Grid
from mri3d.volumes.truth import Truth, Who, find_truths, read_mask
from tests.helpers import head_grid, write_nifti


def found_in(root: Path, files: list[str], *subjects: str | Who, images: tuple[str, ...] = ()) -> dict[str, str]:
    """Subject's key to its mask below the root, or the kind of error; files are empty, as names alone are judged."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    scored = tuple(root / image for image in images)
    who = [s if isinstance(s, Who) else Who(s, s.split("/")[-1].split("_")[0], scored) for s in subjects]
    truths = find_truths(root, who)
    masks = {key: str(truth.mask.relative_to(root)) for key, truth in truths.known.items() if truth.mask}
    return masks | {key: error.expected for key, error in truths.errors.items()}


BIDS = "sub-01/anat/sub-01_T1w"


@pytest.mark.parametrize(
    ("subject", "file"),
    [
        (BIDS, "derivatives/lesions/sub-01/anat/sub-01_T1w_label-lesion_mask.nii.gz"),
        (BIDS, "sub-01_desc-lesion_mask.nii.gz"),
        (BIDS, "sub-01_label-L_desc-T1lesion_mask.nii.gz"),
        (BIDS, "sub-01_space-orig_dseg.nii"),
        (BIDS, "sub-01_T1w_mask.nii.gz"),
        (BIDS, "sub-01_T1w_seg.nii.gz"),
        (BIDS, "sub-01_FLAIR_mask.nii.gz"),
        (BIDS, "sub-01_T1w.nii.gz"),
        (BIDS, "sub-01_lesion.nii.gz"),
        (BIDS, "sub-01/anat/lesion_mask.nii.gz"),
        ("sub-01_ses-2_run-1_T1w", "sub-01_ses-2_mask.nii.gz"),
        ("sub-01_ses-2_T1w", "sub-01/ses-2/lesion.nii.gz"),
        ("sub-lesion_T1w", "sub-lesion_label-lesion_mask.nii.gz"),
        ("BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1n", "BraTS-GLI-00001-000/BraTS-GLI-00001-000-seg.nii.gz"),
        ("BraTS20_Training_001_t1", "BraTS20_Training_001_seg.nii"),
        ("case7", "case7_mask.nii.gz"),
        ("case7", "case7_lesion_mask.nii.gz"),
        ("case7", "case7.nii.gz"),
        ("IXI002-Guys-0828-T1", "IXI002-Guys-0828-T1_mask.nii.gz"),
    ],
)
def test_a_mask_is_found_by_entities_or_name(tmp_path, subject, file):
    assert found_in(tmp_path, [file, "sub-99_label-lesion_mask.nii.gz"], subject) == {subject: file}


@pytest.mark.parametrize(
    "file",
    [
        "sub-011_mask.nii.gz",
        "sub-01_ses-1_mask.nii.gz",
        "sub-01_T1w_anomaly.nii.gz",
        "sub-01_T1w_brainmask.nii.gz",
        "sub-01_desc-brain_mask.nii.gz",
        "sub-01_T2w.nii.gz",
        "sub-01/anat/other.nii.gz",
        ".sub-01_mask.nii.gz",
        "sub-01_mask.png",
    ],
)
def test_what_is_no_mask_of_the_subject_is_not_taken(tmp_path, file):
    with pytest.raises(UsageError, match="a mask or a label of sub-01_T1w"):
        found_in(tmp_path, [file], BIDS)


def test_the_more_specific_mask_wins(tmp_path):
    subject = "sub-01_ses-1_T1w"
    files = ["sub-01_mask.nii.gz", "sub-01_ses-1_mask.nii.gz", "sub-01_ses-1_FLAIR_mask.nii.gz"]
    assert found_in(tmp_path, files, subject) == {subject: files[1]}
    assert found_in(tmp_path, ["sub-01_ses-1_T1w_mask.nii.gz"], subject) == {subject: "sub-01_ses-1_T1w_mask.nii.gz"}


def test_two_masks_of_one_subject_are_its_error_alone(tmp_path):
    files = ["sub-01_label-a_mask.nii.gz", "sub-01_label-b_mask.nii.gz", "sub-02_mask.nii.gz"]
    found = found_in(tmp_path, files, "sub-01_T1w", "sub-02_T1w", "sub-03_T1w")
    assert found == {"sub-01_T1w": "one lesion mask", "sub-02_T1w": files[2]}
    error = find_truths(tmp_path, [Who("sub-01_T1w", "sub-01")]).errors["sub-01_T1w"]
    assert "label-a" in error.found and "label-b" in error.found


def test_one_mask_for_two_sessions_is_an_error_of_both(tmp_path):
    found = found_in(tmp_path, ["sub-01_mask.nii.gz"], "sub-01_ses-1_T1w", "sub-01_ses-2_T1w")
    assert set(found.values()) == {"a mask of one subject"} and len(found) == 2


def test_folders_tell_apart_what_names_do_not(tmp_path):
    subjects = [Who("a/T1w", "a"), Who("b/T1w", "b"), Who("c/T1w", "c")]
    found = found_in(tmp_path, ["a/T1w_mask.nii.gz", "b/mask.nii.gz"], *subjects)
    assert found == {"a/T1w": "a/T1w_mask.nii.gz", "b/T1w": "b/mask.nii.gz"}


def test_a_scored_image_is_no_mask_of_itself(tmp_path):
    image, mask = f"{BIDS}.nii.gz", "derivatives/x/sub-02_T1w_mask.nii.gz"
    found = found_in(tmp_path, [image, mask], BIDS, "sub-02_T1w", images=(image,))
    assert found == {"sub-02_T1w": mask}


def test_masks_that_belong_to_nobody_are_told(tmp_path):
    found_in(tmp_path, ["sub-01_mask.nii.gz", "sub-09_mask.nii.gz"], "sub-01_T1w")
    assert find_truths(tmp_path, [Who("sub-01_T1w", "sub-01")]).unused == (str(tmp_path / "sub-09_mask.nii.gz"),)


# Tables

SUBJECTS = [
    Who("sub-01/sub-01_ses-1_T1w", "sub-01"),
    Who("sub-01/sub-01_ses-2_T1w", "sub-01"),
    Who("sub-02_T1w", "sub-02"),
]


def table(folder: Path, text: str, name: str = "truth.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_table_gives_labels_and_masks(tmp_path):
    text = "subject,label,mask\nsub-01_ses-1_T1w,Abnormal,\nsub-01/sub-01_ses-2_T1w,0,\n"
    text += "sub-02,,masks/two.nii.gz\nsub-9,1,\n"
    found = find_truths(table(tmp_path, text), SUBJECTS)
    assert found.known == {
        SUBJECTS[0].key: Truth(None, True),
        SUBJECTS[1].key: Truth(None, False),
        SUBJECTS[2].key: Truth(tmp_path / "masks/two.nii.gz", None),
    }
    assert found.unused == ("sub-9",) and not found.errors


def test_a_label_of_a_participant_holds_for_all_scans_and_a_mask_does_not(tmp_path):
    found = find_truths(table(tmp_path, "subject\tlabel\nsub-01\thealthy\n", "truth.tsv"), SUBJECTS)
    assert found.known == {who.key: Truth(None, False) for who in SUBJECTS[:2]}
    found = find_truths(table(tmp_path, "subject,mask\nsub-01,m.nii.gz\n"), SUBJECTS)
    assert set(found.errors) == {who.key for who in SUBJECTS[:2]} and not found.known


def test_who_is_not_known_has_no_truth(tmp_path):
    found = find_truths(table(tmp_path, "subject,label\nsub-01,n/a\nsub-02,1\n,\n"), SUBJECTS)
    assert found.known == {SUBJECTS[2].key: Truth(None, True)} and not found.errors and not found.unused


def test_a_lone_quote_in_a_table_swallows_no_line(tmp_path):
    text = 'subject\tlabel\tnote\nsub-01\t0\t"fine\nsub-02\t1\tlesion"\n'
    known = find_truths(table(tmp_path, text, "truth.tsv"), SUBJECTS).known
    assert known[SUBJECTS[2].key] == Truth(None, True) and len(known) == len(SUBJECTS)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("subject,label\nsub-02,maybe\n", ("line 2", "maybe", "healthy")),
        ("subject,label\nsub-02,\n", ("line 2", "neither")),
        ("subject,label\nsub-02,1\nsub-02,0\n", ("line 3", "sub-02_T1w")),
        ("name,label\nsub-02,1\n", ("name, label", "subject")),
        ("", ("empty",)),
        ("subject,label\nsub-7,1\n", ("sub-7", "sub-02_T1w")),
        ("subject,label\n", ("no lines", "a line a subject")),
        ("subject,volume,label\nsub-02,3,1,0\n", ("line 2", "3 cells", "decimal comma")),
        ("subject,label,label\nsub-02,1,0\n", ("label more than once",)),
        ("subject;label\nsub-02;1\n", ("subject;label", "by commas")),
        ('subject,label,note\nsub-01,1,"ms\nsub-02,0,healthy\n', ("Look for a quote",)),
        ("subject,label\nsub-\x80,1", ("sub-\x80", "sub-02_T1w")),
    ],
)
def test_a_table_that_cannot_be_used_names_what_is_wrong(tmp_path, text, names):
    path = tmp_path / "truth.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        find_truths(path, SUBJECTS)
    for name in (str(path), *names):
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["nothing", "truth.txt"])
def test_neither_folder_nor_table(tmp_path, name):
    (tmp_path / "truth.txt").touch()
    with pytest.raises(UsageError, match="a folder of lesion masks, or a table"):
        find_truths(tmp_path / name, SUBJECTS)


# Reading

OBLIQUE = head_grid("PSR", (6.0, 7.0, 8.0), degrees=20.0)


def labels(grid: Grid) -> np.ndarray:
    data = np.zeros(grid.shape, np.uint8)
    data[3:5, 4:7, 2] = 4
    data[8, 8, 8] = 1
    return data


def test_every_label_is_lesion_on_an_oblique_grid(tmp_path):
    path = write_nifti(tmp_path / "m.nii.gz", OBLIQUE, labels(OBLIQUE), dtype=np.uint8)
    mask = read_mask(path, OBLIQUE)
    assert mask.dtype == bool and np.array_equal(mask, labels(OBLIQUE) > 0)


def test_an_empty_mask_is_read(tmp_path):
    path = write_nifti(tmp_path / "m.nii.gz", OBLIQUE, np.zeros(OBLIQUE.shape), dtype=np.uint8)
    assert not read_mask(path, OBLIQUE).any()


@pytest.mark.parametrize(
    "other",
    [
        head_grid("PSR", (6.0, 7.0, 8.0), degrees=21.0),
        head_grid("RAS", (6.0, 7.0, 8.0)),
        head_grid("PSR", (5.0, 7.0, 8.0), 20.0),
    ],
    ids=["turned", "reordered", "finer"],
)
def test_another_grid_is_an_error_that_names_both(tmp_path, other):
    path = write_nifti(tmp_path / "m.nii.gz", other, labels(other), dtype=np.uint8)
    with pytest.raises(InputError) as caught:
        read_mask(path, OBLIQUE)
    for grid in (OBLIQUE, other):
        assert str(list(grid.shape)) in str(caught.value)
        assert str(np.round(grid.affine[0], 3).tolist()) in str(caught.value)


def test_an_image_is_no_mask(tmp_path):
    for scale in (1.0, 0.001):
        data = np.arange(np.prod(OBLIQUE.shape)).reshape(OBLIQUE.shape) * scale
        with pytest.raises(InputError, match="whole numbers from 0 on"):
            read_mask(write_nifti(tmp_path / "m.nii.gz", OBLIQUE, data), OBLIQUE)


def test_an_inverted_mask_and_one_of_negative_numbers_are_no_masks(tmp_path):
    inverted = write_nifti(tmp_path / "i.nii.gz", OBLIQUE, (labels(OBLIQUE) == 0).astype(np.uint8), dtype=np.uint8)
    with pytest.raises(InputError, match=r"at most half of the volume.*Swap 0 and 1"):
        read_mask(inverted, OBLIQUE)
    negative = write_nifti(tmp_path / "n.nii.gz", OBLIQUE, -1 * (labels(OBLIQUE) > 0).astype(np.int16), dtype=np.int16)
    with pytest.raises(InputError, match="from -1 to 0"):
        read_mask(negative, OBLIQUE)


def test_a_truncated_mask_is_an_error(tmp_path):
    path = write_nifti(tmp_path / "m.nii.gz", OBLIQUE, labels(OBLIQUE), dtype=np.uint8)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UnreadableFileError):
        read_mask(path, OBLIQUE)
    with pytest.raises(Mri3dError):
        read_mask(tmp_path / "absent.nii.gz", OBLIQUE)

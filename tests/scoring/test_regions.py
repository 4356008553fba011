"""Regions against healthy people: z, p and q are what they are said to be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mri3d.bundle import load_regions
from mri3d.errors import BundleError, UsageError
from mri3d.grid import Grid
from mri3d.models.weights import save_network
from mri3d.scoring.detection import RegionScore
from mri3d.scoring.region_size import RegionMeasure, Size, size_of
from mri3d.scoring.region_statistics import RegionStatistics, region_hashes
from mri3d.scoring.regions import (
    ATLAS_FILE,
    UNKNOWN,
    MeasureRegions,
    Regions,
    corrected,
    fit_regions,
    tell,
)
from mri3d.transforms.case import Case
from mri3d.transforms.dataset import Guarded
from mri3d.transforms.intensity import NormaliseIntensity
from mri3d.volumes.alignment import Alignment
from mri3d.volumes.regions import Atlas, network_beside
from mri3d.volumes.subject import Subject
from tests.deep import FIRST, by_intensity, deep_atlas

GRID = Grid.centred((24, 24, 24), 4.0, (0.0, 0.0, 0.0))
CHAIN = Guarded([NormaliseIntensity(98.0)])


def atlas() -> Atlas:
    labels = np.zeros(GRID.shape, np.int32)
    labels[4:8, 9:15, 9:15], labels[16:20, 9:15, 9:15] = 1, 2
    return Atlas(labels, GRID, {1: "Left Box", 2: "Right Box"})


def statistics(n: int = 12, seed: int = 0) -> RegionStatistics:
    rng = np.random.default_rng(seed)
    people = tuple({"age": 20.0 + 5 * i, "sex": "MF"[i % 2], "tiv": 1500.0 + i} for i in range(n))
    values = {name: tuple(rng.normal(0.02, 0.05, n) - 0.01 * np.arange(n)) for name in ("Left Box", "Right Box")}
    return RegionStatistics(values, people, region_hashes(RegionMeasure(atlas()), CHAIN))


def score(p: float | None, index: int = 1) -> RegionScore:
    return RegionScore(index, f"region {index}", 1.0, None, None, None, None if p is None else 1.0, p, None)


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=30))
def test_q_is_that_of_benjamini_and_hochberg(p: list[float]) -> None:
    q = [each.q for each in corrected([score(value, i) for i, value in enumerate(p)])]
    order = np.argsort(p)
    # the largest k with p(k) <= k / m * alpha tells which are found at alpha
    for alpha in (0.01, 0.05, 0.3):
        passed = [k for k in range(1, len(p) + 1) if p[order[k - 1]] <= k / len(p) * alpha * (1 + 1e-12)]
        found = {int(i) for i in order[: max(passed, default=0)]}
        limit = alpha * (1 + 1e-9)
        assert {i for i, value in enumerate(q) if value is not None and value <= limit} >= found
        assert all(p[i] <= alpha for i, value in enumerate(q) if value is not None and value <= alpha)


def test_regions_without_p_have_no_q_and_do_not_count() -> None:
    scores = corrected([score(0.01, 1), score(None, 2), score(0.04, 3)])
    assert [each.q for each in scores] == [pytest.approx(0.02), None, pytest.approx(0.04)]
    assert corrected([score(None)])[0].q is None


def test_a_region_that_shrank_is_found_on_its_own_side() -> None:
    growth = np.zeros(GRID.shape, np.float32)
    growth[atlas().labels == 1] = -0.5
    zscore = np.where(atlas().labels == 2, 4.0, 1.0).astype(np.float32)
    sizes = size_of(growth, atlas().labels, GRID)
    alike = {name: tuple(np.linspace(-0.05, 0.05, 12)) for name in ("Left Box", "Right Box")}
    healthy = replace(statistics(), values=alike)
    judged = healthy.against().judge({atlas().names[n]: size.value for n, size in sizes.items()}, {})
    scores = tell(atlas(), atlas().labels, sizes, judged, 1.5, zscore, np.ones(GRID.shape, bool), 3.0)
    left, right = scores
    assert (left.name, right.name) == ("Left Box", "Right Box")
    assert left.z < -4 and left.q < 0.01 and right.q > 0.05
    assert left.volume_ml == pytest.approx(144 * GRID.voxel_ml * 1.5 * np.exp(-0.5), rel=1e-5)
    assert (left.mean_z, left.peak_z, left.fraction) == (1.0, 1.0, 0.0)
    assert (right.mean_z, right.peak_z, right.fraction) == (4.0, 4.0, 1.0)


def test_what_is_not_known_is_not_told() -> None:
    zscore = np.ones(GRID.shape, np.float32)
    sizes = {1: Size(2.0, 0.1), 2: Size(3.0, 0.1)}
    for each in tell(atlas(), atlas().labels, sizes, {}, 1.0, zscore, np.zeros(GRID.shape, bool), None):
        assert (each.mean_z, each.peak_z, each.fraction, each.z, each.p, each.q) == (None,) * 6
        assert each.volume_ml > 0


def test_statistics_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = statistics()
    made = replace(made, people=({"tiv": 1.0}, *made.people[1:]))
    made.save(tmp_path / "regions.json")
    found = RegionStatistics.load(tmp_path / "regions.json")
    assert found is not None and found.people == made.people, "what is not known of the first is left out"
    for name, values in made.values.items():
        np.testing.assert_allclose(found.values[name], values, atol=1e-6)
    assert found.sha256 == made.sha256
    assert RegionStatistics.load(tmp_path / "none.json") is None


def told(people: int, values: str, covariates: str = "{}") -> str:
    regions = f'{{"a": {{"values": {values}}}}}'
    return f'{{"people": {people}, "covariates": {covariates}, "measure": "", "regions": {regions}, "sha256": {{}}}}'


DAMAGED = {
    "empty": "",
    "a list": "[]",
    "other people": told(5, "[1, 2, 3]"),
    "other ages": told(5, "[1, 2, 3, 4, 5]", '{"age": [1]}'),
    "too few": told(2, "[1, 2]"),
    "nan": told(5, "[1, 2, 3, 4, NaN]"),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_damaged_statistics_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "regions.json").write_text(text)
    with pytest.raises(BundleError, match=r"regions\.json"):
        RegionStatistics.load(tmp_path / "regions.json")


def test_nobody_is_judged_by_himself() -> None:
    values = (0.0, 0.1, -0.1, 0.05, 0.02, 5.0)
    healthy = RegionStatistics({"a": values}, ({},) * 6, {})
    assert healthy.without(5).values["a"] == values[:5]
    last = healthy.of_others()[5]["a"]
    assert last == healthy.without(5).against().judge({"a": 5.0}, {})["a"]
    assert last.p < 1e-4 < healthy.against().judge({"a": 5.0}, {})["a"].p


def test_people_are_measured_once_each_and_known_by_their_table(tmp_path: Path) -> None:
    atlas().save(tmp_path / "a_dseg.nii.gz")
    image = torch.rand((1, *GRID.shape), generator=torch.Generator().manual_seed(0))
    larger = np.diag([2.0, 1.0, 1.0, 1.0])
    heads = [larger, *[np.eye(4)] * 9]
    items = [
        {"image": image * (1 + 0.1 * i), "participant": f"sub-{i // 2}", "template_to_source": head}
        for i, head in enumerate(heads)
    ]
    (tmp_path / "b" / "models").mkdir(parents=True)
    table = {"sub-0": {"age": "50", "sex": "F"}, "sub-1": {"age": None, "sex": "M"}}
    found = fit_regions(items, tmp_path / "a_dseg.nii.gz", GRID, tmp_path / "b", CHAIN, table)
    assert len(found.people) == 5, "of two scans of a person the mean counts"
    first, second = found.people[:2]
    assert (first["age"], first["sex"]) == (50.0, "F")
    assert "age" not in second
    assert float(first["tiv"]) == pytest.approx(1.5 * float(second["tiv"])), "one of two heads is twice as large"
    known = load_regions(tmp_path / "b", None, CHAIN)
    assert known.measure.network is None
    ages = [who.get("age") for who in known.statistics.people]
    assert ages == [None, None, None, None, 50.0]
    sizes = [float(who["tiv"]) for who in known.statistics.people]
    assert sizes == sorted(sizes), "stored in no order that would tell who is who"


def people(count: int = 5) -> list[dict[str, object]]:
    """Brains of 0.55, the left caudate to :func:`tests.deep.by_intensity`, in fewer voxels the higher their number."""
    made = []
    for i in range(count):
        image = torch.full((1, *GRID.shape), 0.2)
        image[:, : 18 - i] = 0.55
        image[:, 20:, 6:12] = 0.9
        made.append({"image": image, "participant": f"sub-{i}", "template_to_source": np.diag([1.2, 1.0, 1.0, 1.0])})
    return made


def test_the_network_beside_the_atlas_measures_people_and_the_subject_alike(tmp_path: Path) -> None:
    deep, root = deep_atlas(GRID), tmp_path / "b"
    deep.save(tmp_path / "deep_dseg.nii.gz")
    save_network(by_intensity(), tmp_path / "deep_dseg.pt")
    (root / "models").mkdir(parents=True)
    found = fit_regions(people(), tmp_path / "deep_dseg.nii.gz", GRID, root, CHAIN, {})
    assert "Left Putamen" not in found.values, "what nobody has at all is left out"
    known = load_regions(root, None, CHAIN)
    assert known.measure.network is not None and known.statistics.sha256 == found.sha256
    first = people()[0]["image"]
    assert isinstance(first, torch.Tensor)
    size = known.measure(first[0].numpy(), GRID)[FIRST]
    assert found.values["Left Caudate"][0] == pytest.approx(np.log(size.ml), abs=1e-6)
    assert list(found.values["Left Caudate"]) == sorted(found.values["Left Caudate"], reverse=True)
    subject = Subject("sub-01_T1w", "sub-01", PurePosixPath(), {"T1w": Path("sub-01_T1w.nii.gz")})
    case = Case(subject, alignment=Alignment(np.diag([1.2, 1.0, 1.0, 1.0]), 0.9, 0.5))
    item = MeasureRegions(known, GRID, None)({"case": case, "image": first, "mask": first > 0})
    left = next(each for each in item["regions"] if each.name == "Left Caudate")
    assert left.volume_ml == pytest.approx(1.2 * size.ml, rel=1e-5)
    assert left.z > 1
    assert next(each for each in item["regions"] if each.name == "Left Putamen").z is None


def test_a_bundle_keeps_its_network_with_its_own_atlas_and_loses_it_with_another(tmp_path: Path) -> None:
    models = tmp_path / "b" / "models"
    models.mkdir(parents=True)
    deep_atlas(GRID).save(models / ATLAS_FILE)
    save_network(by_intensity(), network_beside(models / ATLAS_FILE))
    fit_regions(people(), models / ATLAS_FILE, GRID, tmp_path / "b", CHAIN, {})
    assert load_regions(tmp_path / "b", None, CHAIN).measure.network is not None
    atlas().save(tmp_path / "plain_dseg.nii.gz")
    fit_regions(people(), tmp_path / "plain_dseg.nii.gz", GRID, tmp_path / "b", CHAIN, {})
    assert load_regions(tmp_path / "b", None, CHAIN).measure.network is None


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    models = tmp_path / "bundle" / "models"
    models.mkdir(parents=True)
    atlas().save(models / ATLAS_FILE)
    statistics().save(models / "regions.json")
    return tmp_path / "bundle"


def test_a_bundle_gives_its_atlas_with_the_statistics_of_it(bundle: Path) -> None:
    known = load_regions(bundle, None, CHAIN)
    assert known.measure.atlas.names == atlas().names
    assert len(known.statistics.people) == 12
    assert load_regions(bundle.parent, None, CHAIN) is None


def test_another_atlas_has_no_statistics_and_the_same_one_has(bundle: Path, tmp_path: Path) -> None:
    atlas().save(tmp_path / "same_dseg.nii.gz")
    replace(atlas(), names={1: "A", 2: "B"}).save(tmp_path / "other_dseg.nii.gz")
    assert len(load_regions(bundle, tmp_path / "same_dseg.nii.gz", CHAIN).statistics.people) == 12
    known = load_regions(bundle, tmp_path / "other_dseg.nii.gz", CHAIN)
    assert known.measure.atlas.names[1] == "A"
    assert known.statistics is None


def test_statistics_of_other_parts_are_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"others \(settings\)"):
        load_regions(bundle, None, Guarded([NormaliseIntensity(90.0)]))
    labels = atlas().labels.copy()
    labels[5, 10, 10] = 2
    replace(atlas(), labels=labels).save(bundle / "models" / ATLAS_FILE)
    with pytest.raises(BundleError, match=r"others \(atlas\)"):
        load_regions(bundle, None, CHAIN)
    written = json.loads((bundle / "models" / "regions.json").read_text())
    assert written["people"] == 12 and set(written["regions"]["Left Box"]) == {"mean", "std", "values"}


def test_the_same_places_measured_otherwise_are_no_statistics(tmp_path: Path) -> None:
    models = tmp_path / "b" / "models"
    models.mkdir(parents=True)
    deep_atlas(GRID).save(tmp_path / "deep_dseg.nii.gz")
    fit_regions(people(), tmp_path / "deep_dseg.nii.gz", GRID, tmp_path / "b", CHAIN, {})
    save_network(by_intensity(), tmp_path / "deep_dseg.pt")
    assert load_regions(tmp_path / "b", tmp_path / "deep_dseg.nii.gz", CHAIN).statistics is None
    save_network(by_intensity(), models / "regions_dseg.pt")
    with pytest.raises(BundleError, match=r"others \(network\)"):
        load_regions(tmp_path / "b", None, CHAIN)


BRAIN = np.ones(GRID.shape, np.float32)


def measured(value: float, covariates: tuple[str, ...], columns: dict[str, str | None] | None, known: bool = True):
    """The left box of a brain, of this size to the healthy people, with the subject's warnings and covariates."""
    healthy, here = statistics(), RegionMeasure(atlas())(BRAIN, GRID)[1].value
    moved = {name: tuple(v + here - value for v in own) for name, own in healthy.values.items()}
    healthy = replace(healthy, values=moved)
    regions = Regions(RegionMeasure(atlas()), healthy if known else None)
    other: dict[str, str | None] = {"age": "33", "sex": "F", "site": "Rome"}
    table = {"sub-02": other} if columns is None else {"sub-01": columns, "sub-02": other}
    step = MeasureRegions(regions, GRID, None, covariates, table)
    subject = Subject("sub-01_T1w", "sub-01", PurePosixPath(), {"T1w": Path("sub-01_T1w.nii.gz")})
    case = Case(subject, alignment=Alignment(np.eye(4), 0.9, 0.5))
    ones = torch.from_numpy(BRAIN)[None]
    item = step({"case": case, "image": ones, "mask": ones})
    return item["regions"][0], item["case"].warnings, item["covariates"]


def test_covariates_are_taken_into_account_and_told() -> None:
    shrunk = -0.01 * 11 + 0.02  # as is usual at the oldest's age, 75
    plain, warnings, covariates = measured(shrunk, (), {"age": "75"})
    assert (warnings, covariates) == ((), {})
    known, warnings, covariates = measured(shrunk, ("age",), {"age": "75"})
    assert (warnings, covariates) == ((), {"age": 75.0})
    assert abs(known.z) < abs(plain.z)
    young, *_ = measured(shrunk, ("age",), {"age": "20"})
    assert young.z < plain.z, "early for that age"


def test_who_is_not_known_is_compared_with_all_and_that_is_told() -> None:
    plain, *_ = measured(0.3, (), None)
    for columns in (None, {"age": None}, {"age": "90+"}):
        found, (warning,), covariates = measured(0.3, ("age", "sex"), columns)
        assert found == plain
        assert covariates == {}
        assert warning == "The regions' z takes no age and no sex into account: age is not known."


def test_an_age_beyond_the_healthy_is_told() -> None:
    _, (warning,), covariates = measured(0.0, ("age",), {"age": "95"})
    assert covariates == {"age": 95.0}
    assert "age 95 is beyond the healthy people's 20 to 75" in warning


def test_covariates_of_which_nothing_is_known_are_refused_before_any_work() -> None:
    known = Regions(RegionMeasure(atlas()), statistics())
    for table in ({}, {"sub-01": {"age": "n/a"}}, {"sub-01": {"Age": "30"}}):
        with pytest.raises(UsageError, match="--covariates age: expected a participants"):
            MeasureRegions(known, GRID, None, ("age",), table)
    MeasureRegions(known, GRID, None, ("tiv",), {})


def test_an_atlas_that_lies_elsewhere_is_refused() -> None:
    far = replace(atlas(), grid=Grid.centred((24, 24, 24), 4.0, (1000.0, 0.0, 0.0)))
    with pytest.raises(UsageError, match=r"regions of 10 voxels .* Give a label map that lies in MNI152 space"):
        MeasureRegions(Regions(RegionMeasure(far), None), GRID, None)


def test_an_atlas_without_healthy_people_gives_volumes_alone() -> None:
    found, warnings, _ = measured(0.0, (), None, known=False)
    assert found.volume_ml > 0
    assert (found.z, found.q) == (None, None)
    assert warnings == (UNKNOWN,)


@pytest.mark.parametrize(
    ("covariates", "known", "words"),
    [
        (("shoe size",), True, "some of age, sex"),
        (("site",), True, "0 healthy people with a known site"),
        (("age",), False, "that does not"),
    ],
)
def test_covariates_that_cannot_be_used_are_refused(covariates: tuple[str, ...], known: bool, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        measured(0.0, covariates, None, known)

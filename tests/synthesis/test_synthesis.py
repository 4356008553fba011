"""Synthetic scans: contrasts as physics has them, every modality in its place, the same state the same scans."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mri3d.errors import ContentError, UsageError
from mri3d.grid import Grid
from mri3d.synthesis.deformation import RandHeadShaped, draw_displacement, grid_of, on_grid, spread
from mri3d.synthesis.flow import moving_fluid
from mri3d.synthesis.relaxation import RandRelaxationd
from mri3d.synthesis.scans import RandScansd, Scan, synthesis
from mri3d.synthesis.sequences import CSF_T1, DRAW, Flair, Mprage, TurboSpinEcho
from mri3d.synthesis.tissue import FREESURFER, MUSE, OUTSIDE, RELAXATION, Tissue, recognise
from mri3d.synthesis.tissue_map import add_fluid, find_brain, to_tissue
from tests.heads import labels_of_head
from tests.helpers import head_grid

CSF, GREY, WHITE, VENTRICLES = (24,), (3,), (2,), (4, 43)
MODALITIES = ("T1w", "T2w", "FLAIR")


def item(grid: Grid | None = None, landmark: bool = False, **more) -> dict:
    labels, grid = labels_of_head(grid, landmark)
    return {"label": on_grid(torch.from_numpy(labels)[None], grid), **more}


def made(seed: int, data: dict | None = None, **options) -> dict:
    return synthesis(**options).set_random_state(seed)(item() if data is None else data)


def median(subject: dict, modality: str, numbers: tuple[int, ...]) -> float:
    inside = np.isin(subject["label"][0].numpy(), numbers)
    core = ndimage.binary_erosion(inside)
    return float(np.median(subject[modality][0].numpy()[core if core.sum() > 50 else inside]))


# Signals


def tissue(kind: Tissue) -> tuple[torch.Tensor, ...]:
    known = RELAXATION[kind]
    return tuple(torch.tensor([value], dtype=torch.float64) for value in (known.t1, known.t2, known.density))


@pytest.mark.parametrize(
    ("modality", "order"),
    [
        ("T1w", (Tissue.CSF, Tissue.CORTEX, Tissue.STRIATUM, Tissue.WHITE, Tissue.FAT)),
        ("T2w", (Tissue.BONE, Tissue.MUSCLE, Tissue.PALLIDUM, Tissue.WHITE, Tissue.CORTEX, Tissue.CSF)),
        ("FLAIR", (Tissue.CSF, Tissue.PERIVASCULAR, Tissue.PALLIDUM, Tissue.WHITE, Tissue.CORTEX, Tissue.FAT)),
    ],
)
def test_tissues_are_as_bright_as_each_modality_shows_them_whatever_is_drawn(modality: str, order: tuple[Tissue, ...]):
    rng = np.random.RandomState(0)
    for _ in range(50):
        sequence = DRAW[modality](rng)
        signal = [abs(float(sequence.signal(*tissue(kind)))) for kind in order]
        assert signal == sorted(signal), sequence


def test_flair_nulls_fluid_and_water_of_another_t1_is_not_nulled():
    sequence = Flair(9000, 100)
    signal = [float(sequence.signal(*(torch.tensor([v]) for v in (t1, 1800.0, 1.0)))) for t1 in (CSF_T1, 3000, 6000)]
    assert abs(signal[0]) < 1e-5
    assert signal[1] > 0.1 and signal[2] < -0.1
    assert 2.2 < sequence.parameters()["InversionTime"] < 2.6


def test_fluid_that_moves_is_brighter_in_flair_and_darker_in_t2w():
    flow = torch.tensor([0.0, 0.2, 0.4])
    fluid, cortex = ([v.float().expand(3) for v in tissue(kind)] for kind in (Tissue.CSF, Tissue.CORTEX))
    flair, t2w = Flair(9000, 110), TurboSpinEcho(4000, 100)
    bright = (flair.signal(*fluid, flow) / flair.signal(*cortex)).tolist()
    assert bright[0] < 0.01 < 0.2 < bright[1] < 0.5 < bright[2] < 1
    assert (t2w.signal(*fluid, flow) / t2w.signal(*fluid)).tolist() == pytest.approx([1.0, 0.8, 0.6])


@pytest.mark.parametrize("pulses", [160, 161])
@pytest.mark.parametrize("t1", [860.0, 4200.0])
def test_mprage_is_what_playing_the_sequence_pulse_by_pulse_leads_to(t1: float, pulses: int):
    sequence = Mprage(repetition=2300, inversion=950, echo=3, flip=9, spacing=8, pulses=pulses)

    def recovered(magnetisation: float, time: float) -> float:
        return 1 - (1 - magnetisation) * math.exp(-time / t1)

    magnetisation, signal = 1.0, 0.0
    for _ in range(20):
        magnetisation = recovered(-magnetisation, 950 - pulses // 2 * 8)
        for pulse in range(pulses):
            if pulse == pulses // 2:
                signal = magnetisation * math.sin(math.radians(9)) * math.exp(-3 / 80)
            magnetisation = recovered(magnetisation * math.cos(math.radians(9)), 8)
        magnetisation = recovered(magnetisation, 2300 - (950 - pulses // 2 * 8) - pulses * 8)
    computed = sequence.signal(*(torch.tensor([v], dtype=torch.float64) for v in (t1, 80.0, 1.0)))
    assert float(computed) == pytest.approx(signal, rel=1e-6)


# Labels


def test_every_tissue_has_relaxation_times_and_every_number_one_meaning():
    assert set(RELAXATION) == set(Tissue)
    assert recognise([0, 2, 3, 4, 16, 507]) is FREESURFER
    assert recognise([0, 4, 11, 51, 81, 100, 207]) is MUSE
    # of the same number: putamen here, a speck of white matter there
    assert MUSE.tissues[57] is Tissue.STRIATUM and FREESURFER.tissues[57] is Tissue.AGEING_WHITE
    assert all(FREESURFER.tissues[n] is Tissue.CHOROID_PLEXUS for n in (136, 137, 163, 164))


def test_an_unknown_label_is_named():
    data = item()
    data["label"][0, 0, 0, 0] = 999
    with pytest.raises(ContentError, match=r"freesurfer knows, found 999\."):
        RandRelaxationd()(data)
    with pytest.raises(ContentError, match="muse knows, found 2, 3, 16, 24, 43, 507"):
        RandRelaxationd(nomenclature="muse")(item())
    with pytest.raises(ContentError, match="found -1"):
        to_tissue(np.array([[[-1, 2]]]))


def test_what_cannot_be_told_apart_or_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="freesurfer and muse share"):
        recognise([0, 4, 49, 50])
    with pytest.raises(UsageError, match="found aseg"):
        RandRelaxationd(nomenclature="aseg")
    with pytest.raises(UsageError, match="found CT"):
        RandScansd(modalities=["T1w", "CT"])
    with pytest.raises(UsageError, match="found none"):
        RandScansd(modalities=[])


# Shapes


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 60.0), st.sampled_from([(40, 32, 36), (30, 9, 52)]))
def test_no_displacement_folds_however_strong_it_is_to_be(seed: int, amplitude: float, shape: tuple[int, int, int]):
    grid = Grid(shape, np.diag([3.0, 2.0, 4.0, 1.0]))
    lattice = draw_displacement(grid, amplitude, 20.0, np.random.RandomState(seed))
    field = spread(lattice, shape).numpy()
    # differences between neighbours, which see every slope of an interpolation that is linear in between
    cells = tuple(slice(0, n - 1) for n in shape)
    parts = [np.diff(field, axis=axis + 1)[(slice(None), *cells)] / grid.spacing[axis] for axis in range(3)]
    jacobian = np.stack(parts, axis=1).transpose(2, 3, 4, 0, 1) + np.eye(3)
    assert np.linalg.det(jacobian).min() > 0
    assert field.std() > 0.3  # and it does displace


def test_a_displacement_is_as_strong_and_as_smooth_as_asked_for():
    grid = Grid((60, 60, 60), np.diag([3.0, 3.0, 3.0, 1.0]))
    lattices = [draw_displacement(grid, 2.0, 30.0, np.random.RandomState(k)) for k in range(8)]
    fields = np.stack([spread(lattice, grid.shape).numpy() for lattice in lattices])
    assert fields.std() == pytest.approx(2.0, rel=0.2)
    apart = [np.corrcoef(fields[:, :, :-n].ravel(), fields[:, :, n:].ravel())[0, 1] for n in (1, 30)]
    assert apart[0] > 0.99 and abs(apart[1]) < 0.4


def test_the_shape_changes_and_the_labels_stay_what_they_are():
    data = item()
    moved = RandHeadShaped("label").set_random_state(1)(data)["label"]
    assert moved.dtype == data["label"].dtype
    assert grid_of(moved).matches(grid_of(data["label"]))
    assert set(moved.unique().tolist()) == set(data["label"].unique().tolist())
    before, after = (np.isin(label[0].numpy(), (2, 3)) for label in (data["label"], moved))
    assert 0.7 < after.sum() / before.sum() < 1.4
    assert 0.03 < (before ^ after).sum() / before.sum() < 0.6
    still = RandHeadShaped("label", degrees=0, scaling=0, amplitude=0).set_random_state(1)(data)["label"]
    assert torch.equal(still.as_tensor(), data["label"].as_tensor())


# Scans


@pytest.mark.parametrize("seed", range(4))
def test_scans_show_each_tissue_as_its_modality_does(seed: int, monkeypatch: pytest.MonkeyPatch):
    # a receive field that is bright in the middle can outdo the contrast of cortex and white matter, as in real scans
    monkeypatch.setattr("mri3d.synthesis.scans.draw_bias", lambda grid, rng: np.ones(grid.shape, np.float32))
    subject = made(seed, thick=False)
    fluid, grey, white = ({m: median(subject, m, numbers) for m in MODALITIES} for numbers in (VENTRICLES, GREY, WHITE))
    assert fluid["T1w"] < grey["T1w"] < white["T1w"]
    assert white["T2w"] < grey["T2w"] < fluid["T2w"]
    assert fluid["FLAIR"] < white["FLAIR"] < grey["FLAIR"]
    assert fluid["FLAIR"] < 0.25 * white["FLAIR"]
    assert 1.5 * white["T2w"] < fluid["T2w"]


def test_scans_differ_like_scans_of_several_scanners():
    ratios = {modality: [] for modality in MODALITIES}
    for seed in range(6):
        subject = made(seed, thick=False)
        for modality in MODALITIES:
            ratios[modality].append(median(subject, modality, GREY) / median(subject, modality, WHITE))
    assert all(0.02 < np.std(values) < 0.3 for values in ratios.values()), ratios


def test_voxels_on_borders_hold_parts_of_both_sides(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mri3d.synthesis.scans.draw_bias", lambda grid, rng: np.ones(grid.shape, np.float32))
    maps = torch.tensor([860.0, 75.0, 0.7])[:, None, None, None].repeat(1, 20, 30, 30)
    maps[:, 10:] = torch.tensor([4200.0, 1800.0, 1.0])[:, None, None, None]
    none = 0 * maps[:1]
    brain = torch.ones(1, 20, 30, 30) > 0
    person = {"relaxation": maps, "flow": none, "brain": brain, "fat": none, "field_strength": 3.0}
    scanned = RandScansd(modalities=["T2w"], thick=False).set_random_state(0)(person)
    profile = scanned["T2w"][0].numpy().mean(axis=(1, 2))
    share = (profile - profile[:5].mean()) / (profile[-5:].mean() - profile[:5].mean())
    assert np.abs(share[:7]).max() < 0.02 and np.abs(share[13:] - 1).max() < 0.02
    assert 0.15 < share[9] < 0.3 and 0.7 < share[10] < 0.85


def test_tissue_is_not_flat():
    maps = RandRelaxationd().set_random_state(0)(item(age=30))
    white = maps["relaxation"][:, maps["label"][0] == 2].numpy()
    spread_within = white.std(axis=1) / white.mean(axis=1)
    assert spread_within.min() > 0.01 and spread_within.max() < 0.15


def test_images_come_back_on_the_grid_of_the_labels_also_from_thick_slices():
    data = item(head_grid("LIA", (3.0, 3.0, 3.0), 12.0))
    subject = made(2, data)
    for modality in MODALITIES:
        assert grid_of(subject[modality]).matches(grid_of(data["label"]))
        assert subject[modality].dtype == torch.float32 and subject[modality].min() >= 0


@pytest.mark.parametrize(("axes", "degrees"), [("RAS", 0.0), ("LIA", 14.0), ("PSR", -25.0)])
def test_every_scan_shows_a_landmark_at_one_place_in_the_world(axes: str, degrees: float):
    data = item(head_grid(axes, (2.0, 2.0, 2.0), degrees), landmark=True)
    subject = made(5, data, native=True, spacing=1.5)
    labels = subject["label"][0].numpy()
    grid = grid_of(subject["label"])
    pieces, count = ndimage.label(labels == 515)
    ball = min(range(1, count + 1), key=lambda k: (pieces == k).sum() if (pieces == k).sum() > 100 else np.inf)
    place = grid.world(np.argwhere(pieces == ball)).mean(axis=0)
    for modality in MODALITIES:
        own = grid_of(subject[modality])
        image = subject[modality][0].numpy()
        at = own.world(np.stack(np.meshgrid(*map(np.arange, own.shape), indexing="ij"), axis=-1))
        near = np.linalg.norm(at - place, axis=-1) < 17
        bright = np.percentile(image[near], 80)
        dark = np.clip(1 - image[near] / bright, 0, 1) * (image[near] < 0.75 * bright)
        found = (dark[:, None] * at[near]).sum(axis=0) / dark.sum()
        assert np.linalg.norm(found - place) < 0.8, modality


def test_slices_are_as_thick_as_the_parameters_say():
    planes = set()
    person = RandRelaxationd().set_random_state(0)(item(head_grid("LIA", (4.0, 4.0, 4.0), 10.0)))
    for seed in range(8):
        subject = RandScansd(spacing=2.0, native=True).set_random_state(seed)(person)
        for modality in MODALITIES:
            thickness = subject["scans"][modality]["SliceThickness"]
            own = grid_of(subject[modality])
            assert own.spacing == pytest.approx((2.0, 2.0, thickness), abs=1e-6)
            assert (thickness == 2.0) if modality == "T1w" else (3.0 <= thickness <= 5.0)
            normal = np.abs(own.affine[:3, 2] / thickness)
            planes.add((modality, "xyz"[int(normal.argmax())]))
    assert planes == {("T1w", "x"), ("T2w", "z"), ("FLAIR", "z"), ("FLAIR", "x")}


def test_a_thick_slice_averages_what_a_thin_one_shows():
    data = item(head_grid(spacing=(2.0, 2.0, 2.0)))
    changes = []
    for thick in (False, True):
        subject = synthesis(["T2w"], 2.0, thick, native=True).set_random_state(3)(data)
        image = subject["T2w"][0].numpy()
        axis = 2 if thick else 1  # upwards
        profile = image.mean(axis=tuple(k for k in range(3) if k != axis))
        changes.append(len(profile))
    assert 1.4 < changes[0] / changes[1] < 2.6


@pytest.mark.parametrize("axes", ["RAS", "LIA", "SPL"])
def test_a_scan_covers_the_head_whatever_order_it_is_stored_in(axes: str):
    head = head_grid(axes, (3.0, 3.0, 3.0), 8.0)
    for scan, first in ((Scan("axial", 1.0, 4.0), (1, 0, 0)), (Scan("sagittal", 2.0, 2.0), (0, 1, 0))):
        own = scan.grid(head)
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in head.shape])).reshape(3, -1).T
        index = (np.linalg.inv(own.affine) @ np.c_[head.world(corners), np.ones(8)].T)[:3]
        assert index.min() > -1.6 and (index.max(axis=1) < np.array(own.shape) + 0.6).all()
        assert own.affine[:3, 0] / own.spacing[0] @ first > 0.97


def test_the_same_state_gives_the_same_scans_and_another_gives_others():
    one, same, other = made(3), made(3), made(4)
    for key in ("label", "relaxation", *MODALITIES):
        assert torch.equal(one[key].as_tensor(), same[key].as_tensor())
        assert not torch.equal(one[key].as_tensor(), other[key].as_tensor())
    assert one["scans"] == same["scans"] != other["scans"]
    again = synthesis().set_random_state(3)
    first, second = again(item()), again(item())
    assert torch.equal(first["T1w"].as_tensor(), one["T1w"].as_tensor())
    assert not torch.equal(first["T1w"].as_tensor(), second["T1w"].as_tensor())
    # nor does it matter what else is scanned
    alone = made(3, modalities=["FLAIR"])
    assert torch.equal(alone["FLAIR"].as_tensor(), one["FLAIR"].as_tensor()) and "T1w" not in alone


def test_a_stripped_brain_has_nothing_around_it_and_all_of_itself():
    subject = made(1, stripped=True)
    labels = subject["label"][0].numpy()
    outside = np.isin(labels, (0, 511, 507, 515))
    for modality in MODALITIES:
        image = subject[modality][0].numpy()
        assert not image[outside].any()
        assert (image[np.isin(labels, (2, 3, 4, 43, 16))] > 0).all()
    whole = made(1)
    assert whole["T1w"][0].numpy()[outside].any()


def test_what_is_stripped_is_the_outside_and_the_wide_cisterns_of_fluid():
    tissue = np.full((40, 40, 40), Tissue.CSF, dtype=np.uint8)
    tissue[:6] = OUTSIDE
    tissue[18:] = Tissue.CORTEX
    brain = find_brain(tissue, (1.0, 1.0, 1.0))
    assert brain[17:].all() and not brain[:10].any()


def test_a_brain_without_a_head_has_fluid_in_its_holes_and_around_it():
    tissue = np.zeros((40, 40, 40), dtype=np.uint8)
    tissue[8:32, 8:32, 8:32] = Tissue.CORTEX
    tissue[18:22, 18:22, 18:22] = Tissue.AIR
    filled = add_fluid(tissue, (1.0, 1.0, 1.0))
    assert (filled[18:22, 18:22, 18:22] == Tissue.CSF).all()
    assert (filled[4:8, 20, 20] == Tissue.CSF).all() and not filled[:4].any()
    assert (filled[tissue == Tissue.CORTEX] == Tissue.CORTEX).all()
    flat = add_fluid(tissue, (1.0, 2.0, 4.0))[20]
    assert [(flat[20, :9] > 0).sum(), (flat[:9, 20] > 0).sum()] == [2, 3]  # 4 mm whatever the voxels
    cleft = tissue.copy()
    cleft[8:24, 17:23, 8:32] = Tissue.AIR  # 6 mm wide and 16 mm deep
    assert (add_fluid(cleft, (1.0, 1.0, 1.0))[9:24, 17:23, 12:28] == Tissue.CSF).all()
    cleft[8:24, 4:36, 8:32] = Tissue.AIR  # too wide to be one
    assert (add_fluid(cleft, (1.0, 1.0, 1.0))[8:18, 20, 20] == Tissue.AIR).all()
    tissue[0] = Tissue.SKIN  # of a head: sinuses hold air
    assert (add_fluid(tissue, (1.0, 1.0, 1.0)) == tissue).all()
    assert not add_fluid(np.zeros_like(tissue), (1.0, 1.0, 1.0)).any()


def test_fluid_moves_in_the_cisterns_at_the_base_and_nowhere_else():
    tissue = np.full((60, 50, 40), Tissue.CSF, dtype=np.uint8)
    tissue[:, :, 30:] = Tissue.CORTEX
    tissue[:, :20, 20:30] = Tissue.VENTRICLE
    grid = Grid((60, 50, 40), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert not moving_fluid(tissue, grid, np.random.RandomState(0)).any()  # no base, no cisterns
    tissue[:8, 20:30, :20] = Tissue.BRAIN_STEM
    shares = np.mean([moving_fluid(tissue, grid, np.random.RandomState(k)) for k in range(8)], axis=0)
    assert not shares[tissue != Tissue.CSF].any() and shares.max() < 1
    near, further, far = (shares[at, 20:30, :20].mean() for at in (slice(8, 12), slice(20, 24), slice(50, 60)))
    assert 0.1 < near < 0.5 and 0.2 * near < further < 0.8 * near and far < 0.02


def test_a_head_has_moving_fluid_and_nothing_else_moves():
    head = RandRelaxationd().set_random_state(1)(item())
    fluid = head["label"][0] == 24
    assert head["flow"][0][fluid].max() > 0.02
    assert not head["flow"][0][~fluid].any()


def test_age_brightens_white_matter_beside_the_ventricles_in_flair():
    shares = {}
    for age in (25, 80):
        found = []
        for seed in range(4):
            subject = made(seed, item(age=age), thick=False)
            labels = subject["label"][0].numpy()
            ventricle = np.isin(labels, VENTRICLES)
            near, at = (ndimage.binary_dilation(ventricle, iterations=n) for n in (2, 1))
            ring = near & ~at & (labels == 2)
            found.append(np.median(subject["FLAIR"][0].numpy()[ring]) / median(subject, "FLAIR", WHITE))
            assert subject["age"] == age
        shares[age] = np.mean(found)
    assert shares[80] > 1.05 * shares[25], shares
    assert 0.85 < shares[25] < 1.15


def test_a_given_age_changes_nothing_but_white_matter():
    young, old = (RandRelaxationd().set_random_state(2)(item(age=age)) for age in (20, 85))
    changed = (young["relaxation"] != old["relaxation"]).any(dim=0).numpy()
    labels = young["label"][0].numpy()
    assert changed[labels == 2].all()
    assert not changed[labels != 2].any()
    assert young["field_strength"] == old["field_strength"]


def test_soft_tissue_below_the_skin_is_fat_that_a_suppression_takes_away():
    subject = RandRelaxationd().set_random_state(0)(item(head_grid(spacing=(2.0, 2.0, 2.0))))
    fat, labels = subject["fat"][0].numpy(), subject["label"][0].numpy()
    assert (fat[labels == 507] == 1).mean() > 0.3
    assert not fat[np.isin(labels, (2, 3, 4, 24))].any()


def test_regions_of_muse_make_scans_too():
    labels, grid = labels_of_head()
    numbers = {0: 0, 511: 0, 507: 0, 515: 0, 24: 1, 3: 100, 2: 81, 4: 51, 43: 52, 16: 35}
    regions = np.vectorize(numbers.get)(labels).astype(np.int16)
    subject = made(0, {"label": on_grid(torch.from_numpy(regions)[None], grid)}, thick=False)
    assert median(subject, "T1w", (51, 52)) < median(subject, "T1w", (100,)) < median(subject, "T1w", (81,))
    away = ndimage.distance_transform_edt(subject["label"][0].numpy() == 0, sampling=grid.spacing)
    t1w, t2w = (subject[modality][0].numpy() for modality in ("T1w", "T2w"))
    shell, air = (away > 2) & (away < 3.5), away > 10  # fluid beside the brain, where no label tells
    assert 2 * np.median(t1w[air]) < np.median(t1w[shell]) < 0.8 * median(subject, "T1w", (51, 52))
    assert np.median(t2w[shell]) > 5 * np.median(t2w[air])

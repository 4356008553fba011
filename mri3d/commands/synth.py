"""Write a data set of synthetic healthy heads, simulated from label maps."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from mri3d import __version__
from mri3d.errors import ContentError, Mri3dError, UsageError
from mri3d.grid import Grid
from mri3d.reporting.ownership import refuse_link_out, writable
from mri3d.synthesis.deformation import grid_of, on_grid
from mri3d.synthesis.scans import synthesis
from mri3d.synthesis.tissue import OUTSIDE, Nomenclature, Tissue, recognise
from mri3d.transforms.resampling import crop_to
from mri3d.volumes.atomic import atomic_write, write_json, write_text
from mri3d.volumes.discovery import discover
from mri3d.volumes.naming import ImageName, is_nifti, labelled_participant
from mri3d.volumes.nifti import read_volume, write_image
from mri3d.volumes.participants import read_ages

DESCRIPTION, PARTICIPANTS, LABELS = "dataset_description.json", "participants.tsv", Path("derivatives", "labels")
GENERATOR = "mri3d synth"
MARGIN_MM = 12.0
"""Around what is labelled: as far as the deformation moves it."""

PREFIX = "sub-syn"
_OURS = tuple(f"{PREFIX}*/anat/{PREFIX}*_*.{ending}" for ending in ("nii", "nii.gz", "json"))
_SIMULATED = "Simulated from a label map."
_COPIED = "A real scan, of the person whose label map the simulated ones beside it are made of."


@dataclass(frozen=True)
class Plan:
    """What is to be made.

    Args:
        modalities: of ``T1w``, ``T2w`` and ``FLAIR``.
        count: how many subjects; one for each label map when left out.
        seed: of everything that is drawn; subject k depends on it and on k alone.
        spacing: of isotropic voxels and within thick slices, in mm.
        thick: whether T2w and FLAIR have slices of 3 to 5 mm.
        stripped: 0 outside the brain.
        beside: a folder of T1w of the labelled people. Each label map then makes one subject, of that person's shape
            and age, and the person's own T1w comes beside what is simulated.
    """

    modalities: tuple[str, ...] = ("T1w", "T2w", "FLAIR")
    count: int | None = None
    seed: int = 0
    spacing: float = 1.0
    thick: bool = True
    stripped: bool = False
    beside: Path | None = None


@dataclass(frozen=True)
class Person:
    """Whom a subject is made of.

    Args:
        name: what the subject is called.
        labels: the label map.
        images: modality to real scan, where these are to lie beside.
        age: in years, if it is known.
    """

    name: str
    labels: Path
    images: Mapping[str, Path] = field(default_factory=dict)
    age: float | None = None


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A checked label map.

    Args:
        data: (X, Y, Z) in closest-canonical order, cut to what is labelled and a margin.
        grid: where it lies.
        nomenclature: what its numbers mean.
    """

    data: npt.NDArray[np.int16]
    grid: Grid
    nomenclature: Nomenclature


def synth(source: Path, output: Path, plan: Plan, overwrite: bool = False) -> tuple[int, list[str]]:
    """Write synthetic subjects as a BIDS data set, with their label maps below ``derivatives/labels``.

    Args:
        source: a label map, or a folder of them, searched to its bottom, which subjects take in turn.
        output: where to.
        plan: what is to be made.
        overwrite: replace an earlier data set of this command.

    Returns:
        How many subjects were written, and a line for each that could not be made.

    Raises:
        UsageError: no label maps, a modality that cannot be simulated, or a data set that stands there already.
    """
    people = find_people(source, plan)
    synthesis(plan.modalities)  # refuses what cannot be simulated before anything is written
    for held in filter(None, (source, plan.beside)):
        if held.resolve().is_relative_to(output.resolve()):
            remedy = "Choose another output folder"
            raise UsageError(output, "a folder that does not hold what is read", str(held), remedy)
    _refuse_standing(output, overwrite)
    rows, failures = [], []
    with writable(output):
        _clear(output)
        _describe(output)
        for number, person in enumerate(tqdm(people, desc="synth", unit="subject"), 1):
            seed = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
            try:
                item = make(read_labels(person.labels, plan.stripped), plan, seed, person.age)
            except Mri3dError as error:
                failures.append(f"{person.name}: {error}")
                continue
            _write(item, person, plan, output)
            origin = person.labels.relative_to(source).as_posix() if source.is_dir() else person.labels.name
            known = plan.beside is None or person.age is not None  # else the age was drawn
            rows.append((person.name, f"{item['age']:.1f}" if known else "n/a", origin, str(seed)))
        lines = [("participant_id", "age", "source", "seed"), *rows]
        write_text(output / PARTICIPANTS, "".join("\t".join(line) + "\n" for line in lines))
    return len(rows), failures


def find_people(source: Path, plan: Plan) -> list[Person]:
    """Who is to be made: people who do not exist, or those of :attr:`Plan.beside`.

    Raises:
        UsageError: no label maps, or nobody has both a label map and a scan.
    """
    files = find_label_maps(source)
    if plan.beside is None:
        count = plan.count or len(files)
        digits = max(3, len(str(count)))
        return [Person(f"{PREFIX}{k + 1:0{digits}}", files[k % len(files)]) for k in range(count)]
    if plan.stripped:
        raise UsageError("--stripped", "whole heads beside real scans", "both options", "Leave one of them out")
    labels, ages = _by_visit(files), read_ages(plan.beside)
    images = _by_visit([subject.reference for subject in discover(plan.beside).subjects])
    people = [
        Person(f"{PREFIX}{visit.removeprefix('sub-').replace('_ses-', 'ses')}", labels[visit], {"T1w": image}, age)
        for visit, image in images.items()
        if visit in labels
        for age in [ages.get(labelled_participant(image) or "")]
    ]
    if not people:
        expected = f"scans of the people whose label maps lie in {source}"
        raise UsageError(plan.beside, expected, "none of them", "Give both names with the same sub-XX and ses-YY")
    return people[: plan.count]


def _by_visit(files: Sequence[Path]) -> dict[str, Path]:
    """The file of each person, or of each of their sessions.

    Raises:
        UsageError: two of one visit.
    """
    found: dict[str, Path] = {}
    for path in files:
        name = ImageName.of(path)
        visit = name.session if name.session.startswith("sub-") else labelled_participant(path)
        if visit is not None and found.setdefault(visit, path) != path:
            expected = f"one file for {visit}"
            raise UsageError(path, expected, f"{found[visit].name} too", "Leave one of them out")
    return found


def find_label_maps(source: Path) -> list[Path]:
    """The NIfTI files of a folder and those below it, or the one that is named.

    Raises:
        UsageError: there are none.
    """
    if source.is_dir():
        named = (path for path in sorted(source.rglob("*")) if is_nifti(path) and not path.name.startswith("."))
        files = [path for path in named if path.is_file()]
    else:
        files = [source] if source.is_file() else []
    if not files:
        raise UsageError(source, "a label map (.nii, .nii.gz) or a folder of them", "none", "Check the path")
    return files


@lru_cache(maxsize=2)
def read_labels(path: Path, brain_only: bool = False) -> LabelMap:
    """Read a label map and find out what its numbers mean.

    Args:
        path: the file.
        brain_only: whether the brain is all that is wanted; what is more than the margin away from it is cut off.

    Raises:
        ContentError: voxels that are no labels, or labels that no nomenclature knows.
        UsageError: labels that two nomenclatures know.
        UnreadableFileError, GeometryError: see :func:`mri3d.volumes.nifti.read_volume`.
    """
    volume = read_volume(path)
    data, grid = volume.canonical(volume.data)
    labels = data.astype(np.int16)
    if (labels != data).any() or labels.min() < 0:
        found = f"values from {data.min():g} to {data.max():g}"
        raise ContentError(path, "whole numbers from 0 on, as in a label map", found, "Give label maps, not images")
    counts = np.bincount(labels.ravel())
    nomenclature = recognise(np.flatnonzero(counts), path)
    last = OUTSIDE if brain_only else len(Tissue)
    wanted = [number for number, tissue in nomenclature.tissues.items() if 0 < tissue < last]
    table = np.zeros(max(*wanted, counts.size) + 1, dtype=bool)
    table[wanted] = True
    box, part = crop_to(table[labels], grid, int(np.ceil(MARGIN_MM / min(grid.spacing))))
    return LabelMap(labels[box], part, nomenclature)


def make(labels: LabelMap, plan: Plan, seed: int, age: float | None = None) -> dict[Any, Any]:
    """A subject with its scans on their own grids: an item as :func:`mri3d.synthesis.scans.synthesis` gives it."""
    transform = synthesis(
        plan.modalities, plan.spacing, plan.thick, native=True, stripped=plan.stripped,
        nomenclature=labels.nomenclature.name, deformed=plan.beside is None,
    )  # fmt: skip
    transform.set_random_state(seed)
    known = {} if age is None else {"age": age}
    item: dict[Any, Any] = transform({"label": on_grid(torch.from_numpy(labels.data)[None], labels.grid), **known})
    return item


def _write(item: dict[Any, Any], person: Person, plan: Plan, output: Path) -> None:
    """A subject's images with their sidecars, and its label map."""
    name = person.name
    for modality, source in person.images.items():
        path = output / name / "anat" / f"{name}_{modality}.nii{'.gz' if source.suffix.lower() == '.gz' else ''}"
        with atomic_write(path) as temporary:
            shutil.copyfile(source, temporary)
        write_json(output / name / "anat" / f"{name}_{modality}.json", {"Simulated": False, "ImageComments": _COPIED})
    for modality in [modality for modality in plan.modalities if modality not in person.images]:
        image, path = item[modality], output / name / "anat" / f"{name}_{modality}.nii.gz"
        data = np.clip(np.round(image[0].numpy()), 0, np.iinfo(np.int16).max).astype(np.int16)
        write_image(path, data, grid_of(image), f"{GENERATOR}: simulated")
        scan = {"Simulated": True, "ImageComments": _SIMULATED, **item["scans"][modality]}
        write_json(path.with_name(f"{name}_{modality}.json"), scan)
    labels = item["label"]
    path = output / LABELS / name / "anat" / f"{name}_dseg.nii.gz"
    write_image(path, labels[0].numpy(), grid_of(labels), f"{GENERATOR}: labels")


def _describe(output: Path) -> None:
    """Say what the data set is; written first, since it tells whose the folder is."""
    made = {"Name": GENERATOR, "Version": __version__, "Description": _SIMULATED}
    for folder, name, kind in ((output, "Synthetic healthy brains", "raw"), (output / LABELS, "Labels", "derivative")):
        about = {"Name": f"{name} (simulated)", "BIDSVersion": "1.10.0", "DatasetType": kind, "GeneratedBy": [made]}
        write_json(folder / DESCRIPTION, about)


def _refuse_standing(output: Path, overwrite: bool) -> None:
    """Refuse to replace an earlier data set unasked, one of others always, and to follow links out of the output."""
    standing = [path for path in (output / DESCRIPTION, output / PARTICIPANTS) if os.path.lexists(path)]
    standing += [*output.glob(f"{PREFIX}*"), *(output / LABELS).glob(f"{PREFIX}*")]
    for path in (output / LABELS, *standing):
        refuse_link_out(path, output)
    if standing and not _is_ours(output / DESCRIPTION):
        raise UsageError(standing[0], f"a file of {GENERATOR}", "another", "Choose another output folder")
    if standing and not overwrite:
        raise UsageError(standing[0], "no file there yet", "one", "Use --overwrite, or name another folder")


def _is_ours(description: Path) -> bool:
    try:
        made = json.loads(description.read_text(encoding="utf-8"))["GeneratedBy"]
        return any(one["Name"] == GENERATOR for one in made)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _clear(output: Path) -> None:
    """Take away what an earlier run left, the table first."""
    (output / PARTICIPANTS).unlink(missing_ok=True)
    for root in (output, output / LABELS):
        for path in [path for pattern in _OURS for path in root.glob(pattern)]:
            path.unlink()
            for folder in (path.parent, path.parent.parent):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

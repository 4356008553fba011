"""What is known of a study's subjects: lesion masks, found by their names, or labels in a table."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from mri3d.errors import InputError, Mri3dError, UsageError
from mri3d.grid import Grid
from mri3d.volumes.naming import ImageName, is_nifti, unfit
from mri3d.volumes.nifti import read_volume
from mri3d.volumes.tables import MISSING, Table
from mri3d.volumes.volume import BoolArray

LABELS = {
    **dict.fromkeys(("0", "normal", "healthy"), False),
    **dict.fromkeys(("1", "anomalous", "abnormal"), True),
}
MOST_LABELS = 64
"""A volume with more distinct values is an image and no mask."""

MOST_OF_A_VOLUME = 0.5
"""A mask of more is inverted, or one of something else."""

_WORDS = "mask|seg|dseg|probseg|roi|lesions?|lesionmask|lesionseg|labels?|truth|gt|manual"
_MASK_ENDING = re.compile(rf"(_({_WORDS})|_(label|desc|space|res|den)-[^_]+)*(-(seg|mask))?$", re.IGNORECASE)
_ONLY_MASK = re.compile(rf"({_WORDS})([_-]({_WORDS}))*", re.IGNORECASE)
_OF_BRAIN = re.compile(r"(brainmask|_(desc|label)-brain(_|$))", re.IGNORECASE)
_DERIVED = ("label", "desc", "space", "res", "den")


@dataclass(frozen=True)
class Who:
    """The names by which a scored subject may be told of.

    Args:
        key: its outputs' place below their folder, unique in a study (``sub-01/anat/sub-01_T1w``).
        participant: whom it shows.
        images: the files that were scored, none of which is its mask.
    """

    key: str
    participant: str
    images: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The key without folders."""
        return PurePosixPath(self.key).name


@dataclass(frozen=True)
class Truth:
    """What is known of one subject: a mask, a label, or both.

    Args:
        mask: its lesion mask; an empty one means healthy.
        abnormal: its label; None leaves it to the mask.
    """

    mask: Path | None = None
    abnormal: bool | None = None


@dataclass(frozen=True)
class Truths:
    """What was found, by subject's key; a subject in neither has no truth.

    Args:
        known: what each is known to be.
        errors: why a subject's truth cannot be told.
        unused: masks and lines of the table that belong to no subject.
    """

    known: Mapping[str, Truth]
    errors: Mapping[str, Mri3dError]
    unused: tuple[str, ...] = ()


def find_truths(source: Path, subjects: Sequence[Who]) -> Truths:
    """Match masks or labels to subjects.

    Args:
        source: a folder of masks, searched to its bottom, or a table (.csv, .tsv) with the column ``subject`` (name or
            participant) and ``label`` (0, normal, healthy or 1, anomalous, abnormal) or ``mask`` (a path that counts
            from the table's folder), or both.
        subjects: whose truth is wanted.

    Raises:
        UsageError: it is neither, a malformed table, or nothing in it belongs to any subject.
    """
    if source.is_dir():
        truths = _from_masks(source, subjects)
    elif source.is_file() and source.suffix.lower() in (".csv", ".tsv"):
        truths = _from_table(source, subjects)
    else:
        found = "a file of another kind" if source.exists() else "nothing"
        raise UsageError(source, "a folder of lesion masks, or a table (.csv, .tsv)", found, "Check the path")
    if not truths.known and not truths.errors:
        nothing, remedy = "no masks at all", "Name masks like the volumes (NAME_mask.nii.gz), or give a table"
        if source.is_file():
            nothing, remedy = "no lines that tell anything", "Write a line a subject, by its name or participant"
        found = f"none; there are {', '.join(truths.unused[:3]) or nothing}"
        wanted = f"a mask or a label of {', '.join(who.name for who in subjects[:3])}"
        raise UsageError(source, wanted, found, remedy)
    return truths


def read_mask(path: Path, grid: Grid) -> BoolArray:
    """A lesion mask on the grid of a map: True where its label is not 0; may be empty.

    Raises:
        InputError: it lies on another grid, holds no labels, or marks more than half of the volume.
        UnreadableFileError, GeometryError, ContentError: see :func:`mri3d.volumes.nifti.read_volume`.
    """
    volume = read_volume(path, constant_allowed=True)
    if not volume.grid.matches(grid, tolerance_mm=0.1):
        remedy = "Resample the mask to the scan's grid, with nearest neighbours"
        raise InputError(path, f"a mask on the map's grid, {_said(grid)}", _said(volume.grid), remedy)
    labels = np.unique(volume.data)
    if (labels != np.round(labels)).any() or labels.size > MOST_LABELS or labels[0] < 0:
        found = f"{labels.size} values from {labels[0]:g} to {labels[-1]:g}"
        expected = f"a mask of at most {MOST_LABELS} labels, whole numbers from 0 on"
        raise InputError(path, expected, found, "Give a lesion mask")
    mask = np.asarray(volume.data != 0)
    if mask.mean() > MOST_OF_A_VOLUME:
        found, remedy = f"{100 * mask.mean():.0f}%", "Swap 0 and 1 if it is inverted, or give a lesion mask"
        raise InputError(path, "a lesion in at most half of the volume, 0 elsewhere", found, remedy)
    return mask


def _said(grid: Grid) -> str:
    return f"shape {list(grid.shape)} and affine {np.round(grid.affine[:3], 3).tolist()}"


# A folder of masks


@dataclass(frozen=True)
class _Named:
    """What a mask's place tells.

    Args:
        image: the image it is of; nameless where the name says no more than ``lesion_mask``.
        declared: whether its name says that it is a mask.
        folder: its folder below the root.
    """

    image: ImageName
    declared: bool
    folder: PurePosixPath


Rank = tuple[bool, bool, int, int]
"""How well a mask fits: declared one; in the subject's folder; of the same, no or another modality; entities shared."""


def _from_masks(root: Path, subjects: Sequence[Who]) -> Truths:
    images = {os.path.realpath(path) for who in subjects for path in who.images}
    masks = {path: _named(path, root) for path in _walk(root) if os.path.realpath(path) not in images}
    claims = {who.key: _best((path, _rank(named, who)) for path, named in masks.items()) for who in subjects}
    claimed: dict[Path, list[tuple[Rank, str]]] = defaultdict(list)
    for key, (rank, paths) in claims.items():
        for path in paths:
            claimed[path].append((rank, key))
    known, errors = {}, {}
    for key, (rank, paths) in claims.items():
        held = [path for path in paths if max(claimed[path])[0] == rank]  # another may have the better claim
        others = sorted({other for path in held for of, other in claimed[path] if of == rank})
        if len(held) > 1:
            found = " and ".join(str(path) for path in held[:3])
            errors[key] = InputError(key, "one lesion mask", found, "Take one away, or name the right one in a table")
        elif held and len(others) > 1:
            remedy = "Mirror the folders of the maps, or name the masks in a table"
            errors[key] = InputError(held[0], "a mask of one subject", f"one of {' and '.join(others[:3])}", remedy)
        elif held:
            known[key] = Truth(held[0])
    return Truths(known, errors, tuple(str(path) for path in masks if path not in claimed))


def _walk(root: Path) -> Iterator[Path]:
    """NIfTI files that may be lesion masks."""
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(folder) / name for name in sorted(files) if not name.startswith(".")):
            ours = unfit(path) == "a map that mri3d wrote"
            if is_nifti(path) and not ours and not _OF_BRAIN.search(ImageName.of(path).stem):
                yield path


def _named(path: Path, root: Path) -> _Named:
    stem = ImageName.of(path).stem
    core = "" if _ONLY_MASK.fullmatch(stem) else _MASK_ENDING.sub("", stem)
    folder = PurePosixPath(path.parent.relative_to(root).as_posix())
    return _Named(ImageName.of(Path(core)), core != stem, folder)


def _best(ranked: Iterable[tuple[Path, Rank | None]]) -> tuple[Rank, list[Path]]:
    """The highest rank and the masks that have it."""
    fitting = [(path, rank) for path, rank in ranked if rank is not None]
    best = max((rank for _, rank in fitting), default=(False, False, 0, 0))
    return best, [path for path, rank in fitting if rank == best]


def _rank(mask: _Named, who: Who) -> Rank | None:
    """How well a mask fits a subject; None where it is another's."""
    image, place = ImageName.of(Path(who.name)), PurePosixPath(who.key).parent
    wanted, given = _entities(image.entities.split("_")), _entities(mask.image.entities.split("_"))
    if not mask.image.stem:  # the folders tell whose it is
        given = _entities(mask.folder.parts)
        fits = given.items() <= wanted.items() if given else mask.folder.name in (who.participant, image.entities)
    elif not mask.declared:
        fits = mask.image.stem == image.stem
    elif "sub" in wanted:
        fits = "sub" in given and given.items() <= wanted.items()
    else:
        fits = mask.image.entities in (image.entities, image.stem)
    if not fits:
        return None
    same = 1 if mask.image.modality is None else 2 if mask.image.modality == image.modality else 0
    mirrors = bool(place.parts) and mask.folder.parts[-len(place.parts) :] == place.parts
    return mask.declared, mirrors, same, len(given)


def _entities(parts: Iterable[str]) -> dict[str, str]:
    """BIDS entities among the parts of a name or a path, without those that a derivative adds."""
    pairs = (part.split("-", 1) for part in parts if re.match(r"[a-z]+-[^-]", part))
    return {key: value for key, value in pairs if key not in _DERIVED}


# A table of labels


def _from_table(path: Path, subjects: Sequence[Who]) -> Truths:
    known: dict[str, Truth] = {}
    errors: dict[str, Mri3dError] = {}
    unused = []
    for where, cells in _lines(path):
        truth = _truth_of(cells, where, path.parent)
        named = [who for who in subjects if cells["subject"] in (who.name, who.key)]
        named = named or [who for who in subjects if cells["subject"] == who.participant]
        if not named:
            unused.append(cells["subject"])
        elif len(named) > 1 and truth.mask is not None:
            found = f"one of {' and '.join(who.key for who in named[:3])}"
            error = UsageError(where, "a mask of one subject", found, "Give each a line of its own")
            errors |= {who.key: error for who in named}
        for who in named:
            if who.key in known:
                raise UsageError(where, "one line a subject", f"another one of {who.key}", "Take one away")
            known[who.key] = truth
    return Truths({key: truth for key, truth in known.items() if key not in errors}, errors, tuple(unused))


def _lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and cells of each line that tells something; n/a tells nothing."""
    table = Table.read(path)
    if "subject" not in table.columns or not {"label", "mask"} & set(table.columns):
        found = f"the columns {', '.join(table.columns) or 'of an empty file'}"
        remedy = f"Mend the first line, and part columns by {table.separated_by}"
        raise UsageError(path, "the columns subject, and label or mask or both", found, remedy)
    table.refuse_ambiguous()
    for line in table.lines:
        told = dict(zip(table.columns, line.words, strict=True))
        words = {name: told.get(name, "") for name in ("subject", "label", "mask")}
        cells = {name: "" if word in MISSING else word for name, word in words.items()}
        if cells["label"] or cells["mask"] or cells == words:
            yield f"{path}, {line.place}", cells


def _truth_of(cells: Mapping[str, str], where: str, folder: Path) -> Truth:
    mask = folder / cells["mask"] if cells["mask"] else None
    label = cells["label"].lower()
    if label not in LABELS and (label or mask is None):
        expected = f"a label ({', '.join(LABELS)})" + ("" if label else " or a mask")
        raise UsageError(where, expected, repr(cells["label"]) if label else "neither", "Mend the line")
    return Truth(mask, LABELS.get(label))

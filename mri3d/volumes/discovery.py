"""From what the user names - a file, a folder, a datalist - to the subjects in it."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from mri3d.errors import UsageError
from mri3d.volumes.datalist import ENDINGS, read_datalist
from mri3d.volumes.naming import ImageName, is_nifti, participant_of, shared_entities, unfit
from mri3d.volumes.subject import Subject

_NIFTI_ENDINGS = (".nii.gz", ".nii", ".NII.GZ", ".NII")


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was passed over, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Discovery:
    """What was found below an input: each subject's key is its own, and the order is that of the names."""

    subjects: tuple[Subject, ...]
    skipped: tuple[Skipped, ...]


def discover(source: Path, modalities: Sequence[str] = ("T1w",), mask: Path | None = None) -> Discovery:
    """Find the subjects in ``source``; files are judged by their names and not opened.

    Args:
        source: a NIfTI file, a folder, which is searched to its bottom, or a datalist (.json, .csv, .tsv).
        modalities: what belongs to a subject; the first is the reference, which each subject must have. Images whose
            names tell no modality count as the reference.
        mask: a brain mask (for one subject), or a folder of them that mirrors ``source`` or is flat. Without it, a
            mask beside the image serves.

    Raises:
        UsageError: nothing there, two files that claim one place, a malformed datalist, or masks that do not fit.
    """
    if not source.exists():
        raise UsageError(source, "a file or folder", "nothing", "Check the path")
    skipped: list[Skipped] = []
    if source.is_dir():
        subjects = _grouped(_inputs(_walk(source, mask, skipped), modalities, skipped), source, modalities, skipped)
    elif is_nifti(source):
        subjects = _grouped(_inputs([source], modalities, skipped), source.parent, modalities, skipped)
    elif source.suffix.lower() in ENDINGS:
        subjects = _listed(source, modalities, skipped)
    else:
        expected = "a NIfTI file (.nii, .nii.gz), a folder, or a datalist (.json, .csv, .tsv)"
        raise UsageError(source, expected, source.name, "Convert the file to NIfTI, DICOM for example with dcm2niix")
    if not subjects:
        raise _nothing(source, modalities, skipped)
    _check_unique(subjects)
    return Discovery(tuple(_with_masks(subjects, mask)), tuple(skipped))


def _walk(root: Path, mask: Path | None, skipped: list[Skipped]) -> list[Path]:
    """All NIfTI files below ``root``. Links to folders come last: what they repeat is found at its own place."""
    own = mask.resolve() if mask is not None and not root.resolve().is_relative_to(mask.resolve()) else None
    files: list[Path] = []
    seen: set[Path] = set()
    folders = deque([root])
    while folders:
        folder = folders.popleft()
        real = folder.resolve()
        if real in seen:
            skipped.append(Skipped(folder, "a link to a folder that is searched already"))
            continue
        seen.add(real)
        try:
            entries = sorted(folder.iterdir(), reverse=True)
        except OSError as error:
            skipped.append(Skipped(folder, f"cannot be listed: {error.strerror}"))
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if own is not None and entry.resolve() == own:
                skipped.append(Skipped(entry, "the brain mask given by the user"))
            elif not entry.is_dir():
                files += [entry] if is_nifti(entry) else []
            elif entry.name == "derivatives":
                skipped.append(Skipped(entry, "a derivatives folder; name it as the input to use it"))
            elif entry.is_symlink():
                folders.append(entry)
            else:
                folders.appendleft(entry)
    return sorted(files)


def _inputs(files: Iterable[Path], modalities: Sequence[str], skipped: list[Skipped]) -> dict[Path, ImageName]:
    """The files that are images of the modalities asked for."""
    inputs = {}
    for path in files:
        name = ImageName.of(path)
        reason = unfit(path)
        if reason is None and name.modality is not None and name.modality not in modalities:
            reason = f"{name.modality} is not among the modalities asked for ({', '.join(modalities)})"
        if reason is None:
            inputs[path] = name
        else:
            skipped.append(Skipped(path, reason))
    return inputs


def _grouped(
    inputs: Mapping[Path, ImageName], root: Path, modalities: Sequence[str], skipped: list[Skipped]
) -> list[Subject]:
    subjects = []
    for images in _groups(inputs, modalities):
        if modalities[0] in images:
            folder = next(iter(images.values())).parent.relative_to(root)
            subjects.append(_subject(images, PurePosixPath(folder.as_posix()), several=len(modalities) > 1))
        else:
            reason = f"the subject has no {modalities[0]}, which the maps would be written on"
            skipped.extend(Skipped(path, reason) for path in images.values())
    return subjects


def _groups(inputs: Mapping[Path, ImageName], modalities: Sequence[str]) -> Iterator[dict[str, Path]]:
    """The images of each subject, in the order of ``modalities``."""
    if len(modalities) == 1:
        yield from ({modalities[0]: path} for path in inputs)
        return
    visits: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path, name in inputs.items():
        visits[path.parent, name.session].append(path)
    for paths in visits.values():
        runs: dict[str, list[Path]] = defaultdict(list)
        claimed = [inputs[path].modality or modalities[0] for path in paths]
        for path in paths:  # the run tells images apart only where something has to be told apart
            runs[inputs[path].entity("run") if len(set(claimed)) < len(claimed) else ""].append(path)
        for run in runs.values():
            images: dict[str, Path] = {}
            for path in run:
                modality = inputs[path].modality or modalities[0]
                if modality in images:
                    found = f"{images[modality].name} and {path.name}"
                    remedy = "Name the images of each subject in a datalist"
                    raise UsageError(path.parent, f"one {modality} a subject and run", found, remedy)
                images[modality] = path
            yield {modality: images[modality] for modality in modalities if modality in images}


def _listed(source: Path, modalities: Sequence[str], skipped: list[Skipped]) -> list[Subject]:
    base = Path(os.path.abspath(source.parent))
    subjects = []
    for entry in read_datalist(source, modalities):
        reference = entry.images.get(modalities[0])
        if reference is None:
            skipped.append(Skipped(source, f"{entry.place} has no {modalities[0]}"))
            continue
        folder = reference.parent.relative_to(base) if reference.is_relative_to(base) else Path()
        subject = _subject(entry.images, PurePosixPath(folder.as_posix()), several=len(modalities) > 1)
        subjects.append(replace(subject, mask=entry.mask, participant=entry.participant or subject.participant))
    return subjects


def _subject(images: Mapping[str, Path], folder: PurePosixPath, several: bool) -> Subject:
    """Name a subject after its image, or after what its images share."""
    path = next(iter(images.values()))
    reference = ImageName.of(path)
    # T1w.nii.gz in a folder of its own: the folder tells who it is.
    nameless = path.absolute().parent.name if not reference.entities else reference.stem
    name = (shared_entities(map(ImageName.of, images.values())) or nameless) if several else reference.stem
    return Subject(name, participant_of(path), folder, images)


def _with_masks(subjects: Sequence[Subject], mask: Path | None) -> list[Subject]:
    if mask is None:
        return [replace(subject, mask=subject.mask or _mask_beside(subject)) for subject in subjects]
    if mask.is_file():
        if len(subjects) > 1:
            remedy = "Give a folder of masks, named like the images"
            raise UsageError(mask, "a mask for each subject", f"one mask for {len(subjects)} subjects", remedy)
        return [replace(subjects[0], mask=mask)]
    if not mask.is_dir():
        raise UsageError(mask, "a mask or a folder of masks", "nothing", "Check the path")
    return _with_masks_from(mask, subjects)


def _with_masks_from(folder: Path, subjects: Sequence[Subject]) -> list[Subject]:
    masked: dict[Path, Subject] = {}
    for subject in subjects:
        name = ImageName.of(subject.reference)
        stems = (*_mask_stems(subject), f"{name.stem}_mask", f"{name.entities}_mask".lstrip("_"), name.stem)
        own = _first_file((folder / subject.folder, folder), stems, other_than=subject.reference)
        if own is None:
            remedy = f"Add {name.stem}_brainmask.nii.gz, or leave the masks to mri3d"
            raise UsageError(folder, "a mask for each subject", f"none for {subject.key}", remedy)
        if own in masked:
            found = f"{own.name} for {masked[own].key} and {subject.key}"
            raise UsageError(folder, "a mask for each subject", found, "Mirror the folders of the input")
        masked[own] = replace(subject, mask=own)
    return list(masked.values())


def _mask_beside(subject: Subject) -> Path | None:
    return _first_file((subject.reference.parent,), _mask_stems(subject), other_than=subject.reference)


def _mask_stems(subject: Subject) -> tuple[str, ...]:
    return (*ImageName.of(subject.reference).mask_stems, f"{subject.name}_brainmask")


def _first_file(folders: Iterable[Path], stems: Sequence[str], other_than: Path) -> Path | None:
    candidates = (folder / (stem + ending) for folder in folders for stem in stems for ending in _NIFTI_ENDINGS)
    return next((path for path in candidates if path.is_file() and path != other_than), None)


def _check_unique(subjects: Iterable[Subject]) -> None:
    taken: dict[str, Path] = {}
    for subject in subjects:
        other = taken.setdefault(subject.key, subject.reference)
        if other is not subject.reference:
            found = f"{other} and {subject.reference}"
            remedy = "Rename one of the two, or put them into folders of their own"
            raise UsageError(subject.key, "one input for each name of an output", found, remedy)


def _nothing(source: Path, modalities: Sequence[str], skipped: Sequence[Skipped]) -> UsageError:
    found = "none"
    if skipped:
        told = "; ".join(f"{skip.path.name}: {skip.reason}" for skip in skipped[:3])
        found = f"{len(skipped)} passed over ({told}{'; ...' if len(skipped) > 3 else ''})"
    remedy = "Check the path and the modalities; convert DICOM to NIfTI, for example with dcm2niix"
    return UsageError(source, f"a {modalities[0]} volume (.nii, .nii.gz)", found, remedy)

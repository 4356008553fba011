"""The one model of a server: what it takes, and a job's files made by the code of ``mri3d detect``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from mri3d.detector import Detector
from mri3d.errors import Mri3dError
from mri3d.recipe import config_of
from mri3d.reporting.names import SIDECAR, path_of
from mri3d.reporting.subject_files import write_detection
from mri3d.scoring.modality_sets import modality_sets
from mri3d.volumes.atomic import write_json
from mri3d.volumes.subject import Subject

NAME = "scan"
"""What every job's files are called, whatever the client's file was."""

FIELD = "file"
"""The form's field for the reference, which may also be called by its modality."""

ENDINGS = (".nii.gz", ".nii")


class Model:
    """A detector, loaded once.

    Args:
        root: the bundle.
        device: see :func:`mri3d.workflow.pick_device`.

    Raises:
        BundleError: its parts do not belong together.
        UsageError: no such device.
    """

    def __init__(self, root: Path, device: str) -> None:
        config = config_of(root)
        self._detector = Detector(root, device)
        self.sets = modality_sets(self._detector.modalities, config.get("missing_modalities", False))
        # those of mri3d detect without options, so that sidecars are the same
        self.settings = {name: config[name] for name in config["output"]["settings"]}

    @property
    def bundle(self) -> dict[str, str]:
        """Name, version and hash of the bundle."""
        return self._detector.bundle

    @property
    def device(self) -> str:
        """What it runs on."""
        return str(self._detector.device)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it knows, the reference first."""
        return self.sets[0]

    @property
    def optional(self) -> tuple[str, ...]:
        """What a subject may lack."""
        return tuple(name for name in self.modalities if any(name not in given for given in self.sets))

    @property
    def fields(self) -> dict[str, str]:
        """The fields of a form, each with the modality it brings."""
        return {FIELD: self.modalities[0], **{name: name for name in self.modalities}}

    def detect(self, folder: Path, modalities: tuple[str, ...]) -> dict[str, Any]:
        """Score the scans in a job's folder and write the results beside them, as ``mri3d detect`` does.

        Returns:
            What the sidecar tells; nothing in it, nor in any file, names a path of this machine.

        Raises:
            Mri3dError: a step failed.
        """
        subject = Subject(NAME, NAME, PurePosixPath(), {name: scan_of(folder, name) for name in modalities})
        detection = self._detector.detect(subject)
        write_detection(detection, folder, self._detector.bundle, self.settings)
        path = path_of(folder, NAME, SIDECAR)
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        told["inputs"] = {name: {"bytes": given["bytes"]} for name, given in told["inputs"].items()}
        write_json(path, told)
        return told


def scan_of(folder: Path, modality: str) -> Path:
    """The uploaded file of a modality.

    Raises:
        Mri3dError: it is there no more.
    """
    for ending in ENDINGS:
        path = folder / f"{modality}{ending}"
        if path.exists():
            return path
    raise Mri3dError(modality, "the uploaded scan", "none", "Send it again")


def results_in(folder: Path) -> list[str]:
    """The files of a job that is done, relative to its folder."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if name.startswith(NAME))


def words_of(error: Mri3dError, folder: Path, several: bool) -> str:
    """What a client is told of an error: its cause, with the modality where there are several, and no path."""
    name = Path(error.where).name.split(".")[0]
    told = f"{name}: {error.cause}" if several and (folder / Path(error.where).name).exists() else error.cause
    return told.replace(str(folder), "the upload")


def scans_in(folder: Path, modalities: Iterable[str]) -> list[Path]:
    """The uploaded files of a job that are still there."""
    paths = (folder / f"{name}{ending}" for name in modalities for ending in ENDINGS)
    return [path for path in paths if path.exists()]

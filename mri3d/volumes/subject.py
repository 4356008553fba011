"""One subject of a study: which files belong to it and where its outputs go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Subject:
    """The files of one head, to be scored together.

    Args:
        name: what the outputs are called: the stem of the file for one modality (``sub-01_ses-1_T1w``),
            the shared entities for several (``sub-01_ses-1``).
        participant: whom it shows, so that splits keep a person's sessions together (``sub-01``; else ``name``).
        folder: folder below the input in which the files lie, and below the output in which the maps will.
        images: modality (``T1w``, ``T2w``, ``FLAIR``) to file; the first is the reference grid.
        mask: a brain mask given by the user, on the reference grid.
    """

    name: str
    participant: str
    folder: PurePosixPath
    images: Mapping[str, Path]
    mask: Path | None = None

    @property
    def reference(self) -> Path:
        """The file whose grid the maps are written on."""
        return next(iter(self.images.values()))

    @property
    def key(self) -> str:
        """The subject's outputs below the output folder, without an ending; unique in a study."""
        return (self.folder / self.name).as_posix()

"""What the files of an output folder are called: all that a run may write there, or take away."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Map(NamedTuple):
    """A kind of map: its ``label`` in the report and the ``description`` in its header."""

    label: str
    description: str


MAPS = {
    "zscore": Map("z-map", "mri3d |z| against healthy subjects"),
    "anomaly": Map("anomaly mask", "mri3d anomaly mask"),
    "error": Map("error map", "mri3d |x - x_hat|, normalised intensity"),
    "recon": Map("reconstruction", "mri3d reconstruction, normalised"),
}
SIDECAR, PICTURE, MODALITIES, SLICES = ".json", ".png", "_modalities.png", "_slices.csv"
REGIONS, REGIONS_PICTURE = "_regions.csv", "_regions.png"
PAGE, VIEW, SIMPLE_VIEW = ".html", "_view.js", "_view.htm"
TABLE, RUN, REPORT, SHARED = "results.csv", "run.json", "report.html", "report_files"
COHORT_REGIONS, HEAT_MAP = "regions.csv", "regions.png"


def modality_kind(modality: str, kind: str, native: bool) -> str:
    """The kind of map that shows one modality alone, such as ``FLAIR_zscore`` or ``FLAIR_native_zscore``."""
    return f"{modality}_{'native_' if native else ''}{kind}"


def ending_of(kind: str) -> str:
    """How the file of a kind of map ends."""
    return f"_{kind}.nii.gz"


ENDINGS = (
    SIDECAR, PICTURE, MODALITIES, SLICES, REGIONS, REGIONS_PICTURE, PAGE, VIEW, SIMPLE_VIEW, *map(ending_of, MAPS),
)  # fmt: skip
"""The sidecar comes first: while it stands, so does all that it tells of."""


def path_of(root: Path, key: str, ending: str) -> Path:
    """Where the file of this ending lies below an output folder, for a :attr:`mri3d.volumes.subject.Subject.key`."""
    return root / f"{key}{ending}"


def slice_picture(root: Path, key: str, index: int) -> Path:
    """Where the picture of a slice lies: in a folder of the subject's own."""
    return path_of(root, key, "_slices") / f"slice_{index:03}.png"


def plain_words(names: Iterable[str]) -> dict[str, str]:
    """Each name in letters, digits and ``._-`` alone, for files; no two get one word, in any file system."""
    words: dict[str, str] = {}
    for name in names:
        word = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-._") or "unnamed"
        taken = {other.casefold() for other in words.values()}
        numbers = ("", *(f"-{number}" for number in range(2, len(taken) + 2)))
        words[name] = next(word + number for number in numbers if (word + number).casefold() not in taken)
    return words


def clear(root: Path, key: str) -> None:
    """Take away what an earlier run left of a subject, its sidecar first."""
    others = modality_kinds(path_of(root, key, SIDECAR))  # read before it goes
    for ending in (*ENDINGS, *map(ending_of, others)):
        path = path_of(root, key, ending)
        if os.path.lexists(path):  # false, and no error, for a name that is too long to be there
            path.unlink()
    pictures = slice_picture(root, key, 0).parent
    if pictures.is_dir() and not pictures.is_symlink():
        for path in pictures.glob("slice_*.png"):
            path.unlink()


def modality_kinds(sidecar: Path) -> list[str]:
    """The maps of single modalities that a sidecar tells of."""
    try:
        kinds = json.loads(sidecar.read_text(encoding="utf-8"))["maps"]
        return [kind for kind in kinds if re.fullmatch(r"[A-Za-z0-9]+_(native_)?(error|zscore)", kind)]
    except (OSError, ValueError, KeyError, TypeError):
        return []

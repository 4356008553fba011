"""A list of volumes in a file: .json, .csv or .tsv."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri3d.errors import UsageError
from mri3d.volumes.naming import MODALITIES
from mri3d.volumes.tables import MISSING, Table

ENDINGS = (".json", ".csv", ".tsv")
_SECTIONS = ("data", "training", "validation", "testing")
_FIELDS = ("image", "mask", "participant")
_COLUMNS = (*_FIELDS, "participant_id")
_JSON = 'Write a list of paths or of {"image": path or {modality: path}, "mask": path, "participant": name}'
_TABLE = "Write a table with the column image or one for each modality, and if you like mask and participant"


@dataclass(frozen=True)
class Entry:
    """One subject of a datalist.

    Args:
        place: where it stands in the list: ``entry 2``, ``line 3``.
        images: modality to absolute path, of the modalities asked for those that the list gives.
        mask: its brain mask, if given.
        participant: whom it shows, if given.
    """

    place: str
    images: Mapping[str, Path]
    mask: Path | None = None
    participant: str | None = None


def read_datalist(path: Path, modalities: Sequence[str]) -> list[Entry]:
    """Read a datalist; paths in it are relative to its folder.

    A .json file is a list of paths, or of ``{"image": path or {modality: path}, "mask": path, "participant": name}``,
    or such lists under ``data``, ``training``, ``validation`` and ``testing``. A .csv or .tsv file has a header with
    ``image`` or a column for each modality, and ``mask`` and ``participant`` (or ``participant_id``) if wanted.
    A single image without a modality is the first of ``modalities``.

    Raises:
        UsageError: the file is none of these, or has keys or columns beside these, which may be misspelt ones.
    """
    read, remedy = (_from_json, _JSON) if path.suffix.lower() == ".json" else (_from_table, _TABLE)
    try:
        return [_entry(raw, modalities, path, place) for place, raw in read(path, modalities)]
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(path, "a readable datalist", str(error), remedy) from error


def _from_json(path: Path, modalities: Sequence[str]) -> Iterator[tuple[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    expected = f"a list, or lists under {', '.join(_SECTIONS)}"
    lists = [content[key] for key in _SECTIONS if key in content] if isinstance(content, dict) else [content]
    if not lists or not all(isinstance(entries, list) for entries in lists):
        raise UsageError(path, expected, f"a JSON {type(content).__name__} without", _JSON)
    if isinstance(content, dict):  # numbers and words, such as a name, are the list's own affair
        _refuse_unknown(path, expected, [key for key in content if isinstance(content[key], list)], _SECTIONS)
    for number, raw in enumerate(itertools.chain(*lists), 1):
        if isinstance(raw, dict):
            _refuse_unknown(f"{path}, entry {number}", f"the keys {', '.join(_FIELDS)}", raw, _FIELDS)
        yield f"entry {number}", raw


def _from_table(path: Path, modalities: Sequence[str]) -> Iterator[tuple[str, Any]]:
    table = Table.read(path)
    columns = table.columns
    if "image" not in columns and modalities[0] not in columns:
        remedy = f"{_TABLE}; part columns by {table.separated_by}"
        raise UsageError(path, f"a column image or {modalities[0]}", f"the columns {list(columns)}", remedy)
    expected = f"the columns {', '.join(_COLUMNS)} or modalities such as T1w"
    _refuse_unknown(path, expected, columns, (*_COLUMNS, *modalities, *MODALITIES))
    table.refuse_ambiguous()
    named = [name for name in columns if name not in _COLUMNS]
    if "image" in columns and named:
        raise UsageError(path, "the column image or one for each modality", f"image and {', '.join(named)}", _TABLE)
    for line in table.lines:
        cells = {name: word for name, word in zip(columns, line.words, strict=True) if word not in MISSING}
        if "image" in columns and "image" not in cells:
            remedy = "Fill it in, or take the line out"
            raise UsageError(f"{path}, {line.place}", "a path in the column image", "an empty cell", remedy)
        yield line.place, {
            "image": cells["image"] if "image" in columns else {m: cells[m] for m in modalities if m in cells},
            "mask": cells.get("mask"),
            "participant": cells.get("participant") or cells.get("participant_id"),
        }


def _refuse_unknown(where: Path | str, expected: str, names: Iterable[str], known: Collection[str]) -> None:
    """A name that is passed over without a word may be a misspelt one that was meant."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(where, expected, ", ".join(map(repr, unknown)), "Mend the name, or take it out")


def _entry(raw: Any, modalities: Sequence[str], path: Path, place: str) -> Entry:
    fields: dict[str, Any] = raw if isinstance(raw, dict) else {"image": raw}
    image, mask, participant = fields.get("image"), fields.get("mask"), fields.get("participant")
    images: dict[str, Any] = image if isinstance(image, dict) else {modalities[0]: image}
    if not all(isinstance(file, str) and file for file in (*images.values(), mask or "none")):
        expected = "a path as image, or a path for each modality, and a path as mask if there is one"
        raise UsageError(f"{path}, {place}", expected, repr(raw), _JSON)
    _refuse_unknown(f"{path}, {place}", "modalities such as T1w", images, (*modalities, *MODALITIES))
    return Entry(
        place,
        {modality: _located(images[modality], path) for modality in modalities if modality in images},
        _located(mask, path) if mask else None,
        str(participant) if participant else None,
    )


def _located(file: str, datalist: Path) -> Path:
    return Path(os.path.abspath(datalist.parent / file))

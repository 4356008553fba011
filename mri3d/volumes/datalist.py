"""A list of volumes in a file: .json, .csv or .tsv."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri3d.errors import UsageError

ENDINGS = (".json", ".csv", ".tsv")
_SECTIONS = ("data", "training", "validation", "testing")
_REMEDY = "See the datalist formats in the documentation"


@dataclass(frozen=True)
class Entry:
    """One subject of a datalist.

    Args:
        images: modality to absolute path, of the modalities asked for those that the list gives.
        mask: its brain mask, if given.
        participant: whom it shows, if given.
    """

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
        UsageError: the file is none of these.
    """
    read = _from_json if path.suffix.lower() == ".json" else _from_table
    try:
        return [_entry(raw, modalities, path, number) for number, raw in enumerate(read(path, modalities), 1)]
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise UsageError(path, "a readable datalist", str(error), _REMEDY) from error


def _from_json(path: Path, modalities: Sequence[str]) -> Iterator[Any]:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    lists = [content[key] for key in _SECTIONS if key in content] if isinstance(content, dict) else [content]
    if not lists or not all(isinstance(entries, list) for entries in lists):
        expected = f"a list, or lists under {', '.join(_SECTIONS)}"
        raise UsageError(path, expected, f"a JSON {type(content).__name__} without", _REMEDY)
    for entries in lists:
        yield from entries


def _from_table(path: Path, modalities: Sequence[str]) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        table = csv.DictReader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        columns = table.fieldnames or ()
        if "image" not in columns and modalities[0] not in columns:
            raise UsageError(path, f"a column image or {modalities[0]}", f"the columns {list(columns)}", _REMEDY)
        for row in table:
            if None in row:
                raise UsageError(f"{path}, line {table.line_num}", f"{len(columns)} cells", "more", _REMEDY)
            cells = {column: (cell or "").strip() for column, cell in row.items()}
            yield {
                "image": cells["image"] if "image" in columns else {m: cells[m] for m in modalities if cells.get(m)},
                "mask": cells.get("mask"),
                "participant": cells.get("participant") or cells.get("participant_id"),
            }


def _entry(raw: Any, modalities: Sequence[str], path: Path, number: int) -> Entry:
    fields: dict[str, Any] = raw if isinstance(raw, dict) else {"image": raw}
    image, mask, participant = fields.get("image"), fields.get("mask"), fields.get("participant")
    images: dict[str, Any] = image if isinstance(image, dict) else {modalities[0]: image}
    if not all(isinstance(file, str) and file for file in (*images.values(), mask or "none")):
        expected = 'a path, or {"image": path or {modality: path}, "mask": path, "participant": name}'
        raise UsageError(f"{path}, entry {number}", expected, repr(raw), _REMEDY)
    return Entry(
        {modality: _located(images[modality], path) for modality in modalities if modality in images},
        _located(mask, path) if mask else None,
        str(participant) if participant else None,
    )


def _located(file: str, datalist: Path) -> Path:
    return Path(os.path.abspath(datalist.parent / file))

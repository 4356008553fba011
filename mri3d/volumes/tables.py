"""Tables as BIDS has them, and as programs write them."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mri3d.errors import UsageError

UNKNOWN = ("", "n/a", "na", "nan", "none", "-")
"""What stands for a missing value: BIDS's n/a, and what spreadsheets and programs write in its place."""


class _Tabs(csv.excel_tab):
    """BIDS knows no quotes around what holds a tab, and a lone one would swallow lines."""

    quoting = csv.QUOTE_NONE


@dataclass(frozen=True)
class Table:
    """The lines of a table.

    Args:
        columns: names of all columns, as they stand there.
        lines: a cell a column; None for what stands for a missing value (:data:`UNKNOWN`). Empty lines are left out.
        places: of each line in the file, ``line 2``.
        overlong: places of lines with more cells than there are columns, of which the others are left out.
    """

    columns: tuple[str, ...]
    lines: tuple[tuple[str | None, ...], ...]
    places: tuple[str, ...]
    overlong: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Table:
        """Take a file apart.

        Raises:
            UsageError: it cannot be.
            OSError: it cannot be read.
        """
        dialect = csv.excel if delimiter_of(path) == "," else _Tabs
        reader = csv.reader(io.StringIO(_text(path), newline=""), dialect)
        try:
            rows = [(f"line {reader.line_num}", [_bare(cell) for cell in row]) for row in reader if row]
        except csv.Error as error:
            raise UsageError(path, "a table", str(error), "Look for a quote that is not closed") from error
        (_, columns), *lines = rows or [("", [])]
        width = len(columns)
        return cls(
            tuple(columns),
            tuple(tuple(_known(c) for c in (line + [""] * width)[:width]) for _, line in lines),
            tuple(place for place, _ in lines),
            tuple(place for place, line in lines if len(line) > width),
        )

    @property
    def rows(self) -> list[dict[str, str | None]]:
        """Column to cell, of every line; of columns of one name the last counts."""
        return [dict(zip(self.columns, line, strict=True)) for line in self.lines]

    def column(self, name: str) -> tuple[str, ...]:
        """What stands in a column, each word once."""
        at = self.columns.index(name)
        return tuple(dict.fromkeys(cell for line in self.lines if (cell := line[at]) is not None))

    def cells_of(self, key: str) -> Iterator[tuple[str, str, str | None]]:
        """The word in the column ``key``, another column's name and the cell; lines without a word are left out."""
        at = self.columns.index(key)
        for line in self.lines:
            if (word := line[at]) is not None:
                yield from ((word, name, line[i]) for i, name in enumerate(self.columns) if name and i != at)


def delimiter_of(path: Path) -> str:
    """A comma for .csv, else a tab."""
    return "," if path.suffix.lower() == ".csv" else "\t"


def _text(path: Path) -> str:
    """What a text file says, in UTF-8, in the UTF-16 that Excel calls Unicode text, or in Latin-1."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    content = content.replace(b"\0", b"")  # UTF-16 without its mark
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:  # where a letter that is not known would make different words alike
        return content.decode("latin-1")


def _bare(cell: str) -> str:
    """Without blanks around it, nor the quotes that R puts around every word."""
    stripped = cell.strip()
    return stripped[1:-1].strip() if len(stripped) > 1 and stripped[0] == stripped[-1] == '"' else stripped


def _known(cell: str) -> str | None:
    return None if cell.lower() in UNKNOWN else cell

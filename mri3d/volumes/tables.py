"""Tables as BIDS has them, and as programs write them."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mri3d.errors import UsageError

UNKNOWN = ("", "n/a", "na", "nan", "none", "-")
"""What stands for a missing value: BIDS's n/a, and what spreadsheets and programs write in its place."""

MISSING = ("", "n/a")
"""The same among words that may be somebody's name."""


class _Tabs(csv.excel_tab):
    """BIDS knows no quotes around what holds a tab, and a lone one would swallow lines."""

    quoting = csv.QUOTE_NONE


class Line(NamedTuple):
    """A line of a table that is not empty.

    Args:
        place: where it stands: ``line 2``.
        words: one a column, as it stands there, without blanks around it; empty where there is none.
        surplus: whether it has further words, so that its own may stand in the wrong columns.
    """

    place: str
    words: tuple[str, ...]
    surplus: bool


@dataclass(frozen=True)
class Table:
    """What a table says.

    Args:
        path: the file.
        columns: names of all columns, as they stand there; nameless ones at the end are left out.
        lines: in their order.
    """

    path: Path
    columns: tuple[str, ...]
    lines: tuple[Line, ...]

    @classmethod
    def read(cls, path: Path) -> Table:
        """Take a file apart.

        Raises:
            UsageError: it cannot be read, a quote is not closed, or a cell goes over several lines, as it does where a
                quote has swallowed some.
        """
        (_, columns), *rows = _taken_apart(path) or [("", [])]
        while columns and not columns[-1]:
            columns = columns[:-1]
        return cls(path, tuple(columns), tuple(_line(place, row, len(columns)) for place, row in rows if any(row)))

    def refuse_ambiguous(self) -> None:
        """Refuse what cannot be told to belong to a column.

        Raises:
            UsageError: two columns have one name, or a line has more words than there are columns.
        """
        twice = [name for name, count in Counter(self.columns).items() if count > 1 and name]
        if twice:
            found = f"{twice[0]} more than once"
            raise UsageError(self.path, "columns of different names", found, "Rename or remove one")
        for line in self.lines:
            if line.surplus:
                remedy = "Name all columns, and look for a decimal comma or a separator within a word"
                raise UsageError(f"{self.path}, {line.place}", f"{len(self.columns)} cells", "more", remedy)

    @property
    def separated_by(self) -> str:
        """What parts the columns, in words for who has them parted by something else."""
        return "commas" if delimiter_of(self.path) == "," else "tabs"

    @property
    def rows(self) -> list[dict[str, str | None]]:
        """Column to word of every line, None for what stands for a missing value (:data:`UNKNOWN`); of columns of one
        name the last counts."""
        return [dict(zip(self.columns, map(_known, line.words), strict=True)) for line in self.lines]

    def column(self, name: str) -> tuple[str, ...]:
        """What stands in a column, each word once."""
        at = self.columns.index(name)
        return tuple(dict.fromkeys(word for line in self.lines if (word := _known(line.words[at])) is not None))

    def cells_of(self, key: str) -> Iterator[tuple[str, str, str | None]]:
        """The word in the column ``key``, another column's name and its word; lines without a key are left out."""
        at = self.columns.index(key)
        for line in self.lines:
            if (own := _known(line.words[at])) is not None:
                yield from (
                    (own, name, _known(line.words[i])) for i, name in enumerate(self.columns) if name and i != at
                )


def _taken_apart(path: Path) -> list[tuple[str, list[str]]]:
    """Place and words of each line, the header first."""
    dialect = csv.excel if delimiter_of(path) == "," else _Tabs
    try:
        reader = csv.reader(io.StringIO(_text(path), newline=""), dialect, strict=True)
        rows = [(f"line {reader.line_num}", [_bare(cell) for cell in row]) for row in reader]
    except csv.Error as error:
        raise UsageError(path, "a table", str(error), "Look for a quote that is not closed") from error
    except OSError as error:
        remedy = "Check the path and its permissions"
        raise UsageError(path, "a table that can be read", str(error), remedy) from error
    for place, row in rows:
        if broken := [cell for cell in row if "\n" in cell]:
            remedy = "Look for a quote that is not closed, or take the line breaks out"
            raise UsageError(f"{path}, {place}", "every cell on one line", repr(broken[0][:60]), remedy)
    return rows


def _line(place: str, row: Sequence[str], width: int) -> Line:
    words = (*row, *[""] * width)[:width]
    return Line(place, words, any(row[width:]))


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

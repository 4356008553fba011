"""Whose the files of an output folder are: those of others are never replaced, and ours only when that is asked for."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri3d.errors import UsageError
from mri3d.reporting.names import SIDECAR, TABLE, path_of
from mri3d.volumes.subject import Subject


@dataclass(frozen=True)
class PageFolder:
    """A folder with the page that a command writes, and what belongs to that page.

    Args:
        root: the folder.
        command: the command's name, which the record tells.
        record: name of the JSON with the numbers; written first, it tells whose the folder is, as ``made.command``.
        others: names and patterns of the other files, relative to the folder.
    """

    root: Path
    command: str
    record: str
    others: tuple[str, ...]

    def refuse_standing(self, overwrite: bool) -> None:
        """Refuse to replace earlier results unasked, and files of others always.

        Raises:
            UsageError: there are such.
        """
        standing = [path for path in (self.root / self.record, *self._standing()) if os.path.lexists(path)]
        # what detect has written there counts too, since its report has the same name
        foreign = [] if self._is_ours() else standing
        foreign += [folder for folder in self._folders() if folder.is_symlink()]
        foreign += [self.root / TABLE] if (self.root / TABLE).exists() else []
        if foreign:
            found = f"{foreign[0].relative_to(self.root)} of another origin"
            expected = f"an empty folder or earlier results of mri3d {self.command}"
            raise UsageError(self.root, expected, found, "Choose another folder")
        if standing and not overwrite:
            raise UsageError(self.root, "a folder without results", "earlier ones", "Use --overwrite")

    def refuse_foreign(self, names: Iterable[str]) -> None:
        """Refuse to write files of these names where others have put such.

        Raises:
            UsageError: there is one.
        """
        own = set(self._standing()) if self._is_ours() else set()
        for path in (self.root / name for name in names):
            if os.path.lexists(path) and path not in own:
                found = f"{path.name} of another origin"
                raise UsageError(self.root, "a folder without such files", found, "Choose another folder")

    def clear(self) -> None:
        """Take away earlier results, so that none is taken for a new one; the record goes last."""
        if self._is_ours():
            for path in (*self._standing(), self.root / self.record):
                path.unlink(missing_ok=True)

    def _standing(self) -> list[Path]:
        return [path for pattern in self.others for path in sorted(self.root.glob(pattern))]

    def _folders(self) -> set[Path]:
        return {(self.root / pattern).parent for pattern in self.others} - {self.root}

    def _is_ours(self) -> bool:
        try:
            made = json.loads((self.root / self.record).read_text(encoding="utf-8"))["made"]
            return bool(made["command"] == self.command)
        except (OSError, ValueError, KeyError, TypeError):
            return False


def recorded_files(record: Path) -> tuple[str, ...]:
    """Names of the files that a page's record tells of as ``files``, all in its own folder; none without a record."""
    try:
        names = json.loads(record.read_text(encoding="utf-8"))["files"]
        return tuple(name for name in names if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def is_ours(sidecar: Path) -> bool:
    """Whether a JSON is one that mri3d wrote for a subject."""
    try:
        made: Mapping[str, Any] = json.loads(sidecar.read_text(encoding="utf-8"))
        return "mri3d" in made["versions"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def refuse_standing(files: Iterable[Path], sidecar: Path, overwrite: bool) -> None:
    """Refuse to replace a subject's earlier files unasked, and files of others always.

    Args:
        files: where results are to go.
        sidecar: the JSON beside them, by which they are known to be ours.
        overwrite: replace ours.

    Raises:
        UsageError: there are such.
    """
    standing = [path for path in (*files, sidecar) if os.path.lexists(path)]
    if standing and not is_ours(sidecar):
        raise UsageError(standing[0], "a file of mri3d", "one that it did not write", "Choose another output folder")
    if standing and not overwrite:
        raise UsageError(standing[0], "no file there yet", "one", "Use --overwrite, or name another folder")


def check_inside(root: Path, subjects: Iterable[Subject]) -> None:
    """Refuse to follow a link out of an output folder, which would put results beside data that are only linked to.

    Raises:
        UsageError: a subject's place below ``root`` lies elsewhere.
    """
    for folder in {path_of(root, subject.key, SIDECAR).parent for subject in subjects}:
        refuse_link_out(folder, root)


def refuse_link_out(folder: Path, root: Path) -> None:
    """Refuse a folder below ``root`` that a link leads out of it.

    Raises:
        UsageError: it lies elsewhere.
    """
    if not folder.resolve().is_relative_to(root.resolve()):
        found, remedy = f"a link to {folder.resolve()}", "Choose another output folder"
        raise UsageError(folder, "a folder within the output", found, remedy)


@contextmanager
def writable(root: Path, remedy: str = "Mend permissions and free space, and try again") -> Iterator[None]:
    """Say of a full disk or a missing permission what the user can do about it.

    Raises:
        UsageError: in place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(root, "a folder that can be written to", str(error), remedy) from error

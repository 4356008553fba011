"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes ``path`` when the block ends without an error.

    The temporary file lies in the same folder, which is created, is hidden, and keeps the ending (``.nii.gz``).
    After an error of any kind it is gone and an older ``path`` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".mri3d-{secrets.token_hex(6)}{''.join(path.suffixes[-2:])}")
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, obj: Any) -> None:
    """Write ``obj`` as indented JSON, whole or not at all; numpy scalars and arrays become plain numbers and lists.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not know.
        TypeError: something that is no JSON value.
    """
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def _plain(value: object) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON value: {value!r}")

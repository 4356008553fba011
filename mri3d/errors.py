"""The errors mri3d raises for input it cannot use.

::

    Mri3dError
    ├── UsageError               wrong command, option or folder: exit code 2
    ├── InputError               one volume is unfit: that subject fails, the others go on
    │   ├── UnreadableFileError  not NIfTI, truncated, of a forbidden size or data type
    │   ├── GeometryError        an affine that is singular, sheared or contradicts itself
    │   └── ContentError         voxels that are not finite, constant, or of too few slices
    ├── PreprocessingError       a readable volume in which a step failed
    │   ├── BrainError           no brain found, or not of a brain's size
    │   └── AlignmentError       the brain does not lie on the template
    └── BundleError              a bundle is incomplete, or its parts do not belong together

Every message has the same four parts: what is wrong, what was expected, what was found, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names, for a message: ``a, b, c and 9 more``."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class Mri3dError(Exception):
    """An error a user can mend; shown without a traceback.

    Args:
        where: the file, folder, option or subject that is wrong.
        expected: what should have been there.
        found: what was there.
        remedy: what the user can do, a whole sentence without its full stop.
    """

    def __init__(self, where: Path | str, expected: str, found: str, remedy: str) -> None:
        super().__init__(where, expected, found, remedy)
        self.where, self.expected, self.found, self.remedy = str(where), expected, found, remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.cause}"

    @property
    def cause(self) -> str:
        """The message without the place, for tables that name the place in a column of its own."""
        return f"expected {self.expected}, found {self.found}. {self.remedy}."


class UsageError(Mri3dError):
    """A command, option, recipe key or output folder that cannot be used as given."""


class InputError(Mri3dError):
    """A volume that must not be scored."""


class UnreadableFileError(InputError):
    """Not a whole NIfTI file of an allowed size and data type."""


class GeometryError(InputError):
    """An affine that does not say where the voxels lie."""


class ContentError(InputError):
    """Voxels that are no image of a head."""


class PreprocessingError(Mri3dError):
    """A step of the preprocessing failed on a readable volume."""


class BrainError(PreprocessingError):
    """No plausible brain mask."""


class AlignmentError(PreprocessingError):
    """The brain could not be brought onto the template."""


class BundleError(Mri3dError):
    """A bundle that is incomplete or whose parts do not belong together."""

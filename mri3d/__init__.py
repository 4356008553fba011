"""mri3d learns normal brain anatomy from healthy 3D MRI and shows where a new scan departs from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Detector", "__version__"]

if TYPE_CHECKING:
    from mri3d.detector import Detector


def __getattr__(name: str) -> Any:
    """Import :class:`Detector` when it is first asked for: MONAI takes seconds to load."""
    if name == "Detector":
        from mri3d.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The files of the page: a fixed list, so that no name from outside comes near a path."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse, Response

from mri3d.reporting.html import STYLE
from mri3d.reporting.view import NIIVUE, has_niivue
from mri3d.resources import viewer_dir
from mri3d.serving.problems import Refusal

FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


class Page:
    """What the page consists of: its own files, the reports' style and viewer."""

    def __init__(self) -> None:
        folders = (FOLDER, viewer_dir())
        self._files = {path.name: path for folder in folders for path in folder.iterdir() if path.suffix in MEDIA_TYPES}

    def answer(self, name: str) -> Response:
        """One of the files.

        Raises:
            Refusal: there is no such file.
        """
        fresh = {"cache-control": "no-cache"}
        if name == "style.css":
            return Response(STYLE, media_type="text/css", headers=fresh)
        if name == NIIVUE and not has_niivue():  # the viewer says what is missing
            return Response("", media_type="text/javascript", headers=fresh)
        path = self._files.get(name)
        if path is None:
            raise Refusal(404, "no-file", "expected a file of the page, found another name. Open the page at /.")
        return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=fresh)

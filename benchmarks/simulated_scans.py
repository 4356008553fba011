"""Real and simulated heads one below the other, as a bundle of several modalities sees them.

    python -m benchmarks.simulated_scans "as scanned=MS/sub-01" "simulated=HEADS/sub-syn001" --bundle B -o PICTURE.png

Each argument is what a row is called and a subject's folder. What is drawn is on the model grid, after bias correction
and scaling, so that rows compare.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mri3d.bundle import find_bundle
from mri3d.detector import Detector
from mri3d.reporting.montage import Montage, Tile, draw_montage
from mri3d.reporting.planes import AXIAL, SAGITTAL

LIMITS = {"T1w": (0.0, 1.1), "T2w": (0.0, 1.1), "FLAIR": (0.0, 0.75)}
"""Darkest and brightest; a brain's median is 0.4 in T2w and FLAIR."""

PLACE = (1.0, -9.0, -19.0)
"""In the cisterns between the optic chiasm and the brain stem."""


def rows(detector: Detector, title: str, folder: Path) -> list[Tile]:
    """A tile for each modality of the subject in a folder."""
    item = detector.preprocess(folder)
    grid = detector.score(item).model.grid
    images = item["image"].numpy()
    return [
        Tile(f"{name}, {title}", image, grid, LIMITS.get(name))
        for name, image in zip(detector.modalities, images, strict=True)
    ]


def main() -> None:
    """Draw from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", metavar="TITLE=FOLDER")
    parser.add_argument("--bundle", default="brain_t1t2flair")
    parser.add_argument("--title", default="Real and simulated scans")
    parser.add_argument("--words", default="", help="below the title: whose scans these are")
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    detector = Detector.load(find_bundle(words.bundle), "cpu")
    named = [row.partition("=")[::2] for row in words.rows]
    tiles = [tile for title, folder in named for tile in rows(detector, title, Path(folder))]
    draw_montage(
        Montage(words.title, words.words, tiles, len(detector.modalities), PLACE, (AXIAL, SAGITTAL), 1.6), words.output
    )


if __name__ == "__main__":
    main()

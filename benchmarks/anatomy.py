"""Make the mean and principal modes of a bundle's training brains, which the demonstration draws from.

    python -m benchmarks.anatomy HEALTHY --bundle bundles/brain_t1_cae
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mri3d.volumes.anatomy import Anatomy
from mri3d.workflow import open_workflow

MODES = 10


def main() -> None:
    """Preprocess the bundle's training participants, or take them from its cache, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="preprocessing cache of the training")
    words = parser.parse_args()
    cache = {} if words.cache is None else {"cache_dir": str(words.cache)}
    workflow = open_workflow(words.bundle, "train", {"dataset_dir": str(words.healthy), **cache})
    prepared, split, grid = (workflow.parser.get_parsed_content(key) for key in ("prepared", "split", "grid"))
    items = prepared.load(split.train)
    images = np.stack([item["image"][0].numpy() for item in items])
    masks = np.stack([item["mask"][0].numpy() for item in items])
    Anatomy.fit(images, masks, grid, MODES).save(words.bundle / "models" / "anatomy.nii.gz")


if __name__ == "__main__":
    main()

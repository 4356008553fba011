"""The tables of ``benchmarks.detection``: of a run as it ends, and of several runs together, as a page of the docs.

    python -m benchmarks.detection_page RUN.json [RUN.json …] -o docs/detection.md

RUN.json is the ``metrics.json`` of a run. Detectors take hours to train and can be measured one at a time: runs belong
together if they have the same cases and their first detector, the one that the others are compared with, came out the
same. The README and the bundles' pages show :func:`summary`, word for word; a test holds them, page and runs together.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mri3d.recipe import merge as merge_recipe
from mri3d.scoring.calibrate import TAIL_SHARES
from mri3d.volumes.atomic import write_text

ABOUT = {
    "atlas": "voxel-wise z, no network",
    "intensity": "deviation from the median, no network",
    "equalised": "rank of the intensity, no network",
    "pca": "robust principal components, no network",
    "cae": "autoencoder",
    "cae2d": "autoencoder of axial slices",
    "vae": "variational autoencoder",
    "resnet": "autoencoder with a ResNet-50 encoder",
    "unet": "U-Net that takes anomalies away",
    "attention_unet": "attention U-Net that takes anomalies away",
    "denoise": "U-Net that takes coarse noise away",
    "restore": "U-Net that sees the atlas and takes anomalies away",
    "restore_1mm": "the same on 1 mm",
    "ensemble": "weighted mean of other detectors",
}
"""What the recipes that find anomalies are, in the order of the tables."""

COLUMNS = {
    "voxel_ap": "voxel AP",
    "voxel_ap_small": "AP under 5 ml",
    "dice_best": "best Dice (label-chosen)",
    "dice_normals": "Dice at the threshold of normals",
    "subject_auroc": "subject AUROC",
    "difference": "AP less the first's",
}
KINDS = {"clear": "clear lesions", "subtle": "subtle lesions", "real": "real lesions"}
SAME = ("simulated", "part", "people", "seed")
"""What runs of one page have in common, besides their first detector's figures."""


def merge(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs as one, their detectors in the order of ``ABOUT``, seeds in theirs.

    Raises:
        SystemExit: they do not belong together, or measure one detector twice.
    """
    first = runs[0]
    reference = next(iter(first["detectors"]))
    merged: dict[str, Any] = {name: first[name] for name in SAME}
    detectors: dict[str, Any] = {}
    for run in runs:
        told_apart = [name for name in SAME if run[name] != first[name]]
        if told_apart:
            raise SystemExit(f"runs of other cases cannot share a page: they differ in {', '.join(told_apart)}")
        if next(iter(run["detectors"])) != reference or _figures(run, reference) != _figures(first, reference):
            raise SystemExit(f"runs share a page if {reference} is the first detector of each and came out the same")
        twice = sorted(set(detectors) & set(run["detectors"]) - {reference})
        if twice:
            raise SystemExit(f"measured in two runs: {', '.join(twice)}; the test part is for one look")
        detectors |= run["detectors"]
    order = sorted(detectors, key=lambda name: (list(ABOUT).index(detectors[name]["recipe"]), detectors[name]["seed"]))
    merged["detectors"] = {name: detectors[name] for name in order}
    merged["metrics"] = {
        kind: {name: found for name in order for run in runs if (found := run["metrics"].get(kind, {}).get(name))}
        for kind in KINDS
    }
    merged["healthy"] = {name: run["healthy"][name] for name in order for run in runs if name in run["healthy"]}
    return merged


def _figures(run: Mapping[str, Any], name: str) -> list[str]:
    """The figures of a detector as the tables show them; seconds are nobody's fault."""
    rows = [_row(of[name]) for of in run["metrics"].values() if name in of]
    return [cell for row in rows for cell in row]


def tables(run: Mapping[str, Any]) -> str:
    """The metrics of one run as Markdown tables with intervals: lesions, then healthy scans."""
    lines = _table(
        ("lesions", "detector", *COLUMNS.values()),
        ([kind, name, *_row(found)] for kind, of in run["metrics"].items() for name, found in of.items()),
    )
    return "\n".join([*lines, "", *_healthy(run)]) + "\n"


def _healthy(run: Mapping[str, Any]) -> list[str]:
    heads = ["detector", *(f"% of healthy voxels above the {100 * share:g} % threshold" for share in TAIL_SHARES)]
    heads += ["false-positive ml a healthy scan", "p-values uniform? KS, p", "seconds a scan"]
    rows = []
    for name, of in run["healthy"].items():
        p_values, seconds = of["p_values"], run["metrics"]["clear"][name]["seconds"]
        rows.append(
            [
                name,
                *(_cell(of[f"exceedance_{share}"], 100) for share in TAIL_SHARES),
                _cell(of["false_positive_ml"]),
                f"{p_values['kolmogorov_smirnov']:.2f}, {p_values['p']:.2f}",
                f"{seconds:.1f}",
            ]
        )
    return _table(heads, rows)


def summary(run: Mapping[str, Any], detectors: Iterable[str]) -> str:
    """One row a detector, for pages that show a few of them.

    Args:
        run: a run, or several merged.
        detectors: their names; the default detector is in bold.
    """
    heads = ["detector"]
    of_both = ("voxel_ap", "dice_normals", "subject_auroc")
    heads += [f"{COLUMNS[name]}, {kind}" for name in of_both for kind in ("clear", "subtle")]
    heads += ["false-positive ml a healthy scan", "voxel AP, real MS"]
    rows = []
    for name in detectors:
        of = {kind: run["metrics"][kind][name] for kind in KINDS}
        both = [of["clear"], of["subtle"]]
        row = [_called(name, run)]
        row += [_cell(found[column]) for column in ("voxel_ap", "dice_normals") for found in both]
        row += [f"{found['subject_auroc']['value']:.2f}" for found in both]
        rows.append([*row, _cell(run["healthy"][name]["false_positive_ml"]), f"{of['real']['voxel_ap']['value']:.2f}"])
    return "\n".join(_table(heads, rows)) + "\n"


def _called(name: str, run: Mapping[str, Any]) -> str:
    shown = "**brain_t1** (default)" if name == "brain_t1" else name
    return f"{shown}: {ABOUT[run['detectors'][name]['recipe']]}"


PAGE = """\
# How well detectors find lesions

All detectors on the same {people} healthy heads of the {part} part, which served neither their training nor their
thresholds nor any choice: each head as it is, with a clear and with a subtle stroke-shaped lesion. Lesions are
simulated, put into the raw volume before brain extraction, alignment and normalisation: clear ones lie 60 to 90 % of
the way towards CSF, subtle ones are 20 to 30 % brighter or darker, half of the shapes have less than 5 ml. `real` are
two cases of multiple sclerosis (Lesjak et al. 2017, T1w), too few for intervals. Voxels are ranked over all heads
together. In brackets 95 % bootstrap intervals over people.

The Dice at the threshold of normals uses no labels. Best Dice chooses its threshold with them and is an upper bound.
The last column is paired: an interval without 0 speaks for a real difference to `{reference}` on these heads.

Measured by `python -m benchmarks.detection`, written by `python -m benchmarks.detection_page`.

## The detectors

{detectors}

{missing}{lesions}

## Healthy heads

{healthy}

Conformal p-values of healthy people should be uniform, which they are where scores of test and calibration people have
one distribution. KS is the Kolmogorov-Smirnov distance of these two sets of scores and p that of the two-sample test,
which minds that all p-values share one calibration set. P-values come in steps of {resolution}.
"""


def page(run: Mapping[str, Any]) -> str:
    """The page: what was measured on what, how the detectors were made, all tables."""
    about = [
        [name, ABOUT[of["recipe"]], of["recipe"], str(of["seed"]), _epochs(of), f"{of['weights']:,}"]
        for name, of in run["detectors"].items()
    ]
    lesions = []
    for kind, title in KINDS.items():
        rows = ([name, *_row(found, bare=kind == "real")] for name, found in run["metrics"][kind].items())
        lesions += [f"## {title.capitalize()}", "", *_table(("detector", *COLUMNS.values()), rows), ""]
    missing = [recipe for recipe in ABOUT if recipe not in {of["recipe"] for of in run["detectors"].values()}]
    steps = sorted({round(1 / of["p_values"]["resolution"]) for of in run["healthy"].values()})
    return PAGE.format(
        people=run["people"],
        part=run["part"],
        reference=next(iter(run["detectors"])),
        detectors="\n".join(_table(("detector", "what it is", "recipe", "seed", "epochs", "learnt weights"), about)),
        missing=f"Recipes not measured here: {', '.join(missing)}.\n\n" if missing else "",
        lesions="\n".join(lesions[:-1]),
        healthy="\n".join(_healthy(run)),
        resolution=" or ".join(f"1/{step}" for step in steps),
    )


def _epochs(of: Mapping[str, Any]) -> str:
    """How long a detector was trained, against its recipe's own length where that is another."""
    if not of["epochs"]:
        return ""
    full = merge_recipe(of["recipe"], {})["train"]["training"]["epochs"]
    return str(full) if of["epochs"] == full else f"{of['epochs']} (recipe: {full})"


def _row(found: Mapping[str, Any], bare: bool = False) -> list[str]:
    values = {**found, "difference": found.get("differences", {}).get("voxel_ap")}
    estimates = [values.get(column) for column in COLUMNS]
    return [_cell({**of, "ci95": None} if of and bare else of) for of in estimates]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *(f"| {' | '.join(row)} |" for row in rows)]


def _cell(estimate: Mapping[str, Any] | None, factor: float = 1.0) -> str:
    """``value (low to high)``; nothing where it could not be measured."""
    if estimate is None:
        return ""
    value, interval = factor * estimate["value"], estimate["ci95"]
    if interval is None:
        return f"{value:.2f}"
    return f"{value:.2f} ({factor * interval[0]:.2f} to {factor * interval[1]:.2f})"


def main() -> None:
    """Write the page from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    write_text(words.output, page(merge([read(path) for path in words.runs])))


def read(path: Path) -> dict[str, Any]:
    """A run's ``metrics.json``."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()

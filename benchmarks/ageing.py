"""Healthy ageing, on real scans: do the ventricles' z grow with age, and does that end once age is a covariate?

    python -m benchmarks.ageing HEALTHY --bundle brain_t1 -o OUT

HEALTHY is a BIDS data set whose ``participants.tsv`` knows ages. Those of the bundle's calibration, test and validation
parts who are under 60 are the healthy people, and those over 65 are held against them, by what ``mri3d detect`` scores
regions by, without and with age as a covariate; with it they are judged by what the younger ones' trend says of their
age, beyond all ages it was fitted on. The younger ones are each judged by the others. OUT keeps each scan on the model
grid, and gets ``metrics.json`` and ``ageing.png``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy import stats
from tqdm import tqdm

from benchmarks.huntington import prepare
from mri3d.bundle import find_bundle, load_regions
from mri3d.detector import Detector
from mri3d.reporting.panels import save_png
from mri3d.scoring.covariates import Person, head_of, person_of
from mri3d.scoring.region_statistics import RegionStatistics
from mri3d.scoring.regions import Regions
from mri3d.volumes.atomic import write_json
from mri3d.volumes.discovery import discover
from mri3d.volumes.participants import read_table
from mri3d.workflow import open_workflow

YOUNG, OLD = 60.0, 65.0
PARTS = ("calibration", "test", "validation")
VENTRICLES = ("Left Lateral Ventricle", "Right Lateral Ventricle", "3rd Ventricle")
REPLICATES = 2000

Array64 = npt.NDArray[np.float64]
Measured = Mapping[str, tuple[Person, Mapping[str, float]]]
"""Participant to covariates and the regions' values."""


def measured_people(healthy: Path, bundle: Path, output: Path) -> Measured:
    """The regions of everybody who did not train and whose age is known."""
    parser = open_workflow(bundle, "inference", {"device": "$mri3d.workflow.pick_device('cpu')"}).parser
    regions: Regions | None = load_regions(bundle, None, parser.get_parsed_content("preprocessing"))
    if regions is None:
        raise SystemExit(f"{bundle} knows no regions: calibrate it first")
    grid, table = parser.get_parsed_content("grid"), read_table(healthy)
    split = json.loads((bundle / "models" / "split.json").read_text(encoding="utf-8"))
    people = sorted(person for part in PARTS for person in split[part])
    subjects = {subject.participant: subject for subject in discover(healthy).subjects}
    detector = Detector.load(bundle, "cpu")
    output.mkdir(parents=True, exist_ok=True)
    found = {}
    for person in tqdm(people, unit="scan"):
        case = prepare(detector, subjects[person], Path(), 0.0, output)
        who = person_of(table.get(person, {}), head_of(case.template_to_source))
        if "age" in who:
            sizes = regions.measure(case.image, grid)
            found[person] = (who, {regions.measure.atlas.names[n]: size.value for n, size in sizes.items()})
    return found


def held_against_young(measured: Measured, covariates: Sequence[str]) -> tuple[Array64, Array64]:
    """Ages (people,) of the young and the old, and z (people, ventricles) of each among the (other) young."""
    young = [each for each in measured.values() if float(each[0]["age"]) < YOUNG]
    old = [each for each in measured.values() if float(each[0]["age"]) > OLD]
    values = {name: tuple(each[name] for _, each in young) for name in young[0][1]}
    healthy = RegionStatistics(values, tuple(who for who, _ in young), {})
    norm = healthy.against(covariates)
    judged = [*healthy.of_others(covariates), *(norm.judge(each, who) for who, each in old)]
    ages = np.array([float(who["age"]) for who, _ in (*young, *old)])
    return ages, np.array([[own[name].z for name in VENTRICLES] for own in judged])


def summary(ages: Array64, z: Array64, seed: int = 0) -> dict[str, Any]:
    """Correlation with age, over all and among the old, and the old's mean z, of each ventricle and of their mean.

    With 95 % intervals from a bootstrap over people.
    """
    old, told = ages > OLD, {}
    for name, each in zip((*VENTRICLES, "mean"), (*z.T, z.mean(axis=1)), strict=True):
        told[name] = {
            "r": correlation(ages, each, seed),
            "r_of_old": correlation(ages[old], each[old], seed),
            "mean_z_of_old": mean_of(each[old], seed),
            "old_beyond_2": float((each[old] > 2).mean()),
        }
    return told


def correlation(ages: Array64, z: Array64, seed: int) -> dict[str, Any]:
    """Pearson's r with its interval."""
    found = bootstrap(lambda at: stats.pearsonr(ages[at], z[at]).statistic, len(ages), seed)
    return {"value": stats.pearsonr(ages, z).statistic, "ci95": found}


def mean_of(z: Array64, seed: int) -> dict[str, Any]:
    """The mean with its interval."""
    return {"value": z.mean(), "ci95": bootstrap(lambda at: float(z[at].mean()), len(z), seed)}


def bootstrap(measure: Callable[[npt.NDArray[np.int64]], float], people: int, seed: int) -> Array64:
    """95 % interval of what is measured over people drawn again and again."""
    draws = np.random.default_rng(seed).integers(0, people, (REPLICATES, people))
    return np.percentile([measure(draw) for draw in draws if len(set(draw)) > 2], [2.5, 97.5])


def draw(found: Mapping[str, tuple[Array64, Array64]], path: Path) -> None:
    """Draw the mean z of the ventricles over age, without and with the covariate."""
    figure = Figure(figsize=(7.0, 3.2), dpi=110, facecolor="white", layout="constrained")
    for axes, (words, (ages, z)) in zip(figure.subplots(1, 2, sharey=True), found.items(), strict=True):
        axes.axhspan(-2, 2, color="#e8edf1")
        old = ages > OLD
        axes.scatter(ages[~old], z[~old].mean(axis=1), facecolor="none", edgecolor="#7a8790", s=18)
        axes.scatter(ages[old], z[old].mean(axis=1), color="#0072b2", s=18)
        axes.set_title(f"{words}: r = {stats.pearsonr(ages, z.mean(axis=1)).statistic:.2f}", fontsize=10, loc="left")
        axes.set_xlabel("age")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("mean z of the ventricles")
    save_png(figure, path)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--bundle", default="brain_t1")
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    measured = measured_people(words.healthy, find_bundle(words.bundle), words.output)
    found = {
        "age left aside": held_against_young(measured, ()),
        "age as a covariate": held_against_young(measured, ("age",)),
    }
    ages = [float(who["age"]) for who, _ in measured.values()]
    told: dict[str, Any] = {name: summary(*each) for name, each in found.items()}
    told |= {"young": sum(age < YOUNG for age in ages), "old": sum(age > OLD for age in ages)}
    write_json(words.output / "metrics.json", told)
    draw(found, words.output / "ageing.png")
    print(json.dumps(json.loads((words.output / "metrics.json").read_text()), indent=1))


if __name__ == "__main__":
    main()

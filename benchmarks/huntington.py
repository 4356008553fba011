"""How well regions show simulated atrophy of the striatum, and how often they show what is not there.

    python -m benchmarks.huntington HEALTHY --bundle BUNDLE -o OUT

HEALTHY is a BIDS data set with DLMUSE labels (``derivatives/dlmuse``). Each person of the bundle's test part is scored
as scanned and with caudate and putamen made smaller (:mod:`benchmarks.simulated_atrophy`), by what ``mri3d detect``
scores regions by. The deformation does not reach the brain's border, so that the brain mask found in the scan as it is
serves for the deformed ones; all else is done anew. OUT keeps each scan on the model grid, and gets ``metrics.json``
and ``table.md``.

Choices are made with ``--part validation``; the test participants are for the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from tqdm import tqdm

from benchmarks.region_atlas import label_maps
from benchmarks.simulated_atrophy import STRIATUM, shrink_striatum
from mri3d.bundle import find_bundle, load_regions
from mri3d.detector import Detector
from mri3d.scoring.covariates import head_of, person_of
from mri3d.scoring.region_statistics import Judged
from mri3d.volumes.atomic import atomic_write, write_json, write_text
from mri3d.volumes.brain import find_brain
from mri3d.volumes.discovery import discover
from mri3d.volumes.nifti import read_volume, write_map
from mri3d.volumes.participants import read_table
from mri3d.volumes.subject import Subject
from mri3d.workflow import open_workflow

SEVERITIES = (0.05, 0.1, 0.2, 0.3)
REPLICATES = 2000
SIGNIFICANT = 0.05
TOP = 3

Array64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """One scan on the model grid.

    Args:
        image: (X, Y, Z) normalised intensity.
        template_to_source: (4, 4) affine between the worlds.
        lost: the largest share of its volume that a structure of the striatum lost; 0 in a scan as it is.
        least_jacobian: of the simulated deformation; 1 in a scan as it is.
    """

    image: npt.NDArray[np.float32]
    template_to_source: Array64
    lost: float
    least_jacobian: float


def prepare(detector: Detector, subject: Subject, labels: Path, share: float, folder: Path) -> Case:
    """A person's scan with a share of the striatum taken away; kept in the folder for the next time."""
    path = folder / f"{subject.participant}_{round(100 * share):02d}.npz"
    if not path.exists():
        case = _prepare(detector, subject, labels, share, folder)
        kept = {name: getattr(case, name) for name in ("template_to_source", "lost", "least_jacobian")}
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, image=case.image.astype(np.float16), **kept)
    with np.load(path) as stored:
        image, affine = stored["image"].astype(np.float32), stored["template_to_source"]
        return Case(image, affine, float(stored["lost"]), float(stored["least_jacobian"]))


def _prepare(detector: Detector, subject: Subject, labels: Path, share: float, folder: Path) -> Case:
    volume = read_volume(subject.reference)
    mask = folder / f"{subject.participant}_brainmask.nii.gz"
    if not mask.exists():
        write_map(mask, find_brain(volume).mask.astype(np.uint8), volume)
    if share == 0:
        return _on_model_grid(detector, subject.reference, mask, 0.0, 1.0)
    atrophy = shrink_striatum(volume.data, read_volume(labels).data.astype(np.int32), volume.grid, share)
    with tempfile.TemporaryDirectory() as place:
        deformed = Path(place) / subject.reference.name
        write_map(deformed, atrophy.data, volume)
        return _on_model_grid(detector, deformed, mask, max(atrophy.lost.values()), atrophy.least_jacobian)


def _on_model_grid(detector: Detector, path: Path, mask: Path, lost: float, least_jacobian: float) -> Case:
    item = detector.preprocess(path, mask)
    return Case(item["image"][0].numpy(), item["case"].alignment.template_to_source, lost, least_jacobian)


def table_of(scores: Mapping[float, Array64], names: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """What is measured, by severity.

    Args:
        scores: severity to z (people, regions), the people in one order; 0 is the scan as it is.
        names: of the regions.
        seed: of the bootstrap over people.
    """
    own = [names.index(name) for name in STRIATUM]
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(scores[0.0]), (REPLICATES, len(scores[0.0])))
    # the smaller, the higher
    healthy = -scores[0.0][:, own].mean(axis=1)
    measured = {}
    for severity, z in scores.items():
        if severity == 0:
            continue
        score, ranks = -z[:, own].mean(axis=1), _ranks(z)[:, own]
        values = {
            "auroc": lambda at, score=score: auroc(score[at], healthy[at], at),
            "mean_rank": lambda at, ranks=ranks: float(ranks[at].mean()),
            "best_rank": lambda at, ranks=ranks: float(ranks[at].min(axis=1).mean()),
            "in_top_three": lambda at, ranks=ranks: float((ranks[at].min(axis=1) <= TOP).mean()),
        }
        everyone = np.arange(len(score))
        measured[f"{severity:g}"] = {
            name: {"value": value(everyone), "ci95": np.nanpercentile([value(draw) for draw in draws], [2.5, 97.5])}
            for name, value in values.items()
        }
    return measured


def auroc(scores: Array64, healthy: Array64, people: npt.NDArray[np.int64]) -> float:
    """Chance that a deformed scan scores higher than the scan of another person as it is."""
    other = people[:, None] != people
    higher = (scores[:, None] > healthy) + 0.5 * (scores[:, None] == healthy)
    return float(higher[other].mean()) if other.any() else float("nan")


def _ranks(z: Array64) -> Array64:
    """(people, regions) place of each region among all of that person, 1 for the one that departs most."""
    return np.asarray(stats.rankdata(-np.abs(z), axis=1))


def discoveries(q: Array64) -> dict[str, Any]:
    """Share of people with any region at q < 0.05, with its exact 95 % interval (Clopper and Pearson 1934)."""
    any_found = int((q < SIGNIFICANT).any(axis=1).sum())
    interval = stats.binomtest(any_found, len(q)).proportion_ci()
    return {"people": len(q), "with_any": any_found, "share": any_found / len(q), "ci95": list(interval)}


def page(measured: Mapping[str, Any]) -> str:
    """The tables in Markdown."""
    heads = ("smaller by", "AUROC of the striatal score", "mean rank of caudate and putamen", "best rank of the four",
             "share with one of the four in the top three")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for severity, values in measured["severities"].items():
        cells = [_cell(values[name]) for name in ("auroc", "mean_rank", "best_rank", "in_top_three")]
        lines.append(f"| {100 * float(severity):.0f} % | {' | '.join(cells)} |")
    for name, words in (("clean", "Scans as they are"), ("calibration", "Calibration subjects, each by the others")):
        found = measured["false_discoveries"][name]
        low, high = found["ci95"]
        lines.append(
            f"\n{words}: {found['with_any']} of {found['people']} have a region at q < {SIGNIFICANT} "
            f"({100 * found['share']:.0f} %, {100 * low:.0f} to {100 * high:.0f})."
        )
    return "\n".join(lines) + "\n"


def _cell(value: Mapping[str, Any]) -> str:
    low, high = value["ci95"]
    return f"{value['value']:.2f} ({low:.2f} to {high:.2f})"


def run(
    healthy: Path,
    bundle: Path,
    part: str,
    severities: Sequence[float],
    output: Path,
    limit: int | None = None,
    covariates: Sequence[str] = (),
) -> dict[str, Any]:
    """Score everybody of a part of the bundle's split, or the first of them."""
    parser = open_workflow(bundle, "inference", {"device": "$mri3d.workflow.pick_device('cpu')"}).parser
    grid, chain = parser.get_parsed_content("grid"), parser.get_parsed_content("preprocessing")
    regions = load_regions(bundle, None, chain)
    if regions is None or regions.statistics is None:
        raise SystemExit(f"{bundle} knows no healthy people's regions: calibrate it first")
    norm, names, table = regions.statistics.against(covariates), regions.measure.atlas.names, read_table(healthy)
    people = json.loads((bundle / "models" / "split.json").read_text(encoding="utf-8"))[part][:limit]
    subjects = {subject.participant: subject for subject in discover(healthy).subjects}
    known = label_maps(healthy)
    output.mkdir(parents=True, exist_ok=True)
    detector = Detector.load(bundle, "cpu")
    judged: dict[float, list[dict[str, Judged]]] = {}
    deformed: list[Case] = []
    for share in (0.0, *severities):
        for person in tqdm(people, desc=f"{100 * share:.0f} %", unit="scan"):
            case = prepare(detector, subjects[person], known[person], share, output)
            who = person_of(table.get(person, {}), head_of(case.template_to_source))
            if any(name not in who for name in covariates):
                continue  # nobody's age is made up
            sizes = {names[number]: size.value for number, size in regions.measure(case.image, grid).items()}
            judged.setdefault(share, []).append(norm.judge(sizes, who))
            deformed += [case] if share else []
    z = {share: np.array([[each.z for each in own.values()] for own in found]) for share, found in judged.items()}
    return {
        "simulated": "atrophy of the striatum in healthy heads",
        "part": part,
        "people": len(judged[0.0]),
        "covariates": list(covariates),
        "least_jacobian": min((case.least_jacobian for case in deformed), default=1.0),
        "severities": table_of(z, list(norm.names)),
        "false_discoveries": {
            "clean": discoveries(q_of(judged[0.0])),
            "calibration": discoveries(q_of(regions.statistics.of_others(covariates))),
        },
    }


def q_of(people: Sequence[Mapping[str, Judged]]) -> Array64:
    """(people, regions) p corrected within each person."""
    return np.array([stats.false_discovery_control([each.p for each in own.values()]) for own in people])


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("healthy", type=Path)
    parser.add_argument("--bundle", default="brain_t1")
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    parser.add_argument("--severity", type=float, action="append", help="share of the volume; repeatable")
    parser.add_argument("--covariates", default="", help="what of a person is taken into account, as age,sex")
    parser.add_argument("--limit", type=int, help="participants at most, for a quick look")
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    severities = tuple(words.severity or SEVERITIES)
    covariates = [name for name in words.covariates.split(",") if name]
    bundle = find_bundle(words.bundle)
    measured = run(words.healthy, bundle, words.part, severities, words.output, words.limit, covariates)
    write_json(words.output / "metrics.json", measured)
    write_text(words.output / "table.md", page(measured))
    print(page(measured))


if __name__ == "__main__":
    main()

"""Score the subjects of an input and write what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri3d.errors import UsageError
from mri3d.recipe import config_of, literal
from mri3d.scoring.modality_sets import ModalitySet, modality_sets
from mri3d.workflow import open_workflow, plain_errors, set_device


@dataclass(frozen=True)
class Summary:
    """What became of a run.

    Args:
        words: the count of subjects by decision and of those with warnings, as a sentence.
        failures: input and cause of every subject that failed.
    """

    words: str
    failures: tuple[str, ...]


def detect(
    source: Path,
    root: Path,
    output: Path,
    device: str,
    overrides: Mapping[str, Any],
    modalities: Sequence[str] | None = None,
) -> Summary:
    """Score every subject of an input and write the results.

    Args:
        source: a volume, folder or datalist.
        root: the bundle's folder.
        output: where the results go.
        device: see :func:`mri3d.workflow.pick_device`.
        overrides: keys of the bundle's ``inference.yaml`` to new values, such as ``existing`` and ``mask``.
        modalities: what is taken of each subject; all of the bundle's when left out.

    Returns:
        What became of them.

    Raises:
        UsageError: an unknown device or key, other modalities than the bundle's, no volumes, or results that stand
            there already.
        BundleError: the bundle's parts do not belong together.
    """
    config = config_of(root, "inference")
    own = list(config["modalities"])
    places = {"dataset_dir": literal(source), "output_dir": literal(output)}
    sets = modality_sets(own, config.get("missing_modalities", False))
    chosen = own if modalities is None else taken(modalities, sets)
    given = {} if chosen == own else {"given": chosen}
    workflow = open_workflow(root, "inference", {**overrides, **set_device(device), **places, **given})
    if len(own) == 1 and overrides.get("per_modality", "no") != "no":
        expected, remedy = "a bundle of several modalities", "Leave it out: all its maps are of that one"
        raise UsageError("--per-modality or --native", expected, f"one of {own[0]}", remedy)
    with plain_errors():
        workflow.run()
    rows = workflow.parser.get_parsed_content("output").ordered
    failures = tuple(f"{row['input']}: {row['error']}" for row in rows if row["status"] == "failed")
    return Summary(in_words(rows), failures)


def taken(modalities: Sequence[str], sets: Sequence[ModalitySet]) -> list[str]:
    """What is taken of each subject.

    Args:
        modalities: what was asked for.
        sets: what the bundle is calibrated for.

    Raises:
        UsageError: the bundle is not calibrated for that.
    """
    if tuple(modalities) not in sets:
        wanted = f"{' or '.join(map(','.join, sets))}, which the bundle is trained and calibrated for"
        raise UsageError("--modalities", wanted, ",".join(modalities), "Leave it out")
    return list(modalities)


def in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """What became of subjects, such as ``12 subjects: 2 anomalous, 10 normal; 3 with warnings (see the table).``"""
    decisions = Counter(str(row["decision"] or row["status"]) for row in rows)
    words = ", ".join(f"{count} {decision}" for decision, count in sorted(decisions.items()))
    warned = sum(bool(row["warnings"]) for row in rows)
    told = f"; {warned} with warnings (see the table)" if warned else ""
    return f"{len(rows)} subject{'s' if len(rows) != 1 else ''}: {words}{told}."

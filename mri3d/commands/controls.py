"""A lab's own healthy controls: a bundle calibrated on them, or trained on them and compared with them, out of fold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from mri3d import recipe as recipes
from mri3d.bundle import CONTROLS, FOLDS, INITIAL, SPLIT, weights_of
from mri3d.commands.preflight import Training, known_to, tell_of_known
from mri3d.commands.train import begun, clear, finish, open_training, refuse_if_there
from mri3d.errors import UsageError
from mri3d.recipe import literal
from mri3d.scoring.calibrate import MIN_SUBJECTS, Calibrator, HealthyResidual
from mri3d.scoring.calibration import Calibration
from mri3d.scoring.modality_sets import set_name
from mri3d.scoring.region_statistics import Judged
from mri3d.training.split import Split, deal_folds, split_training
from mri3d.volumes.atomic import atomic_write, write_json
from mri3d.volumes.participants import read_ages
from mri3d.workflow import find_subjects, plain_errors

RESIDUALS = "residuals.npz"
RESIDUAL_FIELDS = ("participants", "values", "masks", "given")
"""What a fold's network leaves unexplained of the fold; while it stands, the fold is done."""


def calibrate(
    source: Path, bundle: Path, root: Path, device: str, overrides: Mapping[str, Any], existing: str = "refuse"
) -> tuple[str, ...]:
    """Make a new bundle with the weights of another, and statistics and thresholds of these healthy volumes.

    Everyone in ``source`` serves as a control; nobody in it may be one of those the weights were trained on.

    Args:
        source: healthy volumes, such as of another scanner.
        bundle: the folder of a trained bundle.
        root: folder of the new one.
        device: see :func:`mri3d.workflow.pick_device`.
        overrides: config keys to new values, such as ``scorer.smoothing``; they become part of the new bundle.
        existing: ``refuse`` or ``overwrite`` a bundle that is there.

    Returns:
        A line for each volume that could not be used.

    Raises:
        UsageError: a bundle stands there already, or there are too few volumes.
        BundleError: the bundle has no weights.
    """
    weights = weights_of(bundle)
    if bundle.resolve() == root.resolve():
        raise UsageError("--output", "another folder than the bundle's", str(root), "Name a new one")
    _check_people(source, bundle)
    new = not root.exists()
    stands = refuse_if_there(root, existing, "Name another folder, or replace it with --overwrite")
    recipes.copy(bundle, root, overrides)  # refuses before anything is taken away
    if stands:
        clear(root)
    (root / "models").mkdir(exist_ok=True)
    shutil.copyfile(weights, root / "models" / "model.pt")
    known = known_to(bundle)
    try:
        with plain_errors():
            parser = open_training(source, root, device).parser
            prepared, calibrator = (parser.get_parsed_content(key) for key in ("prepared", "calibrator"))
            usable = tuple(sorted(set(prepared.participants)))
            # who trained stays on record, since an ensemble must not be calibrated on them
            write_json(root / SPLIT, Split(known.train, known.validation, usable).as_dict())
            calibrator.run(prepared.load(usable), root, parser.get_parsed_content("preprocessing"))
    except BaseException:
        # brains of people do not stay in a bundle, and half a bundle is none
        shutil.rmtree(root if new else root / "training" / "cache", ignore_errors=True)
        raise
    return finish(root)


def _check_people(source: Path, bundle: Path) -> None:
    """Refuse too few controls, and tell of those whom the bundle's training may have known.

    Raises:
        UsageError: too few.
    """
    subjects = find_subjects(source, recipes.modalities_of(bundle), complete=True)
    people = sorted({subject.participant for subject in subjects})
    if len(people) < MIN_SUBJECTS:
        expected = f"at least {MIN_SUBJECTS} people"
        raise UsageError(source, expected, str(len(people)), "Give healthy volumes of more people")
    tell_of_known(people, bundle)


def cross_fit(task: Training) -> tuple[str, ...]:
    """Train on all controls, and score each by a network that has not seen it.

    The controls are dealt into folds that are alike in age. For each fold a network is trained on the others; what it
    leaves unexplained of the fold goes into the bundle's statistics and thresholds (cross-conformal prediction, Vovk
    2015, doi 10.1007/s10472-013-9368-4). The network that is kept is trained on all. ``models/controls.json`` holds
    every control's score, decision and p-value among the others, and the z of the control's regions among theirs.

    Args:
        task: what is to be trained, with the number of its ``folds``.

    Returns:
        A line for each volume that could not be used.

    Raises:
        UsageError: see :func:`mri3d.commands.train.train`; fewer people than folds.
    """
    with begun(task):
        _keep_number(task)
        with plain_errors():
            _train_and_score(task)
    return finish(task.root)


def _train_and_score(task: Training) -> None:
    root, source = task.root, task.source
    parser = open_training(source, root, task.device).parser
    prepared, cache = parser.get_parsed_content("prepared"), parser.get_parsed_content("cache_dir")
    dealt = _deal(parser, prepared.participants, task)
    residuals: list[HealthyResidual] = []
    everyone = sorted(set(prepared.participants))
    for number, fold in enumerate(dealt):
        others = _training_split(parser, [person for person in everyone if person not in fold], fold, source)
        folder, files = root / "training" / f"fold-{number}", [path.name for _, path in prepared.files]
        residuals += _out_of_fold(task, folder, others, cache, files)
    if not (root / SPLIT).exists():
        write_json(root / SPLIT, _training_split(parser, everyone, everyone, source).as_dict())
    # the weights it starts from must not depend on how many folds were trained just before
    set_determinism(parser.get_parsed_content("seed"))
    parser.get_parsed_content("train#trainer").run()
    calibrator: Calibrator = parser.get_parsed_content("calibrator")
    calibration = calibrator.calibrate(residuals, root, parser.get_parsed_content("preprocessing"))
    # the size of regions depends on nothing that is trained here, so that every control counts
    items = prepared.load(everyone)
    regions = calibrator.measure_regions(items, root, parser.get_parsed_content("preprocessing"))
    people = dict.fromkeys(item["participant"] for item in items)
    judged = {} if regions is None else dict(zip(people, regions.of_others(), strict=True))
    _write_controls(root, residuals, calibration, dealt, judged)


def _keep_number(task: Training) -> None:
    """Hold a resumed run to the number of folds it was started with."""
    root, folds = task.root, task.folds
    if (root / CONTROLS).exists():
        raise UsageError(root, "a training to go on with", "one that is done", "Use the bundle")
    kept, begun_without = root / FOLDS, (root / SPLIT).exists()
    if not kept.exists() and begun_without:
        raise UsageError(root, "a bundle begun with --folds", "one begun without", "Leave --folds out, or --overwrite")
    if kept.exists() and (found := json.loads(kept.read_text(encoding="utf-8"))) != folds:
        raise UsageError("--folds", f"{found}, as when it was started", str(folds), "Give that, or --overwrite")
    write_json(kept, folds)


def _deal(parser: ConfigParser, everyone: Sequence[str], task: Training) -> tuple[tuple[str, ...], ...]:
    return deal_folds(everyone, task.folds or 0, parser.get_parsed_content("seed"), read_ages(task.source))


def _training_split(parser: ConfigParser, people: Sequence[str], calibrated: Sequence[str], source: Path) -> Split:
    """Who of ``people`` trains and who validates, for ``calibrated`` to be scored."""
    shares, seed = parser.get_parsed_content("training#shares"), parser.get_parsed_content("seed")
    dealt = split_training(people, shares, seed, read_ages(source))
    return Split(dealt.train, dealt.validation, tuple(calibrated))


def _out_of_fold(
    task: Training, folder: Path, split: Split, cache: str, files: Sequence[str]
) -> list[HealthyResidual]:
    """The residuals of the split's calibration part under a network trained on the others; kept for a restart."""
    # the names of cache files tell images and preprocessing apart
    made_of = {"split": split.as_dict(), "files": sorted(files), "fields": list(RESIDUAL_FIELDS)}
    mark = folder / "made_of.json"
    if folder.exists() and (not mark.exists() or json.loads(mark.read_text(encoding="utf-8")) != made_of):
        shutil.rmtree(folder)
    if not (folder / RESIDUALS).exists():
        write_json(mark, made_of)
        _save(_train_fold(task, folder, split, cache), folder / RESIDUALS)
    return _load(folder / RESIDUALS)


def _train_fold(task: Training, folder: Path, split: Split, cache: str) -> list[HealthyResidual]:
    if not (folder / "configs").exists():
        recipes.copy(task.root, folder, {})
    write_json(folder / SPLIT, split.as_dict())
    initial = literal(task.root / INITIAL)
    # a fold alone need not be enough to calibrate
    shared = {"cache_dir": literal(cache), "initial": initial, "least_calibrated": 1}
    parser = open_training(task.source, folder, task.device, shared).parser
    parser.get_parsed_content("train#trainer").run()
    residuals: list[HealthyResidual] = parser.get_parsed_content("calibrator").residuals(
        parser.get_parsed_content("prepared").load(split.calibration)
    )
    return residuals


def _save(residuals: Sequence[HealthyResidual], path: Path) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            participants=[residual.participant for residual in residuals],
            values=np.stack([residual.values for residual in residuals]),
            masks=np.stack([residual.mask for residual in residuals]),
            given=[set_name(residual.given) for residual in residuals],
        )


def _load(path: Path) -> list[HealthyResidual]:
    with np.load(path) as kept:
        return [
            HealthyResidual(str(person), values, mask, tuple(str(given).split("+")))
            for person, values, mask, given in zip(*(kept[name] for name in RESIDUAL_FIELDS), strict=True)
        ]


def _write_controls(
    root: Path,
    residuals: Sequence[HealthyResidual],
    calibration: Calibration,
    folds: Sequence[Sequence[str]],
    regions: Mapping[str, Mapping[str, Judged]],
) -> None:
    people = list(dict.fromkeys(residual.participant for residual in residuals))
    controls = []
    for person, score in zip(people, calibration.scores, strict=True):
        judged = calibration.without(score).judge(score)
        fold = next(number for number, members in enumerate(folds) if person in members)
        verdict = {"score": score, "decision": judged.decision, "p_value": judged.p_value}
        z = {name: each.z for name, each in regions.get(person, {}).items()}
        controls.append({"participant": person, "fold": fold, **verdict, "regions": z})
    write_json(root / CONTROLS, controls)

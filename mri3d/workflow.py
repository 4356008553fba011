"""Run a bundle's configs: the one way in for the command line, Python and MONAI."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.properties import InferProperties, TrainProperties
from monai.utils import BundleProperty, BundlePropertyConfig

from mri3d import recipe as recipes
from mri3d.errors import BundleError, Mri3dError, UsageError
from mri3d.recipe import literal
from mri3d.volumes.discovery import discover
from mri3d.volumes.subject import Subject

logger = logging.getLogger(__name__)

FOLDS = "folds.json"
"""How many folds a cross-fitting has, in the bundle's ``training`` while it lasts."""

INITIAL = "initial.pt"
"""The weights a training starts from, in the bundle's ``training``."""
# It warns where a caller keeps its own logging, which is what we do, and speaks on stdout.
logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)


def pick_device(name: str) -> torch.device:
    """The device of a name: ``auto`` (CUDA where there is one, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}", "auto, cpu, cuda, cuda:N or mps", name, "Mend the name") from None
    found = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if (device.index or 0) >= found.get(device.type, 0):
        raise UsageError(f"--device {name}", "a device of this machine", "none of that name", "Use --device auto")
    # TensorFloat-32 keeps ten bits; scores must be those that the statistics were made with, on any device
    torch.backends.cudnn.allow_tf32 = False
    return device


def find_subjects(
    source: Path | str, modalities: Sequence[str], mask: Path | str | None = None
) -> tuple[Subject, ...]:
    """The subjects of an input; what is passed over is logged with its reason.

    Raises:
        UsageError: nothing there.
    """
    found = discover(Path(source), modalities, None if mask is None else Path(mask))
    for reason, count in Counter(skipped.reason for skipped in found.skipped).items():
        first = next(skipped.path for skipped in found.skipped if skipped.reason == reason)
        logger.info("skipped %s%s: %s", first, f" and {count - 1} more" if count > 1 else "", reason)
    return found.subjects


@contextmanager
def plain_errors() -> Iterator[None]:
    """Let out an error of ours that MONAI's config parser has wrapped in its own."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, Mri3dError):
            cause = cause.__cause__
        if cause is None or cause is error:
            raise
        raise cause from None


def open_workflow(root: Path, name: str, overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """A bundle's workflow, parsed and ready to run.

    Args:
        root: the bundle's folder.
        name: ``train``, ``evaluate`` or ``inference``.
        overrides: config keys, with ``#`` between levels, to new values.

    Raises:
        UsageError: a key that the config does not have; MONAI itself would accept it without a word.
    """
    workflow = ConfigWorkflow(
        str(root / "configs" / f"{name}.yaml"),
        logging_file=False,
        workflow_type="train" if name == "train" else "infer",
        bundle_root=literal(root),
    )
    config: dict[str, Any] = workflow.parser.config  # type: ignore[assignment]
    for key, value in overrides.items():
        if not recipes.replace_key(config, key, value):
            raise recipes.unknown_key(key, [config])
    with plain_errors():
        workflow.initialize()
    return workflow


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
        device: see :func:`pick_device`.
        overrides: keys of the bundle's ``inference.yaml`` to new values, such as ``existing`` and ``mask``.
        modalities: what the caller takes the channels to be; the bundle's own when left out.

    Returns:
        What became of them.

    Raises:
        UsageError: an unknown device or key, other modalities than the bundle's, no volumes, or results that stand
            there already.
        BundleError: the bundle's parts do not belong together.
    """
    workflow = open_workflow(
        root,
        "inference",
        {**overrides, **_device(device), "dataset_dir": literal(source), "output_dir": literal(output)},
    )
    own = workflow.parser.get_parsed_content("modalities")
    if modalities is not None and list(modalities) != own:
        expected, found = (",".join(names) for names in (own, modalities))
        wanted = f"{expected}, which the bundle is trained and calibrated for"
        raise UsageError("--modalities", wanted, found, "Leave it out")
    with plain_errors():
        workflow.run()
    rows = workflow.parser.get_parsed_content("output").ordered
    failures = tuple(f"{row['input']}: {row['error']}" for row in rows if row["status"] == "failed")
    return Summary(_in_words(rows), failures)


def _in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Such as ``12 subjects: 2 anomalous, 10 normal; 3 with warnings (see the table).``"""
    decisions = Counter(str(row["decision"] or row["status"]) for row in rows)
    words = ", ".join(f"{count} {decision}" for decision, count in sorted(decisions.items()))
    warned = sum(bool(row["warnings"]) for row in rows)
    told = f"; {warned} with warnings (see the table)" if warned else ""
    return f"{len(rows)} subject{'s' if len(rows) != 1 else ''}: {words}{told}."


def _device(name: str) -> dict[str, str]:
    pick_device(name)
    return {"device": f"$mri3d.workflow.pick_device({name!r})"}


def train(
    source: Path,
    root: Path,
    recipe: str,
    device: str,
    overrides: Mapping[str, Any],
    seed: int = 0,
    modalities: Sequence[str] = ("T1w",),
    existing: str = "refuse",
    init: Path | None = None,
) -> tuple[str, ...]:
    """Build a bundle from a recipe, train it on healthy volumes and calibrate it.

    Args:
        source: healthy volumes.
        root: folder of the new bundle.
        recipe: a recipe's name, or a YAML file.
        device: see :func:`pick_device`.
        overrides: recipe keys to new values; they become part of the bundle.
        seed: of the split, the initial weights and the augmentation.
        modalities: channels and their order.
        existing: what to do with a bundle that is there: ``refuse``, ``resume`` or ``overwrite``.
        init: a trained bundle of the same network to start from, in place of random weights.

    Returns:
        A line for each volume that could not be used.

    Raises:
        UsageError: a bundle stands there already, or there is nothing to resume.
        BundleError: the bundle to start from has no weights, or those of another network.
    """
    begin(source, root, recipe, device, overrides, seed, modalities, existing, init)
    if (root / "training" / FOLDS).exists():
        raise UsageError(root, "--folds as when it was started", "none", "Give --folds with --resume")
    workflow = open_training(source, root, device)
    with plain_errors():
        workflow.run()
    return finish(root)


def begin(
    source: Path,
    root: Path,
    recipe: str,
    device: str,
    overrides: Mapping[str, Any],
    seed: int = 0,
    modalities: Sequence[str] = ("T1w",),
    existing: str = "refuse",
    init: Path | None = None,
) -> None:
    """Build the bundle that is to be trained; the arguments and errors are those of :func:`train`."""
    if len(modalities) != 1:
        raise UsageError("--modalities", "one modality", ",".join(modalities), "Train a bundle for each")
    pick_device(device)
    stands = refuse_if_there(root, existing)
    if not stands and existing == "resume":
        raise UsageError(root, "a bundle whose training was started", "none", "Leave --resume out")
    if existing == "resume":
        if overrides:
            raise UsageError("--set", "the bundle's own recipe on --resume", "changed keys", "Leave --set out")
        return
    find_subjects(source, modalities)
    keys = {**overrides, "seed": seed, "modalities": list(modalities)}
    recipes.merge(recipe, keys)  # refuses before anything is taken away
    if stands:
        clear(root)
    recipes.build(recipe, root, keys)
    if init is not None:
        (root / "training").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights_of(init), root / "training" / INITIAL)


def refuse_if_there(root: Path, existing: str) -> bool:
    """Whether a bundle stands at ``root``.

    Raises:
        UsageError: it does, and ``existing`` is ``refuse``.
    """
    stands = (root / "configs" / "train.yaml").exists()
    if stands and existing == "refuse":
        remedy = "Name another folder, replace it with --overwrite, or go on with a training by --resume"
        raise UsageError(root, "no bundle there yet", "one", remedy)
    return stands


def weights_of(bundle: Path) -> Path:
    """A bundle's weights.

    Raises:
        BundleError: it has none.
    """
    weights = bundle / "models" / "model.pt"
    if not weights.is_file():
        raise BundleError(weights, "the weights of a trained bundle", "none", "Train it first: mri3d train")
    return weights


def open_training(source: Path, root: Path, device: str, overrides: Mapping[str, Any] | None = None) -> ConfigWorkflow:
    """The ``train`` workflow of a bundle that :func:`begin` built."""
    return open_workflow(root, "train", {"dataset_dir": literal(source), **_device(device), **(overrides or {})})


def finish(root: Path) -> tuple[str, ...]:
    """Take away what only the training needed; a line for each volume that could not be used."""
    # a bundle is shared, its training subjects' brains are not
    shutil.rmtree(root / "training" / "cache", ignore_errors=True)
    forget_folds(root)
    (root / "training" / INITIAL).unlink(missing_ok=True)
    excluded = json.loads((root / "training" / "excluded.json").read_text(encoding="utf-8"))
    return tuple(f"{entry['subject']}: {entry['cause']}" for entry in excluded)


def clear(root: Path) -> None:
    """Take away what a former training left, so that nothing of it is mistaken for the new one's."""
    statistics = ("residual_mean.nii.gz", "residual_std.nii.gz", "calibration.json")
    models = ("model.pt", *statistics, "split.json", "controls.json")
    training = ("checkpoint.pt", "history.csv", "curve.png", "excluded.json", INITIAL)
    for folder, names in (("models", models), ("training", training)):
        for name in names:
            (root / folder / name).unlink(missing_ok=True)
    forget_folds(root)


def forget_folds(root: Path) -> None:
    """Take away what cross-fitting kept of its folds: their networks, and their subjects' residuals."""
    for folder in (root / "training").glob("fold-*"):
        shutil.rmtree(folder, ignore_errors=True)
    (root / "training" / FOLDS).unlink(missing_ok=True)


def verify(root: Path) -> tuple[str, ...]:
    """Check that a bundle is complete and its parts belong together.

    Returns:
        What was found to be in order, a line each.

    Raises:
        BundleError: what is not.
    """
    for name, kind in (("train", "train"), ("evaluate", "infer"), ("inference", "infer")):
        path = root / "configs" / f"{name}.yaml"
        missing = _missing_properties(path, kind) if path.exists() else ["the file"]
        if missing:
            expected = "every property MONAI asks of a bundle"
            raise BundleError(path, expected, f"no {', '.join(missing)}", "Build it again")
    parser = open_workflow(root, "inference", {"device": "$mri3d.workflow.pick_device('cpu')"}).parser
    with plain_errors():
        network = parser.get_parsed_content("network")
        calibration = parser.get_parsed_content("calibration")
    weights = sum(parameter.numel() for parameter in network.parameters())
    lines = [
        f"configs: train, evaluate, inference of {root}",
        f"weights: {weights} parameters of {type(network).__name__}",
    ]
    if calibration is None:
        return (*lines, "calibration: none; the bundle scores but does not decide")
    return (*lines, f"calibration: {len(calibration.scores)} healthy subjects, made with these weights and settings")


def _missing_properties(path: Path, kind: str) -> list[str]:
    """Ids that MONAI requires of a config and it lacks; read, not built, since building would preprocess volumes."""
    parser = ConfigParser()
    parser.read_config(str(path))
    wanted = TrainProperties if kind == "train" else InferProperties
    required = [str(entry[BundlePropertyConfig.ID]) for entry in wanted.values() if entry[BundleProperty.REQUIRED]]
    return [key for key in required if key not in parser]

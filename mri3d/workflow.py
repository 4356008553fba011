"""Run a bundle's configs: the one way in for the command line, Python and MONAI."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    source: Path | str, modalities: Sequence[str], mask: Path | str | None = None, complete: bool = False
) -> tuple[Subject, ...]:
    """The subjects of an input; what is passed over is logged with its reason.

    Args:
        source: a file, folder or datalist.
        modalities: what belongs to a subject, the reference first.
        mask: see :func:`mri3d.volumes.discovery.discover`.
        complete: pass over subjects that lack one, as training does.

    Raises:
        UsageError: nothing there.
    """
    found = discover(Path(source), modalities, None if mask is None else Path(mask))
    for reason, count in Counter(skipped.reason for skipped in found.skipped).items():
        first = next(skipped.path for skipped in found.skipped if skipped.reason == reason)
        logger.info("skipped %s%s: %s", first, f" and {count - 1} more" if count > 1 else "", reason)
    whole = tuple(subject for subject in found.subjects if not complete or len(subject.images) == len(modalities))
    if len(whole) < len(found.subjects):
        lacking = len(found.subjects) - len(whole)
        logger.warning("%d of %d subjects lack a modality and are left out", lacking, len(found.subjects))
    if not whole:
        remedy = "Give such subjects, or leave modalities out"
        raise UsageError(source, f"subjects with {', '.join(modalities)}", "none that has all of them", remedy)
    return whole


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


def set_device(name: str) -> dict[str, str]:
    """The override that puts a workflow on a device; for errors see :func:`pick_device`."""
    pick_device(name)
    return {"device": f"$mri3d.workflow.pick_device({name!r})"}


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

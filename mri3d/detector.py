"""The Python face of mri3d: load a bundle once, use it for many volumes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mri3d.bundle import DEFAULT_BUNDLE, find_bundle
from mri3d.errors import UsageError
from mri3d.reporting.subject_files import write_detection
from mri3d.scoring.detection import Detection
from mri3d.transforms.case import Case, Item
from mri3d.volumes.discovery import discover
from mri3d.volumes.subject import Subject
from mri3d.workflow import open_workflow, plain_errors


class Detector:
    """A bundle ready to score volumes.

    ::

        detector = Detector.load("brain_t1")
        detection = detector.detect("sub-01_T1w.nii.gz")
        detection.score.decision, detection.zscore.max(), detection.components
        detector.save(detection, "results")

    It uses the preprocessing, network, inferer and scoring of the bundle's ``inference`` config, so its arrays are
    those that the command line and ``python -m monai.bundle run`` write.
    """

    def __init__(self, root: Path, device: str = "auto", overrides: Mapping[str, Any] | None = None) -> None:
        device_of = f"$mri3d.workflow.pick_device({device!r})"
        parser = open_workflow(root, "inference", {**(overrides or {}), "device": device_of}).parser
        self.root = root
        with plain_errors():
            self.device: torch.device = parser.get_parsed_content("device")
            self.modalities: tuple[str, ...] = tuple(parser.get_parsed_content("modalities"))
            self._preprocessing = parser.get_parsed_content("preprocessing")
            self._network = parser.get_parsed_content("network")
            self._inferer = parser.get_parsed_content("inferer")
            self._scoring = parser.get_parsed_content("scoring")
            self._bundle: dict[str, str] = parser.get_parsed_content("bundle")

    @classmethod
    def load(
        cls, bundle: str | Path = DEFAULT_BUNDLE, device: str = "auto", overrides: Mapping[str, Any] | None = None
    ) -> Detector:
        """Open a bundle.

        Args:
            bundle: a folder, or the name of a shipped bundle.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
            overrides: keys of ``configs/inference.yaml`` to new values, such as ``{"min_ml": 0.5}``.

        Raises:
            BundleError: there is no such bundle, or its parts do not belong together.
            UsageError: an unknown device or key.
        """
        return cls(find_bundle(bundle), device, overrides)

    def detect(self, volume: str | Path | Subject, mask: str | Path | None = None) -> Detection:
        """Score one subject; nothing is written.

        Args:
            volume: a NIfTI file, a folder with the images of one subject (for a bundle of several modalities), or a
                subject that :func:`mri3d.volumes.discovery.discover` found.
            mask: a brain mask on the volume's grid.

        Raises:
            Mri3dError: the volume is unfit, or a step failed on it; the subclass says which.
        """
        return self.score(self.preprocess(volume, mask))

    def preprocess(self, volume: str | Path | Subject, mask: str | Path | None = None) -> Item:
        """Bring one subject onto the model grid; the arguments and errors are those of :meth:`detect`.

        Bundles of equal :attr:`preprocessing` can all score what comes out.
        """
        return self._passed(self._preprocessing({"case": Case(self._subject(volume, mask))}))

    def score(self, item: Item) -> Detection:
        """Score a subject that :meth:`preprocess` gave; the item is left as it is."""
        item = self._passed(self._scoring(self._reconstruct(item)))
        detection: Detection = item["detection"]
        return replace(detection, seconds=item["case"].seconds)

    @property
    def preprocessing(self) -> list[Any]:
        """The settings of the way to the model grid, JSON-ready."""
        return list(self._preprocessing.settings())

    @property
    def network(self) -> torch.nn.Module:
        """The network that reconstructs, in eval mode on :attr:`device`."""
        network: torch.nn.Module = self._network
        return network

    @property
    def bundle(self) -> dict[str, str]:
        """Name, version and hash of the bundle."""
        return dict(self._bundle)

    @torch.no_grad()
    def given(self, item: Item) -> torch.Tensor:
        """What the network is given of a subject that :meth:`preprocess` gave.

        Returns:
            (windows, channels, *window) on :attr:`device`: one window where it covers the model grid; of a network of
            two dimensions (slices, channels, width, height), bottom to top.
        """
        seen: list[torch.Tensor] = []

        def network(x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x

        self._inferer(item["image"][None].to(self.device), network)
        return torch.cat(seen)

    @staticmethod
    def _passed(item: Item) -> Item:
        case: Case = item["case"]
        if case.error is not None:
            raise case.error
        return item

    def save(self, detection: Detection, folder: str | Path) -> None:
        """Write a detection's maps, picture and JSON below a folder, as ``mri3d detect`` does."""
        write_detection(detection, Path(folder), self._bundle)

    def _subject(self, volume: str | Path | Subject, mask: str | Path | None) -> Subject:
        if isinstance(volume, Subject):
            return volume if mask is None else replace(volume, mask=Path(mask))
        found = discover(Path(volume), self.modalities, None if mask is None else Path(mask)).subjects
        if len(found) != 1:
            raise UsageError(volume, "one subject", f"{len(found)}", "Use mri3d detect for a folder")
        return found[0]

    @torch.no_grad()
    def _reconstruct(self, item: Item) -> Item:
        case: Case = item["case"]
        start = time.perf_counter()
        pred = self._inferer(item["image"][None].to(self.device), self._network)[0]
        seconds = {**case.seconds, "reconstruct": time.perf_counter() - start}
        return {**item, "pred": pred, "case": replace(case, seconds=seconds)}

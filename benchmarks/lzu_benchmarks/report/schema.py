"""The schema of `report.json`. Its JSON schema is written as `report.schema.json`.

Accuracies are in points (0..100), times in milliseconds, operations of one frame. Numbers that JSON
does not have (the AP of a size without objects) are the strings nan and inf.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from lzu_benchmarks.harness.flops import Flops
from lzu_benchmarks.harness.latency_results import EngineLatency, LatencyRun
from lzu_benchmarks.harness.summary import Section
from lzu_export.errors import readable_os_errors
from lzu_export.manifest.schema import Agreement, Number, Parity
from lzu_export.support.files import write_text

FORMAT = 1
ORDER = ("uniform", "fixed", "adaptive", "fovea")
"""Of variants, wherever they stand beside one another."""


class Score(Section):
    """The task's metrics of one engine, or of PyTorch."""

    metrics: dict[str, Number]
    how: str
    """The engine's remark on how it ran. It is empty where the file itself ran, as `load` opens it;
    a row `emulated` has `run with every half-precision tensor rounded as a device would`."""
    agreement: Agreement | None = None
    """With PyTorch where the export scored it, else with the FP32 engine."""


class EngineResult(Section):
    """One engine of a bundle, or with the target `emulated` what a lower precision costs."""

    target: str
    precision: str
    bytes: int | None
    """Of its file."""
    build_seconds: float | None
    score: Score | None
    parity: Parity
    failed: str = ""
    """Why it did not run, although it is to run here."""


class Pictures(Section):
    """Files beside the results: what the warp does, and what is found."""

    warp: str | None = None
    found: tuple[str, ...] = ()
    """One a sample frame, the same frames for every bundle."""
    noise: bool = False
    """Whether the frames are noise."""


class BundleResult(Section):
    """What a bundle is, scores and computes; its latency is in a group of bundles."""

    format: int = FORMAT
    key: str
    """Hash of what the result depends on: with the same one it is not measured again."""
    name: str
    task: str
    recipe: str
    variant: str
    scale: float
    sizes: str
    """Source to canvas."""
    network_input: tuple[int, int]
    dataset: str | None
    frames: int | None
    metric: str | None
    note: str
    """How the metrics are meant."""
    pytorch: Score | None
    engines: dict[str, EngineResult]
    """By `target/precision`."""
    flops: Flops
    """Computed, of the float32 graph, per frame."""
    pictures: Pictures
    untrained: str = ""
    """In what it differs from its checkpoint's training."""
    facts: dict[str, str]
    """Of the manifest: weights, warp, calibration, revision, versions."""


class LatencyGroup(Section):
    """Bundles of one scale, target and precision, timed in turns."""

    format: int = FORMAT
    key: str
    target: str
    precision: str
    scale: float
    run: LatencyRun


class Curve(Section):
    """A level's error of the resized inverse (ablation), in cells of that level."""

    stride: int
    size: tuple[int, int]
    mean: float
    maximum: float
    mean_half_pixel: float
    maximum_half_pixel: float


class ForwardError(Section):
    """The true LZ warp against its piecewise approximation, in source pixels."""

    scale: float
    x_mean: float
    x_maximum: float
    y_mean: float
    y_maximum: float


class GridPoint(Section):
    """One warp of the grid over amplitude and fwhm, without retraining."""

    key: str
    scale: float
    amplitude: float
    """Times that of the map."""
    fwhm: float
    magnification: tuple[float, float]
    """Largest, of rows and columns, against the uniform one."""
    shrinkage: tuple[float, float]
    """Smallest."""
    box_magnification: float
    """Mean over the training boxes' places, of areas."""
    score: Number | None
    """Of the shipped weights, which were trained with another warp; none where not evaluated."""
    trained: bool
    """Whether this is the warp that the weights were trained with."""


class Ablation(Section):
    """The paper's appendix for this recipe."""

    recipe: str
    fwhm: float
    lattice: tuple[int, int]
    inverse: dict[str, tuple[Curve, ...]]
    """By scale."""
    forward: tuple[ForwardError, ...]
    grid: tuple[GridPoint, ...]
    metric: str | None
    frames: int | None
    notes: tuple[str, ...]


class Report(Section):
    """A whole comparison."""

    format: int = FORMAT
    title: str
    created: str
    task: str
    recipe: str
    bundles: tuple[BundleResult, ...]
    latency: tuple[LatencyGroup, ...]
    ablation: Ablation | None = None
    notes: tuple[str, ...] = Field(())
    failed: dict[str, str] = Field(default_factory=dict)
    """What could not be measured, and why."""

    def latency_of(self, bundle: BundleResult, engine: str) -> EngineLatency | None:
        """End-to-end and engine times of a bundle's engine; with CUDA graph where both are."""
        found = [
            each
            for group in self.latency
            if f"{group.target}/{group.precision}" == engine and group.scale == bundle.scale
            for each in group.run.engines.values()
            if each.bundle == bundle.name
        ]
        with_graph = (each for each in found if each.cuda_graph is not False)
        return next(with_graph, found[0] if found else None)


def write_report(report: Report, folder: Path) -> None:
    """Write `report.json` and its schema.

    Raises:
        LzuError: they cannot be written.
    """
    with readable_os_errors(f"the report in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        text = report.model_dump_json(indent=2) + "\n"
        write_text(folder / "report.json", text)
        schema: dict[str, Any] = Report.model_json_schema(mode="serialization")
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        text = json.dumps(schema, indent=2) + "\n"
        write_text(folder / "report.schema.json", text)

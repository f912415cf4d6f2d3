"""The schema of `report.json`. Its JSON schema is written as `report.schema.json`.

Accuracies are in points (0..100), times in milliseconds, and operations are those of one frame.
Numbers that JSON lacks (such as the AP of a size without objects) are the strings nan and inf.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from lzu_benchmarks.harness.flops import Flops
from lzu_benchmarks.harness.latency_results import EngineLatency, LatencyRun
from lzu_export.errors import readable_os_errors
from lzu_export.manifest.resampled import Resampled
from lzu_export.manifest.schema import Agreement, Lowering, Number, Parity
from lzu_export.support.files import write_text
from lzu_export.support.ratio import Ratio
from lzu_export.support.section import Section

FORMAT = 1
BASE, OURS = "uniform", "LZU, fixed"
"""Rivals that times, and that accuracies, are compared with."""
ORDER = ("uniform", "fixed", "adaptive", "fovea", "external")
"""Order of the variants in tables and lists."""


class Score(Section):
    """The task's metrics of one engine, or of PyTorch."""

    metrics: dict[str, Number]
    how: str
    """Remark on how the engine ran. It is empty if the file itself ran, as `load` opens it; a row
    `emulated` has `run with every half-precision tensor rounded as a device would`."""
    agreement: Agreement | None = None
    """Agreement with PyTorch if the export scored the engine, else with the FP32 engine."""
    resampled: Resampled | None = None
    """The task's metric on resampled sets, for the intervals of differences; None if the engine is
    not the bundle's first, or was scored without."""


class EngineResult(Section):
    """Result of one engine of a bundle; target `emulated` is a precision with device rounding."""

    target: str
    precision: str
    bytes: int | None
    """Size of the engine's file in bytes; None if it has no file."""
    build_seconds: float | None
    score: Score | None
    parity: Parity
    lowerings: tuple[Lowering, ...] = ()
    """What expresses each warp of the engine's graph, and why."""
    failed: str = ""
    """Reason why the engine failed although it should run here; empty if it ran."""


class WarpPictures(Section):
    """Names of picture files of a warp on a frame, and its magnification."""

    grid: str
    """The frame with the lines along which it is sampled."""
    zoomed: str
    """The zoomed image, as the network sees it."""
    magnification: str
    """The frame in colours of the magnification."""
    smallest: float
    """Smallest magnification: the root of that of the area; 1 is as on the uniform canvas."""
    largest: float
    end: float
    """Magnification at the end of the scale of colours; 1 / end is at its beginning."""


class GalleryFrame(Section):
    """Names of the pictures of one frame."""

    name: str
    truth: str | None
    found: dict[str, str]
    """What each bundle finds, by the bundle's name."""


class Crop(Section):
    """A small object as the truth has it and as two bundles see it."""

    file: str
    text: str


class Examples(Section):
    """Small objects that one bundle finds and another one misses, both ways round."""

    rule: str
    """How objects are counted and chosen."""
    groups: dict[str, tuple[Crop, ...]]
    """Crops by what they have in common, with its count."""


class Gallery(Section):
    """Pictures of the compared bundles on the same frames; files are beside the results."""

    format: int = FORMAT
    key: str
    frames: tuple[GalleryFrame, ...] = ()
    what: str = ""
    """Description of the frames."""
    noise: bool = False
    """Whether the frames are random noise."""
    warps: dict[str, WarpPictures] = Field(default_factory=dict)
    """Pictures of the warps by bundle; none of uniform ones."""
    examples: Examples | None = None


class BundleResult(Section):
    """Description, scores and operations of a bundle; its latency is in a `LatencyGroup`."""

    format: int = FORMAT
    key: str
    """Hash of the result's inputs; a result with the same hash is not measured again."""
    name: str
    task: str
    recipe: str
    variant: str
    scale: float
    sizes: str
    """Sizes from source to canvas."""
    network_input: tuple[int, int]
    dataset: str | None
    frames: int | None
    metric: str | None
    note: str
    """Remark on how the metrics are defined."""
    pytorch: Score | None
    engines: dict[str, EngineResult]
    """Results of the engines by `target/precision`."""
    flops: Flops
    """Floating-point operations per frame, counted in the float32 graph."""
    untrained: str = ""
    """How the bundle differs from its checkpoint's training; empty if it does not."""
    facts: dict[str, str]
    """Facts of the manifest: weights, warp, calibration, revision, versions."""


class LatencyGroup(Section):
    """Latency of bundles of one scale, target and precision, timed interleaved."""

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
    """Error of the piecewise approximation of the true LZ warp, in source pixels."""

    scale: float
    x_mean: float
    x_maximum: float
    y_mean: float
    y_maximum: float


class Gain(Section):
    """A difference from uniform in points, with its 95 % interval."""

    difference: float
    low: float
    high: float


class UniformPoint(Section):
    """The shipped uniform weights on the frames of the grid, in PyTorch."""

    key: str
    scale: float
    score: Number
    resampled: Resampled | None


class GridPoint(Section):
    """One warp of the grid over amplitude and fwhm, without retraining."""

    key: str
    scale: float
    amplitude: float
    """Amplitude as a multiple of the saliency map's own."""
    fwhm: float
    magnification: tuple[float, float]
    """Largest magnification of rows and of columns, relative to the uniform warp."""
    shrinkage: tuple[float, float]
    """Smallest magnification of rows and of columns, relative to the uniform warp."""
    box_magnification: float
    """Mean magnification of areas, weighted by the saliency that the training boxes add."""
    score: Number | None
    """Score of the shipped weights with this warp, in PyTorch; None if not evaluated."""
    gain: Gain | None = None
    """Difference of the score from uniform's on the same frames; None without an interval."""
    trained: bool
    """Whether this is the warp that the weights were trained with."""


class Ablation(Section):
    """Results of the paper's appendix for one recipe."""

    recipe: str
    fwhm: float
    lattice: tuple[int, int]
    inverse: dict[str, tuple[Curve, ...]]
    """Errors of the resized inverse at each coarser level, by scale."""
    forward: tuple[ForwardError, ...]
    grid: tuple[GridPoint, ...]
    metric: str | None
    frames: int | None
    uniform: dict[str, Number] = Field({})
    """Score of the uniform weights on the frames of the grid, by scale; empty if not evaluated."""
    notes: tuple[str, ...]


class Spread(Section):
    """A value with its 95 % interval over sequences."""

    value: Number
    low: Number
    high: Number


class RivalRow(Section):
    """What a user might take, with its accuracy and cost; averaged over seeds."""

    name: str
    variant: str
    passes: int
    """Number of times that a network runs for a frame."""
    seeds: tuple[int, ...]
    metrics: dict[str, Spread]
    """Each metric of the comparison in points."""
    over: dict[str, Spread]
    """The same minus those of LZU's fixed warp, of equal seeds; empty for LZU itself."""
    gflop: float
    milliseconds: float
    """Median time from a frame to what is found in it."""
    ratio: Ratio | None
    """Time over that of uniform, both taken in turns."""


class Rivals(Section):
    """Comparison with what a user might take instead of a warp."""

    metrics: tuple[str, ...]
    """Names of the metrics, the task's own first, then those of its parts, such as `AP_small`."""
    frames: int
    budget: str
    """Length of every network's training."""
    rule: str | None
    """Rule that chose the static crop; None if none is chosen."""
    merging: str
    """How results of several views become those of the frame."""
    command: str
    """Command that trains what is missing."""
    rows: tuple[RivalRow, ...]
    missing: dict[str, str]
    """Reason for each row that is not measured."""


class Report(Section):
    """The results of a whole comparison of bundles."""

    format: int = FORMAT
    title: str
    created: str
    task: str
    recipe: str
    bundles: tuple[BundleResult, ...]
    latency: tuple[LatencyGroup, ...]
    gallery: Gallery | None = None
    ablation: Ablation | None = None
    rivals: Rivals | None = None
    notes: tuple[str, ...] = Field(())
    failed: dict[str, str] = Field(default_factory=dict)
    """Reason for each engine or group that could not be measured."""

    def latency_of(self, bundle: BundleResult, engine: str) -> EngineLatency | None:
        """Return the times of a bundle's engine, None if not timed; with CUDA graph if possible."""
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
        LzuError: a file cannot be written.
    """
    with readable_os_errors(f"the report in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        text = report.model_dump_json(indent=2) + "\n"
        write_text(folder / "report.json", text)
        schema: dict[str, Any] = Report.model_json_schema(mode="serialization")
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        text = json.dumps(schema, indent=2) + "\n"
        write_text(folder / "report.schema.json", text)

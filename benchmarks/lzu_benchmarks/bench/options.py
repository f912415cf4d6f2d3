"""Options of `lzu-export bench`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from lzu_benchmarks.harness.candidates import GRAPHS
from lzu_benchmarks.harness.latency import MLPERF_SECONDS
from lzu_export.cli.options import Json
from lzu_export.support.interleave import Plan

PROGRAM = "lzu-export bench"
DEFAULT = Plan(seconds=2.0)
"""Plan without options. 64 queries of a small model are eight turns in less than a second: too few,
since intervals of three such runs did not all overlap."""
_export_option = partial(typer.Option, rich_help_panel="Export")
_accuracy_option = partial(typer.Option, rich_help_panel="Accuracy")
_latency_option = partial(typer.Option, rich_help_panel="Latency")
_report_option = partial(typer.Option, rich_help_panel="Report")
EXPORT_ONLY = {
    "variant": "--variant",
    "scale": "--scale",
    "checkpoint": "--checkpoint",
    "saliency": "--saliency",
    "calibration": "--calibration",
    "random_weights": "--random-weights",
    "settings": "--set",
}
"""Options that finished bundles cannot follow, by field of `Options`."""


class CudaGraph(str, Enum):
    """Values of `--cuda-graph`, the keys of `GRAPHS`."""

    off = "off"
    on = "on"
    both = "both"


_Words = Annotated[str | None, _export_option(help="Separated by spaces; of --bundles only these.")]


@dataclass(frozen=True)
class Options:
    """Compare accuracy and latency of warped and uniform models, and write a report.

    Exports what is not exported yet (variants, scales, precisions). With
    --bundles it compares finished bundles instead, which needs no torch and so
    runs on a device, too. Writes report.html, report.md, report.json and its
    schema into OUT/bench/NAME. Results are kept in its folder `results`: an
    interrupted run continues, and unchanged parts are not measured again.
    """

    # Every field is an option of the command line; the docstring is the help's first part.
    recipe: Annotated[str, typer.Argument(help="Task, shipped recipe, or a file.")] = "det"
    bundles: Annotated[
        list[Path] | None, typer.Option(help="Finished bundles to compare; nothing is exported.")
    ] = None
    out: Annotated[Path, typer.Option(help="Folder of all bundles.")] = Path("build")
    provider: Annotated[
        str, typer.Option(help="ONNX Runtime provider: cpu, cuda, tensorrt, nv-tensorrt-rtx.")
    ] = "cpu"
    device: Annotated[
        int | None, typer.Option(min=0, help="Number of the GPU, as CUDA counts them.")
    ] = None
    variant: Annotated[
        str | None, _export_option(help="Separated by spaces; default: all with weights.")
    ] = None
    scale: Annotated[
        str | None, _export_option(help="Separated by spaces; default: the recipe's.")
    ] = None
    precision: _Words = None
    target: _Words = None
    checkpoint: Annotated[
        str | None,
        _export_option(help="A file, or a pattern such as 'ckpt/{variant}_{scale}.pth'."),
    ] = None
    saliency: Annotated[
        str | None, _export_option(help="Map (.npy, .pkl), COCO boxes (.json), label folder.")
    ] = None
    calibration: Annotated[str | None, _export_option(help="Training frames for INT8.")] = None
    random_weights: Annotated[
        int | None, _export_option(help="Seed of untrained weights, for timing only.")
    ] = None
    settings: Annotated[
        list[str] | None, _export_option("--set", help="Any recipe key=value; repeatable.")
    ] = None
    dataset: Annotated[
        str | None, _accuracy_option(help="demo, COCO annotations, a data set's folder, or none.")
    ] = None
    frames: Annotated[int | None, _accuracy_option(help="Evaluate at most this many frames.")] = (
        None
    )
    min_queries: Annotated[int, _latency_option(help="Timed queries of every engine.")] = (
        DEFAULT.queries
    )
    min_seconds: Annotated[
        float,
        _latency_option(help=f"Timed seconds of every engine; MLPerf: {MLPERF_SECONDS}."),
    ] = DEFAULT.seconds
    warmup_seconds: Annotated[float, _latency_option(help="Untimed seconds of every engine.")] = (
        DEFAULT.warmup_seconds
    )
    threads: Annotated[int | None, _latency_option(help="Threads of ONNX Runtime on the CPU.")] = (
        None
    )
    cuda_graph: Annotated[
        CudaGraph,
        _latency_option(
            help="Open engines on a device with a CUDA graph, without, or each in turn."
        ),
    ] = CudaGraph.both
    ablation: Annotated[bool, _report_option("--ablation", help="Add the ablation grid.")] = False
    ablation_frames: Annotated[
        int, _report_option(help="Number of frames that score the grid; 0: none.")
    ] = 64
    rivals: Annotated[
        bool,
        _report_option("--rivals", help="Compare with larger inputs, a crop, tiles (det, seg)."),
    ] = False
    again: Annotated[bool, _report_option("--again", help="Measure everything again.")] = False
    as_json: Json = False

    @property
    def plan(self) -> Plan:
        """Plan of the timing of every engine."""
        return Plan(
            queries=self.min_queries, seconds=self.min_seconds, warmup_seconds=self.warmup_seconds
        )

    @property
    def graphs(self) -> tuple[bool, ...]:
        """Whether each session that is opened on a device replays a CUDA graph."""
        return GRAPHS[self.cuda_graph.value]


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; by default the process's own.

    Raises:
        SystemExit: it asks for help, or is refused.
    """
    given: list[Options] = []

    @wraps(Options, updated=())
    def take(**values: Any) -> None:
        given.append(Options(**values))

    command = typer.Typer(
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    command.command()(take)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        command(repeated(words), prog_name=PROGRAM)
    except SystemExit:
        if not given:
            raise
    return given[0]


def repeated(words: Sequence[str], option: str = "--bundles") -> list[str]:
    """Give an option before each of its values: `--bundles A B` becomes `--bundles A --bundles B`.

    A shell expands `--bundles build/det/*` to any number of folders, and an option of Typer takes
    one value.
    """
    found: list[str] = []
    values = False
    for word in words:
        if word.startswith("-"):
            values = word == option
        elif values and found[-1] != option:
            found.append(option)
        found.append(word)
    return found

"""Options of `lzu-export bench`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from lzu_benchmarks.harness.candidates import GRAPHS
from lzu_benchmarks.harness.latency import MLPERF_SECONDS
from lzu_export.cli.options import Json
from lzu_export.support.interleave import Plan

PROGRAM = "lzu-export bench"
DEFAULT = Plan()
EXPORT = "Export"
ACCURACY = "Accuracy"
LATENCY = "Latency"
REPORT = "Report"
"""Panels of the help."""
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


@dataclass(frozen=True)
class Options:
    """The options that were given, and the defaults of the others; see `options`."""

    recipe: str
    bundles: tuple[Path, ...]
    out: Path
    provider: str
    variant: str | None
    scale: str | None
    precision: str | None
    target: str | None
    checkpoint: str | None
    saliency: str | None
    calibration: str | None
    random_weights: int | None
    settings: tuple[str, ...]
    dataset: str | None
    frames: int | None
    plan: Plan
    threads: int | None
    graphs: tuple[bool, ...]
    """Whether each session that is opened on a device replays a CUDA graph."""
    ablation: bool
    ablation_frames: int
    again: bool
    as_json: bool


RecipeName = Annotated[str, typer.Argument(help="Task, shipped recipe, or a file.")]
Bundles = Annotated[
    list[Path] | None, typer.Option(help="Finished bundles to compare; nothing is exported.")
]
Out = Annotated[Path, typer.Option(help="Folder of all bundles.")]
Provider = Annotated[
    str, typer.Option(help="ONNX Runtime provider, scored and timed: cpu, cuda, tensorrt.")
]
Variant = Annotated[
    str | None,
    typer.Option(help="Separated by spaces; default: all with weights.", rich_help_panel=EXPORT),
]
Scale = Annotated[
    str | None,
    typer.Option(help="Separated by spaces; default: the recipe's.", rich_help_panel=EXPORT),
]
Some = Annotated[
    str | None,
    typer.Option(help="Separated by spaces; of --bundles only these.", rich_help_panel=EXPORT),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="A file, or a pattern such as 'ckpt/{variant}_{scale}.pth'.", rich_help_panel=EXPORT
    ),
]
Saliency = Annotated[
    str | None,
    typer.Option(
        help="Map (.npy, .pkl), COCO boxes (.json), label folder.", rich_help_panel=EXPORT
    ),
]
TrainingFrames = Annotated[
    str | None, typer.Option(help="Training frames for INT8.", rich_help_panel=EXPORT)
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of untrained weights, for timing only.", rich_help_panel=EXPORT),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any recipe key=value; repeatable.", rich_help_panel=EXPORT),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        help="demo, COCO annotations, a data set's folder, or none.", rich_help_panel=ACCURACY
    ),
]
Frames = Annotated[
    int | None, typer.Option(help="Evaluate at most this many frames.", rich_help_panel=ACCURACY)
]
Queries = Annotated[
    int, typer.Option(help="Timed queries of every engine.", rich_help_panel=LATENCY)
]
Seconds = Annotated[
    float,
    typer.Option(
        help=f"Timed seconds of every engine; MLPerf: {MLPERF_SECONDS}.", rich_help_panel=LATENCY
    ),
]
Warmup = Annotated[
    float, typer.Option(help="Untimed seconds of every engine.", rich_help_panel=LATENCY)
]
Threads = Annotated[
    int | None, typer.Option(help="Threads of ONNX Runtime on the CPU.", rich_help_panel=LATENCY)
]
Graph = Annotated[
    CudaGraph,
    typer.Option(
        help="Open engines on a device with a CUDA graph, without, or each in turn.",
        rich_help_panel=LATENCY,
    ),
]
WithAblation = Annotated[
    bool, typer.Option("--ablation", help="Add the ablation grid.", rich_help_panel=REPORT)
]
AblationFrames = Annotated[
    int,
    typer.Option(help="Number of frames that score the grid; 0: none.", rich_help_panel=REPORT),
]
Again = Annotated[
    bool, typer.Option("--again", help="Measure everything again.", rich_help_panel=REPORT)
]


def options(
    recipe: RecipeName = "det",
    bundles: Bundles = None,
    out: Out = Path("build"),
    provider: Provider = "cpu",
    variant: Variant = None,
    scale: Scale = None,
    precision: Some = None,
    target: Some = None,
    checkpoint: Checkpoint = None,
    saliency: Saliency = None,
    calibration: TrainingFrames = None,
    random_weights: Seed = None,
    set_: Settings = None,
    dataset: Dataset = None,
    frames: Frames = None,
    min_queries: Queries = DEFAULT.queries,
    min_seconds: Seconds = DEFAULT.seconds,
    warmup_seconds: Warmup = DEFAULT.warmup_seconds,
    threads: Threads = None,
    cuda_graph: Graph = CudaGraph.both,
    ablation: WithAblation = False,
    ablation_frames: AblationFrames = 64,
    again: Again = False,
    as_json: Json = False,
) -> Options:
    """Compare accuracy and latency of warped and uniform models, and write a report.

    Exports what is not exported yet (variants, scales, precisions). With
    --bundles it compares finished bundles instead, which needs no torch and so
    runs on a device, too. Writes report.html, report.md, report.json and its
    schema into OUT/bench/NAME. Results are kept in its folder `results`: an
    interrupted run continues, and unchanged parts are not measured again.
    """
    return Options(
        recipe=recipe,
        bundles=tuple(bundles or ()),
        out=out,
        provider=provider,
        variant=variant,
        scale=scale,
        precision=precision,
        target=target,
        checkpoint=checkpoint,
        saliency=saliency,
        calibration=calibration,
        random_weights=random_weights,
        settings=tuple(set_ or ()),
        dataset=dataset,
        frames=frames,
        plan=Plan(queries=min_queries, seconds=min_seconds, warmup_seconds=warmup_seconds),
        threads=threads,
        graphs=GRAPHS[cuda_graph.value],
        ablation=ablation,
        ablation_frames=ablation_frames,
        again=again,
        as_json=as_json,
    )


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; by default the process's own.

    Raises:
        SystemExit: it asks for help, or is refused.
    """
    given: list[Options] = []

    @wraps(options)
    def take(**values: Any) -> None:
        given.append(options(**values))

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

"""Time a task's full-size recipe, fixed against uniform.

`python -m lzu_benchmarks speed --task det` measures the documents' speed figures.

The task's full-size recipe at scale 0.5 runs in ONNX Runtime on this machine's CPU. The weights are
untrained, because speed does not depend on them. Compared runs are interleaved within one process
and reported as ratios, because absolute times depend on the machine.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import onnx
import onnx_graphsurgeon as gs
from rich.table import Table

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_benchmarks.studies.adaptive_speed import costs
from lzu_benchmarks.studies.start import import_and_load
from lzu_export.cli import exits
from lzu_export.graph.lowering.choose import one_node_model
from lzu_export.graph.lowering.resample import Kind, resample_nodes
from lzu_export.graph.passes import is_zoom
from lzu_export.recipes import load_recipe
from lzu_export.runtime import load
from lzu_export.runtime.predictor import Predictor
from lzu_export.support import hardware
from lzu_export.support.demonstration import demonstration_file
from lzu_export.support.interleave import Timings, ratio
from lzu_export.support.interpreter import run_module
from lzu_export.targets.onnxruntime_target import DIALECT
from lzu_export.targets.onnxruntime_timing import time_models
from lzu_export.tasks.pytorch import noise_camera_frame, noise_frame

NEEDS = "extras runtime, export, demo"


@dataclass(frozen=True)
class Case:
    """The recipe and options that are timed for a task."""

    recipe: str
    title: str
    options: tuple[str, ...] = ()
    adapts: bool = False
    """Whether the task has adaptive warps."""


SAME_LATTICE = "warp.lattice=[31, 51]"
"""Lattice of `DEMO_SALIENCY`, which replaces the recipe's own saliency."""
CASES = {
    "det": Case("argoverse-hd", "RetinaNet-R50, 1200x1920", adapts=True),
    "seg": Case("cityscapes", "PSPNet-R50, 1024x1024", (SAME_LATTICE,)),
    # Untrained scores are all alike: none exceeds this threshold, so suppression is not timed.
    "det3d": Case(
        "nuscenes", "FCOS3D-R50, 900x1600", (SAME_LATTICE, "postprocess.score_threshold=0.99")
    ),
}


@dataclass(frozen=True)
class Rounds:
    """Number of rounds in which models take turns."""

    least: int = 15
    """Smallest number, and the number that is added at a time."""
    most: int = 90
    """Largest number."""
    width: float = 0.01
    """Width of the ratios' 95 % intervals that is certain enough."""


DEMO_SALIENCY = demonstration_file("det/saliency.npy")
ADAPTIVE = ("warp.boxes=100",)
CALIBRATION_FRAMES = 16
REDUCE = 4
"""Step of the rows and columns that are kept, which makes the source smaller than the canvas."""
UNIFORM_RESIZE = ("sampler=opencv", "input=zoomed", "source_multiple=1")
"""Options of the uniform model with its fastest pre-processing: OpenCV's resize of the bytes."""


def export(
    case: Case, out: Path, variant: str, *options: str, precision: str = "fp32"
) -> dict[str, Any]:
    """Export with untrained weights in a separate process; return its results, time and memory."""
    command = run_module("lzu_export", "export", case.recipe, "--json")
    command += ["--random-weights", "0", "--dataset", "none", "--force", "--out", str(out)]
    command += ["--saliency", str(DEMO_SALIENCY), "--variant", variant, "--precision", precision]
    command += [part for pair in (*case.options, *options) for part in ("--set", pair)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - start
    (bundle,) = json.loads(done.stdout)
    # This is the peak of all children so far. Exports are of similar size, so the bound is close.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {
        "bundle": bundle["bundle"],
        "seconds": seconds,
        "peak_bytes": peak,
        "stages": bundle["stages"],
        "engines": bundle["engines"],
        "graphs": bundle["graphs"],
    }


def precisions(case: Case, out: Path) -> dict[str, Any]:
    """Export in FP32, FP16 and INT8, calibrated on noise pictures; return the files' sizes."""
    frames = out / "frames"
    frames.mkdir(parents=True, exist_ok=True)
    source = load_recipe(case.recipe).source
    for i in range(CALIBRATION_FRAMES):
        cv2.imwrite(str(frames / f"{i:02}.png"), noise_frame(source, seed=i))
    settings = (f"calibration.frames={frames.resolve()}", f"calibration.count={CALIBRATION_FRAMES}")
    done = export(case, out / "precisions", "fixed", *settings, precision="fp32 fp16 int8")
    folder = Path(done["bundle"])
    rows = {}
    for precision, graph in done["graphs"].items():
        built = [e for e in done["engines"] if e["precision"] == precision and e["build_seconds"]]
        rows[precision] = {
            "onnx_bytes": (folder / graph["file"]).stat().st_size,
            "engine_bytes": built[0]["bytes"] if built else None,
            "build_seconds": built[0]["build_seconds"] if built else None,
        }
    return {**done, "rows": rows}


def interleaved(runs: Mapping[str, Callable[[], Any]], plan: Rounds) -> dict[str, list[float]]:
    """Time `runs` interleaved after one warmup, so that clock drift affects all alike; seconds.

    Rounds are added until the ratios that `compared` returns are as certain as the plan wants.
    """
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    while True:
        for _ in range(plan.least):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
        done = len(next(iter(times.values())))
        widest = max(
            each["ratio"]["high"] - each["ratio"]["low"] for each in compared(times).values()
        )
        print(f"{done} rounds: intervals up to {widest:.3f} wide", file=sys.stderr, flush=True)
        if widest <= plan.width or done + plan.least > plan.most:
            return times


def whole_model(bundles: Mapping[str, Path], plan: Rounds) -> dict[str, Any]:
    """Time each bundle from frame to prediction, with its ratios to both uniform models.

    The uniform models are one with OpenCV's resize and one with the same sampler.
    """
    predictors: dict[str, Predictor] = {name: load(bundle) for name, bundle in bundles.items()}
    recipe = next(iter(predictors.values())).recipe
    camera_frame = noise_camera_frame(recipe, seed=0)
    runs = {name: (lambda p=each: p.run([camera_frame])) for name, each in predictors.items()}
    return compared(interleaved(runs, plan))


def compared(times: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the median milliseconds of each model, and its ratios to both uniform models.

    Args:
        times: seconds by name; those at the same index were measured in the same round.
    """
    timings = {name: Timings([round(1e9 * each) for each in mine]) for name, mine in times.items()}
    resized, same = timings["uniform, OpenCV resize"], timings["uniform, same sampler"]
    return {
        name: {
            "milliseconds": 1e3 * median(times[name]),
            "ratio": ratio(each, resized).model_dump(),
            "ratio_same": ratio(each, same).model_dump(),
        }
        for name, each in timings.items()
    }


def unzoom_lowerings(bundle: Path, rounds: int) -> dict[str, float]:
    """Return the milliseconds of the unzoom by lowering, summed over all levels."""
    graph = gs.import_onnx(onnx.load(bundle / "model.fp32.onnx"))
    # Leave out the warp of logits to pixels, which is the same in all variants.
    nodes = [
        node
        for node in resample_nodes(graph)
        if not is_zoom(node) and node.outputs[0].name != "logits"
    ]
    lowerings: tuple[Kind, ...] = ("gridsample", "matmul", "banded")
    models = [
        one_node_model(node, kind, DIALECT.blocks).SerializeToString()
        for node in nodes
        for kind in lowerings
    ]
    seconds = time_models(models, rounds=rounds)
    return {kind: 1e3 * sum(seconds[i :: len(lowerings)]) for i, kind in enumerate(lowerings)}


def measure(case: Case, out: Path, plan: Rounds) -> dict[str, Any]:
    """Measure all figures of a task."""
    exported = {
        "fixed": export(case, out, "fixed"),
        "uniform, same sampler": export(case, out, "uniform"),
    }
    resized = export(case, out / "opencv", "uniform", *UNIFORM_RESIZE)
    zoomed = export(case, out / "zoomed", "fixed", "input=zoomed")
    reduced = export(case, out / "reduced", "fixed", f"reduce={REDUCE}")
    bundles = {
        "uniform, OpenCV resize": Path(resized["bundle"]),
        "uniform, same sampler": Path(exported["uniform, same sampler"]["bundle"]),
        "fixed, zoom in the graph": Path(exported["fixed"]["bundle"]),
        "fixed, zoom in the runtime": Path(zoomed["bundle"]),
        f"fixed, upsampled (reduce {REDUCE})": Path(reduced["bundle"]),
    }
    adaptive = None
    if case.adapts:
        adaptive = Path(export(case, out, "adaptive", *ADAPTIVE)["bundle"])
        bundles["adaptive"] = adaptive
    fixed = bundles["fixed, zoom in the graph"]
    return {
        "machine": hardware.identity(),
        "title": case.title,
        "rounds": plan.least,
        "export": exported["fixed"],
        "precisions": precisions(case, out),
        "whole_model": whole_model(bundles, plan),
        "unzoom": unzoom_lowerings(fixed, 3 * plan.least),
        "import_and_load": import_and_load(fixed, 5),
        "adaptive": None if adaptive is None else costs(adaptive, out / "kernels", plan.least),
    }


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Return the figures as tables."""
    whole = Table(title=f"{result['title']} at 0.5: camera bytes to predictions")
    for heading in ("model", "ms", "ratio", "to same sampler"):
        whole.add_column(heading, justify="left" if heading == "model" else "right")
    for name, each in result["whole_model"].items():
        ratios = (_with_interval(each[key]) for key in ("ratio", "ratio_same"))
        whole.add_row(name, f"{each['milliseconds']:.0f}", *ratios)
    whole.caption = "ratios: median over rounds, with the bootstrap's 95 % interval"
    unzoom = Table(title="Unzoom of all levels")
    for heading in ("lowering", "ms", "times faster than gridsample"):
        unzoom.add_column(heading, justify="left" if heading == "lowering" else "right")
    base = result["unzoom"]["gridsample"]
    for name, value in result["unzoom"].items():
        unzoom.add_row(name, f"{value:.2f}", f"{base / value:.1f}")
    export_table = Table(title="Export of the fixed model, both targets")
    export_table.add_column("stage")
    export_table.add_column("seconds", justify="right")
    for stage, seconds in result["export"]["stages"].items():
        export_table.add_row(stage, f"{seconds:.1f}")
    export_table.add_section()
    export_table.add_row("whole command", f"{result['export']['seconds']:.1f}")
    export_table.add_row("peak memory, GB", f"{result['export']['peak_bytes'] / 1e9:.1f}")
    lower = Table(title=f"All precisions, both targets, {CALIBRATION_FRAMES} calibration frames")
    for heading in ("precision", "ONNX MB", "of FP32", "engine MB", "build s"):
        lower.add_column(heading, justify="left" if heading == "precision" else "right")
    rows = result["precisions"]["rows"]
    for precision, row in rows.items():
        share = row["onnx_bytes"] / rows["fp32"]["onnx_bytes"]
        built = [row["engine_bytes"], row["build_seconds"]]
        engine = ("-", "-") if None in built else (f"{built[0] / 1e6:.1f}", f"{built[1]:.1f}")
        lower.add_row(precision, f"{row['onnx_bytes'] / 1e6:.1f}", f"{share:.2f}", *engine)
    lower.caption = (
        f"whole command {result['precisions']['seconds']:.0f} s, "
        f"peak {result['precisions']['peak_bytes'] / 1e9:.1f} GB"
    )
    start = Table(title="Runtime, fresh process")
    start.add_column("step")
    start.add_column("seconds", justify="right")
    for step in ("import", "load"):
        start.add_row(step, f"{result['import_and_load'][step]:.2f}")
    shown = [whole, unzoom, export_table, lower, start]
    return shown if result["adaptive"] is None else [*shown, _adaptive_table(result["adaptive"])]


def _with_interval(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _adaptive_table(costs: Mapping[str, Any]) -> Table:
    table = Table(title="Adaptive warps")
    table.add_column("what")
    table.add_column("ms", justify="right")
    table.add_row("knots and tables of zoom and unzoom, in the graph", f"{costs['tables']:.2f}")
    if costs["inversion"] is None:
        table.caption = "the inversion of a non-separable warp needs make and g++"
        return table
    for name, milliseconds in costs["inversion"].items():
        table.add_row(f"non-separable inversion, 75x120, one thread: {name}", f"{milliseconds:.2f}")
    slow, fast = costs["inversion"].values()
    table.caption = f"the kernel is {slow / fast:.0f} times faster"
    return table


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("--task", choices=sorted(CASES), default="det")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument(
        "--rounds", type=int, default=Rounds.least, help="least number of rounds of whole models"
    )
    parser.add_argument(
        "--most-rounds",
        type=int,
        default=Rounds.most,
        help="rounds after which no more are added",
    )
    parser.add_argument(
        "--width", type=float, default=Rounds.width, help="add rounds until intervals are so narrow"
    )
    add_json(parser)
    given = parser.parse_args(arguments)
    out = given.out / given.task
    result = measure(CASES[given.task], out, Rounds(given.rounds, given.most_rounds, given.width))
    (out / "speed.json").write_text(json.dumps(result, indent=2) + "\n")
    print_result(given.json, result, result["machine"], *tables(result))


if __name__ == "__main__":
    main()

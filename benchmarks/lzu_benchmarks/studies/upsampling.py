"""Measure the models with a source smaller than the canvas.

`python -m lzu_benchmarks upsampling`.

Only every n-th row and column of a frame is kept (recipe key `reduce`), as if the camera had fewer
pixels. The rest is zoomed to the canvas that the demonstration models were trained on; their
weights are not changed. Any gain of the fixed warp over the uniform one then comes from another
use of the canvas, because there is no more detail to sample.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_benchmarks.demo.evaluation import demo
from lzu_export.bundle.load import load
from lzu_export.cli import exits
from lzu_export.compiler.pipeline import export
from lzu_export.evaluation.evaluate import evaluate
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.progress import Reporter
from lzu_export.targets.registry import DEFAULT_TARGET

NEEDS = "extras runtime, export, bench, demo"

REDUCE = {"det": 4, "seg": 8, "det3d": 4}
"""Value of `reduce` for each task that halves the source against the canvas on each axis."""
VARIANTS = ("uniform", "fixed")


def measure(task: str, reduce: int, frames: int | None, out: Path, report: Reporter) -> Any:
    """Score the uniform and the fixed model of a task on whole frames and on reduced ones."""
    dataset = demo(task=task, frames=frames)
    predictors: dict[str, Predictor] = {}
    for step in (1, reduce):
        for variant in VARIANTS:
            overrides = {"variant": variant, "reduce": step, "evaluation": {"dataset": None}}
            meant = ["reduce"] if step > 1 else []  # the weights were trained on whole frames
            recipe = load_recipe(
                task, {**overrides, "targets": [DEFAULT_TARGET], "untrained": meant}
            )
            folder = export(recipe, out, report=report).folder
            predictors[_name(recipe)] = load(folder)
    with report.steps(f"{task} on {dataset.name}", len(dataset)) as advance:
        # All predictors share one data set: a reduced recipe takes whole frames too.
        return {"metric": dataset.metric, "rows": evaluate(predictors, dataset, advance)}


def _name(recipe: Recipe) -> str:
    height, width = recipe.picture
    return f"{recipe.variant} from {height}x{width}"


def table(task: str, result: Any, canvas: tuple[int, int]) -> Table:
    """Return a table with one row per variant and source size."""
    metric = result["metric"]
    made = Table(
        title=f"{task}: {metric} on a {canvas[0]}x{canvas[1]} canvas", title_justify="left"
    )
    made.add_column("model")
    made.add_column(metric, justify="right")
    for name, metrics in result["rows"].items():
        made.add_row(name, f"{metrics[metric]:.2f}")
    return made


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench/upsampling"))
    parser.add_argument("--tasks", nargs="+", choices=sorted(REDUCE), default=sorted(REDUCE))
    parser.add_argument(
        "--frames", type=int, default=None, help="largest number of frames; all by default"
    )
    add_json(parser)
    given = parser.parse_args(arguments)
    report, results, shown = Reporter(), {}, []
    for task in given.tasks:
        found = measure(task, REDUCE[task], given.frames, given.out, report)
        results[task] = found
        shown.append(table(task, found, load_recipe(task).canvas))
    (given.out / "upsampling.json").write_text(json.dumps(results, indent=2) + "\n")
    print_result(given.json, results, *shown)


if __name__ == "__main__":
    main()

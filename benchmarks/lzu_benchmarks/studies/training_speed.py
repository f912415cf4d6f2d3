"""Time the warp's operators in training, beside grid_sample.

`python -m lzu_benchmarks training_speed` takes the detection demonstration's fixed warp: the zoom
of frames and the unzoom of all levels, in float32 on this machine's CPU, interleaved.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.ops.torch_ops import REGISTERED
from lzu_export.recipes import load_recipe
from lzu_export.support.hardware import identity
from lzu_export.support.interleave import Plan, Subject, ratio, take_turns
from lzu_export.tasks.warps import make_warp

PASSES = ("forward", "forward and backward")


def by_grid_sample(rows: Tensor, columns: Tensor) -> Callable[[Tensor], Tensor]:
    """Make the bilinear sampler of two resample tables (4, n) from grid_sample.

    The grid is made once, as a training loop would keep it.
    """
    grids: dict[torch.Size, Tensor] = {}

    def sample(x: Tensor) -> Tensor:
        if x.shape not in grids:
            y, across = (
                2 * (each[0] + each[1]) / max(count - 1, 1) - 1
                for each, count in zip((rows, columns), x.shape[2:], strict=True)
            )
            grid = torch.stack(torch.meshgrid(y, across, indexing="ij")[::-1], dim=-1)
            grids[x.shape] = grid.expand(len(x), *grid.shape).contiguous()
        return functional.grid_sample(x, grids[x.shape], padding_mode="zeros", align_corners=True)

    return sample


def by_operator(rows: Tensor, columns: Tensor) -> Callable[[Tensor], Tensor]:
    """Make the sampler of two resample tables from `lzu::SeparableResample`."""
    resample = REGISTERED["SeparableResample"]
    return lambda x: resample(x, rows, columns)


def step(
    samplers: Sequence[Callable[[Tensor], Tensor]], inputs: Sequence[Tensor], *, backward: bool
) -> Callable[[Any], None]:
    """Make a function that samples every input, and differentiates the sum if `backward`."""

    def run(_: Any) -> None:
        tensors = [each.detach().requires_grad_(backward) for each in inputs]
        results = [sample(each) for sample, each in zip(samplers, tensors, strict=True)]
        if backward:
            torch.autograd.backward(results, [torch.ones_like(each) for each in results])

    return run


def measure(recipe_name: str, batch: int, channels: int, plan: Plan) -> dict[str, Any]:
    """Time the operator and grid_sample in turns; return plain data."""
    recipe = load_recipe(recipe_name)
    warp = make_warp(recipe)
    if not recipe.separable or warp.unzoom is None or recipe.unzoom_scale != 1:
        raise LzuError(f"{recipe_name} has no separable unzoom at the levels' own size; give det")
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(batch, 3, *recipe.source, generator=generator)
    # Supports of 1 and gains of 1, since grid_sample has no antialiasing.
    zoom = _bilinear(warp.zoom)
    tables = [_bilinear(terms[0]) for terms in warp.unzoom]
    sizes = [(rows.shape[1], columns.shape[1]) for rows, columns in tables]
    levels = [torch.randn(batch, channels, *size, generator=generator) for size in sizes]
    parts = {"zoom": ([zoom], [frames]), "unzoom": (tables, levels)}
    makers = {"operator": by_operator, "grid_sample": by_grid_sample}
    rows = []
    for (part, (of_part, inputs)), name in product(parts.items(), PASSES):
        steps = {
            kind: step([make(*each) for each in of_part], inputs, backward=name != PASSES[0])
            for kind, make in makers.items()
        }
        subjects = {
            kind: Subject({name: each}, lambda number: number) for kind, each in steps.items()
        }
        timings = take_turns(subjects, plan)
        milliseconds = {
            kind: 1e-6 * float(np.median(each.totals)) for kind, each in timings.items()
        }
        found = ratio(timings["operator"], timings["grid_sample"])
        rows.append({"part": part, "pass": name, **milliseconds, "ratio": found.model_dump()})
    return {"machine": identity(), "recipe": recipe_name, "batch": batch, "rows": rows}


def _bilinear(sampling: Any) -> tuple[Tensor, Tensor]:
    """Return the tables of rows and columns with supports and gains of 1."""
    rows, columns = torch.tensor(sampling.rows), torch.tensor(sampling.cols)
    rows[2:], columns[2:] = 1, 1
    return rows, columns


def table_of(result: dict[str, Any]) -> Table:
    """Make the printed table."""
    made = Table(
        title=f"SeparableResample over grid_sample, {result['recipe']}, PyTorch on the CPU"
    )
    for heading in ("part", "pass", "operator ms", "grid_sample ms", "ratio"):
        made.add_column(heading, justify="left" if heading in ("part", "pass") else "right")
    for row in result["rows"]:
        found = row["ratio"]
        made.add_row(
            row["part"],
            row["pass"],
            f"{row['operator']:.2f}",
            f"{row['grid_sample']:.2f}",
            f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]",
        )
    return made


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("--recipe", default="det-demo", help="task, shipped recipe, or a file")
    parser.add_argument("--batch", type=int, default=2, help="frames in a step")
    parser.add_argument("--channels", type=int, default=64, help="channels of the levels")
    parser.add_argument("--queries", type=int, default=64, help="timed steps of each")
    add_json(parser)
    given = parser.parse_args(arguments)
    result = measure(given.recipe, given.batch, given.channels, Plan(queries=given.queries))
    print_result(given.json, result, table_of(result))


if __name__ == "__main__":
    main()

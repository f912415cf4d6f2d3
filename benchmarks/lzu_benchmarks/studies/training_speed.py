"""Time the warp's operators in training, beside grid_sample.

`python -m lzu_benchmarks training_speed` takes the detection demonstration's fixed warp: the zoom
of frames and the unzoom of all levels, as constants of a fixed warp and from knots that are
trained, in float32 on this machine's CPU, interleaved.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from lzu_export.ops.differentiable import forward_axis, invert_axis
from lzu_export.ops.separable_unzoom import consistent_affine
from lzu_export.ops.torch_ops import REGISTERED, run
from lzu_export.recipes import load_recipe
from lzu_export.recipes.recipe import Recipe
from lzu_export.support.hardware import identity
from lzu_export.support.interleave import Plan, Subject, ratio, take_turns
from lzu_export.tasks.warps import make_warp
from lzu_export.tasks.warps.make import warp_geometry
from lzu_export.warp.geometry import Level

NEEDS = "extras export, demo"

PASSES = ("forward", "forward and backward")

Sampler = Callable[..., Sequence[Tensor]]
"""Function of maps, then knots if they are trained, that returns the samples of each map."""


@dataclass(frozen=True)
class Case:
    """What is timed: the same samples by two functions of the same inputs.

    Attributes:
        part: name of the row.
        samplers: function by its name, `operator` or `grid_sample`.
        inputs: tensors, each with whether it has a gradient.
    """

    part: str
    samplers: dict[str, Sampler]
    inputs: Sequence[tuple[Tensor, bool]]


def by_grid_sample(tables: Sequence[tuple[Tensor, Tensor]]) -> Sampler:
    """Make the bilinear sampler of a pair of resample tables (4, n) for each map from grid_sample.

    The grids are made once, as a training loop would keep them.
    """
    grids: dict[tuple[int, torch.Size], Tensor] = {}

    def sample(*maps: Tensor) -> list[Tensor]:
        found = []
        for i, (x, pair) in enumerate(zip(maps, tables, strict=True)):
            if (i, x.shape) not in grids:
                y, across = (
                    2 * (each[0] + each[1]) / max(count - 1, 1) - 1
                    for each, count in zip(pair, x.shape[2:], strict=True)
                )
                grids[i, x.shape] = _grid(y[None], across[None], len(x)).contiguous()
            found.append(_sampled(x, grids[i, x.shape]))
        return found

    return sample


def by_operator(tables: Sequence[tuple[Tensor, Tensor]]) -> Sampler:
    """Make the sampler of resample tables from `lzu::SeparableResample`."""
    resample = REGISTERED["SeparableResample"]
    return lambda *maps: [resample(x, *pair) for x, pair in zip(maps, tables, strict=True)]


def zoom_by_knots(canvas: tuple[int, int]) -> dict[str, Sampler]:
    """Make the samplers of frames at the canvas' pixels, from knots along width and height."""

    def plain(x: Tensor, *knots: Tensor) -> list[Tensor]:
        across, down = (forward_axis(k, n) for k, n in zip(knots, reversed(canvas), strict=True))
        return [_sampled(x, _grid(down, across, len(x)))]

    def operator(*inputs: Tensor) -> list[Tensor]:
        return [run("SeparableZoom", *inputs, canvas, [0, 0])]

    return {"operator": operator, "grid_sample": plain}


def unzoom_by_knots(levels: Sequence[Level], canvas: tuple[int, int]) -> dict[str, Sampler]:
    """Make the samplers of levels at the inverse of knots along width and height."""
    affine = consistent_affine(levels, canvas)
    settings = [affine[f"{name}_{axis}"] for axis in "yx" for name in ("scale", "offset")]

    def plain(*inputs: Tensor) -> list[Tensor]:
        *maps, knots_x, knots_y = inputs
        found = []
        for x, *each in zip(maps, *settings, strict=True):
            places = []
            for knots, count, (scale, offset) in zip(
                (knots_y, knots_x), x.shape[2:], (each[:2], each[2:]), strict=True
            ):
                label = scale * torch.arange(count) + offset
                cells = (invert_axis(knots, label[None]) - offset) / scale
                places.append(cells * (2 / (count - 1)) - 1)
            y, across = places
            found.append(_sampled(x, _grid(y, across, len(x))))
        return found

    def operator(*inputs: Tensor) -> list[Tensor]:
        unzoomed: list[Tensor] = run(
            "SeparableUnzoom", list(inputs[:-2]), *inputs[-2:], *settings, 1
        )
        return unzoomed

    return {"operator": operator, "grid_sample": plain}


def _grid(y: Tensor, across: Tensor, batch: int) -> Tensor:
    """Return grid_sample's coordinates (batch, h, w, 2) of rows (b, h) and columns (b, w)."""
    size = (batch, y.shape[1], across.shape[1])
    return torch.stack((across[:, None].expand(size), y[:, :, None].expand(size)), dim=-1)


def _sampled(x: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(x, grid, padding_mode="zeros", align_corners=True)


def _by_tables(tables: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Sampler]:
    return {"operator": by_operator(tables), "grid_sample": by_grid_sample(tables)}


def step(case: Case, kind: str, *, backward: bool) -> Callable[[Any], None]:
    """Make a function that runs a sampler, and differentiates the sum of results if `backward`."""

    def run(_: Any) -> None:
        tensors = [each.detach().requires_grad_(backward and need) for each, need in case.inputs]
        results = case.samplers[kind](*tensors)
        if backward:
            torch.autograd.backward(list(results), [torch.ones_like(each) for each in results])

    return run


def cases(recipe: Recipe, batch: int, channels: int) -> list[Case]:
    """Return what is timed for a recipe with a separable warp.

    Raises:
        LzuError: the recipe has no separable unzoom at its levels' own size.
    """
    warp = make_warp(recipe)
    if not recipe.separable or warp.unzoom is None or recipe.unzoom_scale != 1:
        raise LzuError(f"{recipe.name} has no separable unzoom at the levels' own size; give det")
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(batch, 3, *recipe.source, generator=generator)
    # Supports of 1 and gains of 1, since grid_sample has no antialiasing.
    zoom = [_bilinear(warp.zoom)]
    tables = [_bilinear(terms[0]) for terms in warp.unzoom]
    sizes = [(rows.shape[1], columns.shape[1]) for rows, columns in tables]
    maps = [torch.randn(batch, channels, *size, generator=generator) for size in sizes]
    levels = [(each, True) for each in maps]
    knots = [
        (torch.tensor(each, dtype=torch.float32).expand(batch, -1).contiguous(), True)
        for each in (warp.knots[name] for name in ("knots_x", "knots_y"))
    ]
    return [
        Case("zoom", _by_tables(zoom), [(frames, True)]),
        Case("unzoom", _by_tables(tables), levels),
        Case("zoom, trained knots", zoom_by_knots(recipe.canvas), [(frames, False), *knots]),
        Case(
            "unzoom, trained knots",
            unzoom_by_knots(warp_geometry(recipe).levels, recipe.canvas),
            [*levels, *knots],
        ),
    ]


def measure(recipe_name: str, batch: int, channels: int, plan: Plan) -> dict[str, Any]:
    """Time the operators and grid_sample in turns; return plain data."""
    rows = []
    for case, name in product(cases(load_recipe(recipe_name), batch, channels), PASSES):
        steps = {kind: step(case, kind, backward=name != PASSES[0]) for kind in case.samplers}
        subjects = {
            kind: Subject({name: each}, lambda number: number) for kind, each in steps.items()
        }
        timings = take_turns(subjects, plan)
        milliseconds = {
            kind: 1e-6 * float(np.median(each.totals)) for kind, each in timings.items()
        }
        found = ratio(timings["operator"], timings["grid_sample"])
        rows.append({"part": case.part, "pass": name, **milliseconds, "ratio": found.model_dump()})
    return {"machine": identity(), "recipe": recipe_name, "batch": batch, "rows": rows}


def _bilinear(sampling: Any) -> tuple[Tensor, Tensor]:
    """Return the tables of rows and columns with supports and gains of 1."""
    rows, columns = torch.tensor(sampling.rows), torch.tensor(sampling.cols)
    rows[2:], columns[2:] = 1, 1
    return rows, columns


def table_of(result: dict[str, Any]) -> Table:
    """Make the printed table."""
    made = Table(title=f"operators over grid_sample, {result['recipe']}, PyTorch on the CPU")
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

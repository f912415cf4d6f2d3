"""Time the inversion of a non-separable warp without plugin.

`python -m lzu_benchmarks invert_warp` runs the body of `lzu::InvertWarp` in ONNX Runtime on this
machine's CPU, with 31 x 51 knots, at the finest level of each canvas size.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from rich.table import Table

from lzu_benchmarks.commands import add_json, finish_study, study_parser
from lzu_benchmarks.studies.deform_conv import peak_memory
from lzu_export.cli import exits
from lzu_export.models.trace import OPSET
from lzu_export.ops.bodies import add_bodies
from lzu_export.support.console import Terminal
from lzu_export.support.hardware import identity
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.targets.onnxruntime_timing import time_models
from lzu_export.warp.geometry import level_sizes
from lzu_export.warp.inverse import invert_tiles
from lzu_export.warp.knots import nonseparable_knots

NEEDS = "extras runtime, export"

LATTICE = (31, 51)
CANVASES = ((600, 960), (1200, 1920))
"""Canvas sizes of Argoverse-HD at 0.5x and 1x."""
STRIDE = 8
"""Stride of RetinaNet-R50's finest level, P3."""
OUTSIDE = -1000.0


@dataclass(frozen=True)
class Measurement:
    """Time and memory of the inversion at one level."""

    canvas: tuple[int, int]
    size: tuple[int, int]
    milliseconds: float
    peak_bytes: int
    """Memory in bytes that a process needs to open and run the model, beyond its start."""


def body_model(canvas: tuple[int, int]) -> onnx.ModelProto:
    """Make a model of the operator and its body for a canvas's finest level: `knots` to `grid`."""
    (level,) = level_sizes(canvas, (STRIDE,))
    scale_y, scale_x = (2 * level.stride / (n - 1) for n in canvas)
    node = helper.make_node(
        "InvertWarp",
        ["knots"],
        ["grid"],
        name="invert",
        domain="lzu",
        size=level.size,
        scale_y=scale_y,
        offset_y=-1.0,
        scale_x=scale_x,
        offset_x=-1.0,
        outside=OUTSIDE,
    )
    shapes = {"knots": (1, *LATTICE, 2), "grid": (1, *level.size, 2)}
    knots, grid = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    graph = helper.make_graph([node], "invert", [knots], [grid])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("lzu", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    add_bodies(model, OPSET)
    return model


def error(canvas: tuple[int, int]) -> float:
    """Return the largest distance from the exact inverse in float64, in cells of the level."""
    saliency = np.random.default_rng(0).uniform(0.05, 1, LATTICE) ** 2
    knots = nonseparable_knots(saliency, 10).astype(np.float32)
    (level,) = level_sizes(canvas, (STRIDE,))
    session = OnnxRuntimeSession(body_model(canvas).SerializeToString())
    got = session.run({"knots": knots[None]})["grid"][0]
    span = np.array(canvas[::-1]) - 1
    rows, columns = (STRIDE * np.arange(n) for n in level.size)
    labels = -1 + 2 * np.stack(np.meshgrid(columns, rows), axis=-1) / span
    expected = invert_tiles(knots, labels)
    seen = ~np.isnan(expected[..., 0])
    return float((np.abs(got - expected)[seen] * span / 2 / STRIDE).max())


def measure(rounds: int) -> dict[str, Any]:
    """Measure all figures, as plain data."""
    models = [body_model(canvas).SerializeToString() for canvas in CANVASES]
    seconds = time_models(models, rounds=rounds)
    rows = [
        Measurement(canvas, level_sizes(canvas, (STRIDE,))[0].size, 1e3 * each, peak_memory(model))
        for canvas, model, each in zip(CANVASES, models, seconds, strict=True)
    ]
    return {
        "machine": identity(),
        "rounds": rounds,
        "levels": [{**asdict(row), "error_cells": error(row.canvas)} for row in rows],
    }


def show(result: dict[str, Any], console: Terminal) -> None:
    """Print the figures."""
    table = Table(title="The body of lzu::InvertWarp, 31x51 knots, ONNX Runtime")
    for heading in ("canvas", "cells", "ms", "peak MB", "error in cells"):
        table.add_column(heading, justify="right")
    for row in result["levels"]:
        table.add_row(
            "x".join(map(str, row["canvas"])),
            "x".join(map(str, row["size"])),
            f"{row['milliseconds']:.1f}",
            f"{row['peak_bytes'] / 1e6:.0f}",
            f"{row['error_cells']:.1g}",
        )
    table.caption = result["machine"]
    console.print(table)


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--rounds", type=int, default=9)
    add_json(parser)
    given = parser.parse_args(arguments)
    result = measure(given.rounds)
    finish_study(given, "invert_warp", result, show)


if __name__ == "__main__":
    main()

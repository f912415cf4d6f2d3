"""Graphs with adaptive warps that are small enough for any test."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lzu_export.ops.bodies import add_bodies
from lzu_export.ops.contract import PLUGIN
from lzu_export.ops.separable_unzoom import consistent_affine
from lzu_export.warp.geometry import level_sizes
from samples import OPSET, graph_model

BATCH, BOXES, LATTICE, SOURCE, CANVAS, PAD = 2, 6, (7, 11), (60, 100), (33, 52), (31, 12)
LEVELS = level_sizes(CANVAS, (8, 32, 64))
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def chain(
    dtype: int = FLOAT, *, bodies: bool = True, upscale: int = 1, batch: int = BATCH
) -> onnx.ModelProto:
    """Make a graph from boxes to knots to a zoomed image and unzoomed levels.

    Image and levels have `dtype`.
    """
    height, width = LATTICE
    attributes = {"lattice": LATTICE, "source": SOURCE, "fwhm": 4.0, "mix": 0.5, "min_side": 1.0}
    levels, unzoomed = ([f"{n}_{i}" for i in range(len(LEVELS))] for n in ("level", "unzoomed"))
    knots = ["knots_x", "knots_y"]
    small = {
        "boxes": (batch, BOXES, 4),
        "valid": (batch, BOXES),
        "amplitude": (),
        "bandwidth": (),
        "fixed_x": (width,),
        "fixed_y": (height,),
    }
    calls: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
        ("BoxKnots", [*small], knots, attributes),
        ("SeparableZoom", ["image", *knots], ["zoomed"], {"canvas": CANVAS, "pad": PAD}),
        (
            "SeparableUnzoom",
            [*levels, *knots],
            unzoomed,
            {**consistent_affine(LEVELS, CANVAS), "upscale": upscale},
        ),
    ]
    maps = {n: (batch, 4, *x.size) for n, x in zip(levels, LEVELS, strict=True)}
    results = {
        n: (*s[:2], *(upscale * m for m in s[2:]))
        for n, s in zip(unzoomed, maps.values(), strict=True)
    }
    model = graph_model(
        [
            helper.make_node(op, inputs, outputs, name=op, domain="lzu", **said, **PLUGIN)
            for op, inputs, outputs, said in calls
        ],
        {**small, "image": (batch, 3, *SOURCE), **maps},
        {
            "knots_x": (batch, width),
            "knots_y": (batch, height),
            "zoomed": (batch, 3, CANVAS[0] + PAD[0], CANVAS[1] + PAD[1]),
            **results,
        },
    )
    for value in (*model.graph.input, *model.graph.output):
        if value.name in (*levels, *unzoomed, "image", "zoomed"):
            value.type.tensor_type.elem_type = dtype
    model.opset_import.append(helper.make_opsetid("lzu", 1))
    if bodies:
        add_bodies(model, OPSET)
    return model


def feeds(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    values = {}
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        values[value.name] = np.asarray(rng.uniform(0.1, 1, shape)).astype(dtype)
    values["boxes"] = (values["boxes"] * 60).astype(np.float32)
    values["bandwidth"] = np.asarray(40, np.float32)
    return values


def quantised_chain(
    scales: tuple[float, ...] = (0.01, 0.02, 0.013),
    *,
    behind: tuple[float, ...] | None = None,
    upscale: int = 1,
    batch: int = BATCH,
) -> onnx.ModelProto:
    """Make the chain with a Q/DQ pair before and after the unzoom of every level.

    Names are as in `graph.quantize`. The outputs are `unzoomed_0/dequantised` and so on. `behind`
    gives other scales to the pairs after the unzoom.
    """
    model = chain(upscale=upscale, batch=batch)
    graph = model.graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    graph.initializer.append(numpy_helper.from_array(np.int8(0), "zero"))
    unzoom = graph.node.pop()
    pairs: dict[str, list[onnx.NodeProto]] = {"level": [], "unzoomed": []}
    for i, scale in enumerate(scales):
        values = {f"level_{i}": scale, f"unzoomed_{i}": (behind or scales)[i]}
        for name, value in values.items():
            stored = numpy_helper.from_array(np.float32(value), f"{name}/scale")
            graph.initializer.append(stored)
            for op, start, end, kind in (
                ("QuantizeLinear", name, f"{name}/int8", onnx.TensorProto.INT8),
                ("DequantizeLinear", f"{name}/int8", f"{name}/dequantised", FLOAT),
            ):
                node = helper.make_node(op, [start, f"{name}/scale", "zero"], [end], f"{op}/{name}")
                pairs[name.partition("_")[0]].append(node)
                graph.value_info.append(helper.make_tensor_value_info(end, kind, shapes[name]))
        unzoom.input[i] = f"level_{i}/dequantised"
    graph.node.extend([*pairs["level"], unzoom, *pairs["unzoomed"]])
    for value in graph.output:
        if value.name.startswith("unzoomed"):
            graph.value_info.append(
                helper.make_tensor_value_info(value.name, FLOAT, shapes[value.name])
            )
            value.name += "/dequantised"
    read = {value.name for value in graph.output}
    inner = [value for value in graph.value_info if value.name not in read]
    del graph.value_info[:]
    graph.value_info.extend(inner)
    return model

"""The layout `deepstream`: model, configuration and parser of Gst-nvinfer. No torch."""

from pathlib import Path

import numpy as np

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.packing.archive import Content
from lzu_export.packing.selection import Packed, derived_of, refuse_empty
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import DetRecipe, SegRecipe
from lzu_export.targets.base import Target

SOURCES = Path(__file__).parent / "deepstream"
"""Folder of the files that are packed as they are."""
FIXED = ("uniform", "fixed")
"""Variants whose engines take nothing but the frame."""
PARSERS = {
    "det": {
        "network-type": "0",
        "cluster-mode": "4",
        "parse-bbox-func-name": "NvDsInferParseLzuBoxes",
    },
    "seg": {"network-type": "2", "parse-segmentation-func-name": "NvDsInferParseLzuLabels"},
}
"""Keys of Gst-nvinfer by task; cluster mode 4 suppresses nothing, since the parser does."""


def deepstream_entries(bundle: Bundle, target: Target, precision: str | None) -> Packed:
    """Return a folder for Gst-nvinfer: one ONNX file and one configuration per precision.

    The ONNX files take the whole frame as Gst-nvinfer sends it, planar float32 (B, 3, H, W) with
    the values of the bytes in the order blue, green, red; they zoom as the bundle's own do. The
    parser suppresses boxes, or places the class map, as `lzu_export.runtime` does.

    Args:
        bundle: opened bundle of task det or seg, uniform or fixed, with `input: source`.
        target: `tensorrt`.
        precision: precision of the derived files; None for all.

    Raises:
        LzuError: Gst-nvinfer cannot feed such a bundle, or the bundle has no derived files.
    """
    if target.name != "tensorrt":
        raise LzuError(f"DeepStream runs TensorRT, not {target.name}; leave --target out")
    recipe = bundle.recipe
    _refuse_unfit(recipe)
    derived = derived_of(bundle, target, precision)
    refuse_empty(bundle, target, precision, derived)
    from lzu_export.graph.planar import planar_input
    from lzu_export.graph.read import load_graph

    folder = f"{bundle.folder.resolve().name}-deepstream"
    entries: dict[str, Content] = {
        f"{folder}/labels.txt": bundle.file("labels.txt"),
        f"{folder}/lzu_bundle.h": header_text(recipe).encode(),
    }
    for path in sorted(SOURCES.iterdir()):
        entries[f"{folder}/{path.name}"] = path
    for each in derived:
        model = f"model.{each.precision}.onnx"
        graph = planar_input(load_graph(bundle.file(each.file)), "frame")
        entries[f"{folder}/{model}"] = graph.SerializeToString(deterministic=True)
        config = config_text(recipe, model).encode()
        entries[f"{folder}/config_infer.{each.precision}.txt"] = config
    taken = frozenset({"labels.txt", *(each.file for each in derived)})
    note = f"on the device run make in {folder}: it compiles the parser and builds the engines"
    return Packed(entries, taken, (note,))


def _refuse_unfit(recipe: Recipe) -> None:
    """Refuse a recipe whose engines Gst-nvinfer cannot feed, or whose outputs it cannot carry.

    Raises:
        LzuError: the recipe is such a one; the message names the key.
    """
    if not isinstance(recipe, (DetRecipe, SegRecipe)):
        raise LzuError(
            f"Gst-nvinfer has no metadata for task {recipe.task}; pack a bundle of det or seg"
        )
    if recipe.variant not in FIXED:
        raise LzuError(
            f"Gst-nvinfer sends nothing but the frame, and a bundle of variant {recipe.variant} "
            f"needs more; pack one of variant {' or '.join(FIXED)}"
        )
    if recipe.input != "source":
        raise LzuError(
            "Gst-nvinfer does not warp, and a bundle with input: zoomed does not either; export "
            "it with --set input=source"
        )


def config_text(recipe: Recipe, model: str) -> str:
    """Return a configuration of Gst-nvinfer.

    Args:
        recipe: recipe that `deepstream_entries` accepts.
        model: name of the ONNX file beside the configuration.
    """
    height, width = recipe.source
    values = {
        "gpu-id": "0",
        "gie-unique-id": "1",
        "onnx-file": model,
        "model-engine-file": str(Path(model).with_suffix(".engine")),
        "labelfile-path": "labels.txt",
        "batch-size": str(recipe.batch),
        "infer-dims": f"3;{height};{width}",
        "network-input-order": "0",
        "model-color-format": "1",
        "net-scale-factor": "1",
        "maintain-aspect-ratio": "0",
        "num-detected-classes": str(len(recipe.classes)),
        "custom-lib-path": "liblzu_parser.so",
        **PARSERS[recipe.task],
    }
    lines = ["[property]", *(f"{key}={value}" for key, value in values.items())]
    if isinstance(recipe, DetRecipe):
        threshold = recipe.postprocess.score_threshold
        lines += ["", "[class-attrs-all]", f"pre-cluster-threshold={threshold}"]
    return "\n".join([*lines, ""])


def header_text(recipe: Recipe) -> str:
    """Return `lzu_bundle.h`: the settings of a bundle that the parsers are compiled with."""
    (height, width), (top, left), (rows, columns) = recipe.source, recipe.corner, recipe.view
    edges = {"LEFT": left, "TOP": top, "RIGHT": left + columns, "BOTTOM": top + rows}
    suffix = ".0F" if isinstance(recipe, DetRecipe) else "U"
    lines = [
        "/* Settings of the bundle, by lzu-export pack. Lengths are pixels of the frame. */",
        "#pragma once",
        "",
        f"#define LZU_WIDTH {width}U",
        f"#define LZU_HEIGHT {height}U",
        *(f"#define LZU_VIEW_{name} {edge}{suffix}" for name, edge in edges.items()),
    ]
    if isinstance(recipe, DetRecipe):
        settings = recipe.postprocess
        lines += [
            "#define LZU_DETECTOR",
            f"#define LZU_SCORE_THRESHOLD {_float(settings.score_threshold)}",
            f"#define LZU_IOU_THRESHOLD {_float(settings.iou_threshold)}",
            f"#define LZU_MAX_DETECTIONS {settings.max_detections}U",
        ]
    return "\n".join([*lines, ""])


def _float(value: float) -> str:
    """Return a number rounded to float32 as an exact literal of C++17."""
    return f"{float(np.float32(value)).hex()}F"

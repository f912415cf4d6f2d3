"""Target TensorRT-RTX, whose engines are built ahead of time; does not import the library."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lzu_export.graph.dialect import PRODUCTS, Dialect
from lzu_export.manifest.schema import GRAPH_NOTE, ROUNDED_GRAPH_NOTE, RTX_PLUGINS_NOTE, Manifest
from lzu_export.support.limits import MAX_TOPK
from lzu_export.targets.base import Built
from lzu_export.targets.tensorrt import RTX, RTX_PLUGINS
from lzu_export.targets.tensorrt.target import NOT_PARSED, OnDevice, refuse_library

if TYPE_CHECKING:
    from lzu_export.graph.lowering.deform_conv import Kind as DeformKind
    from lzu_export.recipes import Recipe
    from lzu_export.targets.cuda.memory import Device

CARDS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities that TensorRT-RTX 1.7 knows."""


def deform_conv() -> tuple["DeformKind", str]:
    """Return the lowering of deformable convolutions for TensorRT-RTX, and the reason.

    The library has TensorRT's parser without the plugin library: version 1.7 refuses a DeformConv.
    """
    return (
        "gather",
        "default: it has no DeformConv; on a CPU the gathers take half to two thirds of the time "
        "of GridSample, which reads channels one by one instead of in rows; not measured on a card",
    )


class TensorRtRtx(OnDevice):
    """Target whose one portable engine serves several RTX cards, which compile it on first use."""

    name = RTX
    title = "TensorRT-RTX"
    extra = "rtx"
    dialect = Dialect(
        name=RTX,
        deform_conv=deform_conv,
        lowerings={
            "zoom": (
                "gridsample",
                "default: few channels and no reuse, a gather reads each pixel once; not measured "
                "here",
            ),
            "unzoom": PRODUCTS,
        },
        forbidden=NOT_PARSED | {"DeformConv", "RoiAlign"},
        max_topk=MAX_TOPK,
    )
    with_plugins = RTX_PLUGINS
    compiles_at_start = True
    build_needs: ClassVar[tuple[str, ...]] = ("torch", RTX)
    run_needs: ClassVar[tuple[str, ...]] = (RTX, "cuda", "gpu")

    def version(self) -> str | None:
        """Return the installed release, or None."""
        from lzu_export.targets.tensorrt.rtx import version

        return version()

    def missing(self) -> str:
        """Return the sentence for a machine that lacks the library, with the remedy."""
        from lzu_export.targets.tensorrt.rtx import MISSING

        return MISSING

    def note(self, precision: str) -> str:
        """Return the note on what a comparison of its graph with PyTorch covers."""
        return GRAPH_NOTE if precision == "fp32" else ROUNDED_GRAPH_NOTE

    def table_notes(self, precisions: Collection[str]) -> list[str]:
        """Return the lines below the table of an export."""
        if "int8" not in precisions:
            return []
        return [
            "int8 of tensorrt-rtx: requested by the graph; whether TensorRT-RTX uses INT8, and "
            "whether it is faster, has not been measured"
        ]

    def engine_file(self, precision: str) -> str:
        """Return the file name of the target's engine in a bundle."""
        return f"model.{precision}.rtx.engine"

    def building(self, precision: str) -> str:
        """Return the progress text of a build."""
        return f"building the TensorRT-RTX engine in {precision}"

    def build(self, graph: Path, engine: Path, recipe: "Recipe") -> Built:
        """Build a strongly typed engine for the recipe's compute capabilities."""
        from lzu_export.targets.tensorrt import rtx

        made = rtx.build(graph, engine, compute_capabilities=recipe.compute_capabilities)
        return Built(made.version, made.inputs, made.outputs, made.compute_capabilities)

    def unfit(self, device: "Device | None") -> tuple[str, ...]:
        """Return the need for an RTX card, if TensorRT-RTX does not know this machine's."""
        if device and device.capability not in CARDS:
            return (f"an RTX card ({device.name} has {device.capability})",)
        return ()


class TensorRtRtxPlugins(TensorRtRtx):
    """Target whose engine calls the plugins for warps that are computed from inputs.

    `lzu-export build --target tensorrt-rtx --plugins` adds such an engine to a bundle.
    """

    name = RTX_PLUGINS
    title = "TensorRT-RTX with plugins"
    dialect = replace(TensorRtRtx.dialect, name=RTX_PLUGINS, plugins=True)
    exported = False
    with_plugins = RTX_PLUGINS
    build_needs: ClassVar[tuple[str, ...]] = ("onnx", RTX, "plugins")
    run_needs: ClassVar[tuple[str, ...]] = (RTX, "cuda", "gpu", "plugins")

    def note(self, precision: str) -> str:
        """Return the note on what a comparison of its graph with PyTorch covers."""
        return RTX_PLUGINS_NOTE

    def engine_file(self, precision: str) -> str:
        """Return the file name of the target's portable engine in a bundle."""
        return f"model.{precision}.rtx-plugins.engine"

    def refuse_beside(self, manifest: Manifest, folder: Path, others: Collection[str]) -> str:
        """Return why its plugins cannot be used: a library that is missing or does not fit."""
        return refuse_library(manifest, folder)


TARGET = TensorRtRtx()
WITH_PLUGINS = TensorRtRtxPlugins()

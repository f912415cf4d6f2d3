"""Which passes make a target's file of the canonical one, and the targets' defaults."""

from collections.abc import Mapping

from lzu_export.graph.lower_deform_conv import Kind as DeformKind
from lzu_export.graph.lower_deform_conv import lower_deform_conv
from lzu_export.graph.lower_resample import Kind, lower_resample
from lzu_export.graph.passes import Pass, fold_constants

DEFAULTS: dict[str, dict[str, tuple[Kind, str]]] = {
    "tensorrt-rtx": {
        "zoom": (
            "gridsample",
            "default: few channels and no reuse, a gather reads each pixel once; not measured here",
        ),
        "unzoom": (
            "matmul",
            "default: two dense products, exact and without a grid to read; not measured here",
        ),
    },
}
"""What `auto` picks where the target cannot be measured, and why."""


DEFORM_CONV: dict[str, tuple[DeformKind, str]] = {
    "onnxruntime": ("deformconv", "default: its kernel takes half the time of the next best"),
    "tensorrt": ("deformconv", "default: the parser maps it to the plugin that TensorRT ships"),
    "tensorrt-rtx": (
        "gather",
        "default: it has no DeformConv; on a CPU the gathers take half the time of GridSample, "
        "which reads channels one by one instead of in rows; not measured on a card",
    ),
}
"""How each target convolves deformably, and why."""


def target_passes(target: str, choices: Mapping[str, Kind], *, deforms: bool = False) -> list[Pass]:
    """Passes from the canonical graph to the target's, in order.

    `deforms`: the graph has deformable convolutions, see `lower_deform_conv.deforms`.
    """
    passes = [lower_resample(choices)]
    if deforms:
        passes.append(lower_deform_conv(DEFORM_CONV[target][0]))
    return [*passes, fold_constants()]

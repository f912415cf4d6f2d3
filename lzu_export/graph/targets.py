"""Which passes make a target's file of the canonical one, and the targets' defaults."""

import re
from collections.abc import Mapping, Sequence

import onnx

from lzu_export.graph.emulate.half import emulate_half
from lzu_export.graph.lowering.adaptive import (
    adapts,
    drop_bodies,
    lower_adaptive,
    lower_without_plugin,
)
from lzu_export.graph.lowering.deform_conv import Kind as DeformKind
from lzu_export.graph.lowering.deform_conv import deforms, lower_deform_conv
from lzu_export.graph.lowering.fuse_warps import fuse_level_pairs
from lzu_export.graph.lowering.resample import Kind, lower_resample
from lzu_export.graph.passes import Pass, PassRecord, fold_constants, run_passes
from lzu_export.graph.widen import has_pairs, widen_half
from lzu_export.support.extras import owners
from lzu_export.support.limits import EMULATED

_UNZOOM: tuple[Kind, str] = (
    "matmul",
    "default: two dense products, exact and without a grid to read; not measured here",
)
DEFAULTS: dict[str, dict[str, tuple[Kind, str]]] = {
    "tensorrt": {
        "zoom": (
            "banded",
            "default: products, exact in every release; from 10.14.1 on GridSample inside an FP16 "
            "network was reported to give wrong values; not measured here",
        ),
        "unzoom": _UNZOOM,
    },
    "tensorrt-rtx": {
        "zoom": (
            "gridsample",
            "default: few channels and no reuse, a gather reads each pixel once; not measured here",
        ),
        "unzoom": _UNZOOM,
    },
}
"""What `auto` picks where the target cannot be measured, and why."""


DEFORM_CONV: dict[str, tuple[DeformKind, str]] = {
    "onnxruntime": (
        "deformconv",
        "default: its kernel takes half to three quarters of the time of the next best",
    ),
    "tensorrt": ("deformconv", "default: the parser maps it to the plugin that TensorRT ships"),
    "tensorrt-rtx": (
        "gather",
        "default: it has no DeformConv; on a CPU the gathers take half to two thirds of the time "
        "of GridSample, which reads channels one by one instead of in rows; not measured on a card",
    ),
}
"""How each target convolves deformably, and why; see `deform_conv_of` for older ONNX Runtimes.

The times are of FCOS3D-R50's layers at 0.25x to 1x; `python -m lzu_benchmarks.studies.deform_conv`
measures them again. At each of these sizes `gather` was the fastest decomposition. It is also the
largest: at P3 of 1x it takes 750 MB, gridsample 470, taps 280.

TensorRT's ONNX parser knows DeformConv from 10.1 on and makes a ModulatedDeformConv2d of it, a
plugin of its standard plugin library, which must be loaded before a graph is parsed. (Version 1 of
the plugin; from 10.11 on version 2, which takes and computes the same.) What it asks of the node:

- maps of one or two spatial axes; all inputs float32, or all float16;
- as many `pads` at the end of an axis as at its beginning;
- one stride, one padding and one dilation for both axes. The parser hands them over rows first, but
  the plugin's kernel takes the first for columns, so that unequal ones would be exchanged.

`group` and `offset_group` are passed on; bias and mask may be left out, but are never here. Every
deformable convolution of the models here fits.

TensorRT-RTX has the same parser without the plugin library: version 1.7 refuses the node.
"""


KERNEL_SINCE = (1, 25)
"""First ONNX Runtime whose CPU provider has a kernel of DeformConv; it needs Python 3.11."""


def deform_conv_of(target: str, release: str | None = None) -> tuple[DeformKind, str]:
    """How a target convolves deformably, and why.

    Args:
        target: whose operators; or `EMULATED`, which runs in ONNX Runtime.
        release: of ONNX Runtime, such as `1.23.2`; by default the installed one.
    """
    if target not in ("onnxruntime", EMULATED):
        return DEFORM_CONV[target]
    if release is None:
        release = next(iter(owners("onnxruntime").values()), "")
    numbers = tuple(int(each) for each in re.findall(r"\d+", release)[:2])
    if not numbers or numbers >= KERNEL_SINCE:  # unknown where it is the system's own
        return DEFORM_CONV["onnxruntime"]
    return (
        "gather",
        f"ONNX Runtime {release} has no DeformConv on a CPU; the quickest decomposition there",
    )


def lower_for(
    target: str,
    model: onnx.ModelProto,
    kinds: Mapping[str, Kind],
    *,
    before: Sequence[Pass] = (),
    after: Sequence[Pass] = (),
) -> tuple[onnx.ModelProto, list[PassRecord]]:
    """A canonical graph in the operators of a target.

    Args:
        target: whose operators; or `EMULATED`.
        model: canonical, in any precision.
        kinds: by warp, its lowering.
        before: passes over the canonical graph that go first.
        after: passes over the lowered one.
    """
    warps = adaptive_passes(target) if adapts(model) else []
    passes = target_passes(target, kinds, deforms=deforms(model), pairs=has_pairs(model))
    return run_passes(model, [*before, *warps, *passes, *after])


def adaptive_passes(target: str) -> list[Pass]:
    """Passes over the calls of computed warps: plugins for TensorRT, operators for the others."""
    if target == "tensorrt":
        return [fuse_level_pairs(), lower_without_plugin(), drop_bodies()]
    return [lower_adaptive()]


def target_passes(
    target: str, choices: Mapping[str, Kind], *, deforms: bool = False, pairs: bool = False
) -> list[Pass]:
    """Passes from the canonical graph to the target's, in order.

    Args:
        target: whose operators; or `EMULATED`.
        choices: by warp, its lowering.
        deforms: the graph has deformable convolutions, see `lower_deform_conv.deforms`.
        pairs: it is quantised.
    """
    passes = [lower_resample(choices)]
    if deforms:
        passes.append(lower_deform_conv(deform_conv_of(target)[0]))
    passes.append(fold_constants())
    if pairs and target == "onnxruntime":
        passes.append(widen_half())
    if target == EMULATED:
        passes.append(emulate_half())
    return passes

"""Choose and run the passes that convert a canonical graph to a target's."""

from collections.abc import Sequence

import onnx

from lzu_export.graph.dialect import Dialect
from lzu_export.graph.emulate.half import emulate_half
from lzu_export.graph.lowering.adaptive import (
    adapts,
    drop_bodies,
    lower_adaptive,
    lower_without_plugin,
)
from lzu_export.graph.lowering.deform_conv import deforms, lower_deform_conv
from lzu_export.graph.lowering.fuse_warps import fuse_level_pairs
from lzu_export.graph.lowering.resample import LoweringMap, lower_resample
from lzu_export.graph.passes import Pass, PassRecord, fold_constants, run_passes
from lzu_export.graph.widen import has_pairs, widen_half


def lower_for(
    dialect: Dialect,
    model: onnx.ModelProto,
    lowerings: LoweringMap,
    *,
    before: Sequence[Pass] = (),
    after: Sequence[Pass] = (),
) -> tuple[onnx.ModelProto, list[PassRecord]]:
    """Convert a canonical graph to the operators of a target, and return it with the pass records.

    Args:
        dialect: the ONNX that the target reads.
        model: canonical graph in any precision.
        lowerings: lowering of each warp.
        before: passes over the canonical graph, which run first.
        after: passes over the lowered graph.
    """
    warps = adaptive_passes(dialect) if adapts(model) else []
    passes = target_passes(dialect, lowerings, deforms=deforms(model), pairs=has_pairs(model))
    return run_passes(model, [*before, *warps, *passes, *after])


def adaptive_passes(dialect: Dialect) -> list[Pass]:
    """Return the passes for calls of computed warps: to plugins where there are some, else to
    operators.
    """
    if dialect.plugins:
        return [fuse_level_pairs(), lower_without_plugin(), drop_bodies()]
    return [lower_adaptive()]


def target_passes(
    dialect: Dialect, choices: LoweringMap, *, deforms: bool = False, pairs: bool = False
) -> list[Pass]:
    """Return the passes from the canonical graph to the target's, in order.

    Args:
        dialect: the ONNX that the target reads.
        choices: lowering of each warp.
        deforms: whether the graph has deformable convolutions, see `deform_conv.deforms`.
        pairs: whether the graph is quantised.
    """
    passes = [lower_resample(choices, dialect.blocks)]
    if deforms:
        passes.append(lower_deform_conv(dialect.deform_conv()[0]))
    passes.append(fold_constants())
    if pairs and dialect.float32_pairs:
        passes.append(widen_half())
    if dialect.rounds_half:
        passes.append(emulate_half())
    return [*passes, *dialect.finish()]

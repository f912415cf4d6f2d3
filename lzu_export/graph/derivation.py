"""Which passes make a target's graph of the canonical one."""

from collections.abc import Mapping, Sequence

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
from lzu_export.graph.lowering.resample import Kind, lower_resample
from lzu_export.graph.passes import Pass, PassRecord, fold_constants, run_passes
from lzu_export.graph.widen import has_pairs, widen_half


def lower_for(
    dialect: Dialect,
    model: onnx.ModelProto,
    kinds: Mapping[str, Kind],
    *,
    before: Sequence[Pass] = (),
    after: Sequence[Pass] = (),
) -> tuple[onnx.ModelProto, list[PassRecord]]:
    """A canonical graph in the operators of a target.

    Args:
        dialect: what the target takes.
        model: canonical, in any precision.
        kinds: by warp, its lowering.
        before: passes over the canonical graph that go first.
        after: passes over the lowered one.
    """
    warps = adaptive_passes(dialect) if adapts(model) else []
    passes = target_passes(dialect, kinds, deforms=deforms(model), pairs=has_pairs(model))
    return run_passes(model, [*before, *warps, *passes, *after])


def adaptive_passes(dialect: Dialect) -> list[Pass]:
    """Passes over the calls of computed warps: plugins where there are some, else operators."""
    if dialect.plugins:
        return [fuse_level_pairs(), lower_without_plugin(), drop_bodies()]
    return [lower_adaptive()]


def target_passes(
    dialect: Dialect, choices: Mapping[str, Kind], *, deforms: bool = False, pairs: bool = False
) -> list[Pass]:
    """Passes from the canonical graph to the target's, in order.

    Args:
        dialect: what the target takes.
        choices: by warp, its lowering.
        deforms: the graph has deformable convolutions, see `lower_deform_conv.deforms`.
        pairs: it is quantised.
    """
    passes = [lower_resample(choices)]
    if deforms:
        passes.append(lower_deform_conv(dialect.deform_conv()[0]))
    passes.append(fold_constants())
    if pairs and dialect.float32_pairs:
        passes.append(widen_half())
    if dialect.rounds_half:
        passes.append(emulate_half())
    return [*passes, *dialect.finish()]

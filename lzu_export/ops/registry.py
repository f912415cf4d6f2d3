"""Registry of the operators of the `lzu` domain. Imports no torch."""

from collections.abc import Mapping

from lzu_export.ops import (
    box_knots,
    deform_conv,
    grid_resample,
    invert_warp,
    separable_resample,
    separable_unzoom,
    separable_zoom,
)
from lzu_export.ops.base import Operator
from lzu_export.ops.contract import DOMAIN

OPERATORS: Mapping[str, Operator] = {
    each.name: each
    for each in (
        separable_resample.OPERATOR,
        grid_resample.OPERATOR,
        deform_conv.OPERATOR,
        box_knots.OPERATOR,
        separable_zoom.OPERATOR,
        separable_unzoom.OPERATOR,
        invert_warp.OPERATOR,
    )
}
"""All operators by ONNX name."""

COMPUTED_WARPS = frozenset(name for name, each in OPERATORS.items() if each.computed_warp)
"""Names of the operators of warps that are computed in the graph."""

FIXED_WARPS = frozenset({separable_resample.NAME, grid_resample.NAME})
"""Names of the operators that sample one map at positions given as inputs."""


def operator_of(domain: str | None, name: str) -> Operator | None:
    """Return the operator that a node calls, or None for a node of another domain."""
    return OPERATORS.get(name) if domain == DOMAIN else None

"""Every operator has lowerings, and a lowering belongs to an operator."""

import onnx_graphsurgeon as gs
import pytest

from lzu_export.errors import LzuError
from lzu_export.graph.lowering import adaptive, deform_conv, grid, resample
from lzu_export.graph.lowering.registry import LOWERINGS, lowerings_of, register
from lzu_export.ops.registry import OPERATORS

MODULES = (adaptive, deform_conv, grid, resample)
"""Those that register lowerings when they are imported."""


def test_every_operator_has_lowerings() -> None:
    assert set(LOWERINGS) == set(OPERATORS)
    assert all(each.names for each in LOWERINGS.values())
    assert LOWERINGS["GridResample"].names == grid.KINDS
    assert len(MODULES) == len({each.lower.__module__ for each in LOWERINGS.values()})


def test_what_is_no_operator_has_none() -> None:
    with pytest.raises(LzuError, match="there is no operator lzu::Nothing to lower"):
        register("Nothing", ("matmul",), lambda *_: None)
    with pytest.raises(LzuError, match="the node conv calls Conv, which has no lowerings"):
        lowerings_of(gs.Node("Conv", "conv"))


@pytest.mark.parametrize(("groups", "gathers"), [(1, True), (2, False)])
def test_a_deformable_convolution_of_groups_cannot_be_gathered(groups: int, gathers: bool) -> None:
    node = gs.Node("DeformConv", "deform", {"group": groups}, domain="lzu")
    assert ("gather" in lowerings_of(node).possible(node)) == gathers

"""The ONNX that a target's parser reads. Imports neither ONNX nor GraphSurgeon, for devices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lzu_export.graph.lowering.deform_conv import Kind as DeformKind
    from lzu_export.graph.lowering.resample import Kind
    from lzu_export.graph.passes import Pass

NOT_STATIC = frozenset({"NonZero", "Loop", "If", "Scan", "Unique", "Compress"})
"""Operators whose results have no static shape; no target takes them."""
PRODUCTS: tuple["Kind", str] = (
    "matmul",
    "default: two dense products, exact and without a grid to read; not measured here",
)
"""Default lowering of unzooms, and the reason."""

Blocks = tuple[int, int]
"""Rows and columns of the output in a block of a banded product: smaller blocks skip more zeros,
larger ones call fewer kernels."""
DEFAULT_BLOCKS: Blocks = (64, 64)
"""Blocks for targets on which the call of a kernel costs microseconds."""


@dataclass(frozen=True)
class Dialect:
    """The ONNX that a target reads, and how a canonical graph is converted to it.

    Attributes:
        name: name of the target, for messages.
        deform_conv: returns the form of deformable convolutions, and the reason for it.
        lowerings: lowering and reason that `auto` stands for where warps are not timed, by place
            (`zoom`, `unzoom`).
        forbidden: operators that are refused.
        plugins: whether calls of the `lzu` operators stay in the graph, computed by plugins.
        float64: whether constants, inputs and outputs may be float64.
        max_topk: largest number of candidates of one TopK; None without a limit.
        float32_pairs: whether QuantizeLinear and DequantizeLinear are float32 on their wide side,
            and with them the rest of a quantised graph.
        rounds_half: whether half-precision tensors become float32, rounded as on a device.
        blocks: rows and columns in a block of a banded product.
        finish: returns the passes that follow those of all targets.
    """

    name: str
    deform_conv: Callable[[], tuple["DeformKind", str]]
    lowerings: Mapping[str, tuple["Kind", str]]
    forbidden: frozenset[str] = NOT_STATIC
    plugins: bool = False
    float64: bool = False
    max_topk: int | None = None
    float32_pairs: bool = False
    rounds_half: bool = False
    blocks: Blocks = DEFAULT_BLOCKS
    finish: Callable[[], Sequence["Pass"]] = tuple

"""A helper of the lowerings that adds nodes to a graph."""

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray


def is_half(dtype: Any) -> bool:
    """Return whether a tensor's type is float16 or bfloat16; False for None (unknown)."""
    return dtype is not None and np.dtype(dtype).name in ("float16", "bfloat16")


def onnx_type(dtype: Any) -> int:
    """Return ONNX's number of a NumPy type."""
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


class Builder:
    """Adds nodes to a graph under names that start with the replaced node's output."""

    def __init__(self, graph: gs.Graph, prefix: str) -> None:
        """Add to `graph`; new tensors and nodes are named `prefix`/kind_number."""
        self.graph, self.prefix, self.count = graph, prefix, 0

    def name(self, kind: str) -> str:
        """Return a new name."""
        self.count += 1
        return f"{self.prefix}/{kind}_{self.count}"

    def constant(self, values: NDArray[Any]) -> gs.Constant:
        """Return a new constant tensor."""
        return gs.Constant(self.name("constant"), np.asarray(values, order="C"))

    def into(self, output: gs.Variable, op: str, *inputs: Any, **attributes: Any) -> None:
        """Add a node that makes `output`."""
        node = gs.Node(op, self.name(op), attributes, list(inputs), [output])
        self.graph.nodes.append(node)

    def node(self, op: str, *inputs: Any, dtype: Any = np.float32, **attributes: Any) -> Any:
        """Add a node and return the new tensor it makes; arrays as inputs become constants."""
        output = gs.Variable(self.name(op.lower()), dtype=dtype)
        tensors = [self.constant(each) if isinstance(each, np.ndarray) else each for each in inputs]
        self.into(output, op, *tensors, **attributes)
        return output

    def cast(self, value: gs.Variable, dtype: Any) -> gs.Variable:
        """Return the tensor cast to a type; itself if it has that type or its type is unknown."""
        if value.dtype is None or value.dtype == dtype:
            return value
        return self.node("Cast", value, dtype=dtype, to=onnx_type(dtype))

    def sampling(self) -> dict[str, Any]:
        """Return the attributes of a bilinear GridSample with zeros outside, for the graph's opset.

        TensorRT reads the spelling of opsets 16 to 19 only: see `lint`.
        """
        mode = "bilinear" if self.graph.opset < 20 else "linear"
        return {"mode": mode, "padding_mode": "zeros", "align_corners": 1}

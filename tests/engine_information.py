"""Read what the engine inspector says of an engine."""

import json
import re
from collections.abc import Sequence
from typing import Any


def not_in_int8(information: str, names: Sequence[str]) -> list[str]:
    """Which of these convolutions an engine does not read INT8 data for.

    Args:
        information: of the engine inspector, as JSON, of an engine that was built `detailed`.
        names: of the ONNX nodes.

    Raises:
        ValueError: the information names no layers.
    """
    layers = [each for each in json.loads(information).get("Layers", []) if isinstance(each, dict)]
    if not layers:
        raise ValueError("the engine names no layers: build it with detailed information")

    def reads_int8(layer: dict[str, Any]) -> bool:
        inputs = layer.get("Inputs") or [{}]
        return "int8" in str(inputs[0].get("Format/Datatype", "")).lower()

    # A layer that was fused is named after all its parts.
    parts = [(set(re.split(r"[\s+{},:()\[\]]+", str(e.get("Name", "")))), e) for e in layers]
    return [name for name in names if not any(name in p and reads_int8(e) for p, e in parts)]

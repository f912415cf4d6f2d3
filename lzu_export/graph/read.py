"""Read a bundle's ONNX files as graphs."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from lzu_export.errors import LzuError
from lzu_export.support.files import check_graph

REMEDY = "export or copy the bundle again"


def load_graph(path: Path, *, remedy: str = REMEDY) -> onnx.ModelProto:
    """Read an ONNX file's model, and check that it is valid and needs no other file.

    Raises:
        LzuError: the file cannot be read, is not a valid ONNX model, or needs another file.
    """
    check_graph(path, remedy=remedy)
    try:
        content = path.read_bytes()
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(content)  # given a model, it would serialise it again
    except (DecodeError, OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LzuError(f"{path} is not a valid ONNX model ({lines[0][:200]}); {remedy}") from error
    return model

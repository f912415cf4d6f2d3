"""Trace a PyTorch model to the canonical ONNX graph, with every probe point a named output."""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import torch
from torch import nn

from lzu_export.errors import LzuError
from lzu_export.ops.bodies import add_bodies
from lzu_export.ops.contract import DOMAIN, VERSION
from lzu_export.ops.torch_ops import translation_table

OPSET = 18
"""Opset of traced graphs, which torch's exporter emits natively and TensorRT 10.3 reads. Every
TensorRT understands its spelling of GridSample's mode, which changed at opset 20."""


def trace(
    module: nn.Module,
    example: torch.Tensor | Sequence[torch.Tensor],
    input_name: str | Sequence[str],
    output_names: Sequence[str],
) -> onnx.ModelProto:
    """Trace `module` at static shapes into an ONNX model with `lzu` calls and their bodies.

    A module of several inputs needs as many examples and names.

    Raises:
        LzuError: the exporter cannot express an operation, which the message names.
    """
    examples = (example,) if isinstance(example, torch.Tensor) else tuple(example)
    names = [input_name] if isinstance(input_name, str) else list(input_name)
    # The exporter reports progress through loggers and warnings of its own; the lint pass checks
    # the graph afterwards.
    with (
        _quiet("torch.onnx", "torch.fx", "torch._export", "onnxscript", "onnx_ir"),
        warnings.catch_warnings(),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module.eval(),
                examples,
                dynamo=True,
                opset_version=OPSET,
                input_names=names,
                output_names=list(output_names),
                custom_translation_table=translation_table(),
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise LzuError(f"the model could not be traced to ONNX: {_reason(error)}") from error
    if program is None:
        raise LzuError("the model could not be traced to ONNX: the exporter returned nothing")
    model: onnx.ModelProto = program.model_proto
    add_bodies(model, OPSET)
    if not any(opset.domain == DOMAIN for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, VERSION))
    model.ir_version = min(model.ir_version, 10)
    return model


def _reason(error: BaseException) -> str:
    """Return why a model could not be traced, with the remedy where it is known."""
    messages = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        messages.append(str(error))
    for message in reversed(messages):
        lacking = re.search(r"target=torch\.ops\.([\w.]+)", message)
        if lacking:
            name = lacking[1].removesuffix(".default")
            return (
                f"{name} cannot be expressed in ONNX opset {OPSET}; compute it by other operators"
            )
        if "data-dependent" in message:
            return (
                "a branch, a loop or a shape depends on values that the network computes; write it "
                "without, for instance by torch.where"
            )
    lines = re.sub(r"\x1b\[[\d;]*m", "", messages[-1]).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Limit loggers to errors while the block runs."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

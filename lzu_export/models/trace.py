"""Trace a PyTorch model to the canonical ONNX graph, with every probe point a named output."""

import logging
import warnings
from collections.abc import Sequence

import onnx
import torch
from torch import nn

from lzu_export.errors import LzuError
from lzu_export.ops import adaptive, deform_conv, grid_resample, separable_resample

OPSET = 18
"""What torch's exporter emits natively; TensorRT 10.3 reads it, and its GridSample spelling is
still the one that every TensorRT understands (it changed at opset 20)."""


def trace(
    module: nn.Module,
    example: torch.Tensor | Sequence[torch.Tensor],
    input_name: str | Sequence[str],
    output_names: Sequence[str],
) -> onnx.ModelProto:
    """Trace `module` at static shapes into an ONNX model with `lzu` calls and their bodies.

    A module of several inputs takes as many examples and names.

    Raises:
        LzuError: the exporter met something it cannot express, naming it.
    """
    examples = (example,) if isinstance(example, torch.Tensor) else tuple(example)
    names = [input_name] if isinstance(input_name, str) else list(input_name)
    # The exporter reports progress through loggers and warnings of its own; what matters of it
    # is checked by the lint pass afterwards.
    for logger in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module.eval(),
                examples,
                dynamo=True,
                opset_version=OPSET,
                input_names=names,
                output_names=list(output_names),
                custom_translation_table={
                    **separable_resample.translation_table(),
                    **grid_resample.translation_table(),
                    **deform_conv.translation_table(),
                    **adaptive.translation_table(),
                },
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            first = str(error).strip().splitlines()[0]
            raise LzuError(f"the model could not be traced to ONNX: {first}") from error
    if program is None:
        raise LzuError("the model could not be traced to ONNX: the exporter returned nothing")
    model: onnx.ModelProto = program.model_proto
    model.functions.append(separable_resample.function_body(OPSET))
    for operator in (grid_resample, deform_conv):
        if any((node.domain, node.op_type) == ("lzu", operator.NAME) for node in model.graph.node):
            model.functions.append(operator.function_body(OPSET))
    adaptive.add_bodies(model, OPSET)
    if not any(opset.domain == separable_resample.DOMAIN for opset in model.opset_import):
        model.opset_import.append(
            onnx.helper.make_opsetid(separable_resample.DOMAIN, separable_resample.VERSION)
        )
    model.ir_version = min(model.ir_version, 10)
    return model

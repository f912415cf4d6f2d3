"""Build a plan from an ONNX file, for both TensorRT and TensorRT-RTX.

The module, `tensorrt` or `tensorrt_rtx`, is passed in.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.graph.read import load_graph
from lzu_export.support.session import TensorSpec
from lzu_export.targets.tensorrt.log import product, reason
from lzu_export.targets.tensorrt.parsed_network import check_network, parser_errors


@dataclass(frozen=True)
class BuiltEngine:
    """Result of a build, besides the file."""

    version: str
    """Release of the library that built the engine."""
    compute_capabilities: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sampling_layers: int
    notes: tuple[str, ...] = ()
    """Sentences on known faults of this version that may concern the engine."""


def bind_polygraphy(trt: Any) -> None:
    """Make Polygraphy use this module.

    Each of Polygraphy's modules decides on import which library its `trt` is. It is set anew here,
    so that one process can build for both.
    """
    from polygraphy import config

    config.USE_TENSORRT_RTX = trt.__name__ == "tensorrt_rtx"
    import polygraphy.backend.tensorrt_rtx
    import polygraphy.backend.trt  # noqa: F401

    users = ("polygraphy.backend.t", "polygraphy.datatype.", "polygraphy.util.")
    for name, module in list(sys.modules.items()):
        if name.startswith(users) and "trt" in vars(module):
            vars(module)["trt"] = trt


@contextmanager
def quiet_polygraphy() -> Iterator[None]:
    """Silence Polygraphy's own log while the block runs; TensorRT's goes to this package's."""
    from polygraphy.logger import G_LOGGER

    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        yield


def build_plan(
    trt: Any,
    logger: Any,
    model: Path,
    engine: Path,
    configure: Callable[[Any, Any], Any],
    *,
    compute_capabilities: tuple[str, ...],
    timing_cache: Path | None = None,
    native_norms: bool = False,
) -> BuiltEngine:
    """Parse, check and build a strongly typed plan, so that the graph alone sets the precision.

    Args:
        trt: module `tensorrt` or `tensorrt_rtx`.
        logger: result of `log.logger_of`.
        model: linted ONNX file.
        engine: file to write.
        configure: function from builder and network to the builder's configuration.
        compute_capabilities: compute capabilities to record in the result.
        timing_cache: file to write the tactics' timings to.
        native_norms: let TensorRT's own layer normalise instances, as portable plans need.

    Raises:
        LzuError: the file is no model, a node is refused, the graph was misread, or the build
            fails.
    """
    bind_polygraphy(trt)
    from polygraphy.backend.trt import engine_bytes_from_network
    from polygraphy.exception import PolygraphyException

    name = product(trt)
    parsed_from = load_graph(model)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # raised by the bindings for a null pointer
        raise LzuError(f"{name} cannot build on this machine: {reason(logger)}") from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if native_norms:
        parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)
    if not parser.parse(model.read_bytes()):
        raise LzuError(f"{name} cannot read {model.name}: {parser_errors(parser)}")
    inputs, outputs, sampling = check_network(trt, network, parsed_from)
    logger.errors.clear()  # the parser reports errors that it then works around
    try:
        with quiet_polygraphy():
            serialised = engine_bytes_from_network(
                (builder, network, parser),
                config=configure,
                save_timing_cache=str(timing_cache) if timing_cache else None,
            )
    except PolygraphyException as error:
        raise LzuError(
            f"{name} could not build an engine from {model.name}: {reason(logger)}"
        ) from error
    engine.write_bytes(serialised)
    return BuiltEngine(str(trt.__version__), compute_capabilities, inputs, outputs, sampling)

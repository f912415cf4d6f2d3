"""Build a plan from an ONNX file, for both TensorRT and TensorRT-RTX.

The module, `tensorrt` or `tensorrt_rtx`, is passed in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lzu_export.errors import LzuError
from lzu_export.graph.read import load_graph
from lzu_export.support.files import replacing
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


def build_plan(
    trt: Any,
    logger: Any,
    model: Path,
    engine: Path,
    configure: Callable[[Any], object],
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
        configure: sets the builder's configuration.
        compute_capabilities: for the result.
        timing_cache: file of the tactics' timings, which is read and extended.
        native_norms: let TensorRT's own layer normalise instances, as portable plans need it.

    Raises:
        LzuError: the file is no model, a node is refused, the graph was misread, or the build
            fails.
    """
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
    logger.errors.clear()  # the parser reports what it then works around
    config = builder.create_builder_config()
    configure(config)
    if timing_cache is not None:
        _set_timings(config, timing_cache)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise LzuError(f"{name} could not build an engine from {model.name}: {reason(logger)}")
    if timing_cache is not None:
        _store_timings(config, timing_cache)
    engine.write_bytes(serialised)
    return BuiltEngine(str(trt.__version__), compute_capabilities, inputs, outputs, sampling)


def _set_timings(config: Any, file: Path) -> None:
    """Begin with the timings of a file; with none where TensorRT refuses the file."""
    known = file.read_bytes() if file.is_file() else b""
    for content in dict.fromkeys((known, b"")):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return


def _store_timings(config: Any, file: Path) -> None:
    """Write all timings, those that another build wrote in the meantime included."""
    cache = config.get_timing_cache()
    if file.is_file():
        others = config.create_timing_cache(file.read_bytes())
        if others is not None:
            cache.combine(others, ignore_mismatch=True)
    with replacing(file) as path, cache.serialize() as content:
        path.write_bytes(content)

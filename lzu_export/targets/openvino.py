"""Target OpenVINO on the CPU: its dialect, its own passes and its session."""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.graph.dialect import PRODUCTS, Dialect
from lzu_export.manifest.schema import SHIPPED_NOTE
from lzu_export.support.checkout import option
from lzu_export.support.session import CLOSED, Arrays, Session, TensorSpec, check_inputs
from lzu_export.targets.base import Target

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from lzu_export.graph.lowering.deform_conv import Kind as DeformKind
    from lzu_export.graph.passes import Pass

NAME = "openvino"


def deform_conv() -> tuple["DeformKind", str]:
    """Return the lowering of deformable convolutions for OpenVINO, and the reason."""
    return (
        "gather",
        "default: the quickest decomposition of ONNX Runtime on a CPU; not measured in OpenVINO",
    )


def passes() -> list["Pass"]:
    """Return the passes that OpenVINO 2026.4 needs on a quantised graph; they keep other graphs."""
    from lzu_export.graph.passes import Pass

    return [
        Pass(
            "convolve-normalisation",
            "OpenVINO would quantise it channel by channel inside the zoom's products, along the "
            "wrong axis",
            _convolve_normalisation,
        ),
        Pass(
            "seven-bit-weights",
            "processors without VNNI add pairs of INT8 products in 16 bits, which overflow",
            _halve_weights,
        ),
    ]


def _convolve_normalisation(graph: "gs.Graph") -> "gs.Graph":
    """Write a scale and a shift by channel before a QuantizeLinear as a depthwise convolution.

    OpenVINO turns the quantisation into a FakeQuantize and merges `x * scale + shift` into it, so
    that its ranges differ by channel. It then moves the FakeQuantize before the Concat of the
    zoom's products, and fuses it into each product as an operation by output column instead of by
    channel. The network then saw another image: detections of the demonstration model scored 0.80
    instead of 0.95. A convolution is neither merged nor moved, and computes the same.
    """
    import onnx_graphsurgeon as gs

    for quantise in [node for node in graph.nodes if node.op == "QuantizeLinear"]:
        add = _maker(quantise.inputs[0], "Add")
        multiply = _maker(add.inputs[0], "Mul") if add is not None else None
        if add is None or multiply is None or len(multiply.outputs[0].outputs) != 1:
            continue
        shape = multiply.inputs[0].shape
        scale, shift = (_by_channel(each.inputs[1], shape) for each in (multiply, add))
        if scale is None or shift is None:
            continue
        name, channels = add.outputs[0].name, len(scale)
        weights = gs.Constant(f"{name}/weights", scale.reshape(channels, 1, 1, 1))
        biases = gs.Constant(f"{name}/biases", shift)
        convolution = gs.Node(
            "Conv",
            f"{name}/normalise",
            {"group": channels, "kernel_shape": [1, 1]},
            [multiply.inputs[0], weights, biases],
            list(add.outputs),
        )
        add.outputs.clear()
        graph.nodes.append(convolution)
    return graph.cleanup().toposort()


def _maker(tensor: Any, op: str) -> Any:
    """Return the node that makes a tensor if it has this operator, else None."""
    made = tensor.inputs[0] if tensor.inputs else None
    return made if made is not None and made.op == op else None


def _by_channel(tensor: Any, shape: Sequence[int] | None) -> NDArray[np.float32] | None:
    """Return a constant that differs only by channel as a vector; None for any other tensor."""
    values = getattr(tensor, "values", None)
    if values is None or shape is None or values.shape != (1, shape[1], 1, 1):
        return None
    return np.ascontiguousarray(values.reshape(-1), dtype=np.float32)


def _halve_weights(graph: "gs.Graph") -> "gs.Graph":
    """Store INT8 weights in 7 bits: half the number, twice the scale.

    OpenVINO's INT8 convolutions read activations as unsigned bytes. Without VNNI the processor adds
    two products of 255 * 127 in 16 bits and saturates; with weights up to 64 they always fit. On a
    processor with AVX2 only, this brings the demonstration model's levels 2 dB closer to PyTorch.
    """
    for node in graph.nodes:
        weights = node.inputs[0] if node.op == "DequantizeLinear" else None
        values = getattr(weights, "values", None)
        if values is None or values.dtype != np.int8:
            continue
        node.inputs[0].values = np.rint(values / 2).astype(np.int8)
        scale = node.inputs[1].copy()
        scale.name = f"{scale.name}/doubled"
        scale.values = scale.values * 2
        node.inputs[1] = scale
    return graph.cleanup().toposort()


class OpenVino(Target):
    """Target whose engine is the executable graph, which OpenVINO compiles when it is opened."""

    name = NAME
    title = "OpenVINO"
    extra = NAME
    dialect = Dialect(
        name=NAME,
        deform_conv=deform_conv,
        lowerings={
            "zoom": ("banded", "default: products, exact at any size; not measured here"),
            "unzoom": PRODUCTS,
        },
        float64=True,
        float32_pairs=True,
        finish=passes,
    )
    # OpenVINO would compute FP16 in float32, which ONNX Runtime already shows.
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")
    build_needs = ("torch", NAME)
    run_needs = (NAME, "opencv")

    def version(self) -> str | None:
        """Return the installed release, or None."""
        try:
            return version(NAME)
        except PackageNotFoundError:
            return None

    def missing(self) -> str:
        """Return the sentence for a machine that lacks the library, with the remedy."""
        return (
            f"{self.title} is not installed; pip install 'lzu-export[{self.extra}]', or leave "
            f"{self.name} out of {option('target')}"
        )

    def note(self, precision: str) -> str:
        """Return the note on what a comparison of its graph with PyTorch covers."""
        if self.version() is not None:
            return SHIPPED_NOTE
        return "its graph was run in ONNX Runtime; OpenVINO is not installed"

    def table_notes(self, precisions: Collection[str]) -> list[str]:
        """Return the lines below the table of an export."""
        return [f"{self.name}: {SHIPPED_NOTE}"]

    def session(
        self,
        model: Path | bytes,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        device: int | None = None,
        spin: bool = True,
    ) -> Session:
        """Open an executable graph on the CPU; only `threads` applies."""
        return OpenVinoSession(model, threads=threads)


class OpenVinoSession(Session):
    """Session of a compiled model on the CPU, in float32 except for quantised parts."""

    provider = "OpenVINO CPU"

    def __init__(self, model: Path | bytes, *, threads: int | None = None) -> None:
        """Read and compile a model.

        Args:
            model: ONNX file, or the bytes of one.
            threads: number of threads on the CPU; all processors by default.

        Raises:
            LzuError: OpenVINO is missing or refuses the model.
        """
        core = _core()
        # Without the hint, processors with BF16 or FP16 round the graph's float32 values.
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        name = "the model" if isinstance(model, bytes) else str(model)
        try:
            read = core.read_model(model if isinstance(model, bytes) else str(model))
            self._names = [_name_of(each) for each in read.outputs]
            self._model: Any = core.compile_model(read, "CPU", options)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = lines[-1] if lines else type(error).__name__
            raise LzuError(f"OpenVINO cannot open {name}: {reason}") from error
        self.inputs = tuple(_spec(each.get_any_name(), each) for each in self._model.inputs)
        self.outputs = tuple(map(_spec, self._names, self._model.outputs))
        self._request: Any = self._model.create_infer_request()

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once; see `support.session.Session`."""
        if self._request is None:
            raise LzuError(CLOSED)
        check_inputs(self.inputs, inputs)
        results = self._request.infer(dict(inputs))
        values = (results[place] for place in range(len(self._names)))
        return {name: np.array(value) for name, value in zip(self._names, values, strict=True)}

    def close(self) -> None:
        """Drop OpenVINO's objects, which frees them; a second call does nothing."""
        self._request = self._model = None


@cache
def _core() -> Any:
    try:
        with _without_telemetry():
            import openvino
    except ImportError as error:
        raise LzuError(TARGET.missing()) from error
    return openvino.Core()


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Keep the import of OpenVINO from sending telemetry, which it does unless CI is set."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def _name_of(output: Any) -> str:
    """Return the graph's name of an output, since a tensor may have several names."""
    return str(output.get_node().get_friendly_name()).removesuffix("/sink_port_0")


def _spec(name: str, port: Any) -> TensorSpec:
    if not port.get_partial_shape().is_static:
        raise LzuError(f"tensor {name} has a dynamic shape; export it static")
    dtype = np.dtype(port.get_element_type().to_dtype()).name
    return TensorSpec(name, dtype, tuple(port.get_shape()))


TARGET = OpenVino()

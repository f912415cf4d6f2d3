"""Time the forms of deformable convolutions for each target.

`python -m lzu_benchmarks deform_conv`.

The layers are FCOS3D-R50's at nuScenes' sizes with untrained weights, run in ONNX Runtime on this
machine's CPU. The forms are timed interleaved, so that other programs slow all alike. TensorRT-RTX
has no DeformConv and needs one of the decompositions; the last layer tests whether they build.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from rich.table import Table

from lzu_benchmarks.commands import add_json, finish_study, study_parser
from lzu_benchmarks.harness.memory import resident
from lzu_benchmarks.harness.workers import workers
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.graph.lowering.deform_conv import KINDS, OP, Kind, lower_node
from lzu_export.support.console import Terminal
from lzu_export.support.hardware import identity
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.targets.onnxruntime_timing import time_models
from lzu_export.targets.tensorrt import rtx as tensorrt_rtx
from lzu_export.warp.geometry import padded_size

NEEDS = "extras runtime, rtx"

SOURCE = (900, 1600)
DECOMPOSITIONS: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "deformconv")


@dataclass(frozen=True)
class Layer:
    """A 3 x 3 deformable convolution of FCOS3D-R50 with equally many input and output channels."""

    name: str
    channels: int
    stride: int
    """Pixels of the network input per cell."""
    count: int
    """Number of such layers in the network."""

    def size(self, scale: float) -> tuple[int, int]:
        """Return (rows, columns) of the map at a scale of nuScenes' frames."""
        height, width = padded_size((int(SOURCE[0] * scale), int(SOURCE[1] * scale)))
        return -(-height // self.stride), -(-width // self.stride)


LAYERS = (
    Layer("layer3", 256, 16, 6),
    Layer("layer4", 512, 32, 3),
    Layer("heads at P3", 256, 8, 2),
)


@dataclass(frozen=True)
class Measurement:
    """Time and memory of one form of one layer."""

    scale: float
    layer: str
    shape: tuple[int, int, int]
    kind: Kind
    milliseconds: float
    peak_bytes: int
    """Memory in bytes that a process needs to open and run the model, beyond its start."""
    count: int


def layer_model(layer: Layer, scale: float, kind: Kind) -> onnx.ModelProto:
    """Make a model of the layer alone, lowered as `kind`, with inputs `x`, `offset` and `mask`."""
    size, taps = layer.size(scale), 9
    generator = np.random.default_rng(0)
    shape = (layer.channels, layer.channels, 3, 3)
    weight = generator.standard_normal(shape, np.float32) / np.float32(3 * layer.channels**0.5)
    x, offset, mask = (
        gs.Variable(name, np.float32, (1, channels, *size))
        for name, channels in (("x", layer.channels), ("offset", 2 * taps), ("mask", taps))
    )
    y = gs.Variable("y", np.float32, (1, layer.channels, *size))
    constants = (
        gs.Constant("weight", weight),
        gs.Constant("bias", np.zeros(layer.channels, np.float32)),
    )
    attributes = {
        "kernel_shape": [3, 3],
        "strides": [1, 1],
        "pads": [1, 1, 1, 1],
        "dilations": [1, 1],
        "group": 1,
        "offset_group": 1,
    }
    inputs = [x, constants[0], offset, constants[1], mask]
    node = gs.Node(OP, "deform", attributes, inputs, [y], domain="lzu")
    graph = gs.Graph([node], [x, offset, mask], [y], opset=18)
    lower_node(graph, node, kind)
    model = gs.export_onnx(graph.cleanup().toposort())
    model.ir_version = 10
    return model


def measure_layer(layer: Layer, scale: float, rounds: int) -> list[Measurement]:
    """Measure every form of a layer at a scale."""
    models = [layer_model(layer, scale, kind).SerializeToString() for kind in KINDS]
    seconds = time_models(models, rounds=rounds)
    return [
        Measurement(
            scale,
            layer.name,
            (layer.channels, *layer.size(scale)),
            kind,
            1e3 * each,
            peak_memory(model),
            layer.count,
        )
        for kind, model, each in zip(KINDS, models, seconds, strict=True)
    ]


def peak_memory(model: bytes) -> int:
    """Return the bytes that a fresh process needs to open and run a model, beyond its start."""
    with workers(1) as pool:
        return int(pool.apply(_run_once, (model,)))


def _run_once(model: bytes) -> int:
    before = resident("VmRSS")
    session = OnnxRuntimeSession(model)
    session.run({s.name: np.zeros(s.shape, s.dtype) for s in session.inputs})
    return resident("VmHWM") - before


def builds(layer: Layer, scale: float) -> dict[str, str]:
    """Build each decomposition of a layer in TensorRT-RTX; return its version or the error."""
    result: dict[str, str] = {}
    for kind in DECOMPOSITIONS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{kind}.onnx"
            onnx.save(layer_model(layer, scale, kind), path)
            try:
                built = tensorrt_rtx.build(path, path.with_suffix(".engine"))
                result[kind] = f"builds with {built.version}"
            except LzuError as error:
                result[kind] = str(error)
    return result


def summary(measured: Sequence[Measurement]) -> dict[float, dict[str, float]]:
    """Return milliseconds per frame by scale and kind, with each layer as often as it occurs."""
    result: dict[float, dict[str, float]] = {}
    for each in measured:
        totals = result.setdefault(each.scale, dict.fromkeys(KINDS, 0.0))
        totals[each.kind] += each.count * each.milliseconds
    return result


def table(measured: Sequence[Measurement]) -> Table:
    """Return a table with a row per layer and form; each layer's fastest decomposition is bold."""
    result = Table(title="Deformable convolutions of FCOS3D-R50, ONNX Runtime")
    for heading in ("scale", "layer", "channels, rows, columns", "form"):
        result.add_column(heading)
    result.add_column("ms", justify="right")
    result.add_column("peak MB", justify="right")
    for first in range(0, len(measured), len(KINDS)):
        forms = measured[first : first + len(KINDS)]
        best = min(
            (each for each in forms if each.kind in DECOMPOSITIONS), key=lambda e: e.milliseconds
        )
        for each in forms:
            start = each is forms[0]
            result.add_row(
                f"{each.scale:g}x" if start else "",
                f"{each.layer} ({each.count})" if start else "",
                ", ".join(map(str, each.shape)) if start else "",
                each.kind,
                f"{each.milliseconds:.1f}",
                f"{each.peak_bytes / 1e6:.0f}",
                style="bold" if each is best else None,
            )
        result.add_section()
    result.caption = "in brackets: how many the network has; bold: fastest decomposition"
    return result


def measure(scales: Sequence[float], rounds: int, *, build: bool) -> dict[str, Any]:
    """Measure all figures, as plain data."""
    measured = [
        each for scale in scales for layer in LAYERS for each in measure_layer(layer, scale, rounds)
    ]
    return {
        "machine": identity(),
        "rounds": rounds,
        "layers": [asdict(each) for each in measured],
        "per_frame": {f"{scale:g}": each for scale, each in summary(measured).items()},
        "tensorrt_rtx": builds(LAYERS[-1], scales[0]) if build else {},
    }


def show(result: Mapping[str, Any], console: Terminal) -> None:
    """Print the figures."""
    console.print(result["machine"])
    console.print(table([Measurement(**each) for each in result["layers"]]))
    for scale, totals in result["per_frame"].items():
        listed = ", ".join(f"{kind} {ms:.0f} ms" for kind, ms in totals.items())
        console.print(f"{scale}x, all of these a frame: {listed}")
    for kind, text in result["tensorrt_rtx"].items():
        console.print(f"TensorRT-RTX, {kind}: {text}")


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--scale", type=float, nargs="+", default=[0.5])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-build", action="store_true", help="leave TensorRT-RTX out")
    add_json(parser)
    given = parser.parse_args(arguments)
    result = measure(given.scale, given.rounds, build=not given.no_build)
    finish_study(given, "deform_conv", result, show)


if __name__ == "__main__":
    main()

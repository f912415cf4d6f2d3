"""Time what adaptive warps add to the network.

`python -m lzu_benchmarks adaptive_speed BUNDLE` of an adaptive bundle. The inversion is that of a
non-separable warp on one thread, where there is a compiler for the kernels' build for the host.
"""

import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_export.cli import exits
from lzu_export.errors import LzuError
from lzu_export.runtime.predictor import INPUT_NAMES
from lzu_export.targets.onnxruntime import time_models
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.knots import nonseparable_knots
from lzu_export.warp.saliency import Array

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
SOURCE, LATTICE, GRID = (1200, 1920), (31, 51), (75, 120)
"""Of the inversion that is timed: the finest level of Argoverse-HD at 0.5."""


def tables_alone(model: onnx.ModelProto) -> onnx.ModelProto:
    """The part of an adaptive graph that does not see the image: boxes to knots to tables.

    Args:
        model: an executable graph, without calls of `lzu` operators.
    """
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(model))  # outputs need a type
    graph.toposort()
    seeing = {id(each) for each in graph.inputs if each.name == INPUT_NAMES["source"]}
    computed = {id(each) for each in graph.inputs} - seeing
    tables: dict[str, gs.Variable] = {}
    for node in graph.nodes:
        if any(id(each) in seeing for each in node.inputs):
            seeing |= {id(each) for each in node.outputs}
            tables |= {each.name: each for each in node.inputs if id(each) in computed}
        elif any(id(each) in computed for each in node.inputs):
            computed |= {id(each) for each in node.outputs}
    graph.outputs = list(tables.values())
    graph.inputs = [each for each in graph.inputs if id(each) not in seeing]
    return gs.export_onnx(graph.cleanup())


def time_tables(bundle: Path, rounds: int) -> float:
    """Milliseconds of an adaptive bundle's knots, and tables of both warps, in ONNX Runtime."""
    model = tables_alone(onnx.load(bundle / "model.fp32.onnxruntime.onnx"))
    return 1e3 * time_models([model.SerializeToString()], rounds=rounds)[0]


def algorithm_1(knots: Array, size: tuple[int, int]) -> Array:
    """Invert a warp by the paper's Algorithm 1 (LZU, A.2), vectorised over tiles and candidates.

    Every tile is tried on every pixel offset that any tile needs, and valid ones are scattered.

    Args:
        knots: (h, w, 2) source positions in [-1, 1], order x, y.
        size: (H, W) of the grid, whose first and last pixels stand at -1 and 1.

    Returns:
        (H, W, 2) canvas positions in [-1, 1]; pixels without a tile are far outside.
    """
    height, width = size
    pixels = (knots + 1) / 2 * np.array([width - 1, height - 1])
    corners = pixels[:-1, :-1], pixels[:-1, 1:], pixels[1:, :-1], pixels[1:, 1:]
    p00, p01, p10, p11 = (corner.reshape(-1, 2) for corner in corners)
    reference = np.floor(p00)
    offsets = np.stack([p00, p01, p10, p11]) - reference
    low, high = np.floor(offsets.min((0, 1))), np.ceil(offsets.max((0, 1)))
    x, y = (np.arange(low[axis], high[axis] + 1) for axis in range(2))
    candidates = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    point = reference[:, None] + candidates
    b, c, d = p01 - p00, p10 - p00, p00 - p01 - p10 + p11
    m = p00[:, None] - point

    def cross(first: Array, second: Array) -> Array:
        return np.asarray(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])

    c0, c1 = cross(b[:, None], m), cross(d[:, None], m) + cross(b, c)[:, None]
    c2 = cross(d, c)[:, None]
    inverse = np.full((height, width, 2), 2.0 * max(size))
    tile = np.arange(len(p00))
    columns = knots.shape[1] - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(c1 * c1 - 4 * c2 * c0)
        q = -0.5 * (c1 + np.copysign(root, c1))
        for v in (q / c2, c0 / q):
            u = -(m[..., 0] + c[:, None, 0] * v) / (b[:, None, 0] + d[:, None, 0] * v)
            valid = (u >= -1e-8) & (u <= 1 + 1e-8) & (v >= 0) & (v <= 1)
            valid &= (point >= 0).all(-1) & (point < (width, height)).all(-1)
            which, where = np.nonzero(valid)
            at = point[which, where].astype(int)
            inverse[at[:, 1], at[:, 0], 0] = tile[which] % columns + u[which, where]
            inverse[at[:, 1], at[:, 0], 1] = tile[which] // columns + v[which, where]
    return np.asarray(inverse / (columns, knots.shape[0] - 1) * 2 - 1)


class InvertWarp(ctypes.Structure):
    """LzuInvertWarp of `plugins/kernels/lzu_kernels.h`."""

    _fields_ = (
        ("knots", ctypes.c_void_p),
        ("grid", ctypes.c_void_p),
        *(
            (name, ctypes.c_int32)
            for name in ("batch", "lattice_height", "lattice_width", "height", "width")
        ),
        *(
            (name, ctypes.c_float)
            for name in ("scale_y", "offset_y", "scale_x", "offset_x", "outside")
        ),
        ("tactic", ctypes.c_int32),
    )


TACTIC = 2
"""The one that is fastest on a host."""


def host_kernels(build: Path) -> ctypes.CDLL | None:
    """The kernels' build for this processor, made in a folder; None without sources or compiler.

    Raises:
        LzuError: the compiler refuses them.
    """
    if not PLUGINS.is_dir() or shutil.which("make") is None or shutil.which("g++") is None:
        return None
    command = ["make", "-s", "-C", str(PLUGINS), "host", f"BUILD={build.resolve()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LzuError(f"the kernels do not build: {done.stderr.strip().splitlines()[-1]}")
    return ctypes.CDLL(str(build.resolve() / "liblzu_kernels_host.so"))


def time_inversion(kernels: ctypes.CDLL, rounds: int = 8) -> dict[str, float]:
    """Milliseconds of the processor that an inversion takes on one thread, by name.

    In turns, the fastest of each: other programs share caches and the processor's clock.
    """
    rng = np.random.default_rng(8)
    centre = rng.uniform(0, 1, (30, 2)) * (SOURCE[1], SOURCE[0])
    half = rng.exponential(30, (30, 2)) + 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    knots = nonseparable_knots(box_saliency(boxes, SOURCE, LATTICE), 10.0).astype(np.float32)
    wide = knots.astype(np.float64)
    memory, grid = _aligned(knots.shape), _aligned((*GRID, 2))
    memory[...] = knots
    affine = [part for n in GRID for part in (2 / (n - 1), -1.0)]
    places = memory.ctypes.data, grid.ctypes.data
    call = InvertWarp(*places, 1, *LATTICE, *GRID, *affine, 4.0, TACTIC)
    runs: dict[str, tuple[Callable[[], Any], int]] = {
        "Algorithm 1, NumPy": (lambda: algorithm_1(wide, GRID), 2),
        "host kernel": (lambda: kernels.lzu_invert_warp(ctypes.byref(call), None), 20),
    }
    times: dict[str, float] = {}
    for _ in range(rounds):
        for name, (run, repeats) in runs.items():
            for _ in range(repeats):
                start = time.process_time()
                run()
                taken = 1e3 * (time.process_time() - start)
                times[name] = min(times.get(name, taken), taken)
    difference = np.abs(algorithm_1(wide, GRID) - grid).max(axis=-1)
    # The reference loses seams, but is a reference.
    assert (difference < 1e-4).mean() > 0.95
    return times


def _aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros that start at a multiple of 16 bytes, as device buffers do."""
    raw = np.zeros(4 * int(np.prod(shape)) + 16, np.uint8)
    start = -raw.ctypes.data % 16
    return raw[start : len(raw) - 16 + start].view(np.float32).reshape(shape)


def costs(bundle: Path, kernels: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds of what an adaptive warp computes in every frame, and of an inversion.

    Args:
        bundle: an adaptive one.
        kernels: folder for the kernels' build for the host.
        rounds: of the inversion's timing.
    """
    library = host_kernels(kernels)
    return {
        "tables": time_tables(bundle, 3 * rounds),
        "inversion": None if library is None else time_inversion(library),
    }


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--rounds", type=int, default=15)
    add_json(parser)
    given = parser.parse_args(arguments)
    result = costs(given.bundle, given.out / "kernels", given.rounds)
    shown = {"tables in the graph": result["tables"], **(result["inversion"] or {})}
    print_result(given.json, result, *(f"{name}: {ms:.2f} ms" for name, ms in shown.items()))


if __name__ == "__main__":
    main()

"""Time the computations that adaptive warps add to the network.

`python -m lzu_benchmarks adaptive_speed BUNDLE` takes an adaptive bundle. The inversion of a
non-separable warp is timed on one thread, if a compiler can build the kernels for the host.
"""

import ctypes
import shutil
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
from lzu_export.compiler.build_plugins import HOST, build_plugins
from lzu_export.recipes.recipe import INPUT_NAMES
from lzu_export.targets.onnxruntime_timing import time_models
from lzu_export.warp.box_saliency import box_saliency
from lzu_export.warp.knots import nonseparable_knots
from lzu_export.warp.saliency import Array

NEEDS = "an adaptive bundle; extras runtime, verify; make, g++"

SOURCE, LATTICE, GRID = (1200, 1920), (31, 51), (75, 120)
"""Sizes of the timed inversion: the finest level of Argoverse-HD at scale 0.5."""


def tables_alone(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the part of an adaptive graph that does not use the image: boxes to knots to tables.

    Args:
        model: executable graph without calls of `lzu` operators.
    """
    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(model))  # new outputs need a type
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
    """Return the milliseconds of an adaptive bundle's knots and tables in ONNX Runtime."""
    model = tables_alone(onnx.load(bundle / "model.fp32.onnxruntime.onnx"))
    return 1e3 * time_models([model.SerializeToString()], rounds=rounds)[0]


def algorithm_1(knots: Array, size: tuple[int, int]) -> Array:
    """Invert a warp by the paper's Algorithm 1 (LZU, A.2), vectorised over tiles and candidates.

    Every tile is tried at every pixel offset that any tile needs, and valid solutions are
    scattered into the grid.

    Args:
        knots: (h, w, 2) source positions in [-1, 1], order x, y.
        size: (H, W) of the grid, whose first and last pixels are at -1 and 1.

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
    """The struct LzuInvertWarp of `plugins/kernels/lzu_kernels.h`."""

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
        ("timing", ctypes.c_int32),
    )


TACTIC = 2
"""Tactic of the inversion kernel that is fastest on a host."""


def host_kernels(build: Path) -> ctypes.CDLL | None:
    """Build the kernels for this processor in a folder; None without make or g++.

    Raises:
        LzuError: the kernels do not compile.
    """
    if shutil.which("make") is None or shutil.which("g++") is None:
        return None
    built, _ = build_plugins(HOST, out=build)
    return ctypes.CDLL(str(built.library))


def time_inversion(kernels: ctypes.CDLL, rounds: int = 8) -> dict[str, float]:
    """Return the milliseconds of processor time of an inversion on one thread, by method.

    The methods take turns and the fastest run of each counts, because other programs share the
    caches and the processor's clock.
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
    # Algorithm 1 misses pixels at seams between tiles, so only 95 % have to agree.
    assert (difference < 1e-4).mean() > 0.95
    return times


def _aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return zeros that start at a multiple of 16 bytes, as device buffers do."""
    raw = np.zeros(4 * int(np.prod(shape)) + 16, np.uint8)
    start = -raw.ctypes.data % 16
    return raw[start : len(raw) - 16 + start].view(np.float32).reshape(shape)


def costs(bundle: Path, kernels: Path, rounds: int) -> dict[str, Any]:
    """Return the milliseconds of an adaptive warp's tables in every frame, and of an inversion.

    Args:
        bundle: folder of an adaptive bundle.
        kernels: folder for the host build of the kernels.
        rounds: a third of the rounds of the timing of the tables.
    """
    library = host_kernels(kernels)
    return {
        "tables": time_tables(bundle, 3 * rounds),
        "inversion": None if library is None else time_inversion(library),
    }


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
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

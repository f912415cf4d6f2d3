"""TensorRT-RTX's libraries as two packages hold them, for child processes that take plugins."""

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lzu_export.support.interpreter import run_program

PACKAGES = {
    "tensorrt-rtx": "tensorrt_rtx_libs",
    "rtxprovider": "onnxruntime_ep_nv_tensorrt_rtx",
}
"""Module whose folder has the libraries, by the extra that installs it."""
PARTS = ("rtx", "onnxparser_rtx")


def environment(extra: str, links: Path) -> dict[str, str]:
    """Return the environment of a process with an extra's libraries, or skip where it is missing.

    Both names of each library are linked in `links`, as the modules do it themselves when they are
    imported; the provider's are loaded first, before those that the bindings bring.
    """
    pytest.importorskip("tensorrt_rtx", reason="extra rtx is not installed")
    spec = find_spec(PACKAGES[extra])
    if spec is None or spec.origin is None:
        pytest.skip(f"extra {extra} is not installed: there is no module {PACKAGES[extra]}")
    links.mkdir(exist_ok=True)
    for part in PARTS:
        found = sorted(Path(spec.origin).parent.glob(f"libtensorrt_{part}.so.*"))
        (links / f"libtensorrt_{part}.so").symlink_to(found[-1].resolve())
        (links / f"libtensorrt_{part}.so.1").symlink_to(found[-1].resolve())
    given = {**os.environ, "LD_LIBRARY_PATH": str(links)}
    if extra == "rtxprovider":
        given["LD_PRELOAD"] = ":".join(str(links / f"libtensorrt_{part}.so.1") for part in PARTS)
    return given


_BUILD = """
import json, sys, time
from pathlib import Path

import onnx
import tensorrt_rtx as trt

from lzu_export.errors import LzuError
from lzu_export.targets.tensorrt.log import logger_of
from lzu_export.targets.tensorrt.parsed_network import check_network
from lzu_export.targets.tensorrt import rtx

library, *models = sys.argv[1:]
logger, registry = logger_of(trt), trt.get_plugin_registry()
assert registry.load_library(library) is not None
described = {}
for path in map(Path, models):
    logger.errors.clear()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(path.read_bytes())
    mine = described[path.stem] = {"parsed": parsed, "errors": list(logger.errors)}
    if not parsed:
        continue
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    tensor = lambda each: [each.name, each.dtype.name, list(each.shape)]
    mine["plugins"] = [
        [
            layer.name,
            [tensor(layer.get_input(i)) for i in range(layer.num_inputs)],
            [tensor(layer.get_output(i)) for i in range(layer.num_outputs)],
        ]
        for layer in layers
        if layer.type == trt.LayerType.PLUGIN_V3
    ]
    mine["kinds"] = sorted({layer.type.name for layer in layers})
    check_network(trt, network, onnx.load(path))
    engine, start = path.with_suffix(".engine"), time.perf_counter()
    built = rtx.build(path, engine, compute_capabilities=["8.9", "12.0"], detailed=True)
    mine["seconds"] = time.perf_counter() - start
    mine["outputs"] = [[each.name, each.dtype, list(each.shape)] for each in built.outputs]
with open("/proc/self/maps") as maps:
    described["loaded"] = sorted({line.split()[-1] for line in maps if "tensorrt_rtx.so.1" in line})
print(json.dumps(described))
"""


def build(given: dict[str, str], library: Path, models: list[Path]) -> dict[str, Any]:
    """Parse and build models, which call plugins of a library, in a child process.

    Args:
        given: result of `environment`.
        library: plugin library.
        models: ONNX files; each engine is written beside its file.

    Returns:
        By the name of a file without its ending: whether it was `parsed`, the logged `errors`, the
        `plugins` (name, inputs, outputs; each tensor with name, type and shape), the `kinds` of all
        layers, `seconds` of the build and the engine's `outputs`. Besides, the paths of TensorRT-
        RTX that are `loaded`, and the sentences that the plugins `said` on stderr.
    """
    command = run_program(_BUILD, str(library), *map(str, models))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=given, timeout=600
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    found = dict(json.loads(done.stdout.splitlines()[-1]))
    return found | {"said": [line for line in done.stderr.splitlines() if line.startswith("lzu::")]}

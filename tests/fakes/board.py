"""The stand-ins as modules of a board's whole environment, see board_site/sitecustomize.py.

A plan holds the graph that it was built from, and its engine computes that graph in ONNX Runtime,
in whatever process it is loaded. Environment variables let a board behave badly:

- `LZU_FAKE_TENSORRT`: release of TensorRT, 10.3.0 or 11.4.0; without it there is no TensorRT.
- `LZU_FAKE_BUILD_SECONDS`: duration of a build.
- `LZU_FAKE_BUILD_ERROR`: message of a build that fails.
- `LZU_FAKE_OFF`: factor on all outputs of engines, which makes them deviate.
"""

import base64
import json
import os
import time
from functools import cache
from types import ModuleType
from typing import Any

from fakes import fake_tensorrt
from fakes.fake_cuda import make_bindings_driver, make_runtime
from fakes.fake_tensorrt import make_tensorrt
from fakes.world import World


@cache
def modules() -> dict[str, ModuleType]:
    """Return the vendors' modules of this process by name."""
    world = World()
    bindings = ModuleType("cuda.bindings")
    runtime, driver = make_runtime(world), make_bindings_driver(world)
    bindings.runtime, bindings.driver = runtime, driver  # type: ignore[attr-defined]
    cuda = ModuleType("cuda")
    cuda.__path__ = []
    found = {
        "cuda": cuda,
        "cuda.bindings": bindings,
        "cuda.bindings.runtime": runtime,
        "cuda.bindings.driver": driver,
    }
    if version := os.environ.get("LZU_FAKE_TENSORRT"):
        _compute_plans(world)
        found["tensorrt"] = make_tensorrt(world, version)
    if error := os.environ.get("LZU_FAKE_BUILD_ERROR"):
        vars(world)["build_error"] = error
    return found


def _compute_plans(world: World) -> None:
    """Let plans hold their graph, and engines compute it."""
    parse, plan = fake_tensorrt._Parser.on_parse, fake_tensorrt._Network.plan
    load, work = fake_tensorrt._Runtime.on_deserialize_cuda_engine, fake_tensorrt._Context._work

    def on_parse(self: Any, data: bytes, path: str | None = None) -> bool:
        self.made_of[0].__dict__["_graph"] = bytes(data)
        return parse(self, data, path)

    def with_graph(self: Any, version: str) -> bytes:
        time.sleep(float(os.environ.get("LZU_FAKE_BUILD_SECONDS", "0")))
        made = json.loads(plan(self, version))
        return json.dumps({**made, "graph": base64.b64encode(self._graph).decode()}).encode()

    def on_load(self: Any, data: bytes) -> Any:
        engine = load(self, data)
        if engine is not None:
            engine.__dict__["_compute"] = _computing(base64.b64decode(json.loads(data)["graph"]))
        return engine

    def on_work(self: Any, context: Any) -> None:
        world.compute = self._engine._compute
        work(self, context)

    fake_tensorrt._Parser.on_parse = on_parse  # type: ignore[method-assign]
    fake_tensorrt._Network.plan = with_graph  # type: ignore[method-assign]
    fake_tensorrt._Runtime.on_deserialize_cuda_engine = on_load  # type: ignore[method-assign]
    fake_tensorrt._Context._work = on_work  # type: ignore[method-assign]


def _computing(graph: bytes) -> Any:
    """Return a function that computes a graph in ONNX Runtime."""
    from lzu_export.targets.onnxruntime import OnnxRuntimeSession

    session, off = OnnxRuntimeSession(graph, threads=1), float(os.environ.get("LZU_FAKE_OFF", "1"))

    def compute(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            name: (value * off).astype(value.dtype) for name, value in session.run(inputs).items()
        }

    return compute

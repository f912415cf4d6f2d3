"""TensorRT-RTX reads the operators' functions where no plugin is registered.

In a process of its own, where nothing is registered.
"""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from adaptive_samples import FLOAT, HALF, chain

PROGRAM = """
import json, sys
import tensorrt_rtx as trt

class Log(trt.ILogger):
    def __init__(self):
        super().__init__()
        self.errors = []

    def log(self, severity, message):
        if severity in (self.INTERNAL_ERROR, self.ERROR):
            self.errors.append(message)

log = Log()
builder = trt.Builder(log)
flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
network = builder.create_network(flag)
parser = trt.OnnxParser(network, log)
parsed = parser.parse(open(sys.argv[1], "rb").read())
layers = [network.get_layer(i) for i in range(network.num_layers)]
described = [[each.name, each.type.name, each.metadata] for each in layers]
types = {
    network.get_output(i).name: network.get_output(i).dtype.name
    for i in range(network.num_outputs)
}
print(json.dumps({"parsed": parsed, "layers": described, "types": types, "errors": log.errors}))
"""


def parsed(model: onnx.ModelProto, folder: Path) -> dict:
    pytest.importorskip("tensorrt_rtx")
    path = folder / "model.onnx"
    onnx.save(model, path)
    command = [sys.executable, "-c", PROGRAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("dtype", [FLOAT, HALF])
def test_functions_are_read_where_nothing_is_registered(dtype: int, tmp_path: Path) -> None:
    model = chain(dtype)
    found = parsed(model, tmp_path)
    assert found["parsed"]
    assert found["errors"] == []
    layers = {name: (kind, origin) for name, kind, origin in found["layers"]}
    assert not [name for name, (kind, _) in layers.items() if "PLUGIN" in kind]
    # Of every function some layers keep the name that its node has.
    for body in model.functions:
        inside = {node.name for node in body.node} & set(layers)
        assert len(inside) > 10
        assert all(f"| {body.name}" in layers[name][1] for name in inside)
    half = "HALF" if dtype == HALF else "FLOAT"
    wanted = {"zoomed": half, **{f"unzoomed_{i}": half for i in range(3)}}
    assert found["types"] == {"knots_x": "FLOAT", "knots_y": "FLOAT", **wanted}


def test_without_functions_nothing_is_found(tmp_path: Path) -> None:
    """This makes sure that the test above reads the functions, not a plugin of the same name."""
    model = chain()
    del model.functions[:]
    assert not parsed(model, tmp_path)["parsed"]

"""The layout `triton`: a model repository of NVIDIA Triton with its `config.pbtxt`. No torch.

Field names and values are those of `model_config.proto` in triton-inference-server/common.
"""

import json
import shlex
from collections.abc import Sequence

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import Engine, Tensor
from lzu_export.packing.archive import Content
from lzu_export.packing.selection import Packed, engines_of, refuse_empty
from lzu_export.targets.base import Target


class _Backend:
    """Triton's names for a target.

    Attributes:
        platform: value of `platform`.
        file: name of the model's file, the backend's default.
        kind: kind of device on which an instance runs.
    """

    def __init__(self, platform: str, file: str, kind: str) -> None:
        self.platform, self.file, self.kind = platform, file, kind


BACKENDS = {
    "onnxruntime": _Backend("onnxruntime_onnx", "model.onnx", "KIND_AUTO"),
    "tensorrt": _Backend("tensorrt_plan", "model.plan", "KIND_GPU"),
}
"""Targets for whose engines Triton has a backend that reads their files."""
TYPES = {
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "bool": "TYPE_BOOL",
}
"""Triton's names of the types of inputs and outputs."""


def triton_entries(bundle: Bundle, target: Target, precision: str | None) -> Packed:
    """Return a model repository with one model per precision, named after bundle and precision.

    The shapes in `config.pbtxt` hold the batch (`max_batch_size: 0`), since an engine's batch is
    fixed. Inputs and outputs are the engine's; the client prepares and suppresses.

    Args:
        bundle: opened bundle.
        target: `onnxruntime` or `tensorrt`.
        precision: precision of the engine; None for all.

    Raises:
        LzuError: Triton reads no engines of the target, or the bundle has none; or several
            engines of one precision, for different devices.
    """
    backend = BACKENDS.get(target.name)
    if backend is None:
        names = " or ".join(BACKENDS)
        raise LzuError(f"Triton reads no engine of {target.name}; choose {names} (--target)")
    engines = engines_of(bundle, target, precision)
    if not engines and not target.exported:
        raise LzuError(
            f"the bundle has no engine for {target.name}; build one on the server's GPU first "
            f"(lzu-export build {shlex.quote(str(bundle.folder))} --target {target.name})"
        )
    refuse_empty(bundle, target, precision, engines)
    entries: dict[str, Content] = {}
    for engine in engines:
        model = f"{bundle.folder.resolve().name}-{engine.precision}"
        if f"{model}/config.pbtxt" in entries:
            raise LzuError(
                f"the bundle has several engines for {engine.name}, for different devices; build "
                "the one of the server in a bundle of its own"
            )
        entries[f"{model}/config.pbtxt"] = config_text(model, backend, engine).encode()
        entries[f"{model}/labels.txt"] = bundle.file("labels.txt")
        entries[f"{model}/1/{backend.file}"] = bundle.file(engine.file)
    notes = []
    if bundle.manifest.plugins is not None and target.dialect.plugins:
        notes.append(
            "the engine calls plugins: start the server with "
            "--backend-config=tensorrt,plugins=liblzu_plugins.so"
        )
    taken = frozenset({"labels.txt", *(engine.file for engine in engines)})
    return Packed(entries, taken, tuple(notes))


def config_text(model: str, backend: _Backend, engine: Engine) -> str:
    """Return the text of a model's `config.pbtxt`.

    Args:
        model: name of the model, which its folder has, too.
        backend: Triton's names for the target.
        engine: engine with its inputs and outputs.

    Raises:
        LzuError: Triton has no name for a tensor's type.
    """
    return "\n".join(
        [
            f"name: {json.dumps(model)}",
            f"platform: {json.dumps(backend.platform)}",
            "max_batch_size: 0",
            *_tensors("input", engine.inputs),
            *_tensors("output", engine.outputs),
            f"instance_group [ {{ count: 1 kind: {backend.kind} }} ]",
            "",
        ]
    )


def _tensors(field: str, tensors: Sequence[Tensor]) -> list[str]:
    lines = []
    for each in tensors:
        if each.dtype not in TYPES:
            raise LzuError(f"Triton has no type {each.dtype}, which {each.name} has")
        dims = ", ".join(map(str, each.shape))
        about = f"name: {json.dumps(each.name)} data_type: {TYPES[each.dtype]} dims: [ {dims} ]"
        lines.append(f"{field} [ {{ {about} }} ]")
    return lines

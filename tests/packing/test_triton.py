"""A model repository of Triton: its files lie where the server looks, its configuration parses."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.manifest.schema import (
    Engine,
    Operator,
    Plugins,
    Tensor,
    read_manifest,
    write_manifest,
)
from lzu_export.packing.pack import pack
from lzu_export.packing.triton import BACKENDS, TYPES, config_text
from lzu_export.runtime import CameraFrame, load
from lzu_export.targets.onnxruntime import OnnxRuntimeSession
from lzu_export.tasks.pytorch import noise_frame

DATA_TYPES = (
    *("INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "STRING", "BF16"),
)
"""Values of `DataType`, in order."""
FIELDS: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "ModelInput": (
        ("name", 1, "string", False),
        ("data_type", 2, "DataType", False),
        ("dims", 4, "int64", True),
    ),
    "ModelOutput": (
        ("name", 1, "string", False),
        ("data_type", 2, "DataType", False),
        ("dims", 3, "int64", True),
    ),
    "ModelInstanceGroup": (("count", 2, "int32", False), ("kind", 4, "Kind", False)),
    "ModelConfig": (
        ("name", 1, "string", False),
        ("platform", 2, "string", False),
        ("max_batch_size", 4, "int32", False),
        ("input", 5, "ModelInput", True),
        ("output", 6, "ModelOutput", True),
        ("instance_group", 7, "ModelInstanceGroup", True),
    ),
}
"""Messages of `model_config.proto`, as far as a repository uses them: fields with their number and
type, and whether they are repeated."""


def documented() -> Any:
    """Return an empty `ModelConfig` of the messages above."""
    made = descriptor_pb2.FileDescriptorProto(name="config.proto", syntax="proto3", package="t")
    enums = {
        "DataType": [f"TYPE_{name}" for name in DATA_TYPES],
        "Kind": ["KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"],
    }
    for name, values in enums.items():
        enum = made.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    kinds = descriptor_pb2.FieldDescriptorProto
    plain = {"string": kinds.TYPE_STRING, "int32": kinds.TYPE_INT32, "int64": kinds.TYPE_INT64}
    for name, fields in FIELDS.items():
        message = made.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if kind in plain:
                added.type = plain[kind]
            else:
                added.type = kinds.TYPE_ENUM if kind in enums else kinds.TYPE_MESSAGE
                added.type_name = f".t.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(made)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.ModelConfig"))()


def released() -> Any:
    """Return an empty `ModelConfig` of Triton's client; skip the test where it is missing."""
    module = pytest.importorskip(
        "tritonclient.grpc.model_config_pb2",
        reason="no tritonclient[grpc], whose protobuf is older than onnx's",
    )
    return module.ModelConfig()


@pytest.fixture(params=[documented, released])
def empty(request: pytest.FixtureRequest) -> Any:
    """An empty `ModelConfig`: of the messages above, and of Triton's client."""
    return request.param()


def test_the_messages_are_those_of_triton_s_client() -> None:
    """Numbers, types and names of values, as far as the test has them."""
    pool = released().DESCRIPTOR.file.message_types_by_name
    mine = documented().DESCRIPTOR.file.message_types_by_name
    for name, message in mine.items():
        for field in message.fields:
            theirs = pool[name].fields_by_name[field.name]
            assert (theirs.number, theirs.type) == (field.number, field.type)
            if field.enum_type is not None:
                told = {each.name: each.number for each in theirs.enum_type.values}
                assert told == {each.name: each.number for each in field.enum_type.values}


def repository(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def test_the_server_finds_and_runs_the_model(bundle: Path, tmp_path: Path, empty: Any) -> None:
    """Names, types and shapes are the file's, and its outputs become the bundle's detections."""
    archive = pack(bundle, layout="triton")
    assert archive.path == tmp_path / "bundle.triton.tar"
    models = repository(archive.path, tmp_path / "models")
    (model,) = models.iterdir()
    config = text_format.Parse((model / "config.pbtxt").read_text(), empty)
    assert config.name == model.name == "bundle-fp32"
    assert (config.platform, config.max_batch_size) == ("onnxruntime_onnx", 0)
    session = OnnxRuntimeSession(model / "1" / "model.onnx", threads=1)
    for told, found in ((config.input, session.inputs), (config.output, session.outputs)):
        names = {number: name for name, number in _numbers(empty).items()}
        assert [(each.name, names[each.data_type], tuple(each.dims)) for each in told] == [
            (each.name, TYPES[each.dtype], each.shape) for each in found
        ]
    (group,) = config.instance_group
    assert group.count == 1
    frame = noise_frame((96, 160), 3)
    detector = load(bundle, threads=1)
    (found,) = detector.postprocess(session.run({"frame": frame[None]}), [CameraFrame(frame)])
    np.testing.assert_array_equal(found.boxes, detector(frame).boxes)
    assert len(found)


def _numbers(config: Any) -> dict[str, int]:
    """Return the numbers of `DataType` by name."""
    inputs = config.DESCRIPTOR.fields_by_name["input"].message_type
    values = inputs.fields_by_name["data_type"].enum_type.values
    return {each.name: each.number for each in values}


@pytest.mark.parametrize("target", BACKENDS)
def test_every_configuration_is_of_the_schema(target: str, tiny_bundle: Path, empty: Any) -> None:
    """With every type of tensor, and a name that needs quotes."""
    engine: Engine = Bundle(tiny_bundle).engine()
    tensors = tuple(Tensor(name=f'x"{dtype}', dtype=dtype, shape=(2, 3)) for dtype in TYPES)
    changed = engine.model_copy(update={"inputs": tensors, "outputs": tensors})
    text = config_text('a"b', BACKENDS[target], changed)
    config = text_format.Parse(text, empty)
    assert config.name == 'a"b'
    assert config.platform == BACKENDS[target].platform
    for told in (config.input, config.output):
        assert [(each.name, tuple(each.dims)) for each in told] == [
            (f'x"{dtype}', (2, 3)) for dtype in TYPES
        ]


def with_engines(bundle: Path, *files: str) -> None:
    """Let the bundle's file be engines of TensorRT, too."""
    manifest = read_manifest(bundle)
    entry, files_of = manifest.engines[0], dict(manifest.files)
    engines = list(manifest.engines)
    for name in files:
        content = (bundle / entry.file).read_bytes()
        (bundle / name).write_bytes(content)
        files_of[name] = files_of[entry.file]
        engines.append(entry.model_copy(update={"target": "tensorrt", "file": name}))
    operator = Operator(name="BoxKnots", version="1", namespace="lzu")
    update = {"engines": tuple(engines), "files": files_of}
    update["plugins"] = Plugins(operators=(operator,))
    write_manifest(bundle, manifest.model_copy(update=update))


def test_plans_of_tensorrt_are_packed(bundle: Path, empty: Any, tmp_path: Path) -> None:
    """Under the name that its backend looks for; the note names the option for plugins."""
    with_engines(bundle, "model.fp32.trt-a.engine")
    archive = pack(bundle, "tensorrt", layout="triton")
    assert "bundle-fp32/1/model.plan" in archive.files
    assert "--backend-config=tensorrt,plugins=liblzu_plugins.so" in archive.notes[0]
    text = (repository(archive.path, tmp_path / "m") / "bundle-fp32/config.pbtxt").read_text()
    assert text_format.Parse(text, empty).instance_group[0].kind == 1  # KIND_GPU


def test_what_triton_cannot_read_is_refused(bundle: Path) -> None:
    """A target without a backend, no plan yet, plans of several devices, an unknown type."""
    for target, words in (
        ("tensorrt-rtx", "Triton reads no engine of tensorrt-rtx; choose onnxruntime or tensorrt"),
        ("tensorrt", "no engine for tensorrt; build one on the server's GPU first"),
    ):
        with pytest.raises(LzuError, match=words):
            pack(bundle, target, layout="triton")
    with_engines(bundle, "model.fp32.trt-a.engine", "model.fp32.trt-b.engine")
    with pytest.raises(LzuError, match="has several engines for tensorrt/fp32, for different"):
        pack(bundle, "tensorrt", layout="triton")
    engine = Bundle(bundle).engine()
    odd = engine.inputs[0].model_copy(update={"dtype": "complex64"})
    with pytest.raises(LzuError, match="Triton has no type complex64, which frame has"):
        config_text("m", BACKENDS["tensorrt"], engine.model_copy(update={"inputs": (odd,)}))

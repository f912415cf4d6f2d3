"""ONNX Runtime: exactly the provider asked for, and inputs as the file says."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from lzu_export.errors import LzuError
from lzu_export.support import device
from lzu_export.support.cuda_driver import Driver
from lzu_export.support.session import TensorSpec
from lzu_export.targets.onnxruntime import OnnxRuntimeSession, version
from samples import graph_model


@pytest.fixture
def model() -> onnx.ModelProto:
    node = helper.make_node("Neg", ["x"], ["y"], name="negate")
    return graph_model([node], {"x": (2, 3)}, {"y": (2, 3)})


def sentence(caught: pytest.ExceptionInfo[LzuError]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_and_its_bytes_run_alike(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for source in (path, path.read_bytes()):
        session = OnnxRuntimeSession(source, threads=1)
        assert session.provider == "CPUExecutionProvider"
        assert session.inputs == (TensorSpec("x", "float32", (2, 3)),)
        assert session.outputs == (TensorSpec("y", "float32", (2, 3)),)
        np.testing.assert_array_equal(session.run({"x": x})["y"], -x)


def test_threads_are_bounded_as_those_of_pytorch(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads(**options: Any) -> int:
        session: Any = OnnxRuntimeSession(model.SerializeToString(), **options)
        return int(session._session.get_session_options().intra_op_num_threads)

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert (threads(), threads(threads=2)) == (3, 2)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads() == 0, "ONNX Runtime chooses"


def test_a_closed_session_runs_no_more(model: onnx.ModelProto) -> None:
    session = OnnxRuntimeSession(model.SerializeToString(), threads=1)
    host = session.host("x")
    session.close()
    session.close()
    with pytest.raises(LzuError, match="the session is closed; open another"):
        session.run({"x": host})
    assert session.provider == "CPUExecutionProvider"


def test_an_operator_that_newer_releases_run_names_the_release(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: Any, **__: Any) -> None:
        raise RuntimeError(
            "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for "
            "DeformConv(19) node with name 'layer3'\nat some place"
        )

    monkeypatch.setattr(onnxruntime, "InferenceSession", without)
    with pytest.raises(LzuError) as caught:
        OnnxRuntimeSession(model.SerializeToString())
    assert "its CPU runs DeformConv from 1.25" in sentence(caught)
    assert f"this is {onnxruntime.__version__}: export the bundle with" in sentence(caught)


def test_wrong_inputs_are_refused(model: onnx.ModelProto) -> None:
    session = OnnxRuntimeSession(model.SerializeToString())
    for given, words in (
        ({"x": np.zeros((2, 3))}, "input x is float64"),
        ({"x": np.zeros((3, 2), np.float32)}, "input x has shape (3, 2)"),
        ({"z": np.zeros((2, 3), np.float32)}, "input x is missing"),
        ({"x": np.zeros((2, 3), np.float32), "z": np.zeros(1)}, "no input z"),
    ):
        with pytest.raises(LzuError) as caught:
            session.run(given)
        assert words in sentence(caught)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this build of ONNX Runtime has the CUDA provider",
)
@pytest.mark.filterwarnings("error")
def test_a_provider_that_does_not_load_is_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(LzuError) as caught:
        OnnxRuntimeSession(model.SerializeToString(), provider="CUDAExecutionProvider")
    message = sentence(caught)
    assert "does not run on CUDAExecutionProvider as asked, it was built without" in message
    assert "ask for CPUExecutionProvider" in message


CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))


@pytest.mark.parametrize(
    ("provider", "asked", "loaded", "refused"),
    [
        (CUDA, [CUDA], [CPU], CUDA),
        ("cuda", [CUDA], [CPU], CUDA),
        ("cuda", [CUDA], [CUDA, CPU], None),
        ("tensorrt", [TENSORRT, CUDA], [CUDA, CPU], TENSORRT),
        ("tensorrt", [TENSORRT, CUDA], [TENSORRT, CPU], CUDA),
        ("tensorrt", [TENSORRT, CUDA], [TENSORRT, CUDA, CPU], None),
    ],
)
def test_a_silent_fallback_is_refused(
    provider: str,
    asked: list[str],
    loaded: list[str],
    refused: str | None,
    model: onnx.ModelProto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The provider's libraries are missing, so ONNX Runtime silently takes the next provider."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    original = onnxruntime.InferenceSession

    class Fallen(original):  # type: ignore[misc, valid-type]
        def __init__(self, source: bytes, options: object, providers: list[Any]) -> None:
            assert [name for name, _ in providers] == asked
            self.options = dict(providers)
            super().__init__(source, options, providers=[CPU])

        def get_providers(self) -> list[str]:
            return loaded

        def get_provider_options(self) -> dict[str, Any]:
            return {name: self.options.get(name, {}) for name in loaded}

    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)
    data = model.SerializeToString()
    if refused is None:
        assert OnnxRuntimeSession(data, provider=provider).provider == loaded[0]
        return
    sentence = f"does not run on {refused} as asked, it runs on {' and '.join(loaded)}; install"
    with pytest.raises(LzuError, match=sentence):
        OnnxRuntimeSession(data, provider=provider)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", CUDA])
def test_providers_get_the_gpu_that_was_asked_for(
    provider: str, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every provider of the session, and it is checked that they took it."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.delenv("LZU_DEVICE", raising=False)
    three = Driver((12, 6), ("T4 (7.5)", "T4 (7.5)", "RTX 4090 (8.9)"))
    monkeypatch.setattr(device, "find_driver", lambda: three)
    original = onnxruntime.InferenceSession
    given: list[dict[str, dict[str, str]]] = []
    took: list[str] = []

    class OnGpu(original):  # type: ignore[misc, valid-type]
        def __init__(self, source: bytes, options: object, providers: list[Any]) -> None:
            given.append(dict(providers))
            super().__init__(source, options, providers=[CPU])

        def get_providers(self) -> list[str]:
            return [*given[-1], CPU]

        def get_provider_options(self) -> dict[str, Any]:
            forced = {"device_id": took[0]} if took else {}
            return {name: {**options, **forced} for name, options in given[-1].items()}

    monkeypatch.setattr(onnxruntime, "InferenceSession", OnGpu)
    data = model.SerializeToString()
    for number, wanted in ((None, 0), (1, 1), (2, 2)):
        session = OnnxRuntimeSession(data, provider=provider, device=number)
        assert session.device == wanted
        assert {each["device_id"] for each in given[-1].values()} == {str(wanted)}
    monkeypatch.setenv("LZU_DEVICE", "1")
    assert OnnxRuntimeSession(data, provider=provider).device == 1
    opened = len(given)
    with pytest.raises(LzuError, match=r"there is no GPU 3: CUDA counts 0 \(T4 \(7\.5\)\), 1 \("):
        OnnxRuntimeSession(data, provider=provider, device=3)
    assert len(given) == opened
    took.append("0")
    with pytest.raises(LzuError, match="of GPU 2 as asked, it took GPU 0; install"):
        OnnxRuntimeSession(data, provider=provider, device=2)


def test_a_session_on_the_processor_has_no_gpu(model: onnx.ModelProto) -> None:
    assert OnnxRuntimeSession(model.SerializeToString(), device=1).device is None


def test_what_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(LzuError, match=r"ONNX Runtime cannot open .*broken\.onnx") as caught:
        OnnxRuntimeSession(path)
    sentence(caught)
    with pytest.raises(LzuError, match="cannot open the model"):
        OnnxRuntimeSession(b"no model")
    with pytest.raises(LzuError, match=r"absent\.onnx"):
        OnnxRuntimeSession(tmp_path / "absent.onnx")


def test_dynamic_shapes_and_other_types_are_refused_by_name(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(LzuError, match=r"tensor x is .* static shapes"):
        OnnxRuntimeSession(model.SerializeToString())
    node = helper.make_node("Neg", ["x"], ["y"])
    double = graph_model([node], {"x": (2,)}, {"y": (2,)}, dtype=TensorProto.DOUBLE)
    with pytest.raises(LzuError, match=r"tensor x is tensor\(double\)"):
        OnnxRuntimeSession(double.SerializeToString())


@pytest.mark.parametrize("reuse", [True, False])
def test_memory_is_planned_for_later_runs_unless_there_are_few(
    reuse: bool, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def keep(content: bytes, options: Any, **more: Any) -> Any:
        opened.append(options.enable_mem_pattern)
        return onnxruntime.InferenceSession(content, options, **more)

    monkeypatch.setattr("lzu_export.targets.onnxruntime._open", keep)
    session = OnnxRuntimeSession(model.SerializeToString(), reuse=reuse)
    x = np.ones((2, 3), np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(session.run({"x": x})["y"], -x)
    assert opened == [reuse]


def test_the_version_is_the_package_s() -> None:
    assert version() == onnxruntime.__version__

"""ONNX Runtime: the engine is an ONNX file, on the CPU or on a GPU if the build has one."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.support.device import device_number, refuse_absent_here
from lzu_export.support.extras import broken, is_whole
from lzu_export.support.session import CLOSED, Arrays, Session, TensorSpec, check_inputs
from lzu_export.support.threads import bounded_threads

if TYPE_CHECKING:
    from lzu_export.targets.provider_library import Plugged

if not is_whole(ort):  # the rest of the module after one of its two packages was removed
    raise LzuError(broken("onnxruntime"))

# If ONNX Runtime was imported before this package, its telemetry runs; this stops it.
if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
    ort.disable_telemetry_events()

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


Provider = tuple[str, dict[str, str]]
"""ONNX Runtime's name of a provider, and its options."""

PROVIDERS: dict[str, list[Provider]] = {
    "cpu": [("CPUExecutionProvider", {})],
    # Without TF32, which rounds products of float32 to ten bits.
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"})],
    # Nodes that TensorRT does not take run on CUDA.
    "tensorrt": [
        ("TensorrtExecutionProvider", {}),
        ("CUDAExecutionProvider", {"use_tf32": "0"}),
    ],
}
"""Providers and their options by short name, in order of preference."""
ON_GPU = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
"""Providers that run on a GPU of NVIDIA, which their option `DEVICE_ID` chooses."""
DEVICE_ID = "device_id"


class OnnxRuntimeSession(Session):
    """Session on exactly the requested provider.

    ONNX Runtime silently falls back to the CPU if a provider fails to load; this class refuses to.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        device: int | None = None,
        graph: bool | None = None,
        keep: bool = True,
        spin: bool = True,
        reuse: bool = True,
    ) -> None:
        """Open a model file or its bytes.

        Args:
            model: ONNX file, or its bytes.
            provider: `cpu`, `cuda`, `tensorrt`, a provider of `provider_library.LIBRARIES`, or ONNX
                Runtime's name of a provider.
            threads: number of threads on the CPU; by default that of OMP_NUM_THREADS, as for
                PyTorch, else ONNX Runtime chooses.
            device: number of the GPU, for providers that run on one; by default see
                `device_number`.
            graph: whether a provider of `LIBRARIES` captures runs as a CUDA graph; by default it
                does.
            keep: let a provider of `LIBRARIES` keep compiled engines in the user's folder.
            spin: let idle threads wait actively on the CPU. It answers a single stream sooner, but
                takes the processors from sessions that run beside it.
            reuse: plan the memory of a second run in the first one. Later runs are faster, but the
                second one takes up to twice the memory.

        Raises:
            LzuError: ONNX Runtime does not run the model, a provider did not load, or there is no
                such GPU.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or bounded_threads() or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
        options.enable_mem_pattern = reuse
        options.log_severity_level = 3
        plugged = _plug(provider, options, device=device, graph=graph, keep=keep)
        if plugged is not None:
            self.device = plugged.device
            session = _open(model, options)
            plugged.check(session)
        else:
            wanted = self._wanted(provider, device)
            session = _open(model, options, providers=wanted)
            _refuse_others(session, wanted)
        self._session: Any = session
        self._provider = str(session.get_providers()[0])
        self.inputs = tuple(_spec(each) for each in session.get_inputs())
        self.outputs = tuple(_spec(each) for each in session.get_outputs())
        self.concurrent = self._provider == "CPUExecutionProvider"

    def _wanted(self, provider: str, device: int | None) -> list[Provider]:
        """Return the providers to ask for, with the options that choose the GPU.

        Raises:
            LzuError: this build of ONNX Runtime lacks a provider, or there is no such GPU.
        """
        wanted = PROVIDERS.get(provider, [(provider, {})])
        for name, _ in wanted:
            if name not in ort.get_available_providers():
                raise _not_on(name, "was built without it")
        if any(name in ON_GPU for name, _ in wanted):
            self.device = device_number(device)
            refuse_absent_here(self.device)
            wanted = [_on_device(*each, self.device) for each in wanted]
        return wanted

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the provider that executes."""
        return self._provider

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run once; see `support.session.Session`."""
        if self._session is None:
            raise LzuError(CLOSED)
        check_inputs(self.inputs, inputs)
        values = self._session.run(None, dict(inputs))
        return {spec.name: value for spec, value in zip(self.outputs, values, strict=True)}

    def close(self) -> None:
        """Drop ONNX Runtime's session, which frees it; a second call does nothing."""
        self._session = None


def _plug(provider: str, options: Any, **choice: Any) -> "Plugged | None":
    """Add a provider from a package of its own to a session's options; None for any other.

    See `provider_library.plug`, which most sessions need not import.
    """
    if provider in PROVIDERS:
        return None
    from lzu_export.targets.provider_library import LIBRARIES, plug

    library = LIBRARIES.get(provider)
    return None if library is None else plug(ort, library, options, **choice)


def _refuse_others(session: Any, wanted: Sequence[Provider]) -> None:
    """Refuse a session that runs on other providers, or on another GPU, than those asked for.

    Raises:
        LzuError: see above.
    """
    got, taken = session.get_providers(), session.get_provider_options()
    for place, (name, options) in enumerate(wanted):
        if got[place : place + 1] != [name]:
            raise _not_on(name, f"runs on {' and '.join(got)}")
        number = options.get(DEVICE_ID)
        if number is not None and (chosen := taken[name].get(DEVICE_ID)) != number:
            raise _not_on(f"{name} of GPU {number}", f"took GPU {chosen}")


def _open(model: Path | bytes, options: Any, **more: Any) -> Any:
    """Open ONNX Runtime's session of a model, or raise its reason in one sentence."""
    source = model if isinstance(model, bytes) else str(model)
    try:
        return ort.InferenceSession(source, options, **more)
    except Exception as error:  # its exception types are private and change between releases
        first = str(error).strip().splitlines()[0]
        name = "the model" if isinstance(model, bytes) else str(model)
        raise LzuError(f"ONNX Runtime cannot open {name}: {first}{_newer(first)}") from error


SINCE = {"DeformConv": "1.25 on, which needs Python 3.11"}
"""First release, by operator, whose CPU provider has a kernel that older releases lack."""


def _newer(message: str) -> str:
    """Return the remedy for an operator without a kernel, to append to ONNX Runtime's message."""
    if "fallback to CPU EP has been explicitly disabled" in message:
        return "; it holds operators that the provider does not take: use target tensorrt-rtx"
    for operator, release in SINCE.items():
        if f"implementation for {operator}(" in message:
            return (
                f"; its CPU runs {operator} from {release}, but this is {ort.__version__}: export "
                "the bundle with this release, which does without"
            )
    return ""


def _on_device(name: str, options: dict[str, str], device: int) -> Provider:
    """Return a provider with the option that chooses the GPU, if it has one."""
    return name, {**options, DEVICE_ID: str(device)} if name in ON_GPU else options


def _not_on(provider: str, why: str) -> LzuError:
    return LzuError(
        f"ONNX Runtime does not run on {provider} as asked, it {why}; install the build and the "
        "libraries that provider needs, or ask for CPUExecutionProvider"
    )


def _spec(value: Any) -> TensorSpec:
    if value.type not in _DTYPES or not all(isinstance(n, int) for n in value.shape):
        raise LzuError(
            f"tensor {value.name} is {value.type} {value.shape}; the runtime takes static shapes "
            f"of {', '.join(_DTYPES.values())}"
        )
    return TensorSpec(value.name, _DTYPES[value.type], tuple(value.shape))


def version() -> str:
    """Return the release of the installed ONNX Runtime."""
    return str(ort.__version__)

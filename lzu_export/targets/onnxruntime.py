"""ONNX Runtime: the engine is an ONNX file, on the CPU or on a GPU if the build has one."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from lzu_export.errors import LzuError
from lzu_export.support.device import device_number, refuse_absent_here
from lzu_export.support.extras import broken, is_whole
from lzu_export.support.hardware import bounded_threads
from lzu_export.support.interleave import Plan, Subject, subject, take_turns
from lzu_export.support.session import CLOSED, Arrays, Session, TensorSpec, check_inputs
from lzu_export.targets.provider_library import LIBRARIES, plug

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

        Raises:
            LzuError: ONNX Runtime does not run the model, a provider did not load, or there is no
                such GPU.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or bounded_threads() or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
        options.log_severity_level = 3
        if (library := LIBRARIES.get(provider)) is not None:
            plugged = plug(ort, library, options, device=device, graph=graph, keep=keep)
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


BLOCK = 3
"""Number of runs of a model in a round, of which the fastest counts."""
LEAST_ROUNDS, MOST_ROUNDS, SECONDS = 9, 31, 1.5
"""Bounds of the number of rounds in a comparison of models, and the seconds that rounds may take
between these bounds."""
FIRST_ROUNDS, HOPELESS = 3, 3.0
"""Number of rounds of single runs in which a comparison begins, and how many times as long as the
fastest model another one takes in each of them to run in no further round."""


def time_models(models: Sequence[bytes], *, rounds: int = 9) -> list[float]:
    """Time each small model on random input; return the least seconds of `rounds`, after a warmup.

    The models take turns, so that a busy machine slows all alike. The minimum is taken because
    other load on the machine can only add time.
    """
    plan = Plan(queries=rounds, block=1, settle=0, warmup_queries=1, warmup_seconds=0.0)
    timings = take_turns(_subjects(models), plan)
    return [min(each.totals) / 1e9 for each in timings.values()]


def compare_models(models: Sequence[bytes]) -> list[list[float]]:
    """Time each small model on random input; return the seconds of its fastest run per round.

    The models take turns in every round, in changing order. The first rounds are short. A model
    that is hopelessly slow in them runs in these only, since more would take most of the time.
    """
    subjects = _subjects(models)
    spent = {name: _seconds_of(each) for name, each in subjects.items()}
    plan = Plan(queries=FIRST_ROUNDS, block=1, warmup_queries=0, warmup_seconds=0.0)
    found = _rounds(subjects, plan)
    fastest = [min(seconds) for seconds in zip(*found.values(), strict=True)]
    kept = {
        name: subjects[name]
        for name, mine in found.items()
        if any(a < HOPELESS * b for a, b in zip(mine, fastest, strict=True))
    }
    if len(kept) > 1:
        total = sum(spent[name] for name in kept) * (BLOCK + 1)
        rounds = round(min(max(SECONDS / total, LEAST_ROUNDS), MOST_ROUNDS))
        plan = Plan(queries=BLOCK * rounds, block=BLOCK, warmup_queries=0, warmup_seconds=0.0)
        for name, more in _rounds(kept, plan).items():
            found[name] += more
    return list(found.values())


def _rounds(subjects: Mapping[str, Subject], plan: Plan) -> dict[str, list[float]]:
    """Return the seconds of each model's fastest run per round."""
    timings = take_turns(subjects, plan)
    return {name: [min(turn) / 1e9 for turn in each.turns] for name, each in timings.items()}


def _subjects(models: Sequence[bytes]) -> dict[str, Subject]:
    generator = np.random.default_rng(0)
    subjects = {}
    for i, model in enumerate(models):
        session = OnnxRuntimeSession(model)
        feeds = {s.name: generator.standard_normal(s.shape).astype(s.dtype) for s in session.inputs}
        subjects[str(i)] = subject(partial(session.run, feeds))
    return subjects


def _seconds_of(model: Subject) -> float:
    """Measure the seconds of a model's second run."""
    plan = Plan(queries=1, block=1, warmup_queries=0, warmup_seconds=0.0)
    return take_turns({"": model}, plan)[""].totals[0] / 1e9


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

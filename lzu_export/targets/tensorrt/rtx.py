"""Build engines with TensorRT-RTX ahead of time, without a GPU, for RTX cards.

One portable file serves several compute capabilities; on first use the card compiles its kernels
from it. A machine without a GPU can only build, and check how the parser read the graph.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.support.checkout import option
from lzu_export.targets.tensorrt.log import logger_of

if TYPE_CHECKING:
    from lzu_export.targets.tensorrt.plan import BuiltEngine

PORTABLE = ("8.0", "8.6", "8.9", "12.0")
"""Compute capabilities of NVIDIA's portable default: Ampere to Blackwell."""
TURING = "7.5"
PROVIDER = "onnxruntime_ep_nv_tensorrt_rtx"
"""Module of the provider for ONNX Runtime, see `targets.provider_library`."""
MISSING = (
    "TensorRT-RTX is not installed; pip install 'lzu-export[rtx]' on Linux x86-64, or leave "
    f"tensorrt-rtx out of {option('target')}"
)


def build(
    model: Path,
    engine: Path,
    *,
    compute_capabilities: Sequence[str] = (),
    detailed: bool = False,
    plugins: Callable[[Any], object] | None = None,
) -> "BuiltEngine":
    """Build a strongly typed engine file from a lowered ONNX file.

    Args:
        model: ONNX of standard operators, linted for this target.
        engine: file to write.
        compute_capabilities: compute capabilities such as `8.9`; empty for the portable default.
        detailed: keep names and types of layers in the file, for the engine inspector.
        plugins: function that registers the plugin library in a given registry, for a graph that
            calls plugins. Such a graph ends a process that was not started for it, see
            `plugin_process`.

    Raises:
        LzuError: TensorRT-RTX is missing, does not know a capability, refuses a node, or misread
            the graph.
    """
    # Running engines does not need ONNX.
    from lzu_export.targets.tensorrt.plan import build_plan

    trt = import_module()
    wanted = tuple(compute_capabilities) or PORTABLE
    capabilities = [_capability(trt, each) for each in wanted]
    if TURING in wanted and len(wanted) > 1:
        raise LzuError(
            "compute capability 7.5 (Turing) needs an engine of its own; build it separately"
        )

    def configure(config: Any) -> None:
        config.num_compute_capabilities = len(capabilities)
        for i, each in enumerate(capabilities):
            config.set_compute_capability(each, i)
        config.clear_flag(trt.BuilderFlag.TF32)  # FP32 is the reference: no rounded products
        if detailed:
            config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED

    logger = logger_of(trt)
    if plugins is not None:
        plugins(trt.get_plugin_registry())
    return build_plan(trt, logger, model, engine, configure, compute_capabilities=wanted)


def version() -> str | None:
    """Return the release of the installed TensorRT-RTX; None without it, or beside `PROVIDER`."""
    if PROVIDER in sys.modules:
        return None
    try:
        import tensorrt_rtx
    except ImportError:
        return None
    return str(tensorrt_rtx.__version__)


def import_module() -> Any:
    """Import the module `tensorrt_rtx`.

    Raises:
        ElsewhereError: the module is not installed, or the process has loaded `PROVIDER` with
            other copies of its libraries.
    """
    if PROVIDER in sys.modules:
        raise ElsewhereError(
            f"this process has loaded {PROVIDER}, whose libraries do not go together with those of "
            "tensorrt_rtx; use target tensorrt-rtx in a process of its own"
        )
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise ElsewhereError(MISSING) from error
    return tensorrt_rtx


def _capability(trt: Any, text: str) -> Any:
    numbers = sorted(
        int(name[2:]) for name in trt.ComputeCapability.__members__ if name.startswith("SM")
    )
    known = {f"{number // 10}.{number % 10}": f"SM{number}" for number in numbers}
    if text not in known:
        listed = ", ".join(known)
        raise LzuError(f"TensorRT-RTX knows no compute capability {text}; it knows {listed}")
    return trt.ComputeCapability.__members__[known[text]]

"""What TensorRT and TensorRT-RTX say, kept so that an error can be told in one sentence."""

import logging
from typing import Any

log = logging.getLogger(__name__)

_MEMORY = ("out of memory", "OutOfMemory")
"""Words of CUDA and TensorRT where memory is short."""


def product(trt: Any) -> str:
    """TensorRT or TensorRT-RTX, by their module."""
    return {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}[trt.__name__]


def make_logger(trt: Any) -> Any:
    """An ILogger that passes everything on to `logging` and keeps the errors in `errors`."""
    severity = trt.ILogger.Severity

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, level: Any, message: str) -> None:
            """Called by TensorRT, from any of its threads."""
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.errors.append(message)
            shown = level in (severity.INTERNAL_ERROR, severity.ERROR, severity.WARNING)
            log.log(logging.INFO if shown else logging.DEBUG, "%s: %s", product(trt), message)

    return Logger()


def reason(logger: Any) -> str:
    """The first error since the last call in one line, with the remedy where it is plain."""
    errors, logger.errors = logger.errors, []
    if not errors:
        return "it gave no reason; see its log with --verbose"
    if any(word in each for each in errors for word in _MEMORY):
        return (
            "the device is out of memory; end other programs on it, or build with less --workspace"
        )
    return str(errors[0]).strip().splitlines()[0]

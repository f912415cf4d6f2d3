"""Keep the log of TensorRT and TensorRT-RTX, so that an error is reported in one sentence."""

import logging
from typing import Any

log = logging.getLogger(__name__)

_MEMORY = ("out of memory", "OutOfMemory")
"""Words of CUDA and TensorRT where memory is short."""
PLUGIN = ("getPluginCreator", "Plugin not found")
"""Words of TensorRT where a plugin is not registered."""
NAME_LIBRARY = "name the library of plugins (--plugins, or the environment variable LZU_PLUGINS)"


def product(trt: Any) -> str:
    """TensorRT or TensorRT-RTX, by their module."""
    return {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}[trt.__name__]


_LOGGERS: dict[Any, Any] = {}


def logger_of(trt: Any) -> Any:
    """The module's ILogger, which passes all on to `logging` and keeps the errors in `errors`.

    One for the process: TensorRT goes on with the first that it is given, whatever comes later, and
    some of its parts never let go of it.
    """
    if trt not in _LOGGERS:
        _LOGGERS[trt] = _make_logger(trt)
    return _LOGGERS[trt]


def _make_logger(trt: Any) -> Any:
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
    first = str(errors[0]).strip().splitlines()[0]
    return f"{first}; {NAME_LIBRARY}" if any(word in first for word in PLUGIN) else first

"""Keep the log of TensorRT and TensorRT-RTX, so that an error is reported in one sentence."""

import logging
from typing import Any

log = logging.getLogger(__name__)

_MEMORY = ("out of memory", "OutOfMemory")
"""Parts of CUDA's and TensorRT's messages if memory is short."""
PLUGIN = ("getPluginCreator", "Plugin not found")
"""Parts of TensorRT's messages if a plugin is not registered."""
NAME_LIBRARY = "name the library of plugins (--plugins, or the environment variable LZU_PLUGINS)"


def product(trt: Any) -> str:
    """Return the product's name, TensorRT or TensorRT-RTX, of a module."""
    return {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}[trt.__name__]


_LOGGERS: dict[Any, Any] = {}


def logger_of(trt: Any) -> Any:
    """Return the module's ILogger, which forwards to `logging` and keeps errors in `errors`.

    There is one logger per process and module: TensorRT keeps using the first one that it is given,
    and some of its parts never release it.
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
            """Log a message; TensorRT calls this from any of its threads."""
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.errors.append(message)
            shown = level in (severity.INTERNAL_ERROR, severity.ERROR, severity.WARNING)
            log.log(logging.INFO if shown else logging.DEBUG, "%s: %s", product(trt), message)

    return Logger()


def reason(logger: Any) -> str:
    """Return the first error since the last call in one line, with the remedy if it is known."""
    errors, logger.errors = logger.errors, []
    if not errors:
        return "it gave no reason; see its log with --verbose"
    if any(word in each for each in errors for word in _MEMORY):
        return (
            "the device is out of memory; end other programs on it, or build with less --workspace"
        )
    first = str(errors[0]).strip().splitlines()[0]
    return f"{first}; {NAME_LIBRARY}" if any(word in first for word in PLUGIN) else first

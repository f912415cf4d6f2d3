"""Keep the kernels that TensorRT-RTX compiles in a file, so that a later start is short."""

import logging
from pathlib import Path
from typing import Any

from lzu_export.support.files import replacing

log = logging.getLogger(__name__)


def read_cache(cache: Any, path: Path) -> None:
    """Fill a runtime cache of TensorRT-RTX from a file; without a file that fits it stays empty."""
    if not path.is_file():
        return
    try:
        serialised = path.read_bytes()
    except OSError as error:
        log.info("%s cannot be read (%s) and is begun again", path, error.strerror)
        return
    if not cache.deserialize(serialised):
        log.info("%s belongs to another card or version and is made anew", path)


def save_cache(cache: Any, path: Path) -> None:
    """Write a runtime cache to a file; a failure is logged, as only the next start suffers."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as new:
            new.write_bytes(cache.serialize())
    except OSError as error:
        log.info("the runtime cache %s cannot be written: %s", path, error.strerror)

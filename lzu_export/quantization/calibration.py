"""Functions of `lzu_calibration` that raise this package's errors.

They have the arguments and results of the originals; a `CalibrationError` becomes an `LzuError`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import lzu_calibration
from lzu_calibration.errors import CalibrationError, WriteError
from lzu_export.errors import LzuError, readable_os_errors


@contextmanager
def calibration_errors() -> Iterator[None]:
    """Turn errors of `lzu_calibration` into errors of this package.

    Raises:
        LzuError: the block raised a CalibrationError, whose message it keeps; if a file cannot be
            written, the message has the remedy.
    """
    try:
        yield
    except WriteError as error:
        with readable_os_errors(error.what):
            raise error.cause from error
    except CalibrationError as error:
        raise LzuError(str(error)) from error


check_cache = calibration_errors()(lzu_calibration.check_cache)
check_method = calibration_errors()(lzu_calibration.check_method)
collect = calibration_errors()(lzu_calibration.collect)
limit_of = calibration_errors()(lzu_calibration.limit_of)
read_cache = calibration_errors()(lzu_calibration.read_cache)
search = calibration_errors()(lzu_calibration.search)
write_cache = calibration_errors()(lzu_calibration.write_cache)

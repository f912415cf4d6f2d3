"""Choose the GPU that engines run on, by CUDA's number for it.

CUDA counts the GPUs that the environment variable `CUDA_VISIBLE_DEVICES` leaves visible, in the
order of `CUDA_DEVICE_ORDER`. nvidia-smi counts all of them in another order.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.support.cuda_driver import LIBRARY, find_driver

VARIABLE = "LZU_DEVICE"
"""Environment variable with the number of the GPU where no other is asked for."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


def device_number(number: int | None = None) -> int:
    """Return the number of the GPU to use: the given one, else that of `LZU_DEVICE`, else 0.

    Raises:
        LzuError: the given one, or `LZU_DEVICE`, is no number.
    """
    if number is not None:
        check_number(number)
        return number
    text = os.environ.get(VARIABLE, "").strip() or "0"
    if not text.isdecimal():
        raise LzuError(
            f"{VARIABLE} is {text!r}, which is no number of a GPU; set it to 0, 1, ... as CUDA "
            "counts them"
        )
    return int(text)


def check_number(number: object) -> None:
    """Refuse what is no number of a GPU, such as PyTorch's name of one.

    Raises:
        LzuError: see above.
    """
    if not isinstance(number, Integral) or isinstance(number, bool):
        raise LzuError(
            f"device is {number!r}, which is no number of a GPU; give 0, 1, ... as CUDA counts them"
        )


@contextmanager
def using_device(number: int | None) -> Iterator[None]:
    """Run the engines of a block, and of programs that it starts, on the GPU of this number.

    The number is the process's: it holds in all threads. None changes nothing.

    Raises:
        LzuError: the given one is no number.
    """
    before = os.environ.get(VARIABLE)
    if number is not None:
        check_number(number)
        os.environ[VARIABLE] = str(number)
    try:
        yield
    finally:
        if number is not None:
            os.environ.pop(VARIABLE)
            os.environ |= {} if before is None else {VARIABLE: before}


def check_device(number: int) -> None:
    """Refuse the number of a GPU that is not there, without a CUDA package.

    Raises:
        ElsewhereError: there is no driver or no GPU at all.
        LzuError: there is no GPU of this number; the message lists those there are.
    """
    driver = find_driver()
    if driver is None or not driver.devices:
        why = f"there is no {LIBRARY}" if driver is None else "its driver finds none"
        raise ElsewhereError(
            f"this machine has no GPU {number}: {why}; leave the device out, or see lzu-export "
            "doctor"
        )
    refuse_absent(number, driver.devices)


def refuse_absent_here(number: int) -> None:
    """Refuse the number of a GPU that is not there, unless the driver does not list any.

    Raises:
        LzuError: see `refuse_absent`.
    """
    driver = find_driver()
    if driver is not None and driver.devices:
        refuse_absent(number, driver.devices)


def refuse_absent(number: int, names: Sequence[str]) -> None:
    """Refuse the number of a GPU that is not there.

    Args:
        number: number of the GPU.
        names: names of the GPUs that CUDA counts, by number.

    Raises:
        LzuError: there is none of this number; the message lists those there are.
    """
    if 0 <= number < len(names):
        return
    *most, last = [f"{i} ({name})" for i, name in enumerate(names)] or ["none"]
    there = f"{', '.join(most)} and {last}" if most else last
    hidden = os.environ.get(VISIBLE)
    others = f" ({VISIBLE}={hidden} hides the others)" if hidden is not None else ""
    raise LzuError(f"there is no GPU {number}: CUDA counts {there}{others}; choose one of these")

"""Find a target by its name. A new target is a module, a line of `recipes.targets` and an extra.

Other packages announce their targets in the entry point group `lzu_export.targets`.
"""

from collections.abc import Iterable
from typing import cast

from lzu_export.errors import LzuError
from lzu_export.recipes.targets import TARGETS
from lzu_export.support.device import check_number
from lzu_export.targets.base import Target

DEFAULT_TARGET = "onnxruntime"
"""Name of the target that runs on any machine and that times lowerings."""


def find(name: str) -> Target:
    """Return the target of a name.

    Raises:
        LzuError: there is no such target.
    """
    return cast(Target, TARGETS.find(name))


def known(name: str) -> bool:
    """Whether a name is a target's; `emulated` is none."""
    return name in TARGETS


def names() -> list[str]:
    """Return the names of all targets, in the order in which a bundle lists them."""
    return TARGETS.names()


def runs_anywhere(name: str) -> bool:
    """Whether a name is that of a target whose engines run on any machine; not so `emulated`."""
    return known(name) and not find(name).on_device


def refuse_idle(device: int | None, targets: Iterable[str], provider: str = "cpu") -> None:
    """Refuse the number of a GPU where nothing runs on one.

    Args:
        device: number of the GPU; None if none was asked for.
        targets: names of the targets whose engines are to run.
        provider: ONNX Runtime's provider.

    Raises:
        LzuError: a GPU was asked for, and every engine runs on the CPU; or that is no number.
    """
    if device is not None:
        check_number(device)
    if device is None or provider != "cpu" or any(find(each).on_device for each in targets):
        return
    raise LzuError(
        f"device {device} is a GPU, but everything runs on the CPU here; choose provider cuda or "
        "a target that runs on a GPU, or leave the device out"
    )

"""Find a target by its name. A new one is a module, a line of `recipes.targets` and an extra.

Packages of their own announce theirs by the entry point group `lzu_export.targets`.
"""

from typing import cast

from lzu_export.recipes.targets import TARGETS
from lzu_export.targets.base import Target

DEFAULT_TARGET = "onnxruntime"
"""The target that runs on any machine, and by which lowerings are timed."""


def find(name: str) -> Target:
    """The target of a name.

    Raises:
        LzuError: there is none.
    """
    return cast(Target, TARGETS.find(name))


def known(name: str) -> bool:
    """Whether a name is a target's, which `emulated` is not."""
    return name in TARGETS


def names() -> list[str]:
    """All targets, in the order in which a bundle lists them."""
    return TARGETS.names()


def runs_anywhere(name: str) -> bool:
    """Whether a name is a target's whose engines run on any machine; `emulated` is no target."""
    return known(name) and not find(name).on_device

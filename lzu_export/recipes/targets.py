"""Table of targets.

A line of the table is all that a target needs outside its own module and its extra. The table is
here, and not in `targets`, because a recipe names targets: reading a recipe must find them.
Places are text and imported when a target is first named, so that no import points upwards.
`targets.base` defines what a target is, and `targets.registry` returns them.
"""

from collections.abc import Sequence
from typing import Protocol

from lzu_export.support.registry import Registry


class RecipeTarget(Protocol):
    """The part of a target that recipes need; see `targets.base.Target` for all of it."""

    @property
    def title(self) -> str:
        """Name of the target in sentences."""

    @property
    def exported(self) -> bool:
        """Whether an export builds the target's engines."""

    @property
    def precisions(self) -> Sequence[str]:
        """Precisions that the target takes."""


TARGETS: Registry[RecipeTarget] = Registry(
    "target",
    {
        "onnxruntime": "lzu_export.targets.onnxruntime_target:TARGET",
        "tensorrt-rtx": "lzu_export.targets.tensorrt.rtx_target:TARGET",
        "tensorrt-rtx-plugins": "lzu_export.targets.tensorrt.rtx_target:WITH_PLUGINS",
        "openvino": "lzu_export.targets.openvino:TARGET",
        "tensorrt": "lzu_export.targets.tensorrt.target:TARGET",
    },
    group="lzu_export.targets",
)
"""All targets by name, in the order in which a bundle lists them."""


def exported_targets() -> list[str]:
    """Return the names of the targets whose engines an export builds."""
    return [each for each in TARGETS.names() if TARGETS.find(each).exported]

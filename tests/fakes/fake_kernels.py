"""A stand-in for the plugin library on a device: it runs the kernels' host build on a stream."""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes.machine import RefusedError, address_of
from fakes.world import World

HEADER = Path(__file__).parents[2] / "plugins" / "kernels" / "lzu_kernels.h"
INVALID = -1
ALIGNMENT = 16
"""Multiple at which every tensor of a launcher starts, in bytes."""
LIMITS = {
    "candidates": "LZU_MOST_CANDIDATES",
    "detections": "LZU_MOST_CANDIDATES",
    "box_count": "LZU_MOST_BOXES",
}
"""Names in the header of the largest values of a launcher's arguments."""
MAY_BE_NULL = ("chroma", "knots_x", "knots_y", "table_x", "table_y")
UNALIGNED = ("pixels", "chroma")
"""A camera's bytes, which may start anywhere."""


class Kernels:
    """Launchers that enqueue their work in the world's streams, as those of a device do."""

    def __init__(self, world: World, library: ctypes.CDLL) -> None:
        """Wrap `library`, a host build of the kernels."""
        self._world, self._library = world, library
        defined = re.findall(r"^#define (LZU_\w+) (\d+)$", HEADER.read_text(), re.M)
        self._limits = {name: int(value) for name, value in defined}
        self.lzu_suppress_workspace = library.lzu_suppress_workspace
        self.lzu_suppress = self._launcher("lzu_suppress")
        self.lzu_feed_boxes = self._launcher("lzu_feed_boxes")
        self.lzu_zoom_camera = self._launcher("lzu_zoom_camera")

    def _launcher(self, name: str) -> Callable[[Any, Any], int]:
        world = self._world

        def launch(reference: Any, stream: Any) -> int:
            world.record(name)
            # A launcher copies its arguments, so that the caller may free them.
            call = type(reference._obj).from_buffer_copy(reference._obj)
            if world.failed:
                return world.failed
            try:
                context = world.launchable(stream.value)
            except RefusedError as refused:
                return refused.code
            if not self._fits(call):
                return INVALID
            if error := int(vars(world).get("launch_error", 0)):
                return error

            def work() -> None:
                there = type(call).from_buffer_copy(call)
                for field, kind in _fields(call):
                    if kind is ctypes.c_void_p and (address := getattr(call, field)):
                        setattr(there, field, address_of(world.device_bytes(address, 1, context)))
                assert getattr(self._library, name)(ctypes.byref(there), None) == 0

            world.enqueue(stream.value, work)
            return 0

        return launch

    def _fits(self, call: Any) -> bool:
        """Whether the arguments are within the launcher's limits."""
        for field, kind in _fields(call):
            value = getattr(call, field)
            if kind is ctypes.c_void_p:
                if not value and field not in MAY_BE_NULL:
                    return False
                aligned = field in UNALIGNED or (value or 0) % ALIGNMENT == 0
                assert aligned, f"{field} does not start at a multiple of {ALIGNMENT}"
            elif field in LIMITS and value > self._limits[LIMITS[field]]:
                return False
        return True


def _fields(call: Any) -> list[tuple[str, Any]]:
    return [(field[0], field[1]) for field in call._fields_]

"""A stand-in for the plugin library on a device: it runs the kernels' host build on a stream."""

import ctypes
from collections.abc import Callable
from typing import Any

from fakes.world import World


class Kernels:
    """Launchers that enqueue their work in the world's streams, as those of a device do."""

    def __init__(self, world: World, library: ctypes.CDLL) -> None:
        """Wrap `library`, a host build of the kernels."""
        self._world, self._library = world, library
        self.lzu_suppress_workspace = library.lzu_suppress_workspace
        self.lzu_suppress = self._launcher("lzu_suppress")
        self.lzu_feed_boxes = self._launcher("lzu_feed_boxes")
        self.lzu_zoom_camera = self._launcher("lzu_zoom_camera")

    def _launcher(self, name: str) -> Callable[[Any, Any], int]:
        def launch(reference: Any, stream: Any) -> int:
            self._world.record(name)
            assert stream.value in self._world.streams, "the stream was never made, or destroyed"
            # A launcher copies its arguments, so that the caller may free them.
            call = type(reference._obj).from_buffer_copy(reference._obj)

            def work() -> None:
                assert getattr(self._library, name)(ctypes.byref(call), None) == 0

            self._world.enqueue(work)
            return int(vars(self._world).get("launch_error", 0))

        return launch

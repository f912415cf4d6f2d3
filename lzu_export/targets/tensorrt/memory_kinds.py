"""Choose the memory through which a session exchanges tensors with the host, by timing each kind.

A device that shares the host's memory, as on a Jetson, can read the host's tensors where they lie.
That saves copies, but depending on the device its caches serve such reads worse, and a kernel that
reads a pixel several times may take longer than a copy.
"""

import logging
from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

from lzu_export.targets.cuda.interface import CudaError, FatalCudaError
from lzu_export.targets.cuda.memory import Device, HostKind

log = logging.getLogger(__name__)

MemoryKind = Literal["mapped", "copies", "managed"]
HOST_KINDS: dict[MemoryKind, HostKind] = {
    "mapped": "mapped",
    "copies": "pinned",
    "managed": "managed",
}
"""Memory of the host's tensors in each kind of session."""
NAMES: dict[MemoryKind, str] = {
    "mapped": "mapped memory",
    "copies": "copies",
    "managed": "managed memory",
}
WARM_UPS, RUNS = 10, 20
"""Numbers of untimed and of timed runs of each kind."""


class Timed(Protocol):
    """Session that can time itself."""

    memory_note: str

    def fastest_run(self, warm_ups: int, runs: int) -> float:
        """Return the fewest milliseconds that one of these runs took on the device."""

    def close(self) -> None:
        """Free all memory."""


Opened = TypeVar("Opened", bound=Timed)


def default_kind(device: Device) -> MemoryKind:
    """Return the kind of memory where none is timed."""
    return "mapped" if device.integrated else "copies"


def kinds_of(device: Device) -> tuple[MemoryKind, ...]:
    """Return the kinds of memory that are worth timing on a device; one needs no timing."""
    if not device.integrated:
        return ("copies",)
    return ("mapped", "copies", "managed") if device.managed else ("mapped", "copies")


def open_fastest(device: Device, open_with: Callable[[MemoryKind], Opened]) -> Opened:
    """Open a session with the kind of memory in which its runs take the shortest time.

    Each kind is timed once, in a session of its own: copies, kernels and hand-overs between host
    and device, from the first to the last on the stream. The time in which the host fills the
    memory does not count. The result's `memory_note` gives the times.

    Args:
        device: device of the session.
        open_with: function that opens the session with a kind of memory.

    Raises:
        LzuError: the session opens with no kind, or fails for another reason than its memory.
    """
    kinds = kinds_of(device)
    if len(kinds) == 1:
        return open_with(kinds[0])
    sessions: dict[MemoryKind, Opened] = {}  # the fastest so far, and the one that is being timed
    times: dict[MemoryKind, float] = {}
    failed: CudaError | None = None
    try:
        for kind in kinds:
            try:
                sessions[kind] = open_with(kind)
            except FatalCudaError:
                raise
            except CudaError as error:  # too little memory for another one, or none of this kind
                log.info("%s cannot be timed: %s", NAMES[kind], error)
                failed = failed or error
                continue
            times[kind] = sessions[kind].fastest_run(WARM_UPS, RUNS)
            if len(sessions) > 1:
                slower = max(reversed(sessions), key=lambda each: times[each])
                sessions.pop(slower).close()
    except BaseException:
        for session in sessions.values():
            session.close()
        raise
    if not sessions:
        assert failed is not None, "one kind is tried at least"
        raise failed
    (best,) = sessions.values()
    best.memory_note = ", ".join(f"{NAMES[kind]} {time:.3f} ms" for kind, time in times.items())
    log.info("the memory of the session was chosen by time: %s", best.memory_note)
    return best

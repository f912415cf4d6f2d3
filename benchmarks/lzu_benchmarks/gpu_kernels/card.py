"""The GPU that kernels run on: its memory, launches and events, by PyTorch."""

import ctypes as c
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from lzu_benchmarks.gpu_kernels.header import Header
from lzu_export.errors import LzuError

Work = Callable[[], None]


class Facts(NamedTuple):
    """What a card is, for the report."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    l2_bytes: int
    memory_bytes: int


class Card:
    """A CUDA card with the library of kernels that was built for it.

    Attributes:
        device: PyTorch's name of the device.
        facts: what the card is.
        header: structs of the launchers.
    """

    device = "cuda"

    def __init__(self, facts: Facts, library: Any, header: Header) -> None:
        """Take the loaded library, see `ctypes.CDLL`."""
        self.facts, self.header = facts, header
        self._library = library
        library.lzu_suppress_workspace.restype = c.c_size_t

    def stream(self) -> int | None:
        """Return the handle of PyTorch's current stream."""
        return int(torch.cuda.current_stream().cuda_stream)

    def launch(self, name: str, call: c.Structure) -> None:
        """Put a launcher's work into the current stream.

        Raises:
            LzuError: it was not launched.
        """
        code = getattr(self._library, name)(c.byref(call), c.c_void_p(self.stream()))
        if code:
            raise LzuError(f"{name} was not launched (error {code})")

    def number(self, name: str, *arguments: int) -> int:
        """Return what a function of the library that takes and returns integers returns."""
        return int(getattr(self._library, name)(*arguments))

    def finish(self) -> None:
        """Wait for all work.

        Raises:
            LzuError: a kernel failed.
        """
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            raise LzuError(f"a kernel failed: {str(error).strip().splitlines()[0]}") from error

    def recorded(self, work: Work) -> tuple[Work, bool]:
        """Return work as a CUDA graph, which has no gaps of the host's, and whether it is one."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                work()
        except RuntimeError:
            return work, False
        return graph.replay, True

    def milliseconds(self, work: Work) -> float:
        """Return the time of work on the card, between two events."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))


def find_facts() -> Facts:
    """Return what the first card is.

    Raises:
        LzuError: PyTorch has no CUDA, or finds no card.
    """
    if torch.version.cuda is None:
        raise LzuError(
            f"PyTorch {torch.__version__} was built without CUDA; install a build with CUDA, or "
            "run this by another Python"
        )
    if not torch.cuda.is_available():
        raise LzuError(
            "PyTorch finds no CUDA card; check the driver by nvidia-smi, and CUDA_VISIBLE_DEVICES"
        )
    found = torch.cuda.get_device_properties(0)
    capability = (found.major, found.minor)
    l2 = int(getattr(found, "L2_cache_size", 0)) or 64 << 20
    return Facts(found.name, capability, found.multi_processor_count, l2, int(found.total_memory))


def driver_cuda() -> int:
    """Return the CUDA major version of the driver; 0 where PyTorch does not report it."""
    report = getattr(torch._C, "_cuda_getDriverVersion", None)
    return int(report()) // 1000 if report is not None else 0


def check_driver(release: str, major: int) -> None:
    """Refuse a compiler whose runtime the driver does not run.

    Raises:
        LzuError: the compiler belongs to a newer major release of CUDA than the driver.
    """
    driver = driver_cuda()
    if 0 < driver < major:
        raise LzuError(
            f"nvcc is of CUDA {release} but the driver runs CUDA {driver} at most; name a CUDA "
            f"{driver} toolkit (CUDA_HOME)"
        )

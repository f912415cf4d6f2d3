"""Schema of the stored results of a latency measurement."""

from lzu_benchmarks.harness.power import Power
from lzu_benchmarks.harness.summary import (
    Percentiles,
    Section,
    StageTime,
)
from lzu_export.support.machine import Machine
from lzu_export.support.ratio import Ratio
from lzu_export.support.watch import Conditions

UNSTEADY = 0.05
"""Change from the first to the last quarter of the queries above which a figure is doubtful."""


class StartTimes(Section):
    """Seconds until an engine on a device is ready for its first frame."""

    load: float
    """Seconds to load the engine from its file onto the device."""
    first_run: float
    """Seconds for memory, context and first run, with kernels that TensorRT-RTX cached before."""
    cold_first_run: float | None
    """Seconds for memory, context and first run when TensorRT-RTX has to compile its kernels."""


class EngineLatency(Section):
    """Latency of one engine of a bundle, in milliseconds per query of one batch of frames."""

    bundle: str
    """Name of the bundle's folder."""
    target: str
    """Target of the engine."""
    precision: str
    """Precision of the engine."""
    provider: str
    """Provider that executes the engine, as its session reports it."""
    device: int | None = None
    """Number of the GPU that executes the engine, as CUDA counts them; None on a CPU."""
    cuda_graph: bool | None
    """Whether the engine was replayed as a CUDA graph; None if its target has no CUDA graphs."""
    start: StartTimes | None = None
    """Seconds until the engine was ready; None on a CPU."""
    frames_per_query: int
    """Number of frames in a query: the bundle's batch."""
    end_to_end: Percentiles
    """Latency from the camera's frames to the predictions."""
    engine: Percentiles | None
    """Latency of the engine alone, run back to back; None if interrupted before."""
    stages: dict[str, StageTime]
    """Times of each stage of the end-to-end queries, by the stage's name."""
    ratio: Ratio | None
    """End-to-end time divided by that of the base."""
    engine_ratio: Ratio | None
    """Time of the engine alone divided by that of the base."""
    base: str | None
    """Name of the engine that both ratios are relative to."""
    drift: float
    """Median end-to-end time of the last quarter divided by that of the first, minus 1."""
    power: Power | None
    """Power of whole queries; None if there is no meter."""


class LatencyRun(Section):
    """Results of engines that were timed interleaved."""

    created: str
    """Time of the measurement, ISO 8601 in UTC."""
    machine: Machine
    """Machine that the engines ran on."""
    conditions: Conditions
    """Clocks, load and temperatures during the measurement."""
    plan: dict[str, float]
    """Fields of the `Plan`."""
    engines: dict[str, EngineLatency]
    """Latency of each engine, by the candidate's name."""
    overhead_nanoseconds: float
    """Time that the harness adds to a query."""
    overhead_share: float
    """Time that the harness adds, as a share of the fastest end-to-end median."""
    peak_memory: int | None
    """Peak memory of the whole process with all engines loaded, in bytes."""
    frames: str
    """Description of the frames that the engines ran on."""
    noise: bool = False
    """Whether the frames were noise; suppression times are then not those of a real scene."""
    notes: tuple[str, ...]
    """Remarks on how the figures were measured."""
    interrupted: bool = False
    """Whether the user ended the measurement early. The figures then cover the whole rounds."""

    @property
    def doubts(self) -> list[str]:
        """All reasons to doubt the figures."""
        unsteady = [
            f"{name} changed by {each.drift:+.0%} while it was measured"
            for name, each in self.engines.items()
            if abs(each.drift) > UNSTEADY
        ]
        return [*self.conditions.throttled, *self.conditions.doubts, *unsteady]


class InterruptedRunError(KeyboardInterrupt):
    """Raised when the user interrupts a measurement after at least one whole round."""

    def __init__(self, run: LatencyRun) -> None:
        """Keep the results of the whole rounds."""
        super().__init__()
        self.run = run

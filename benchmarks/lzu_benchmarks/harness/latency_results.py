"""Figures of a latency measurement, as they are stored."""

from lzu_benchmarks.harness.power import Power
from lzu_benchmarks.harness.summary import (
    Percentiles,
    Section,
    StageTime,
)
from lzu_export.support.interleave import (
    Ratio,
)
from lzu_export.support.machine import Machine
from lzu_export.support.watch import Conditions

UNSTEADY = 0.05
"""Change from the first to the last quarter of the queries beyond which a figure is doubtful."""


class StartTimes(Section):
    """Seconds until an engine on a device is ready for its first frame."""

    load: float
    """From its file to an engine on the device."""
    first_run: float
    """Memory, context and first run; what TensorRT-RTX compiled before is read."""
    cold_first_run: float | None
    """The same where TensorRT-RTX has to compile its kernels."""


class EngineLatency(Section):
    """One engine of a bundle. Milliseconds of a query, which holds one batch of frames."""

    bundle: str
    target: str
    precision: str
    provider: str
    """What really executes."""
    cuda_graph: bool | None
    """Whether it was replayed as a CUDA graph; none where its target has no such choice."""
    start: StartTimes | None = None
    frames_per_query: int
    end_to_end: Percentiles
    engine: Percentiles | None
    """The engine alone, run back to back; none where it was interrupted before."""
    stages: dict[str, StageTime]
    """By stage, its times in the end-to-end queries."""
    ratio: Ratio | None
    """End to end, to the base."""
    engine_ratio: Ratio | None
    base: str | None
    """Name of the engine that both are ratios to."""
    drift: float
    """End to end, the last quarter's median over the first one's, less 1."""
    power: Power | None


class LatencyRun(Section):
    """Engines that were timed in turns."""

    created: str
    machine: Machine
    conditions: Conditions
    plan: dict[str, float]
    engines: dict[str, EngineLatency]
    overhead_nanoseconds: float
    """What the harness adds to a query."""
    overhead_share: float
    """What the harness adds, as a share of the fastest end-to-end median."""
    peak_memory: int | None
    """Bytes of the whole process, all engines loaded."""
    frames: str
    """What was shown."""
    noise: bool = False
    """Whether that was noise: times of suppression are then of no scene."""
    notes: tuple[str, ...]
    interrupted: bool = False
    """Whether the user ended it early. The figures then cover the complete rounds."""

    @property
    def doubts(self) -> list[str]:
        """All that makes the figures doubtful."""
        unsteady = [
            f"{name} changed by {each.drift:+.0%} while it was measured"
            for name, each in self.engines.items()
            if abs(each.drift) > UNSTEADY
        ]
        return [*self.conditions.throttled, *self.conditions.doubts, *unsteady]


class InterruptedRunError(KeyboardInterrupt):
    """A measurement was interrupted when some rounds were whole."""

    def __init__(self, run: LatencyRun) -> None:
        """Keep what those rounds came to."""
        super().__init__()
        self.run = run

"""Latencies against an earlier state: by simulated engines on a simulated machine."""

import math
from typing import Any

import numpy as np
import pytest

from lzu_export.recipes.schema import RegressionLimits
from lzu_export.support import interleave, ratio
from lzu_export.support.watch import Conditions
from lzu_export.verification import pace
from lzu_export.verification.pace import LatencyState, compare_latency, measure_latency

FP32, INT8 = "onnxruntime/fp32", "onnxruntime/int8"
LIMITS = RegressionLimits()


class Machine:
    """A simulated clock, and a load that comes in bursts and slows every engine that runs then.

    Beside two busy processes on two processors a query takes two to three times as long, its time
    scatters by a fifth, and now and then a burst of seconds doubles it.
    """

    def __init__(self, seed: int, *, busy: bool = True) -> None:
        self.random = np.random.default_rng(seed)
        self.nanoseconds = 0
        self.busy = busy
        self._until, self._burst = 0.0, 1.0

    def clock(self) -> int:
        return self.nanoseconds

    def run(self, milliseconds: float) -> None:
        now = self.nanoseconds / 1e9
        factor = math.exp(0.03 * self.random.standard_normal())
        if self.busy:
            if now >= self._until:
                self._burst = 2.0 if self._burst == 1.0 else 1.0
                self._until = now + self.random.exponential(0.8 if self._burst == 2.0 else 2.5)
            parity = 1 + 0.25 * math.sin(2 * math.pi * now / 40)
            factor = 2.0 * parity * self._burst * math.exp(0.2 * self.random.standard_normal())
            if self.random.random() < 0.03:
                factor *= 4
        self.nanoseconds += int(1e6 * milliseconds * factor)


class Engine:
    """An engine that takes `milliseconds` a frame on an idle machine."""

    def __init__(self, machine: Machine, milliseconds: float) -> None:
        self.machine, self.milliseconds = machine, milliseconds

    def run(self, camera_frames: list[Any]) -> None:
        self.machine.run(self.milliseconds * len(camera_frames))

    def reset(self) -> None:
        """Do nothing: the engine is stateless."""


class Quiet:
    """A watch that reports an idle machine."""

    doubts: tuple[str, ...] = ()

    def __call__(self) -> None:
        """Take a reading, of which nothing is kept."""

    def finish(self) -> Conditions:
        nothing: dict[str, Any] = dict.fromkeys(("cpu_mhz", "gpu_mhz", "load", "others"))
        return Conditions(
            seconds=1, readings=2, celsius={}, throttled=(), doubts=self.doubts, **nothing
        )


class Busy(Quiet):
    """A watch that reports a busy machine."""

    doubts = ("other processes kept 1.9 processors busy",)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes simulated machines; the last one made gives the time."""
    monkeypatch.setattr(pace, "Watch", Busy)
    monkeypatch.setattr(ratio, "RESAMPLES", 200)
    monkeypatch.setattr(interleave.gc, "collect", lambda *_: 0)
    monkeypatch.setattr(pace.hardware, "identity", lambda: "a board")
    monkeypatch.setattr(pace.hardware, "key", lambda: "k")

    def make(seed: int, **options: Any) -> Machine:
        made = Machine(seed, **options)
        monkeypatch.setattr(interleave, "clock", made.clock)
        return made

    return make


def measured(machine: Machine, slower: float = 1.0, **options: Any) -> LatencyState:
    """Measure an engine of 21 ms times `slower` beside a baseline of 20 ms."""
    found = measure_latency(
        {FP32: Engine(machine, 21.0 * slower)},  # type: ignore[dict-item]
        [None],  # type: ignore[list-item]
        baseline=("uniform-0.5x", {FP32: Engine(machine, 20.0)}),  # type: ignore[dict-item]
        **options,
    )
    assert found is not None
    return found


def failed(now: LatencyState, then: LatencyState) -> list[str]:
    checks = compare_latency(now, then, LIMITS, {})
    return [check.name for check in checks if check.status == "failed"]


@pytest.mark.parametrize("slower", [1.0, 1.1])
def test_beside_a_load_there_is_no_false_alarm_and_a_tenth_is_found(
    slower: float, machine: Any
) -> None:
    """Twenty runs are compared with a state that was stored under the same load."""
    then = measured(machine(1000))
    alarms = []
    for seed in range(20):
        now = measured(machine(seed), slower, then=then, limits=LIMITS)
        alarms += failed(now, then)
    assert alarms == ([] if slower == 1.0 else ["latency over uniform-0.5x"] * 20)

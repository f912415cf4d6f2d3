"""Time queries interleaved and record the machine's state; independent of tasks and reports.

Names are imported on first use: operations of graphs need onnx, and times do not.
"""

from typing import TYPE_CHECKING

from lzu_export.support.lazy import lazily

if TYPE_CHECKING:
    from lzu_benchmarks.harness.candidates import Candidate, open_candidates, pair
    from lzu_benchmarks.harness.early_stopping import estimate
    from lzu_benchmarks.harness.flops import Flops, count_flops
    from lzu_benchmarks.harness.latency import measure
    from lzu_benchmarks.harness.latency_results import (
        EngineLatency,
        InterruptedRunError,
        LatencyRun,
        StartTimes,
    )
    from lzu_benchmarks.harness.power import Meter, Power, find_meter, measure_power
    from lzu_benchmarks.harness.summary import Percentiles, StageTime, percentiles, stage_times
    from lzu_export.support.interleave import Plan, Subject, Timings, ratio, take_turns
    from lzu_export.support.ratio import Ratio

__all__ = [
    "Candidate",
    "EngineLatency",
    "Flops",
    "InterruptedRunError",
    "LatencyRun",
    "Meter",
    "Percentiles",
    "Plan",
    "Power",
    "Ratio",
    "StageTime",
    "StartTimes",
    "Subject",
    "Timings",
    "count_flops",
    "estimate",
    "find_meter",
    "measure",
    "measure_power",
    "open_candidates",
    "pair",
    "percentiles",
    "ratio",
    "stage_times",
    "take_turns",
]
__getattr__ = lazily(
    __name__,
    {
        "Candidate": "lzu_benchmarks.harness.candidates",
        "EngineLatency": "lzu_benchmarks.harness.latency_results",
        "Flops": "lzu_benchmarks.harness.flops",
        "InterruptedRunError": "lzu_benchmarks.harness.latency_results",
        "LatencyRun": "lzu_benchmarks.harness.latency_results",
        "Meter": "lzu_benchmarks.harness.power",
        "Percentiles": "lzu_benchmarks.harness.summary",
        "Plan": "lzu_export.support.interleave",
        "Power": "lzu_benchmarks.harness.power",
        "Ratio": "lzu_export.support.ratio",
        "StageTime": "lzu_benchmarks.harness.summary",
        "StartTimes": "lzu_benchmarks.harness.latency_results",
        "Subject": "lzu_export.support.interleave",
        "Timings": "lzu_export.support.interleave",
        "count_flops": "lzu_benchmarks.harness.flops",
        "estimate": "lzu_benchmarks.harness.early_stopping",
        "find_meter": "lzu_benchmarks.harness.power",
        "measure": "lzu_benchmarks.harness.latency",
        "measure_power": "lzu_benchmarks.harness.power",
        "open_candidates": "lzu_benchmarks.harness.candidates",
        "pair": "lzu_benchmarks.harness.candidates",
        "percentiles": "lzu_benchmarks.harness.summary",
        "ratio": "lzu_export.support.interleave",
        "stage_times": "lzu_benchmarks.harness.summary",
        "take_turns": "lzu_export.support.interleave",
    },
)

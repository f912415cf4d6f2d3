"""Measure the single-stream latency of bundles.

`python -m lzu_benchmarks.harness.latency BUNDLE [BUNDLE ...]`.

Every engine that runs here is timed twice: end to end, from the camera's bytes to the predictions,
split into stages of which suppression is one; and alone, from inputs to outputs. Engines on a
device are opened with and without CUDA graph, and the times of loading and of the first run are
reported. All engines are timed interleaved. Ratios are to the first bundle's engine of the same
target, precision and graph mode. Rules and order: see `lzu_export.support.interleave`. Estimates:
see `lzu_benchmarks.harness.early_stopping`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from lzu_benchmarks.commands import add_json, print_result
from lzu_benchmarks.harness.candidates import GRAPHS, STAGES, Candidate, open_candidates, pair
from lzu_benchmarks.harness.latency_results import (
    EngineLatency,
    InterruptedRunError,
    LatencyRun,
)
from lzu_benchmarks.harness.latency_table import latency_tables
from lzu_benchmarks.harness.power import Power, find_meter, measure_power
from lzu_benchmarks.harness.summary import (
    MILLISECOND,
    percentiles,
    stage_times,
)
from lzu_export.cli import exits
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.support.device import using_device
from lzu_export.support.files import write_text
from lzu_export.support.interleave import Plan, Timings, drift, overhead, ratio, take_turns
from lzu_export.support.machine import describe, peak_memory
from lzu_export.support.provenance import low_precision_note
from lzu_export.support.ratio import Ratio
from lzu_export.support.watch import Watch
from lzu_export.targets.registry import runs_anywhere

MLPERF_SECONDS = 600


def measure(
    candidates: Sequence[Candidate],
    plan: Plan,
    *,
    power_seconds: float = 10.0,
    frames: str = "",
) -> LatencyRun:
    """Time all candidates interleaved: first end to end, then the engines alone; then their power.

    Args:
        candidates: at least one; names are unique, and every base is among them.
        plan: duration of each of the two timings.
        power_seconds: seconds of the power measurement of each candidate, if a meter is found.
        frames: description of the frames; composed from the candidates if empty.

    Raises:
        InterruptedRunError: the user interrupted the measurement after at least one whole round;
            the error holds the figures up to then.
    """
    by_name = {each.name: each for each in candidates}
    end_to_end = {name: each.end_to_end() for name, each in by_name.items()}
    watch = Watch()
    whole: dict[str, Timings] = {}
    alone: dict[str, Timings] = {}
    power: dict[str, Power | None] = dict.fromkeys(by_name)
    interrupted = False
    try:
        take_turns(end_to_end, plan, watch, whole)
        take_turns({name: each.engine() for name, each in by_name.items()}, plan, watch, alone)
        if meter := find_meter():
            for name, subject in end_to_end.items():
                power[name] = measure_power(meter, subject, seconds=power_seconds)
    except KeyboardInterrupt:
        if not any(each.totals for each in whole.values()):
            raise
        interrupted = True
    conditions = watch.finish()
    engines = {name: _summary(each, whole, alone, power[name]) for name, each in by_name.items()}
    spent = overhead(len(STAGES))
    fastest = min(each.end_to_end.p50 for each in engines.values())
    run = LatencyRun(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=describe(),
        conditions=conditions,
        plan={name: float(value) for name, value in asdict(plan).items()},
        engines=engines,
        overhead_nanoseconds=spent,
        overhead_share=spent / (fastest * MILLISECOND),
        peak_memory=peak_memory(),
        frames=frames
        or "; ".join(dict.fromkeys(each.frames for each in candidates if each.frames))
        or f"{len(candidates[0].camera_frames)} batches of frames in turn",
        noise=any(each.noise for each in candidates),
        notes=tuple(_notes(candidates, plan)),
        interrupted=interrupted,
    )
    if interrupted:
        raise InterruptedRunError(run)
    return run


def _summary(
    each: Candidate,
    whole: Mapping[str, Timings],
    alone: Mapping[str, Timings],
    power: Power | None,
) -> EngineLatency:
    engine = alone.get(each.name, Timings())

    def compare(timings: Mapping[str, Timings]) -> Ratio | None:
        if each.base in (None, each.name) or not timings.get(each.name, Timings()).totals:
            return None
        return ratio(timings[each.name], timings[each.base])

    mine = whole[each.name]
    return EngineLatency(
        bundle=each.bundle,
        target=each.target,
        precision=each.precision,
        provider=each.predictor.session.provider,
        device=each.predictor.session.device,
        cuda_graph=each.cuda_graph,
        start=each.start,
        frames_per_query=each.predictor.recipe.batch,
        end_to_end=percentiles(mine.totals),
        engine=percentiles(engine.totals) if engine.totals else None,
        stages=stage_times(mine),
        ratio=compare(whole),
        engine_ratio=compare(alone),
        base=each.base,
        drift=drift(mine),
        power=power,
    )


def _notes(candidates: Sequence[Candidate], plan: Plan) -> list[str]:
    notes = []
    if plan.seconds < MLPERF_SECONDS:
        notes.append(
            f"single stream by MLPerf Inference's rules, but for {plan.seconds:g} s an engine at "
            f"least instead of {MLPERF_SECONDS}, and interleaved with others"
        )
    notes += dict.fromkeys(each.note for each in candidates if each.note)
    on_cpu = any(runs_anywhere(each.target) for each in candidates)
    if on_cpu and any(each.precision != "fp32" for each in candidates):
        notes.append(low_precision_note())
    return notes


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a `Plan`, and those of threads and CUDA graphs."""
    group = parser.add_argument_group("latency")
    default = Plan()
    group.add_argument(
        "--min-queries", type=int, default=default.queries, help="timed queries of every engine"
    )
    group.add_argument(
        "--min-seconds",
        type=float,
        default=default.seconds,
        help=f"timed seconds of every engine; MLPerf: {MLPERF_SECONDS}",
    )
    group.add_argument("--warmup-seconds", type=float, default=default.warmup_seconds)
    group.add_argument("--threads", type=int, help="of ONNX Runtime on the CPU")
    group.add_argument(
        "--cuda-graph",
        choices=GRAPHS,
        default="both",
        help="of engines on a device: opened with one, without, or each in turn",
    )


def plan_of(given: argparse.Namespace) -> Plan:
    """Return the plan that the options ask for."""
    return Plan(
        queries=given.min_queries, seconds=given.min_seconds, warmup_seconds=given.warmup_seconds
    )


@exits.ending("nothing was timed yet; give the same command to start again")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lzu_benchmarks.harness.latency", description=__doc__
    )
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--target", help="onnxruntime by default")
    parser.add_argument("--precision", help="separated by spaces; all by default")
    parser.add_argument("--provider", default="cpu", help="of ONNX Runtime: cpu, cuda, tensorrt")
    parser.add_argument("--device", type=int, help="number of the GPU, as CUDA counts them")
    parser.add_argument("--dataset", help="whose frames are shown; the recipe's own by default")
    parser.add_argument("--out", type=Path, help="file for all figures")
    add_json(parser)
    add_plan_options(parser)
    given = parser.parse_intermixed_args(arguments)
    for path in given.bundles:
        if path.suffix == ".json":
            raise LzuError(
                f"{path} is no bundle; --json prints on stdout, the file is --out {path}"
            )
    try:
        open_ = partial(
            open_candidates,
            precisions=given.precision.split() if given.precision else None,
            target=given.target,
            threads=given.threads,
            provider=given.provider,
            graphs=GRAPHS[given.cuda_graph],
            dataset=given.dataset,
        )
        with using_device(given.device):
            candidates = pair([each for bundle in given.bundles for each in open_(bundle)])
            run = measure(candidates, plan_of(given))
    except InterruptedRunError as stopped:
        _tell(stopped.run, given)
        where = f"in {given.out}" if given.out else "above"
        exits.interrupted(
            f"the figures until then are {where}; give the same command to start again"
        )
    _tell(run, given)


def _tell(run: LatencyRun, given: argparse.Namespace) -> None:
    _write(run, given.out)
    print_result(given.json, run.model_dump(mode="json"), latency_tables(run))


def _write(run: LatencyRun, path: Path | None) -> None:
    if path is not None:
        with readable_os_errors(f"the figures {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(run.model_dump(mode="json"), indent=2) + "\n", named=True)


if __name__ == "__main__":
    main()

"""Measure the single-stream latency of bundles.

`python -m lzu_benchmarks.harness.latency BUNDLE [BUNDLE ...]`.

Of every engine that runs here two things are timed: end to end, from the camera's bytes to the
predictions, split into stages with suppression as one; and the engine alone, inputs in, outputs
out. Engines of a device are opened twice, with and without CUDA graph, and tell how long they take
to load and to run for the first time. All take turns; ratios are to the first bundle's engine of
the same precision. Rules, order and estimates: see `lzu_benchmarks.harness`.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lzu_benchmarks.commands import add_json, print_result
from lzu_benchmarks.harness.power import Power, find_meter, measure_power
from lzu_benchmarks.harness.summary import (
    MILLISECOND,
    Percentiles,
    Section,
    StageTime,
    percentiles,
    stage_times,
)
from lzu_export.bundle.bundle import Bundle
from lzu_export.cli import exits
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.evaluation.datasets import named_sets, open_dataset
from lzu_export.inputs.frame import check_frame
from lzu_export.runtime import load
from lzu_export.runtime.predictor import Predictor, Shot
from lzu_export.support.escaping import visible
from lzu_export.support.files import write_text
from lzu_export.support.interleave import (
    Plan,
    Ratio,
    Subject,
    Timings,
    drift,
    overhead,
    ratio,
    take_turns,
)
from lzu_export.support.machine import Machine, describe, peak_memory
from lzu_export.support.provenance import low_precision_note
from lzu_export.support.watch import Conditions, Watch
from lzu_export.targets.registry import DEFAULT_TARGET, find, runs_anywhere
from lzu_export.tasks.pytorch import noise_shot, whole_batches

STAGES = ("pre-processing", "engine", "suppression", "post-processing")
"""Of a frame: to the engine's inputs, its run with copies to and from the device, suppression on
the host (of adaptive engines that keep their boxes on the device it is part of the run; the host
then only cuts), and what makes predictions of it."""
GRAPHS: dict[str, tuple[bool, ...]] = {"off": (False,), "on": (True,), "both": (False, True)}
"""Sessions that are opened, by the option `--cuda-graph`: whether each replays a CUDA graph."""
FRAMES = 8
"""Different frames that are shown in turn; of a warp that remembers they follow one another."""
NO_DATASET = "none"
NOISE = ", of random noise"
"""What headlines of figures end in that are of no data set."""
MLPERF_SECONDS = 600
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
    """Of the end-to-end queries."""
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
    """Of the fastest end-to-end median."""
    peak_memory: int | None
    """Bytes of the whole process, all engines loaded."""
    frames: str
    """What was shown."""
    noise: bool = False
    """Whether that was noise: times of suppression are then of no scene."""
    notes: tuple[str, ...]
    interrupted: bool = False
    """Whether it ended before the plan did; figures are of the whole rounds until then."""

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


@dataclass(frozen=True)
class Contestant:
    """An opened engine, ready to be timed."""

    name: str
    bundle: str
    target: str
    precision: str
    predictor: Predictor
    shots: Sequence[Sequence[Shot]]
    """Batches, shown in turn."""
    base: str | None = None
    """Name of the one it is compared with."""
    cuda_graph: bool | None = None
    start: StartTimes | None = None
    note: str = ""
    """What is to be told with its figures."""
    frames: str = ""
    """What its batches show."""
    noise: bool = False
    """Whether that is noise."""

    def end_to_end(self) -> Subject:
        """From frames to predictions."""
        predictor, shots = self.predictor, self.shots
        shown: list[Sequence[Shot]] = [shots[0]]

        def feed(number: int) -> Sequence[Shot]:
            place = number % len(shots)
            if place == 0 and predictor.remembers:
                predictor.reset()
            shown[0] = shots[place]
            return shots[place]

        stages: tuple[Callable[[Any], Any], ...] = (
            predictor.prepare,
            predictor.session.run,
            lambda outputs: predictor.keep(outputs, len(shown[0])),
            lambda kept: predictor.present(kept, shown[0]),
        )
        return Subject(dict(zip(STAGES, stages, strict=True)), feed)

    def engine(self) -> Subject:
        """From inputs to outputs, with the inputs that the frames lead to."""
        predictor = self.predictor
        predictor.reset()
        inputs = []
        for batch in self.shots:
            inputs.append(predictor.prepare(batch))
            predictor.conclude(predictor.session.run(inputs[-1]), batch)

        def feed(number: int) -> Mapping[str, Any]:
            return inputs[number % len(inputs)]

        return Subject({"engine": predictor.session.run}, feed)


def enter(
    bundle: Path,
    *,
    precisions: Sequence[str] | None = None,
    target: str | None = None,
    threads: int | None = None,
    provider: str = "cpu",
    graphs: Sequence[bool] = GRAPHS["both"],
    dataset: str | None = None,
) -> list[Contestant]:
    """Open the engines of a bundle that are asked for, by default all of one target.

    Args:
        bundle: folder that export made.
        precisions: all by default.
        target: onnxruntime by default.
        threads: of ONNX Runtime on the CPU.
        provider: of ONNX Runtime.
        graphs: of engines on a device: with and without CUDA graph each is opened anew. Where
            both are asked for and one cannot be captured, there is only the one without, and its
            note says why.
        dataset: whose frames are shown, see `frames_of`.

    Raises:
        LzuError: the bundle is damaged, has no such engine that runs here, or a CUDA graph alone
            is asked for in vain.
    """
    opened = Bundle(bundle)
    manifest = opened.manifest
    wanted = target or DEFAULT_TARGET
    there = [engine.precision for engine in manifest.engines if engine.target == wanted]
    there = list(dict.fromkeys(there))  # other releases and cards have engines of their own
    shown = frames_of(opened, dataset)
    found: list[Contestant] = []
    if not there:
        opened.engine(target)  # which says what there is instead
    on_device = find(wanted).on_device
    for precision in precisions if precisions is not None else there:
        compiles = find(wanted).compiles_at_start
        cold = _cold_first_run(bundle, wanted, precision) if compiles else None
        without: Contestant | None = None
        for graph in graphs if on_device else (None,):
            predictor = load(
                bundle,
                target=target,
                precision=precision,
                threads=threads,
                provider=provider,
                graph=None if graph and without is not None else graph,
            )
            session = predictor.session
            note = getattr(session, "graph_note", "")
            if graph and without is not None and note:
                session.close()
                told = f"{without.name} has no CUDA graph to be compared with: {note}"
                found[-1] = replace(without, note="; ".join(filter(None, (without.note, told))))
                continue
            suffix = "" if graph is None else " graph" if graph else " no graph"
            entered = Contestant(
                name=f"{bundle.name} {wanted} {precision}{suffix}",
                bundle=bundle.name,
                target=wanted,
                precision=precision,
                predictor=predictor,
                shots=shown.batches,
                frames=shown.what,
                noise=shown.noise,
                cuda_graph=graph,
                start=_start(session, cold) if on_device else None,
                note=_host_note(bundle.name, session),
            )
            found.append(entered)
            without = entered if graph is False else None
    return found


def _host_note(bundle: str, session: Any) -> str:
    boxes, zoom = (getattr(session, name, "") for name in ("feedback_note", "zoom_note"))
    notes = [f"boxes of {bundle} go through the host: {boxes}"] if boxes else []
    return "; ".join([*notes, f"the host zooms for {bundle}: {zoom}"] if zoom else notes)


def _cold_first_run(bundle: Path, target: str, precision: str) -> float:
    """Seconds of the first run where TensorRT-RTX compiles all its kernels.

    Leaves what was compiled in the cache, so that every first run after it is a warm one.
    """
    seconds = []
    for cache in (False, True):
        predictor = load(bundle, target=target, precision=precision, runtime_cache=cache)
        seconds.append(float(predictor.session.warm_up_seconds))
        predictor.session.close()
    return seconds[0]


def _start(session: Any, cold: float | None) -> StartTimes:
    return StartTimes(
        load=session.load_seconds, first_run=session.warm_up_seconds, cold_first_run=cold
    )


class Shown(NamedTuple):
    """Batches of frames that fit a bundle, and where they come from."""

    batches: list[list[Shot]]
    what: str
    noise: bool = False
    """Whether they show nothing."""


def frames_of(bundle: Bundle, dataset: str | None = None, count: int = FRAMES) -> Shown:
    """Frames to time and to draw: the first of a data set; else the bundle's own reference.

    Args:
        bundle: whose frames they are to be.
        dataset: the set's name or path; by default the recipe's own, if that has a name. A bundle
            does not hold the path of another one, but some of its frames.
        count: most batches of a set.

    Returns:
        Batches; of noise only where the bundle was exported without a data set and none is given.

    Raises:
        LzuError: there is no such set, or its frames do not fit the bundle.
    """
    recipe, size = bundle.recipe, bundle.recipe.batch
    own = recipe.evaluation.dataset
    name = own if dataset is None and own in named_sets() else dataset
    if name not in (None, NO_DATASET):
        opened = open_dataset(str(name), None, recipe.task, recipe)
        shots = []
        for sample in islice(opened.samples(), count * size):
            what = sample.name or f"frame {sample.number} of {opened.name}"
            check_frame(sample.shot.frame, recipe.source, what)
            shots.append(sample.shot)
        if shots:
            told = f"the first {len(shots)} frames of {opened.name} in turn"
            return Shown(whole_batches(shots, size), told)
    if own is not None:
        batches = bundle.batches()
        told = f"{len(batches) * size} frames of {own} that the bundle holds, in turn"
        return Shown(batches, told)
    shots = [noise_shot(recipe, seed=i) for i in range(count * size)]
    return Shown(whole_batches(shots, size), "random noise, as no data set is given", noise=True)


def measure(
    contestants: Sequence[Contestant],
    plan: Plan,
    *,
    power_seconds: float = 10.0,
    frames: str = "",
) -> LatencyRun:
    """Time all contestants in turns: end to end, then the engines alone, then their power.

    Args:
        contestants: at least one; names are unique, bases are among them.
        plan: how long each of the two takes.
        power_seconds: of each engine on its own, where a meter is found.
        frames: in words, what is shown.

    Raises:
        InterruptedRunError: it was interrupted, with the figures until then, if there are any.
    """
    by_name = {each.name: each for each in contestants}
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
        or "; ".join(dict.fromkeys(each.frames for each in contestants if each.frames))
        or f"{len(contestants[0].shots)} batches of frames in turn",
        noise=any(each.noise for each in contestants),
        notes=tuple(_notes(contestants, plan)),
        interrupted=interrupted,
    )
    if interrupted:
        raise InterruptedRunError(run)
    return run


def _summary(
    each: Contestant,
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


def _notes(contestants: Sequence[Contestant], plan: Plan) -> list[str]:
    notes = []
    if plan.seconds < MLPERF_SECONDS:
        notes.append(
            f"single stream by MLPerf Inference's rules, but for {plan.seconds:g} s an engine at "
            f"least instead of {MLPERF_SECONDS}, and interleaved with others"
        )
    notes += dict.fromkeys(each.note for each in contestants if each.note)
    on_cpu = any(runs_anywhere(each.target) for each in contestants)
    if on_cpu and any(each.precision != "fp32" for each in contestants):
        notes.append(low_precision_note())
    return notes


def latency_tables(run: LatencyRun) -> Group:
    """What the command prints."""
    title = f"Latency, ms a query{NOISE if run.noise else ''}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("engine", overflow="fold")
    headings = ["p50", "p90", "p90 es", "p99", "ratio"]
    headings += ["pre", "engine", "nms", "post", "alone\np50"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, each in run.engines.items():
        whole = each.end_to_end
        estimate = "-" if whole.p90_estimate is None else f"{whole.p90_estimate:.2f}"
        compared = "-" if each.ratio is None else f"{each.ratio.value:.3f}"
        stages = [f"{each.stages[stage].p50:.2f}" for stage in STAGES]
        cells = [f"{whole.p50:.2f}", f"{whole.p90:.2f}", estimate, f"{whole.p99:.2f}", compared]
        table.add_row(
            visible(name), *cells, *stages, f"{each.engine.p50:.2f}" if each.engine else "-"
        )
    first = next(iter(run.engines.values()))
    notes = [
        f"on {run.machine.identity}",
        f"{first.end_to_end.queries} queries each, {run.frames}",
        "p90 es: MLPerf's early-stopping estimate, p90 is at most that at 99 % confidence",
        "ratio: of whole frames, median over rounds, to the first bundle in the same precision",
        f"harness: {run.overhead_nanoseconds:.0f} ns a query, {run.overhead_share:.3%} of the "
        "fastest",
        *(_start_note(name, each.start) for name, each in run.engines.items() if each.start),
        *(["interrupted: these are the whole rounds until then"] if run.interrupted else []),
        *run.notes,
        *(f"doubtful: {doubt}" for doubt in run.doubts),
    ]
    return Group(table, Text("\n".join(map(visible, notes)), style="italic"))


def _start_note(name: str, start: StartTimes) -> str:
    told = f"{name}: loaded in {start.load:.2f} s, first run {start.first_run:.2f} s"
    if start.cold_first_run is not None:
        told += f", {start.cold_first_run:.2f} s where its kernels are compiled first"
    return told


def pair(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Give each the first one of its target, precision and graph mode as its base."""
    bases: dict[Any, str] = {}
    paired = []
    for each in contestants:
        base = bases.setdefault((each.target, each.precision, each.cuda_graph), each.name)
        paired.append(Contestant(**{**vars(each), "base": base}))
    return paired


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Options that make a `Plan`."""
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
    """The plan that options ask for."""
    return Plan(
        queries=given.min_queries, seconds=given.min_seconds, warmup_seconds=given.warmup_seconds
    )


@exits.ending("nothing was timed yet; give the same command to start again")
def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lzu_benchmarks.harness.latency", description=__doc__
    )
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--target", help="onnxruntime by default")
    parser.add_argument("--precision", help="separated by spaces; all by default")
    parser.add_argument("--provider", default="cpu", help="of ONNX Runtime: cpu, cuda, tensorrt")
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
            enter,
            precisions=given.precision.split() if given.precision else None,
            target=given.target,
            threads=given.threads,
            provider=given.provider,
            graphs=GRAPHS[given.cuda_graph],
            dataset=given.dataset,
        )
        contestants = pair([each for bundle in given.bundles for each in open_(bundle)])
        run = measure(contestants, plan_of(given))
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

"""Compare a warp with what a user might take instead: accuracy, operations and time of each.

Every network is exported, and the FP32 engine, as `load` opens it, finds what is scored.
What each network and seed found is kept in a file of its own, so that an interrupted comparison
goes on where it stopped.
"""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from lzu_benchmarks.bench.compare import flops_of
from lzu_benchmarks.bench.contender import PACKAGE, Contender, Store
from lzu_benchmarks.bench.rival_scores import SCORES, Key
from lzu_benchmarks.demo.dataset import DemoDataset, open_demo
from lzu_benchmarks.report.schema import BASE, OURS, RivalRow, Rivals, Spread
from lzu_benchmarks.rivals.networks import (
    Budget,
    RivalTask,
    Weights,
    band_record,
    chosen_band,
    missing,
    overrides,
    weights_in,
)
from lzu_benchmarks.rivals.rivals import RIVALS, Rival, finder
from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.bootstrap import Interval
from lzu_export.evaluation.resume import key_of
from lzu_export.recipes.sections import Window
from lzu_export.runtime import load
from lzu_export.runtime.predictor import FramePredictor
from lzu_export.support.interleave import Plan, Subject, Timings, ratio, take_turns
from lzu_export.support.interpreter import run_module
from lzu_export.support.progress import Reporter
from lzu_export.support.provenance import source_digest
from lzu_export.targets.registry import DEFAULT_TARGET

TIMED = 16
"""Number of frames that are timed in turn."""
TRAINING = "lzu_benchmarks.rivals.train"
"""Module that trains the networks; it needs torch."""


@dataclass(frozen=True)
class Entry:
    """A rival whose networks are trained, with their bundles for each seed.

    Attributes:
        rival: the row.
        bundles: by seed, the bundle of each network by its name.
    """

    rival: Rival
    bundles: Mapping[int, Mapping[str, Contender]]

    @property
    def gflop(self) -> float:
        """Operations of all passes for a frame, in units of 10^9."""
        first = next(iter(self.bundles.values()))
        passes = self.rival.passes
        return sum(n * flops_of(first[name]).total for name, n in passes.items()) / 1e9


def compare_rivals(
    task: RivalTask,
    folder: Path,
    store: Store,
    *,
    frames: int | None,
    plan: Plan,
    threads: int | None,
    report: Reporter,
) -> Rivals:
    """Compare every rival whose networks are trained, or ship; name the others.

    Args:
        task: the task that is compared.
        folder: folder of the trained weights, and of their bundles.
        store: storage of results.
        frames: largest number of frames that are scored; all by default.
        plan: duration of the timing.
        threads: number of threads of ONNX Runtime.
        report: progress reporter.

    Raises:
        LzuError: an export fails, the weights are not comparable, or a file cannot be written.
    """
    weights, band = weights_in(folder, task), chosen_band(folder)
    why = {rival.name: _why_not(rival, weights) for rival in RIVALS[task.name]}
    chosen = [rival for rival in RIVALS[task.name] if not why[rival.name]]
    wanted = {each.name for rival in chosen for each in rival.networks}
    bundles = {
        (each.network, each.seed): exported(task, each, folder, band, report)
        for each in weights
        if each.network in wanted
    }
    entries = [Entry(rival, _by_seed(rival, bundles)) for rival in chosen]
    dataset = open_demo("val", frames, whole=True)  # FOVEA follows each sequence
    found = {
        (entry.rival.name, seed): found_by(task, entry, seed, band, dataset, store, threads, report)
        for entry in entries
        for seed in entry.bundles
    }
    with report.working("intervals"):
        accuracy = intervals_of(task, found, dataset)
    with report.working("latency of the rivals"):
        times = timed(entries, band, plan, threads)
    record = band_record(folder)
    return Rivals(
        metrics=SCORES[task.name].metrics,
        frames=len(dataset),
        budget=str(weights[0].budget),
        rule=None if record is None else record["rule"],
        merging=task.merging,
        command=_training(task, folder, weights[0].budget),
        rows=tuple(
            RivalRow(
                name=entry.rival.name,
                variant=entry.rival.variant,
                passes=sum(entry.rival.passes.values()),
                seeds=tuple(entry.bundles),
                gflop=entry.gflop,
                milliseconds=median(times[entry.rival.name].totals) / 1e6,
                ratio=ratio(times[entry.rival.name], times[BASE]) if BASE in times else None,
                **accuracy[entry.rival.name],
            )
            for entry in entries
        ),
        missing={name: reason for name, reason in why.items() if reason},
    )


def _training(task: RivalTask, folder: Path, budget: Budget) -> str:
    """Return the command that trains what a folder lacks."""
    command = f"python -m {TRAINING} --task {task.name} --out {folder}"
    if budget != task.full:
        command += f" --epochs {budget.epochs:g} --sequences {budget.sequences}"
    return command


def _why_not(rival: Rival, weights: Sequence[Weights]) -> str:
    """Return why a rival cannot be compared; empty if it can."""
    if rival.by_sahi and find_spec("sahi") is None:
        return "needs the extra sahi"
    names = [each.name for each in rival.networks]
    lacking = missing(names, weights)
    if lacking:
        return f"not trained: {', '.join(lacking)}"
    seeds = [{each.seed for each in weights if each.network == name} for name in names]
    return "" if set.intersection(*seeds) else "its networks have no seed in common"


def _by_seed(
    rival: Rival, bundles: Mapping[tuple[str, int], Contender]
) -> dict[int, dict[str, Contender]]:
    """Return the bundles of the seeds that all networks of a rival have."""
    names = [each.name for each in rival.networks]
    seeds = [{seed for name, seed in bundles if name == wanted} for wanted in names]
    return {
        seed: {name: bundles[name, seed] for name in names}
        for seed in sorted(set.intersection(*seeds))
    }


def exported(
    task: RivalTask, weights: Weights, folder: Path, band: Window | None, report: Reporter
) -> Contender:
    """Export the FP32 engine of some weights, unless it is there; return its bundle.

    Raises:
        LzuError: the export fails.
    """
    network = task.networks[weights.network]
    out = folder / "bundles"  # in one folder, bundles share the lowerings that were measured
    changes = overrides(network, band)
    changes |= {"calibration.frames": "null", "evaluation.dataset": "null", "name": weights.name}
    command = run_module("lzu_export", "export", task.name, "--out", str(out), "--json")
    command += ["--precision", "fp32", "--target", DEFAULT_TARGET]
    command += ["--variant", network.variant, "--checkpoint", str(weights.path)]
    for key, value in changes.items():
        command += ["--set", f"{key}={value}"] if key != "variant" else []
    with report.working(f"exporting {weights.name}"):
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise LzuError(f"the export of {weights.path} failed, as said above; train it again")
    (manifest,) = out.glob(f"{task.name}/{weights.name}-*/manifest.json")
    return Contender(manifest.parent)


def opened(
    bundles: Mapping[str, Contender], threads: int | None, stack: ExitStack
) -> dict[str, FramePredictor[Any]]:
    """Open the bundles by name; `stack` closes them."""
    made: dict[str, Any] = {
        name: stack.enter_context(load(each.folder, threads=threads))
        for name, each in bundles.items()
    }
    return made


def found_by(
    task: RivalTask,
    entry: Entry,
    seed: int,
    band: Window | None,
    dataset: DemoDataset,
    store: Store,
    threads: int | None,
    report: Reporter,
) -> Any:
    """Return what a rival finds in every frame, from the store if nothing changed."""
    bundles = entry.bundles[seed]
    files = {name: each.manifest.files for name, each in bundles.items()}
    key = key_of(files, len(dataset), band and band.model_dump(), source_digest(PACKAGE / "rivals"))
    title = f"{entry.rival.name}, seed {seed}"

    scores = SCORES[task.name]()

    def find_all() -> Any:
        with ExitStack() as stack, report.steps(title, len(dataset)) as advance:
            predictors = opened(bundles, threads, stack)
            find = finder(entry.rival, predictors, band)
            last = None
            for number, sequence, frame in dataset.rendered():
                if sequence != last:  # boxes are fed back within a sequence only
                    last = sequence
                    for each in predictors.values():
                        each.reset()
                scores.add(number, sequence, frame, find(frame.image))
                advance(1)
        return scores.result(key)

    name = "-".join("".join(c if c.isalnum() else " " for c in entry.rival.name).split())
    return store.get(f"rival-{name}-{seed}", key, scores.stored, find_all)


def intervals_of(
    task: RivalTask, found: Mapping[Key, Any], dataset: DemoDataset
) -> dict[str, dict[str, dict[str, Spread]]]:
    """Return the metrics of each rival, averaged over seeds, and what they are over `OURS`.

    Intervals are over sequences, which are drawn alike for all rivals.
    """
    names = dict.fromkeys(name for name, _ in found)
    seeds = {name: [seed for of, seed in found if of == name] for name in names}
    pairs: dict[tuple[str, str], list[tuple[Key | None, Key]]] = {
        (name, "metrics"): [(None, (name, seed)) for seed in seeds[name]] for name in names
    }
    for name in names:
        both = sorted(set(seeds[name]) & set(seeds.get(OURS, [])))
        if name != OURS and both:
            pairs[name, "over"] = [((OURS, seed), (name, seed)) for seed in both]
    spreads = SCORES[task.name].differences(found, pairs, dataset)
    made: dict[str, dict[str, dict[str, Spread]]] = {n: {"metrics": {}, "over": {}} for n in names}
    for (name, kind), columns in spreads.items():
        made[name][kind] = {column: _spread(each) for column, each in columns.items()}
    return made


def _spread(interval: Interval) -> Spread:
    return Spread(value=interval.difference, low=interval.low, high=interval.high)


def timed(
    entries: Sequence[Entry], band: Window | None, plan: Plan, threads: int | None
) -> dict[str, Timings]:
    """Time every rival interleaved, from a frame to what is found, with the first seed."""
    images = [sample.image for sample in islice(open_demo("val", TIMED), TIMED)]

    def subject(find: Callable[[Any], Any]) -> Subject:
        return Subject({"find": find}, lambda number: images[number % len(images)])

    with ExitStack() as stack:
        subjects = {}
        for entry in entries:
            predictors = opened(next(iter(entry.bundles.values())), threads, stack)
            subjects[entry.rival.name] = subject(finder(entry.rival, predictors, band))
        return take_turns(subjects, plan)

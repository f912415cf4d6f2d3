"""Train, export, score and compare the variants of a system on the demonstration scenes.

The programs of `docs/examples-systems.md` share it. All variants have one network, network
input, schedule and seeds; only the warp differs. The exported engines are scored as `load` opens
them.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from streets import read_scenes
from torch import nn

import lzu_export as lzu
from lzu_benchmarks.commands import add_json, print_result, write_json
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.scenes import Frame
from lzu_benchmarks.train.command import Stopwatch
from lzu_benchmarks.train.figures import gain_text, machine, mean_text
from lzu_benchmarks.train.schedule import Schedule
from lzu_export.cli import exits
from lzu_export.evaluation.metrics.bootstrap import intervals

PRECISIONS = ("fp32", "fp16", "int8")
"""Precisions of engines; those of the first one are compared."""

Scenes = Sequence[Frame]
Warp = lzu.FixedWarp | lzu.LearnedWarp
Cuts = Mapping[str, Sequence[float]]
"""Submodules whose maps are unzoomed, each with the canvas pixel of its maps' first cells."""
Values = Callable[[NDArray[np.int64]], Mapping[str, float]]
"""Function from how often each sequence counts (n,) to values in points by column."""


class System(NamedTuple):
    """A network, the warps that it is trained with, and how it is trained and scored."""

    name: str
    network: Callable[[], nn.Module]
    """Makes the network with random weights."""
    cuts: Callable[[Warp], Cuts]
    """Returns what is unzoomed behind a warp."""
    warps: Mapping[str, Callable[[Scenes], Warp]]
    """Makes the warp of each variant from the training scenes."""
    train: Callable[[nn.Module, Scenes, Schedule], object]
    """Trains a wrapped network."""
    rate: float
    """Highest learning rate."""
    exported: Mapping[str, Any]
    """Arguments of the export."""
    score: Callable[[Path, int | None, str], dict[str, Any]]
    """Returns plain data on a bundle's predictions for so many frames at a precision."""
    values: Callable[[Mapping[str, Any]], Values]
    """Makes the function of values from these data."""
    gains: Mapping[str, tuple[str, ...]]
    """Variants that each variant is compared with."""
    shown: int = 1
    """Number of values that the table shows, from the first one on."""
    constant: bool = False
    """Whether learned warps are the same for all images; fixed ones then take their places."""
    multiple: int = 32
    """Multiple to which the canvas is padded."""
    frames: Callable[[Scenes, Path], Path] | None = None
    """Writes images for the ranges of INT8 into a folder below OUT, in place of `exported`'s."""


def trained(
    system: System, variant: str, seed: int, scenes: Scenes, options: argparse.Namespace
) -> tuple[nn.Module, float]:
    """Return a wrapped network, from OUT/VARIANT-SEED.pth if it is there, and its CPU seconds.

    A learned warp that is the same for all frames has become a fixed one.
    """
    path = options.out / f"{variant}-{seed}.pth"
    torch.manual_seed(seed)
    network = system.network()  # before the warp, so that all variants begin with equal weights
    warp = system.warps[variant](scenes)
    cuts = system.cuts(warp)
    model = lzu.wrap(network, warp, list(cuts), phase=cuts, multiple=system.multiple)
    if path.exists():
        stored = torch.load(path, weights_only=True)
        model.load_state_dict(stored["state_dict"])
        seconds = stored["cpu_seconds"]
    else:
        log = path.with_suffix(".log")
        schedule = Schedule(options.steps * 8 / len(scenes), seed, rate=system.rate, log=log)
        watch = Stopwatch()
        system.train(model, scenes, schedule)
        seconds = watch.cpu_seconds
        torch.save({"state_dict": model.state_dict(), "cpu_seconds": seconds}, path)
    if system.constant and isinstance(warp, lzu.LearnedWarp):
        lzu.wrap(
            lzu.unwrap(model), warp.as_fixed(), list(cuts), phase=cuts, multiple=system.multiple
        )
    return model.eval(), seconds


def run(
    system: System, variant: str, seed: int, scenes: Scenes, options: argparse.Namespace
) -> dict[str, Any]:
    """Train, export and score one network; its files are OUT/VARIANT-SEED.{pth,json}.

    Of the first seed all asked precisions are exported and scored, of others the first one.
    """
    result = options.out / f"{variant}-{seed}.json"
    if result.exists():
        return dict(json.loads(result.read_text()))
    model, seconds = trained(system, variant, seed, scenes, options)
    first = seed == options.seeds[0]
    precision = options.precision if first else options.precision[:1]
    exported = dict(system.exported)
    if system.frames is not None:
        exported["frames"] = system.frames(scenes, options.out)
    done = lzu.export(
        model,
        options.out,
        name=f"{variant}-{seed}",
        precision=precision,
        targets=["onnxruntime"],
        **exported,
    )
    figures = {"variant": variant, "seed": seed, "steps": options.steps, "cpu_seconds": seconds}
    figures |= {"bundle": str(done.folder), "status": done.status}
    figures["scores"] = {p: system.score(done.folder, options.frames, p) for p in precision}
    write_json(result, figures)
    return figures


def compare(system: System, runs: Sequence[Mapping[str, Any]], sequences: int) -> dict[str, Any]:
    """Compute the values of every engine, and gains with intervals by drawn sequences.

    Gains are means over seeds, paired by seed.
    """
    found: dict[str, dict[str, dict[int, Values]]] = {}
    for each in runs:
        for precision, data in each["scores"].items():
            by_variant = found.setdefault(precision, {}).setdefault(each["variant"], {})
            by_variant[each["seed"]] = system.values(data)
    first = next(iter(found.values()))

    def differences(drawn: NDArray[np.int64]) -> dict[tuple[str, str, str], float]:
        times = np.bincount(drawn, minlength=sequences)
        now = {v: {seed: of(times) for seed, of in each.items()} for v, each in first.items()}
        return {
            (variant, other, column): float(
                np.mean(
                    [values[column] - now[other][seed][column] for seed, values in mine.items()]
                )
            )
            for variant, mine in now.items()
            for other in system.gains.get(variant, ())
            if other in now
            for column in next(iter(mine.values()))
        }

    drawn = intervals(differences, sequences, resamples=1000, seed=0, level=0.95)
    gains: dict[str, Any] = {}
    for (variant, other, column), interval in drawn.items():
        gains.setdefault(variant, {}).setdefault(other, {})[column] = vars(interval)
    once = np.ones(sequences, np.int64)
    accuracy = {
        precision: {
            variant: {str(seed): dict(of(once)) for seed, of in each.items()}
            for variant, each in by_variant.items()
        }
        for precision, by_variant in found.items()
    }
    return {"sequences": sequences, "accuracy": accuracy, "gains": gains}


def table(record: Mapping[str, Any], shown: int) -> str:
    """Return means over seeds, gains, and the first seed's engines, of the first values."""
    first = next(iter(record["accuracy"].values()))
    columns = list(next(iter(next(iter(first.values())).values())))[:shown]
    return "\n\n".join(_column(record, each) for each in columns)


def _column(record: Mapping[str, Any], column: str) -> str:
    """Return two tables of one value in Markdown."""
    accuracy = record["accuracy"]
    first = next(iter(accuracy.values()))
    rows = [f"| {column} | mean over seeds | gain over |", "|---|---|---|"]
    for variant, by_seed in first.items():
        gains = record["gains"].get(variant, {})
        cells = [f"{other}: {gain_text(gain[column])}" for other, gain in gains.items()]
        mean = mean_text([each[column] for each in by_seed.values()])
        rows += [f"| {variant} | {mean} | {(cells or [''])[0]} |"]
        rows += [f"| | | {cell} |" for cell in cells[1:]]
    rows += [
        "",
        f"| {column}, one seed | {' | '.join(accuracy)} |",
        "|---" * (1 + len(accuracy)) + "|",
    ]
    for variant, by_seed in first.items():
        seed = next(iter(by_seed))
        values = [each[variant][seed][column] for each in accuracy.values() if variant in each]
        rows.append(f"| {variant} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    return "\n".join(rows)


@exits.ending()
def command(system: System, description: str | None) -> None:
    """Run the command line of a system."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build", system.name))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--variants", nargs="+", choices=system.warps, default=list(system.warps))
    parser.add_argument("--steps", type=int, default=600, help="of training")
    parser.add_argument("--sequences", type=int, default=250, help="of 4 frames each, to train on")
    parser.add_argument("--frames", type=int, help="evaluate on at most this many frames")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    add_json(parser)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    scenes = read_scenes(options.sequences)
    runs = [
        run(system, v, seed, scenes, options) for seed in options.seeds for v in options.variants
    ]
    record: dict[str, Any] = {
        "command": f"python {shlex.join(sys.argv)}",
        "machine": machine(),
        **compare(system, runs, len({seed for seed, _ in open_demo("val", options.frames).keys})),
    }
    record["runs"] = [{k: v for k, v in each.items() if k != "scores"} for each in runs]
    write_json(options.out / f"{system.name}.json", record)
    print_result(options.json, record, table(record, system.shown))

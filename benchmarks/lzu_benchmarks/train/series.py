"""Train both variants of a recipe with several seeds, evaluate and compare them."""

import argparse
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lzu_benchmarks.commands import print_result, write_json
from lzu_benchmarks.demo.dataset import SPLITS, open_demo
from lzu_benchmarks.harness.workers import run_jobs
from lzu_benchmarks.scenes import LENGTH
from lzu_benchmarks.train.cache import EVERY, SALIENCY_SEQUENCES, Key
from lzu_benchmarks.train.command import (
    Stopwatch,
    parse,
    rendering,
    schedule_of,
    training_parser,
)
from lzu_benchmarks.train.figures import origin, thirds_of_rows
from lzu_benchmarks.train.network import ZoomedNetwork
from lzu_benchmarks.train.schedule import Picks, Schedule, learn
from lzu_export.cli import exits
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.recipes.schema import Variant
from lzu_export.tasks.training import training_record
from lzu_export.tasks.warps import make_warp

VARIANTS: tuple[Variant, ...] = ("uniform", "fixed")


class Figures(NamedTuple):
    """Functions that compute and report the figures of a series.

    Attributes:
        summary: computes the figures of one result.
        compare: computes the figures of all results, given by variant in the order of seeds.
        readme: writes the README of the record, in Markdown.
    """

    summary: Callable[[Any], Mapping[str, float]]
    compare: Callable[[Any], Mapping[str, Any]]
    readme: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Series:
    """The training of one task. All functions are module-level, so that it can be pickled.

    Attributes:
        module: module of the command, which `python -m` runs.
        description: description of the command.
        recipe: name of the recipe that describes the models.
        schedule: schedule of one training, whose epochs are the default.
        saliency: computes the map (h, w) of the fixed warp from a recipe and keys of frames.
        frames: opens the sampled frames, given a folder, the recipes by variant, and keys.
        network: builds the network of a recipe, with random weights.
        losses: makes the function of a training's losses, as `learn` takes it, from network,
            recipe, frames and schedule.
        evaluate: evaluates a trained network, given the network, its recipe and frames.
        figures: functions that compute and report the figures of the results.
    """

    module: str
    description: str
    recipe: str
    schedule: Schedule
    saliency: Callable[[Any, list[Key]], np.ndarray]
    frames: Callable[[Path, Mapping[str, Any], list[Key]], Any]
    network: Callable[[Any], ZoomedNetwork]
    losses: Callable[[Any, Any, Any, Schedule], Callable[[int, Picks], Tensor]]
    evaluate: Callable[[Any, Any, Any], Any]
    figures: Figures


def recipes_in(out: Path, name: str) -> dict[str, Any]:
    """Load the named recipe in both variants, with the saliency in this folder."""
    saliency = str(out.resolve() / "saliency.npy")
    return {v: load_recipe(name, {"variant": v, "warp.saliency": saliency}) for v in VARIANTS}


def training_keys(sequences: int) -> list[Key]:
    """Return the keys of frames a second apart of the first training sequences."""
    first, available = SPLITS["train"]
    assert sequences <= available
    return [(first + i, index) for i in range(sequences) for index in range(0, LENGTH, EVERY)]


def validation_keys() -> list[Key]:
    """Return the keys of the frames of the held-out split, as `open_demo` selects them."""
    return open_demo("val").keys


def saliency_keys() -> list[Key]:
    """Return the keys of the training frames that the saliency is made from."""
    first, _ = SPLITS["train"]
    return [(first + i, at) for i in range(SALIENCY_SEQUENCES) for at in (0, LENGTH // 2)]


def train(
    series: Series, recipe: Recipe, frames: Any, schedule: Schedule
) -> tuple[ZoomedNetwork, list[float]]:
    """Train one variant on one thread.

    Returns:
        The network and the loss of every step.
    """
    torch.manual_seed(schedule.seed)
    network = series.network(recipe)
    losses = series.losses(network, recipe, frames, schedule)
    return network, learn(network, losses, len(frames), schedule)


def run(
    series: Series, variant: Variant, seed: int, options: argparse.Namespace
) -> tuple[dict[str, Any], Any]:
    """Train, save and evaluate one network; the evaluation uses the stored weights."""
    torch.set_num_threads(1)
    recipes = recipes_in(options.out, series.recipe)
    recipe: Recipe = recipes[variant]
    frames = series.frames(options.cache, recipes, training_keys(options.sequences))
    name = f"{variant}-{seed}"
    schedule = schedule_of(options, name, seed=seed, rate=series.schedule.rate)
    watch = Stopwatch()
    trained, losses = train(series, recipe, frames, schedule)
    first = seed == options.seeds[0]
    path = options.out / f"{variant}.pth" if first else options.work / f"{name}.pth"
    trained.save_and_load(path, training_record(recipe, make_warp(recipe).saliency))
    figures = {"variant": variant, "seed": seed, **watch.figures(losses)}
    held_out = series.frames(options.cache, recipes, validation_keys())
    result = series.evaluate(trained, recipe, held_out)
    figures["evaluation_cpu_seconds"] = watch.cpu_seconds - figures["cpu_seconds"]
    figures["summary"] = series.figures.summary(result)
    write_json(options.work / f"{name}.json", figures)
    return figures, result


@exits.ending()
def command(series: Series) -> None:
    """Run the command line of a series: make the saliency, train, compare, write all files."""
    options = _options(series)
    watch = Stopwatch()
    options.out.mkdir(parents=True, exist_ok=True)
    with rendering():
        uniform = recipes_in(options.out, series.recipe)["uniform"]
        saliency = series.saliency(uniform, saliency_keys())
        np.save(options.out / "saliency.npy", saliency.astype(np.float32))
        recipes = recipes_in(options.out, series.recipe)
        for keys in (training_keys(options.sequences), validation_keys()):
            series.frames(options.cache, recipes, keys)
    jobs = [(series, variant, seed, options) for seed in options.seeds for variant in VARIANTS]
    done = run_jobs(run, jobs, 2)
    results = {v: [result for figures, result in done if figures["variant"] == v] for v in VARIANTS}
    record: dict[str, Any] = {
        **origin(series.module),
        "frames": len(validation_keys()),
        "rows": thirds_of_rows(make_warp(recipes["fixed"]).knots_y),
        "runs": [figures for figures, _ in done],
        **series.figures.compare(results),
    }
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    record["seconds"] = watch.seconds
    record["cpu_seconds"] = time.process_time() + children.ru_utime + children.ru_stime
    write_json(options.work / "training.json", record)
    readme = series.figures.readme(record)
    (options.out / "README.md").write_text(readme)
    print_result(options.json, record, readme)


def _options(series: Series) -> argparse.Namespace:
    parser = training_parser(
        series.description,
        series.module.rpartition(".")[2],
        work="logs and other networks",
        sequences=SPLITS["train"][1],
        epochs=series.schedule.epochs,
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the first, the networks ship"
    )
    return parse(parser)

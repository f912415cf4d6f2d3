"""Train both variants of a recipe with several seeds, evaluate and compare them."""

import argparse
import json
import resource
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lzu_benchmarks.commands import add_json, print_result
from lzu_benchmarks.demo.dataset import SPLITS, open_demo
from lzu_benchmarks.harness.workers import workers
from lzu_benchmarks.scenes import LENGTH
from lzu_benchmarks.train.cache import EVERY, SALIENCY_SEQUENCES, Key
from lzu_benchmarks.train.figures import machine, thirds_of_rows
from lzu_export.cli import exits
from lzu_export.models.checkpoint import load_into, load_state, save_checkpoint
from lzu_export.recipes import Recipe, load_recipe
from lzu_export.recipes.schema import Variant
from lzu_export.tasks.training import training_record
from lzu_export.tasks.warps import make_warp

VARIANTS: tuple[Variant, ...] = ("uniform", "fixed")


@dataclass(frozen=True)
class Series:
    """The training of one task. All functions are module-level, so that it can be pickled.

    Attributes:
        module: module of the command, which `python -m` runs.
        description: description of the command.
        recipe: name of the recipe that describes the models.
        epochs: number of epochs of one training.
        saliency: computes the map (h, w) of the fixed warp from a recipe and keys of frames.
        frames: opens the sampled frames, given a folder, the recipes by variant, and keys.
        train: trains one network, given recipe, frames, epochs, seed and log.
        evaluate: evaluates a trained network, given the network, its recipe and frames.
        summary: computes the figures of one result.
        compare: computes the figures of all results, given by variant in the order of seeds.
        readme: writes the README of the record, in Markdown.
    """

    module: str
    description: str
    recipe: str
    epochs: float
    saliency: Callable[[Any, list[Key]], np.ndarray]
    frames: Callable[[Path, Mapping[str, Any], list[Key]], Any]
    train: Callable[..., tuple[Any, list[float]]]
    evaluate: Callable[[Any, Any, Any], Any]
    summary: Callable[[Any], Mapping[str, float]]
    compare: Callable[[Any], Mapping[str, Any]]
    readme: Callable[[Mapping[str, Any]], str]


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


def run(
    series: Series, variant: Variant, seed: int, options: argparse.Namespace
) -> tuple[dict[str, Any], Any]:
    """Train, save and evaluate one network; the evaluation uses the stored weights."""
    torch.set_num_threads(1)
    recipes = recipes_in(options.out, series.recipe)
    recipe: Recipe = recipes[variant]
    frames = series.frames(_folder(options), recipes, training_keys(options.sequences))
    log = options.work / f"{variant}-{seed}.log"
    log.unlink(missing_ok=True)
    began, spent = time.time(), time.process_time()
    trained, losses = series.train(recipe, frames, epochs=options.epochs, seed=seed, log=log)
    first = seed == options.seeds[0]
    path = options.out / f"{variant}.pth" if first else options.work / f"{variant}-{seed}.pth"
    record = training_record(recipe, make_warp(recipe).saliency)
    save_checkpoint(path, trained.network.state_dict(), meta=record)
    load_into(trained.network, load_state(path), name=str(path))  # evaluate stored weights
    wall, used = time.time() - began, time.process_time() - spent
    held_out = series.frames(_folder(options), recipes, validation_keys())
    result = series.evaluate(trained, recipe, held_out)
    figures = {
        "variant": variant,
        "seed": seed,
        "steps": len(losses),
        "loss": float(np.mean(losses[-100:])),
        "seconds": wall,
        "cpu_seconds": used,
        "evaluation_cpu_seconds": time.process_time() - spent - used,
        "summary": series.summary(result),
    }
    (options.work / f"{variant}-{seed}.json").write_text(json.dumps(figures, indent=1))
    return figures, result


@exits.ending()
def command(series: Series) -> None:
    """Run the command line of a series: make the saliency, train, compare, write all files."""
    options = _options(series)
    began = time.time()
    for folder in (options.out, options.work):
        folder.mkdir(parents=True, exist_ok=True)
    uniform = recipes_in(options.out, series.recipe)["uniform"]
    saliency = series.saliency(uniform, saliency_keys())
    np.save(options.out / "saliency.npy", saliency.astype(np.float32))
    recipes = recipes_in(options.out, series.recipe)
    for keys in (training_keys(options.sequences), validation_keys()):
        series.frames(_folder(options), recipes, keys)
    print(f"frames ready after {time.time() - began:.0f} s", file=sys.stderr, flush=True)
    jobs = [(series, variant, seed, options) for seed in options.seeds for variant in VARIANTS]
    with workers(2) as pool:
        done = pool.starmap(run, jobs, chunksize=1)
    results = {v: [result for figures, result in done if figures["variant"] == v] for v in VARIANTS}
    record: dict[str, Any] = {
        "command": f"python -m {series.module} {shlex.join(sys.argv[1:])}",
        "machine": machine(),
        "frames": len(validation_keys()),
        "rows": thirds_of_rows(make_warp(recipes["fixed"]).knots_y),
        "runs": [figures for figures, _ in done],
        **series.compare(results),
    }
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    record["seconds"] = time.time() - began
    record["cpu_seconds"] = time.process_time() + children.ru_utime + children.ru_stime
    (options.work / "training.json").write_text(json.dumps(record, indent=1))
    (options.out / "README.md").write_text(series.readme(record))
    print_result(options.json, record, series.readme(record))


def _options(series: Series) -> argparse.Namespace:
    name = series.module.rpartition(".")[2]
    parser = argparse.ArgumentParser(description=series.description)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints and saliency"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(f"build/train-{name}"), help="logs and other networks"
    )
    parser.add_argument("--cache", type=Path, help="folder for rendered frames; default: WORK")
    parser.add_argument("--sequences", type=int, default=SPLITS["train"][1])
    parser.add_argument("--epochs", type=float, default=series.epochs)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the first, the networks ship"
    )
    add_json(parser)
    return parser.parse_args()


def _folder(options: argparse.Namespace) -> Path:
    return Path(options.cache or options.work / "frames")

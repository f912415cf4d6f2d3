"""Train, evaluate and compare the demonstration models of segmentation.

One command makes everything that ships: `python -m lzu_benchmarks.train.seg --out
lzu_export/demo/seg`. The recipe `seg-demo` is the one description of the models. Both variants
share frames, architecture, schedule, augmentation and seeds, and their heads work at one
resolution; only the warp of zoom and unzoom differs.
"""

import argparse
import json
import resource
import shlex
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lzu_benchmarks.datasets import SPLITS, open_demo
from lzu_benchmarks.scenes import LABELS, LENGTH
from lzu_benchmarks.segmentation import Counts, SegmentationEvaluation
from lzu_benchmarks.train.cache import EVERY, SALIENCY_SEQUENCES, Key
from lzu_benchmarks.train.figures import machine
from lzu_benchmarks.train.label_cache import LabelCache, mean_saliency
from lzu_benchmarks.train.schedule import channels_last, optimiser, sampling_order
from lzu_benchmarks.train.seg_figures import compare, readme, whole
from lzu_export.models.checkpoint import load_into, load_state, save_checkpoint
from lzu_export.models.pspnet import PSPNet, build_pspnet
from lzu_export.recipes import load_recipe
from lzu_export.recipes.schema import SegRecipe, Variant
from lzu_export.tasks.segmentation import Decode
from lzu_export.tasks.warps import make_warp, trained_note
from lzu_export.warp.tables import TablePair, label_tables, table_matrix

VARIANTS: tuple[Variant, ...] = ("uniform", "fixed")
RECIPE = "seg-demo"
EPOCHS = 4.0
GRID = 4
"""The loss looks at every fourth pixel of the source on each axis, another grid at every step: it
learns from all detail of the labels at the price of the canvas's resolution."""


class Segmenter(torch.nn.Module):
    """The network between zoomed uint8 canvases and logits in the frame of the labels."""

    def __init__(self, recipe: SegRecipe) -> None:
        """Build the recipe's network with random weights, and its unzoom."""
        super().__init__()
        self.network: PSPNet = build_pspnet(recipe.model)
        norm = recipe.normalisation
        self.reverse = norm.order == "rgb"
        self.pad = [n - m for n, m in zip(recipe.network_input, recipe.canvas, strict=True)]
        self.mean = torch.tensor(norm.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(norm.std).view(1, 3, 1, 1)
        (level,) = recipe.levels
        unzoom = make_warp(recipe).unzoom
        assert unzoom is not None, "the head's resolution is above the level's"
        ((pair,),) = unzoom  # several pairs are for `published` geometry only
        self.unzoom = matrices(pair, level.size)

    def forward(self, canvases: Tensor) -> Tensor:
        """(B, H_c, W_c, 3) uint8 BGR to logits (B, classes, H, W)."""
        image = canvases.permute(0, 3, 1, 2).float()
        image = ((image.flip(1) if self.reverse else image) - self.mean) / self.std
        image = torch.nn.functional.pad(image, (0, self.pad[1], 0, self.pad[0]))
        (level,) = self.network.extract(image.contiguous(memory_format=torch.channels_last))
        rows, columns = self.unzoom
        level = torch.matmul(torch.matmul(rows, level.contiguous()), columns.T)
        ((logits,),) = self.network.head([level.contiguous(memory_format=torch.channels_last)])
        return logits.contiguous()


def matrices(pair: TablePair, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rows (N, H) and columns (M, W) float32 that resample a map of `size` (H, W)."""
    rows, columns = (
        torch.from_numpy(table_matrix(table, n).astype(np.float32))
        for table, n in zip(pair, size, strict=True)
    )
    return rows, columns


def upsampling(recipe: SegRecipe) -> tuple[Tensor, Tensor]:
    """Rows and columns that bring logits to the source, as the deployed class map does."""
    (level,) = recipe.levels
    height, width = (n * recipe.unzoom_scale for n in level.size)
    pair = label_tables(
        (height, width),
        level.stride / recipe.unzoom_scale,
        recipe.canvas,
        recipe.view,
        canvas_step=recipe.canvas_step,
        upsampling=recipe.postprocess.upsampling,
    )
    return matrices(pair, (height, width))


def class_weights(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """(classes,) inverse square roots of how frequent they are, 1 in the mean over the pixels."""
    share = np.bincount(labels.ravel(), minlength=classes) / labels.size
    root = np.sqrt(np.maximum(share, 1e-4))
    return np.asarray(1 / root / root.sum(), dtype=np.float32)


def make_batch(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    picks: NDArray[np.int64],
    flips: NDArray[np.bool_],
    grid: tuple[slice, slice],
) -> tuple[Tensor, Tensor]:
    """Canvases (B, H_c, W_c, 3) uint8 and the labels on a grid of the source (B, h, w) int64."""
    turn = [np.s_[:, ::-1] if flip else np.s_[:, :] for flip in flips.tolist()]
    canvases = [images[i][each] for i, each in zip(picks, turn, strict=True)]
    targets = [labels[i][each][grid] for i, each in zip(picks, turn, strict=True)]
    return torch.from_numpy(np.stack(canvases)), torch.from_numpy(np.stack(targets).astype("int64"))


def train(
    recipe: SegRecipe,
    cache: LabelCache,
    *,
    epochs: float,
    seed: int = 0,
    batch: int = 8,
    rate: float = 5e-3,
    log: Path | None = None,
) -> tuple[Segmenter, list[float]]:
    """Train one variant on one thread.

    Returns:
        The segmenter and the loss of every step.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    segmenter = Segmenter(recipe).train()
    channels_last(segmenter)
    images, labels = cache.images(recipe.variant), cache.labels()
    weights = torch.from_numpy(class_weights(labels[::8], len(recipe.classes)))
    rows, columns = upsampling(recipe)
    steps = max(2, round(epochs * len(cache) / batch))
    optimizer, schedule = optimiser(segmenter, rate, steps)
    order, flips = sampling_order(len(cache), epochs, seed)
    starts = np.random.Generator(np.random.PCG64([seed, 1])).integers(0, GRID, (steps, 2)).tolist()
    losses: list[float] = []
    for step, (top, left) in enumerate(starts):
        window = slice(step * batch, (step + 1) * batch)
        down, across = slice(top, None, GRID), slice(left, None, GRID)
        canvases, targets = make_batch(images, labels, order[window], flips[window], (down, across))
        logits = rows[down] @ (segmenter(canvases) @ columns[across].T)
        loss = torch.nn.functional.cross_entropy(logits, targets, weight=weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(segmenter.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if log is not None and (step % 50 == 0 or step == steps - 1):
            recent = np.mean(losses[-50:])
            with log.open("a") as file:
                file.write(f"step {step}/{steps} loss {recent:.4f} {time.process_time():.0f} s\n")
    return segmenter.eval(), losses


def evaluate(segmenter: Segmenter, recipe: SegRecipe, cache: LabelCache) -> Counts:
    """Pixels (sequences, regions, classes, classes + 1) counted in each sequence of the cache.

    Classes are those of the deployed class map at the source's resolution. Sequences are in the
    order of their seeds.
    """
    cv2.setNumThreads(1)
    images, labels, decode = cache.images(recipe.variant), cache.labels(), Decode(recipe)
    found = {seed: SegmentationEvaluation(LABELS) for seed, _ in sorted(cache.keys)}
    for start in range(0, len(cache), 8):
        with torch.inference_mode():
            logits = segmenter(torch.from_numpy(np.array(images[start : start + 8])))
            _, classes = decode([[logits]])
        for place, prediction in enumerate(classes.numpy(), start):
            seed, index = cache.keys[place]
            found[seed].add(labels[place], prediction, name=f"frame {index} of sequence {seed}")
    return np.stack([each.counts for each in found.values()])


def run(variant: Variant, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train, save and evaluate one network; what is evaluated is the stored file.

    Its counts are written to WORK/VARIANT-SEED.npy.
    """
    torch.set_num_threads(1)
    recipes = demo_recipes(options.out)
    recipe, folder = recipes[variant], options.cache or options.work / "frames"
    cache = LabelCache(folder, recipes, training_keys(options.sequences))
    log = options.work / f"{variant}-{seed}.log"
    log.unlink(missing_ok=True)
    began, spent = time.time(), time.process_time()
    segmenter, losses = train(recipe, cache, epochs=options.epochs, seed=seed, log=log)
    first = seed == options.seeds[0]
    path = options.out / f"{variant}.pth" if first else options.work / f"{variant}-{seed}.pth"
    note = trained_note(recipe, make_warp(recipe).saliency)
    save_checkpoint(path, segmenter.network.state_dict(), meta=note)
    load_into(segmenter.network, load_state(path), name=str(path))  # judge what ships
    trained = time.time() - began, time.process_time() - spent
    counts = evaluate(segmenter, recipe, LabelCache(folder, recipes, validation_keys()))
    np.save(options.work / f"{variant}-{seed}.npy", counts)
    figures = {
        "variant": variant,
        "seed": seed,
        "steps": len(losses),
        "loss": float(np.mean(losses[-100:])),
        "seconds": trained[0],
        "cpu_seconds": trained[1],
        "evaluation_cpu_seconds": time.process_time() - spent - trained[1],
        "summary": whole(counts),
    }
    (options.work / f"{variant}-{seed}.json").write_text(json.dumps(figures, indent=1))
    return figures


def demo_recipes(out: Path) -> dict[str, SegRecipe]:
    """The recipe in both variants, with the saliency in this folder."""
    found: dict[str, SegRecipe] = {}
    for variant in VARIANTS:
        overrides = {"variant": variant, "warp.saliency": str(out.resolve() / "saliency.npy")}
        recipe = load_recipe(RECIPE, overrides)
        assert isinstance(recipe, SegRecipe)
        found[variant] = recipe
    return found


def training_keys(sequences: int) -> list[Key]:
    """The frames of the first training sequences, a second apart."""
    first, available = SPLITS["train"]
    assert sequences <= available
    return [(first + i, index) for i in range(sequences) for index in range(0, LENGTH, EVERY)]


def validation_keys() -> list[Key]:
    """The frames of the held-out split, as `open_demo` takes them."""
    return open_demo("val").keys


def make_saliency(out: Path) -> None:
    """Write the mean boundary saliency of training frames to OUT/saliency.npy."""
    first, _ = SPLITS["train"]
    keys = [(first + i, at) for i in range(SALIENCY_SEQUENCES) for at in (0, LENGTH // 2)]
    saliency = mean_saliency(demo_recipes(out)["uniform"].warp, keys)
    np.save(out / "saliency.npy", saliency.astype(np.float32))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints and saliency"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/train-seg"), help="logs and other networks"
    )
    parser.add_argument("--cache", type=Path, help="folder for rendered frames; default: WORK")
    parser.add_argument("--sequences", type=int, default=SPLITS["train"][1])
    parser.add_argument("--epochs", type=float, default=EPOCHS)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the first, the networks ship"
    )
    options = parser.parse_args()
    began = time.time()
    for folder in (options.out, options.work):
        folder.mkdir(parents=True, exist_ok=True)
    make_saliency(options.out)
    recipes = demo_recipes(options.out)
    for keys in (training_keys(options.sequences), validation_keys()):
        LabelCache(options.cache or options.work / "frames", recipes, keys)
    print(f"frames ready after {time.time() - began:.0f} s", flush=True)
    jobs = [(variant, seed, options) for seed in options.seeds for variant in VARIANTS]
    with get_context("spawn").Pool(2) as pool:
        results = pool.starmap(run, jobs, chunksize=1)
    counts = {
        v: [np.load(options.work / f"{v}-{seed}.npy") for seed in options.seeds] for v in VARIANTS
    }
    record = {
        "command": "python -m lzu_benchmarks.train.seg " + shlex.join(sys.argv[1:]),
        "machine": machine(),
        "frames": len(validation_keys()),
        "runs": results,
        **compare(counts),
    }
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    record["seconds"] = time.time() - began
    record["cpu_seconds"] = time.process_time() + children.ru_utime + children.ru_stime
    (options.work / "training.json").write_text(json.dumps(record, indent=1))
    (options.out / "README.md").write_text(readme(record))
    print(readme(record))


if __name__ == "__main__":
    main()

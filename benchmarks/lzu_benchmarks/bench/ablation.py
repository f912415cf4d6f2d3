"""The paper's appendix for a fixed warp: errors of its approximations, and a grid of its settings.

A.3, inverse: it is computed once at the finest level and resized to the others (eq. 18); the error
is the distance from each level's exact inverse. A.3, forward warp: it is evaluated at knots and
interpolated linearly; the error is the distance from the LZ sum at every pixel. A.4: a grid over
amplitude and fwhm. The paper trains a model for every point of its grid. Here the weights stay the
same, so a point shows the effect of another geometry on the frame and on the given weights, not
the accuracy that training with it would reach.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lzu_benchmarks.bench.contender import Contender, Store
from lzu_benchmarks.report.schema import (
    Ablation,
    Curve,
    ForwardError,
    Gain,
    GridPoint,
    UniformPoint,
)
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import Scorer as FrameScorer
from lzu_export.evaluation.datasets import open_dataset
from lzu_export.evaluation.evaluate import evaluate
from lzu_export.evaluation.resampling import difference, resample
from lzu_export.evaluation.resume import key_of
from lzu_export.manifest.resampled import Resampled
from lzu_export.recipes import Recipe
from lzu_export.recipes.load import load_recipe
from lzu_export.recipes.schema import BoxWarpSettings
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.progress import Reporter
from lzu_export.warp.forward import forward_axis, pixel_centres
from lzu_export.warp.geometry import Level
from lzu_export.warp.inverse import invert_axis
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.saliency import Array, marginals

SCALES = (0.25, 0.5, 0.75, 1.0)
AMPLITUDES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Amplitudes of the grid, as multiples of the saliency map's own amplitude."""
VERSION = 2
"""Version of the grid's points; others are measured again."""
WIDTHS = (4.0, 7.0, 10.0, 14.0, 20.0)
"""Values of fwhm of the grid, in lattice cells."""
UNTRAINED = (
    "Nothing was trained again: a point of the grid tells what another warp does to the frame, and "
    "to weights that never saw it, not what training with it would reach."
)
MEASURED = (
    "Scores of the grid are PyTorch's on {} frames; those of the results above are the engines' on "
    "all. Compare a point with uniform on the same frames, never with the results."
)


def resized_inverse(knots: Array, cells: int, finest: int, *, half_pixel: bool = False) -> Array:
    """Return the finest level's inverse resized to `cells` positions along an axis, in [-1, 1].

    Args:
        knots: (m,) knots of the forward warp along the axis.
        cells: number of cells of the coarse level along the axis.
        finest: number of cells of the finest level along the axis.
        half_pixel: resize edge on edge instead of with corners aligned.
    """
    fine = invert_axis(knots, pixel_centres(finest))
    if half_pixel:
        places = (np.arange(cells) + 0.5) * finest / cells - 0.5
    else:
        places = np.linspace(0, finest - 1, cells)
    return np.asarray(np.interp(places, np.arange(finest), fine))


def inverse_errors(knots_x: Array, knots_y: Array, levels: Sequence[Level]) -> list[Curve]:
    """Return the error of the resized inverse at each coarser level, eq. (18), in cells.

    The error is the distance between the level's exact inverse and the finest level's inverse
    resized to it. As in the paper and its code, the corners of a level are the image's corners.
    """
    finest = levels[0]
    curves = []
    for level in levels[1:]:
        distances = []
        for half_pixel in (False, True):
            errors = []
            for knots, cells, fine in zip((knots_y, knots_x), level.size, finest.size, strict=True):
                exact = invert_axis(knots, pixel_centres(cells)) if cells > 1 else np.zeros(1)
                if cells > 1:
                    near = resized_inverse(knots, cells, fine, half_pixel=half_pixel)
                else:
                    near = np.zeros(1)
                errors.append((near - exact) * (cells - 1) / 2)
            distances.append(np.hypot(errors[0][:, None], errors[1][None, :]))
        aligned, edges = distances
        curves.append(
            Curve(
                stride=level.stride,
                size=level.size,
                mean=float(aligned.mean()),
                maximum=float(aligned.max()),
                mean_half_pixel=float(edges.mean()),
                maximum_half_pixel=float(edges.max()),
            )
        )
    return curves


def true_forward_axis(marginal: Array, fwhm: float, n: int, pad: int) -> Array:
    """Return the LZ sum at each of `n` canvas pixels of an axis, in [-1, 1]: eqs. (3) and (4).

    The same sum as `axis_knots`, but evaluated between lattice points too. The saliency is that of
    the lattice, reflected at the borders.

    Args:
        marginal: (m,) saliency along the axis.
        fwhm: full width at half maximum of the Gaussian, in lattice cells.
        n: number of canvas pixels along the axis.
        pad: number of cells of padding on each side.
    """
    count = len(marginal)
    padded = np.pad(np.asarray(marginal, np.float64), pad, mode="reflect")
    cells = np.arange(-pad, count + pad)
    at = np.linspace(0, count - 1, n)
    kernel = np.exp(-4 * math.log(2) * (at[:, None] - cells) ** 2 / fwhm**2)
    weighted = kernel * padded
    places = (weighted * cells).sum(axis=1) / weighted.sum(axis=1)
    return np.asarray(-1 + 2 * places / (count - 1))


def forward_error(saliency: Array, fwhm: float, recipe: Recipe) -> ForwardError:
    """Compare the piecewise linear forward warp with the true one at every pixel of the canvas."""
    knots = separable_knots(saliency, fwhm)
    pad = min(saliency.shape) - 1
    found = []
    for marginal, axis_knots, pixels, source in zip(
        marginals(saliency), knots, recipe.canvas[::-1], recipe.span[::-1], strict=True
    ):
        true = true_forward_axis(marginal, fwhm, pixels, pad)
        error = np.abs(forward_axis(axis_knots, pixels) - np.clip(true, -1, 1))
        error *= (source - 1) / 2
        found.append((float(error.mean()), float(error.max())))
    (x_mean, x_maximum), (y_mean, y_maximum) = found
    return ForwardError(
        scale=recipe.scale, x_mean=x_mean, x_maximum=x_maximum, y_mean=y_mean, y_maximum=y_maximum
    )


def amplified(saliency: Array, amplitude: float, recipe: Recipe) -> Array:
    """Return the saliency (h, w) for `amplitude` times the recipe's own amplitude.

    A map of boxes is a floor plus one Gaussian per box; the amplitude multiplies the Gaussians. A
    box has the mass `amplitude`, and the floor is 1 / (2 p + 1)^2 per cell, where p is the padding.
    A map of boundaries is a background plus the saliency of the boundaries.
    """
    floor = _floor(saliency, recipe)
    return np.asarray(floor + amplitude * (saliency - floor))


def _floor(saliency: Array, recipe: Recipe) -> float:
    least = float(saliency.min())
    if not isinstance(recipe.warp, BoxWarpSettings):
        return least
    cell = 1 / (2 * (min(saliency.shape) - 1) + 1) ** 2
    share = cell / (recipe.warp.amplitude + saliency.size * cell)
    return min(least, float(saliency.sum()) * share)


def magnifications(knots: Array, places: Array) -> Array:
    """Return canvas pixels per source pixel at source positions, relative to the uniform warp."""
    step = 1e-4
    return np.asarray(
        (invert_axis(knots, places + step) - invert_axis(knots, places - step)) / (2 * step)
    )


def grid_point(
    saliency: Array,
    amplitude: float,
    fwhm: float,
    recipe: Recipe,
    *,
    key: str,
    score: float | None,
    gain: Gain | None = None,
) -> GridPoint:
    """Measure the magnification that one warp of the grid gives frame and boxes."""
    changed = amplified(saliency, amplitude, recipe)
    spans, along = [], []
    for knots, cells in zip(separable_knots(changed, fwhm), saliency.shape[::-1], strict=True):
        slopes = 2 / (len(knots) - 1) / np.diff(knots)
        spans.append((float(slopes.max()), float(slopes.min())))
        along.append(magnifications(knots, np.linspace(-1, 1, cells)))
    boxes = saliency - _floor(saliency, recipe)
    total = boxes.sum()
    area = float((boxes * along[1][:, None] * along[0]).sum() / total) if total > 0 else 1.0
    (x_most, x_least), (y_most, y_least) = spans
    return GridPoint(
        key=key,
        scale=recipe.scale,
        amplitude=amplitude,
        fwhm=fwhm,
        magnification=(y_most, x_most),
        shrinkage=(y_least, x_least),
        box_magnification=area,
        score=score,
        gain=gain,
        trained=amplitude == 1 and fwhm == recipe.warp.fwhm,
    )


def ablate(
    bundles: Sequence[Contender],
    store: Store,
    *,
    frames: int,
    report: Reporter,
    amplitudes: Sequence[float] = AMPLITUDES,
    widths: Sequence[float] = WIDTHS,
) -> Ablation:
    """Compute the whole appendix for the fixed warp among some bundles.

    Args:
        bundles: bundles of which at least one has the variant fixed; the grid covers the scales
            of the fixed ones.
        store: storage of the points of the grid.
        frames: number of frames that score a point, 0 for none; scoring needs PyTorch and the
            shipped weights.
        report: progress reporter.
        amplitudes: amplitudes of the grid.
        widths: values of fwhm of the grid; the recipe's own is added.

    Raises:
        LzuError: no bundle has a fixed warp, or the warp is not separable.
    """
    fixed = [bundle for bundle in bundles if bundle.manifest.variant == "fixed"]
    if not fixed:
        raise LzuError("the ablation needs the fixed warp; compare a bundle of variant fixed too")
    first, recipe = fixed[0], fixed[0].manifest.recipe
    if not recipe.separable:
        raise LzuError(
            "the ablation needs separable warps; compare a bundle with warp.separable true"
        )
    saliency = first.warp["saliency"].astype(np.float64)
    fwhm = recipe.warp.fwhm
    knots = separable_knots(saliency, fwhm, anti_crop=recipe.warp.anti_crop)
    scaled = {scale: recipe.model_copy(update={"scale": scale}) for scale in SCALES}
    wide = sorted({*widths, fwhm})
    scorer = _scorer(first, frames)
    scales = sorted({bundle.manifest.recipe.scale for bundle in fixed})
    bases = _uniform(first, store, scales, scorer, frames)
    points = []
    with report.steps("grid", len(scales) * len(amplitudes) * len(wide)) as advance:
        for scale, amplitude, width in product(scales, amplitudes, wide):
            mine = recipe.model_copy(update={"scale": scale})
            key = key_of(first.manifest.files, scale, amplitude, width, scorer and frames, VERSION)
            name = f"grid-{scale:g}x-{amplitude:g}-{width:g}"
            make = partial(_point, saliency, amplitude, width, mine, key, scorer, bases.get(scale))
            points.append(store.get(name, key, GridPoint, make))
            advance()
    stored = first.manifest.accuracy if scorer else None
    return Ablation(
        recipe=first.manifest.name,
        fwhm=fwhm,
        lattice=recipe.warp.lattice,
        inverse={
            f"{scale:g}x": tuple(inverse_errors(*knots, each.levels))
            for scale, each in scaled.items()
        },
        forward=tuple(forward_error(saliency, fwhm, each) for each in scaled.values()),
        grid=tuple(points),
        metric=stored.metric if stored else None,
        frames=frames if scorer else None,
        uniform={f"{scale:g}x": base.score for scale, base in bases.items()},
        notes=(UNTRAINED, *([MEASURED.format(frames)] if scorer else [])),
    )


def _point(
    saliency: Array,
    amplitude: float,
    fwhm: float,
    recipe: Recipe,
    key: str,
    scorer: "Scorer | None",
    base: UniformPoint | None,
) -> GridPoint:
    """Measure one point of the grid; with a scorer also its score, and its gain over `base`."""
    if scorer is None:
        return grid_point(saliency, amplitude, fwhm, recipe, key=key, score=None)
    mine, gain = scorer(recipe, amplitude, fwhm), None
    if base is not None:
        found = difference(mine.score - base.score, mine.resampled, base.resampled)
        if found is not None:
            gain = Gain(difference=found.difference, low=found.low, high=found.high)
    return grid_point(saliency, amplitude, fwhm, recipe, key=key, score=mine.score, gain=gain)


def _uniform(
    bundle: Contender, store: Store, scales: Sequence[float], scorer: "Scorer | None", frames: int
) -> dict[float, UniformPoint]:
    """Score the shipped uniform weights on the frames of the grid; empty where there are none."""
    if scorer is None:
        return {}
    recipe = load_recipe(bundle.manifest.name, {"variant": "uniform"})
    path = recipe.checkpoint.get("uniform")
    if path is None or not path.is_file():
        return {}

    def make(scale: float, key: str) -> UniformPoint:
        found = scorer.uniform(recipe.model_copy(update={"scale": scale}))
        return UniformPoint(key=key, scale=scale, **found._asdict())

    points = {}
    for scale in scales:
        key = key_of(str(path), path.stat().st_mtime_ns, scale, frames, VERSION)
        name = f"grid-{scale:g}x-uniform"
        points[scale] = store.get(name, key, UniformPoint, partial(make, scale, key))
    return points


class Scored(NamedTuple):
    """The task's metric of a model, in points, and on resampled sets."""

    score: float
    resampled: Resampled | None


class Scorer:
    """Scores a recipe's weights with another warp, in PyTorch."""

    def __init__(self, recipe: Recipe, frames: int) -> None:
        """Open `frames` frames of the evaluation set that `recipe` names, next to its weights."""
        self.recipe = recipe
        name = recipe.evaluation.dataset
        assert name is not None, "asked for only where there is one"
        self.dataset = open_dataset(name, frames, recipe.task, recipe)

    def __call__(self, sized: Recipe, amplitude: float, fwhm: float) -> Scored:
        """Return the task's metric at the scale of `sized`; for the others see `grid_point`."""
        from lzu_export.tasks.pytorch import torch_predictor
        from lzu_export.tasks.warps import make_warp, read_saliency

        # Scale and warp differ from those of training on purpose.
        recipe = self.recipe.model_copy(
            update={"scale": sized.scale, "untrained": ("scale", "warp")}
        )
        saliency = read_saliency(recipe)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "saliency.npy"
            np.save(path, amplified(saliency, amplitude, recipe))
            other = recipe.warp.model_copy(update={"saliency": path, "fwhm": fwhm, "logits": None})
            made = make_warp(recipe.model_copy(update={"warp": other}))
        # Keep the saliency that the checkpoint records, so that no mismatch is logged.
        return self._scored(torch_predictor(recipe, replace(made, saliency=saliency)))

    def uniform(self, recipe: Recipe) -> Scored:
        """Return the metric of a uniform recipe's weights on the same frames."""
        from lzu_export.tasks.pytorch import torch_predictor
        from lzu_export.tasks.warps import make_warp

        at_scale = recipe.model_copy(update={"untrained": ("scale",)})
        return self._scored(torch_predictor(at_scale, make_warp(at_scale)))

    def _scored(self, predictor: Predictor) -> Scored:
        scorers: dict[str, FrameScorer] = {}
        scores = evaluate({"": predictor}, self.dataset, scorers=scorers)
        return Scored(scores[""][self.dataset.metric], resample(scorers[""]))


def _scorer(bundle: Contender, frames: int) -> Scorer | None:
    """Return a scorer of the shipped weights; None without frames, weights or evaluation set."""
    if frames < 1:
        return None
    try:
        recipe = load_recipe(bundle.manifest.name, {"variant": "fixed"})
    except LzuError:
        return None
    path = recipe.checkpoint.get("fixed")
    if path is None or not path.is_file() or recipe.evaluation.dataset is None:
        return None
    return Scorer(recipe, frames)

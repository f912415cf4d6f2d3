"""Measure the warp's gain for each class in 3-D detection.

`python -m lzu_benchmarks classes3d` runs the shipped demonstration models on the held-out frames.
nuScenes' figures are means over classes, whatever their number of boxes. A rare class makes them
uncertain, and a class that the warp hardly magnifies lowers the gain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lzu_benchmarks.commands import add_json, print_result, study_parser
from lzu_benchmarks.demo.dataset import open_demo
from lzu_benchmarks.demo.evaluation import pixel_centred
from lzu_benchmarks.scenes import CLASSES
from lzu_benchmarks.train.figures3d import BANDS, COLUMNS, gain_text
from lzu_export.cli import exits
from lzu_export.compiler.pipeline import export
from lzu_export.evaluation.metrics.bootstrap import Interval
from lzu_export.evaluation.metrics.nuscenes import NuScenesEvaluation, bootstrap_difference
from lzu_export.evaluation.metrics.nuscenes_objects import DEMO, camera_objects
from lzu_export.recipes import load_recipe
from lzu_export.runtime import load
from lzu_export.runtime.predictor import CameraFrame
from lzu_export.support.progress import Reporter
from lzu_export.targets.registry import DEFAULT_TARGET
from lzu_export.tasks.warps import make_warp

NEEDS = "extras runtime, export, bench, demo"

VARIANTS = ("uniform", "fixed")
RARE = 0.05
"""Share of all boxes below which a class is rare."""


@dataclass(frozen=True)
class Found:
    """Evaluations of both models, and the warp's magnification of each class.

    Attributes:
        evaluations: evaluation of each variant.
        magnified: magnification of each class: canvas pixels per source pixel of the fixed warp,
            relative to the uniform one, as a mean over the boxes within the class's range; nan if
            there is no box.
    """

    evaluations: Mapping[str, NuScenesEvaluation]
    magnified: Mapping[str, float]


def magnification(
    knots: NDArray[np.float64], places: NDArray[np.float64], pixels: int
) -> NDArray[np.float64]:
    """Return the magnification (n,) along one axis, relative to the uniform warp.

    Args:
        knots: source coordinates in [-1, 1] of evenly spaced canvas coordinates along the axis.
        places: (n,) source positions in pixels; whole numbers are edges of pixels.
        pixels: number of pixels of the source along the axis.
    """
    even = np.linspace(-1, 1, len(knots))
    slopes = np.diff(even) / np.diff(knots)
    piece = np.searchsorted(knots, 2 * places / pixels - 1, side="right") - 1
    return np.asarray(slopes[np.clip(piece, 0, len(slopes) - 1)])


def measure(frames: int | None, out: Path, report: Reporter) -> Found:
    """Export both models into `out` and evaluate them on the held-out frames."""
    predictors = {}
    for variant in VARIANTS:
        overrides = {"variant": variant, "evaluation": {"dataset": None}}
        recipe = load_recipe("det3d", {**overrides, "targets": [DEFAULT_TARGET]})
        predictors[variant] = load(export(recipe, out, report=report).folder)
    warp, (height, width) = make_warp(recipe), recipe.source
    dataset = open_demo("val", frames)
    evaluations = {variant: NuScenesEvaluation(DEMO) for variant in VARIANTS}
    magnified: dict[str, list[float]] = {rule.name: [] for rule in DEMO}
    with report.steps("both models on the held-out frames", len(dataset)) as advance:
        for number, sequence, frame in dataset.rendered():
            camera_frame = CameraFrame(frame.image, pixel_centred(frame.intrinsics))
            truth = camera_objects(frame.boxes3d, frame.classes)
            for variant, evaluation in evaluations.items():
                (found,) = predictors[variant].run([camera_frame])
                objects = camera_objects(found.boxes[:, :7], found.labels)
                evaluation.add(number, sequence, truth, objects, found.scores, frame.ignore)
            centres = (frame.boxes[:, :2] + frame.boxes[:, 2:]) / 2
            factors = magnification(warp.knots_x, centres[:, 0], width) * magnification(
                warp.knots_y, centres[:, 1], height
            )
            near = np.hypot(*truth.centres.T) < [DEMO[label].reach for label in truth.labels]
            for label, factor in zip(
                truth.labels[near & ~frame.ignore], factors[near & ~frame.ignore], strict=True
            ):
                magnified[CLASSES[label]].append(float(factor))
            advance(1)
    means = {name: float(np.mean(f)) if f else float("nan") for name, f in magnified.items()}
    return Found(evaluations, means)


def rare(evaluation: NuScenesEvaluation) -> list[str]:
    """Return the names of the classes with a share of boxes below `RARE`."""
    boxes = evaluation.positives().sum(axis=0)
    return [
        rule.name
        for rule, count in zip(evaluation.classes, boxes, strict=True)
        if 0 < count < RARE * boxes.sum()
    ]


def readme(found: Found, command: str, resamples: int = 1000) -> str:
    """Return Markdown: a table of classes, and one of means with and without some classes."""
    uniform, fixed = (found.evaluations[variant] for variant in VARIANTS)
    few = rare(uniform)
    least = min(found.magnified, key=lambda name: np.nan_to_num(found.magnified[name], nan=np.inf))
    lines = [
        "# Class by class",
        "",
        "The shipped networks (one seed) as the product runs them, fixed - uniform. In brackets",
        f"the 95 % interval of {resamples} bootstrap resamples of whole sequences. `magnified`:",
        "canvas pixels per source pixel at the centres of boxes, over the uniform warp's. AP is in",
        "points, ATE in metres, AOE in radians; of the errors, less is better. Made by",
        "",
        f"    {command}",
        "",
        "| | boxes | in sequences | magnified | "
        + " | ".join(name.removeprefix("m") for name in COLUMNS[1:])
        + " |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    positives = uniform.positives()
    for label, rule in enumerate(uniform.classes):
        others = [each.name for each in uniform.classes if each is not rule]
        gain = bootstrap_difference(uniform, fixed, without=others, resamples=resamples)
        counts = (positives[:, label].sum(), (positives[:, label] > 0).sum())
        lines.append(
            f"| {rule.name} | {counts[0]} | {counts[1]} | {found.magnified[rule.name]:.2f} | "
            + _cells(gain, COLUMNS[1:])
        )
    lines += [
        "",
        "A mean gives every class the same weight. Rare, less than "
        f"{100 * RARE:g} % of the boxes, which makes intervals wide: {', '.join(few) or 'none'}.",
        f"Least magnified, so with least to gain: {least}. Without them:",
        "",
        "| | without | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for name, (one, two) in _parts(uniform, fixed).items():
        for left_out in ([], few, [least]):
            gain = bootstrap_difference(one, two, without=left_out, resamples=resamples)
            lines.append(f"| {name} | {', '.join(left_out)} | " + _cells(gain, COLUMNS))
    return "\n".join([*lines, ""])


def _parts(
    uniform: NuScenesEvaluation, fixed: NuScenesEvaluation
) -> dict[str, tuple[NuScenesEvaluation, NuScenesEvaluation]]:
    parts = {"all distances": (uniform, fixed)}
    for near, far in BANDS:
        parts[f"{near:.0f} to {far:.0f} m"] = (uniform.within(near, far), fixed.within(near, far))
    return parts


def _cells(gain: Mapping[str, Interval], names: Sequence[str]) -> str:
    return " | ".join(gain_text(n, vars(gain[n])) if n in gain else "-" for n in names) + " |"


def result(found: Found) -> dict[str, Any]:
    """Return the results as plain data for JSON."""
    return {
        "variants": {name: each.summary() for name, each in found.evaluations.items()},
        "rare": rare(found.evaluations["uniform"]),
        "magnified": found.magnified,
    }


@exits.ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = study_parser(__file__, __doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench/classes3d"))
    parser.add_argument(
        "--frames", type=int, default=None, help="largest number of frames; all by default"
    )
    add_json(parser)
    given: Any = parser.parse_args(arguments)
    found = measure(given.frames, given.out, Reporter())
    text = readme(found, "python -m lzu_benchmarks classes3d")
    (given.out / "CLASSES.md").write_text(text)
    print_result(given.json, result(found), text)


if __name__ == "__main__":
    main()

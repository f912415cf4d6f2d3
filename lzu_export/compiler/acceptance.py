"""Conditions that stop an export: deviation from PyTorch, loss of metric or of confidence."""

import math
from collections.abc import Callable

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.bootstrap import Interval
from lzu_export.evaluation.resampling import own_interval
from lzu_export.manifest.comparison import Deviation, Parity
from lzu_export.manifest.schema import Accuracy, Untrained
from lzu_export.recipes import Recipe
from lzu_export.support.checkout import option

REFERENCE_LOSS = 1.0
"""Points by which PyTorch may score less than a recipe's reference on the whole data set."""
FEW_FRAMES = 16
"""Fewest frames of a part of a data set whose score is compared with the reference."""


def refuse_deviation(
    parity: Parity, advice: Callable[[], str], unwritten: str = "no bundle was written"
) -> None:
    """Stop the export where an engine deviates from PyTorch.

    Args:
        parity: the engine's comparison with PyTorch.
        advice: returns the tried remedies for a lower precision in words; see `advice`.
        unwritten: clause that states which file or bundle was not written.

    Raises:
        LzuError: naming the first probe point or output beyond its limit, and what to do.
    """
    first = parity.first
    if first is None:
        return
    precision = parity.precision
    if parity.limit is not None:
        remedy = (
            f"see the lowerings with --verbose, try {option('set', 'lowering.zoom=banded')}, or "
            "raise tolerances.probe if so much is acceptable"
        )
    else:
        remedy = f"{advice()}; or {_tolerate(first, precision)} if so much is acceptable"
    raise LzuError(f"{parity.sentence()}; {unwritten}: {remedy}")


def no_interval(_engine: str) -> Interval | None:
    """Return None: no difference from PyTorch has an interval."""
    return None


def refuse_loss(
    accuracy: Accuracy,
    advice: Callable[[str], str],
    interval_of: Callable[[str], Interval | None] = no_interval,
) -> list[str]:
    """Stop the export where an engine's metric differs from PyTorch's by more than its limit.

    FP32 is PyTorch's own arithmetic and may differ in neither direction. A lower precision may lose
    up to its limit; a gain is chance, common on few frames, and stops nothing. Nor does a loss that
    may be chance: its interval over the choice of frames begins below the limit.

    Args:
        accuracy: metrics of PyTorch and the engines, with the limits.
        advice: returns the tried remedies for a lower precision in words; see `advice`.
        interval_of: returns the interval of an engine's metric minus PyTorch's, by its name; None
            where none is known. It is asked only where a lower precision loses too much.

    Returns:
        A sentence on each loss beyond its limit that may be chance.

    Raises:
        LzuError: naming the engine, the difference or loss, and what to do.
    """
    metric, doubtful = accuracy.metric, list[str]()
    for name, metrics in accuracy.engines.items():
        precision = name.rpartition("/")[2]
        limit = accuracy.limits[precision]
        pair = metrics[metric], accuracy.pytorch[metric]
        exact = precision == "fp32"
        lost = abs(pair[0] - pair[1]) if exact else pair[1] - pair[0]
        if lost <= limit:  # NaN is within no limit
            continue
        found = None if exact or not math.isfinite(lost) else interval_of(name)
        if found is not None and -found.high <= limit:
            doubtful.append(
                f"{metric} of {name} is {-found.difference:.2f} points below PyTorch's where "
                f"{limit:g} is allowed, but not certainly so on {accuracy.frames} frames: {found}"
            )
            continue
        differs = "differs from PyTorch's by" if exact else "is below PyTorch's by"
        remedy = "verify the probe points with --verbose" if exact else advice(precision)
        raise LzuError(
            f"{metric} of {name} {differs} {lost:.2f} points where "
            f"{limit:g} is allowed; no bundle was written: {remedy}; or raise "
            f"tolerances.metric.{precision} if so much is acceptable"
        )
    return doubtful


def below_reference(recipe: Recipe, accuracy: Accuracy) -> tuple[Untrained, ...]:
    """Stop the export where PyTorch itself scores less than the recipe states for its checkpoint.

    Such a model is not exported as it was trained: its warp, normalisation or classes differ. On
    the recipe's own part of the data set (`export_frames`) the score may be lower by half its
    interval, too. On another part, or without an interval, only half of the reference is required.

    Returns:
        The score's difference where the recipe permits it (`metric`), else nothing.

    Raises:
        LzuError: the score is too low; the message names both scores and what to do.
    """
    expected = recipe.evaluation.reference.get(recipe.variant)
    others = set(recipe.untrained) - {"metric"}
    if expected is None or others:  # other differences change the score, and are marked anyway
        return ()
    part = recipe.scored_frames is not None
    if part and accuracy.frames < FEW_FRAMES:
        return ()
    found = accuracy.pytorch[accuracy.metric]
    least = expected - REFERENCE_LOSS
    if recipe.evaluation.frames is not None:
        least = expected / 2
    elif part:
        least = max(expected / 2, least - _uncertainty(accuracy))
    if found >= least:
        return ()
    if "metric" in recipe.untrained:
        score = f"{accuracy.metric} {found:.2f}"
        return (Untrained(key="score", trained=f"{expected:g}", exported=score),)
    raise LzuError(
        f"PyTorch itself scores {accuracy.metric} {found:.2f} on {accuracy.dataset}, where the "
        f"recipe's evaluation.reference says {expected:g} for {recipe.variant}, so the model is "
        "not exported as it was trained; no bundle was written: compare scale, warp, normalisation "
        "and classes with the training (--set untrained=[metric] exports it all the same and marks "
        "it)"
    )


def _uncertainty(accuracy: Accuracy) -> float:
    """Return the points from an accuracy's metric down to the end of its interval.

    It is infinite where the metric has no interval.
    """
    for name, resampled in accuracy.resampled.items():
        own = own_interval(accuracy.engines[name][accuracy.metric], resampled)
        return own.difference - own.low
    return math.inf


def refuse_scores(accuracy: Accuracy, advice: Callable[[str], str]) -> None:
    """Stop the export where an engine's scores differ from PyTorch's, or it finds less.

    Args:
        accuracy: agreement of the engines with PyTorch, with its limits.
        advice: returns the tried remedies for a lower precision in words; see `advice`.

    Raises:
        LzuError: naming the engine, the ratio of scores or the share that is found, and what to do.
    """
    for name, agreement in accuracy.agreement.items():
        precision = name.rpartition("/")[2]
        limits = accuracy.score_limits[precision], accuracy.matched_limits.get(precision)
        first = agreement.first(*limits)
        if first is None:
            continue
        remedy = (
            "verify the probe points with --verbose" if precision == "fp32" else advice(precision)
        )
        raise LzuError(
            f"the {first.name} in {name} {first.sentence()}; no bundle was written: "
            f"{remedy}; or {_tolerate(first, precision)} if so much is acceptable"
        )


def _tolerate(deviation: Deviation, precision: str) -> str:
    """Return the change of the recipe that allows a deviation of a lower precision, in words."""
    if deviation.figure in ("scores", "pixels"):
        return f"raise tolerances.scores.{precision}"
    return f"lower tolerances.{'matched' if deviation.figure == 'found' else 'snr'}.{precision}"

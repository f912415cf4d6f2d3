"""Advice on a failing engine of a lower precision, tried before it is printed."""

from collections.abc import Sequence

from lzu_export.compiler.remedy import Row, Trials, find_remedy, heads, rank
from lzu_export.evaluation.datasets import EvaluationSet
from lzu_export.evaluation.evaluate import evaluate
from lzu_export.manifest.schema import Accuracy
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.checkout import option
from lzu_export.support.progress import Reporter
from lzu_export.tasks.agreement import Agreements
from lzu_export.tasks.predictors import make_predictor

FRAMES = 64
"""Largest number of an evaluation set's frames on which lists of layers are tried."""
LENGTHS = (1, 2, 4, 8)
"""Numbers of layers, or of groups of them, kept in a higher precision in successive tries."""


def parity_advice(
    trials: Trials, refused: Row, rows: Sequence[Row], report: Reporter, vanishing: str = ""
) -> str:
    """Return the layers to keep higher so that engines pass on the reference frames, in words.

    Args:
        trials: trials of the precision's engines.
        refused: the engine that does not pass.
        rows: all engines of the precision that an export makes.
        report: receiver of progress.
        vanishing: the tensor that half precision rounds away, in words; empty for none.
    """
    title = f"looking for layers to keep higher than {trials.precision}"
    with report.steps(title, None) as advance:
        found = find_remedy(trials, refused, rows, advance)
    known = [vanishing] if vanishing else []
    if found.costliest:
        known.append(f"{_named(found.costliest)} most of all")
    cause = f"it is due to {', and to '.join(known)}; " if known else ""
    if found.keep is not None:
        keep = f"higher_precision.{trials.key}=[{', '.join(found.keep)}]"
        return f"{cause}with {keep} the reference frames pass"
    alone = ""
    if trials.precision == "int8" and not trials.parity(refused, trials.layers).passed:
        alone = ", since what is not INT8 is FP16, which fails alone"
    return (
        f"{cause}no list of layers in higher_precision.{trials.key} was found to cure it{alone}: "
        f"leave {trials.precision} out of {option('precision')}{_other_methods(trials)}"
    )


def accuracy_advice(
    trials: Trials,
    rows: Sequence[Row],
    few: EvaluationSet,
    pytorch: Predictor,
    accuracy: Accuracy,
    report: Reporter,
) -> str:
    """Return the layers to keep higher so that engines keep metric and scores, in words.

    Layers are ranked on the reference frames; each head of the ranking is then scored on `few`.

    Args:
        trials: trials of the precision's engines.
        rows: the engines of the precision that were scored.
        few: the evaluation set, or some of its frames.
        pytorch: predictor of the reference.
        accuracy: accuracy of the refused export, with its limits.
        report: receiver of progress.
    """
    with report.steps(f"ranking layers by what {trials.precision} costs", None) as advance:
        ranking = rank(trials, rows, None, advance)
    tries = [(), *heads(ranking, LENGTHS)]
    warp, recipe = trials.warp, trials.recipe
    predictors = {"pytorch": pytorch}
    for i, high in enumerate(tries):
        for j, row in enumerate(rows):
            predictors[f"{i} {j}"] = make_predictor(recipe, trials.session(row, high), warp)
    agreements = Agreements(recipe, "pytorch", list(predictors))
    with report.steps(f"trying layers in higher precision on {few.name}", len(few)) as advance:
        metrics = evaluate(predictors, few, advance, agreements=agreements)
    precision, found = trials.precision, agreements.result()
    # Those that refused the export: of sequences an adaptive model may find less.
    scores, matched = accuracy.score_limits[precision], accuracy.matched_limits.get(precision)

    def passes(i: int) -> bool:
        names = [f"{i} {j}" for j in range(len(rows))]
        best = metrics["pytorch"][few.metric]
        return all(
            best - metrics[name][few.metric] <= accuracy.limits[precision]
            and found[name].first(scores, matched) is None
            for name in names
        )

    which = f"the {len(few)} frames of {few.name}"
    if len(few) < accuracy.frames:
        which = f"{len(few)} of the {accuracy.frames} frames of {few.name}"
        if passes(0):
            return (
                f"{which} pass, so that no list of layers could be tried on them: export with "
                f"{option('precision', 'fp32')} and let `lzu-export sensitivity BUNDLE --frames "
                f"{accuracy.frames}` find those to keep higher (higher_precision.{trials.key})"
            )
    costliest = f"{_named(ranking[0])} costs most on the reference frames; " if ranking else ""
    for i, high in enumerate(tries):
        if high and passes(i):
            listed = ", ".join(trials.listed(high))
            return f"{costliest}with higher_precision.{trials.key}=[{listed}] {which} pass"
    return (
        f"{costliest}keeping up to {len(tries[-1])} layers higher "
        f"(higher_precision.{trials.key}) did not cure {which}: "
        f"leave {precision} out of {option('precision')}{_other_methods(trials)}"
    )


def _named(layers: Sequence[str]) -> str:
    """Return the name of a layer, or the first and last name of a group."""
    return layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"


def _other_methods(trials: Trials) -> str:
    if trials.precision != "int8":
        return ""
    return f", try another calibration.method than {trials.recipe.calibration.method}"

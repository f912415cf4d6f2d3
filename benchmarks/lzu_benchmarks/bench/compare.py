"""Compare bundles with one another, and keep every result in a file as it arrives.

A result is measured again only if its inputs changed: the bundle, the frames or this harness, and
for latencies also the machine, the plan or the engines timed together.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lzu_benchmarks.bench.contender import PACKAGE, Contender, Store, runs_of
from lzu_benchmarks.harness.candidates import NO_DATASET
from lzu_benchmarks.harness.flops import Flops, count_flops
from lzu_benchmarks.report.schema import (
    BundleResult,
    EngineResult,
    Score,
)
from lzu_export.evaluation.datasets import Scorer, open_dataset
from lzu_export.evaluation.evaluate import Timing, evaluate
from lzu_export.evaluation.resampling import resampled_first
from lzu_export.evaluation.resume import Unfinished, key_of
from lzu_export.manifest.schema import (
    ROUNDING_NOTE,
    Manifest,
    untrained_note,
)
from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.files.hashes import sha256
from lzu_export.support.limits import EMULATED
from lzu_export.support.progress import Reporter
from lzu_export.support.provenance import source_digest
from lzu_export.targets.registry import DEFAULT_TARGET
from lzu_export.tasks.agreement import against_fp32
from lzu_export.verification.regression import open_predictors


def bundle_result(
    bundle: Contender,
    store: Store,
    *,
    dataset: str | None = None,
    frames: int | None = None,
    like: Recipe | None = None,
    report: Reporter,
) -> BundleResult:
    """Describe a bundle and its scores.

    The manifest's scores are taken if they cover the requested frames and every engine that runs
    here. Otherwise the engines are scored now, as those of an export that scored a part only.

    Args:
        bundle: bundle to score.
        store: storage of results.
        dataset: data set to score on, or `none`; the manifest's scores are taken by default.
        frames: largest number of frames to score on.
        like: recipe of a compared model that uses the frame before; of a part of the set, all are
            scored on its whole sequences, since scores of other frames cannot be compared.
        report: progress reporter.
    """
    annotations = sha256(Path(dataset)) if dataset and Path(dataset).is_file() else None
    code = source_digest(PACKAGE)
    asked = sorted(each.name for each in bundle.asked)
    parts = (asked, runs_of(bundle), bundle.provider, dataset, annotations, frames, code)
    like = like if _differs(bundle.manifest.recipe, like, frames) else None
    key = key_of(bundle.manifest.files, *parts, *([] if like is None else ["whole sequences"]))
    unfinished = Unfinished(store.folder / f"{bundle.folder.name}.accuracy.npz", key)
    if store.again:
        unfinished.remove()
    return store.get(
        bundle.folder.name,
        key,
        BundleResult,
        lambda: _measure_bundle(bundle, key, dataset, frames, like, report, unfinished),
    )


def _differs(recipe: Recipe, like: Recipe | None, frames: int | None) -> bool:
    """Return whether a recipe would choose other frames than one that takes whole sequences."""
    if like is None or recipe.follows_boxes:
        return False
    return frames is not None or recipe.evaluation.frames is not None


def _measure_bundle(
    bundle: Contender,
    key: str,
    dataset: str | None,
    frames: int | None,
    like: Recipe | None,
    report: Reporter,
    unfinished: Unfinished,
) -> BundleResult:
    manifest, recipe = bundle.manifest, bundle.manifest.recipe
    parities = {(parity.target, parity.precision): parity for parity in manifest.parity}
    scores, about = _scores(bundle, dataset, frames, like, report, unfinished)
    engines = {
        engine.name: EngineResult(
            target=engine.target,
            precision=engine.precision,
            bytes=engine.bytes,
            build_seconds=engine.build_seconds or None,
            score=scores.get(engine.name),
            parity=parities[engine.target, engine.precision],
            lowerings=engine.lowerings,
            failed=bundle.failed.get(engine.name, ""),
        )
        for engine in bundle.asked
    } | _emulated_results(bundle, scores)
    return BundleResult(
        key=key,
        name=bundle.folder.name,
        task=manifest.task,
        recipe=manifest.name,
        variant=manifest.variant,
        scale=recipe.scale,
        sizes=recipe.path_of_sizes,
        network_input=recipe.network_input,
        pytorch=scores.get("pytorch"),
        engines=engines,
        flops=flops_of(bundle),
        untrained=untrained_note(manifest),
        facts=_facts(manifest),
        **about,
    )


def _emulated_results(bundle: Contender, scores: Mapping[str, Score]) -> dict[str, EngineResult]:
    """Return the results of requested precisions that were run with a device's rounding."""
    parities = {(each.target, each.precision): each for each in bundle.manifest.parity}
    asked = dict.fromkeys((engine.target, engine.precision) for engine in bundle.asked)
    found = {}
    for target, precision in asked:
        name = f"{EMULATED}/{precision}"
        if name in scores and name not in found:
            parity = parities.get((EMULATED, precision), parities[target, precision])
            found[name] = EngineResult(
                target=EMULATED,
                precision=precision,
                bytes=None,
                build_seconds=None,
                score=scores[name],
                parity=parity,
            )
    return found


def _scores(
    bundle: Contender,
    dataset: str | None,
    frames: int | None,
    like: Recipe | None,
    report: Reporter,
    unfinished: Unfinished,
) -> tuple[dict[str, Score], dict[str, Any]]:
    """Return scores by engine, PyTorch's too if known, and the data set and metric behind them."""
    stored, recipe = bundle.manifest.accuracy, bundle.manifest.recipe
    runs = {engine.name for engine in bundle.runs}
    # An export may have scored a part of the frames only, on which intervals are wider.
    whole = recipe.scored_frames == recipe.evaluation.frames and like is None
    as_stored = dataset == NO_DATASET or (dataset is None and whole)
    as_stored = as_stored and frames is None and bundle.provider == "cpu"
    if stored is not None and as_stored and runs <= set(stored.engines):
        scores = {
            name: Score(
                metrics=metrics,
                how=_how(name),
                agreement=stored.agreement.get(name),
                resampled=stored.resampled.get(name),
            )
            for name, metrics in stored.engines.items()
        }
        scores["pytorch"] = Score(metrics=stored.pytorch, how="")
        about = {
            "dataset": stored.dataset, "frames": stored.frames, "metric": stored.metric,
            "note": stored.note,
        }  # fmt: skip
        return scores, about
    name = dataset or recipe.evaluation.dataset
    nothing = {"dataset": None, "frames": None, "metric": None, "note": ""}
    if name in (None, NO_DATASET):
        return {}, nothing
    if dataset is None:  # the recipe's own data set, and its own number of frames
        frames = frames or recipe.evaluation.frames
    opened = open_dataset(name, frames, bundle.manifest.task, like or recipe)
    spent, scorers = Timing(), dict[str, Scorer]()
    title = f"accuracy of {bundle.folder.name} on {opened.name}"
    with ExitStack() as stack:  # close all engines here: timing needs the device's memory
        predictors = _predictors(bundle, stack)
        if not predictors:
            return {}, nothing
        with report.steps(title, len(opened)) as advance:
            agreements = against_fp32(recipe, list(predictors))
            found = evaluate(
                predictors,
                opened,
                advance,
                agreements=agreements,
                unfinished=unfinished,
                spent=spent,
                scorers=scorers,
            )
    with report.working("resampling the frames for intervals"):
        resampled = resampled_first(scorers)
    report.note(f"  accuracy: {spent}")
    agreed = agreements.result() if agreements is not None else {}
    scores = {
        name: Score(
            metrics=metrics,
            how=_how(name),
            agreement=agreed.get(name),
            resampled=resampled.get(name),
        )
        for name, metrics in found.items()
    }
    frames_of = (opened.name, len(opened))
    if stored is not None and like is None and (stored.dataset, stored.frames) == frames_of:
        scores["pytorch"] = Score(metrics=stored.pytorch, how="")
    about = {
        "dataset": opened.name, "frames": len(opened), "metric": opened.metric, "note": opened.note,
    }  # fmt: skip
    return scores, about


def _how(engine: str) -> str:
    return ROUNDING_NOTE if engine.startswith(f"{EMULATED}/") else ""


def _predictors(bundle: Contender, stack: ExitStack) -> dict[str, Predictor]:
    """Open the engines that run here, each lower precision also with a device's rounding.

    `stack` closes them.
    """
    shipped, rounded = open_predictors(bundle, bundle.runs, bundle.provider, spin=False)
    for predictor in (*shipped.values(), *rounded.values()):
        stack.enter_context(predictor)
    return {**shipped, **rounded}


def flops_of(bundle: Contender) -> Flops:
    """Count the operations of one frame in the highest precision's executable graph."""
    engines = bundle.manifest.engines
    chosen = next((each for each in engines if each.target == DEFAULT_TARGET), engines[0])
    found = count_flops(bundle.executable(chosen))
    batch = bundle.manifest.recipe.batch
    return Flops(network=found.network // batch, warps=found.warps // batch)


def _facts(manifest: Manifest) -> dict[str, str]:
    made = manifest.calibration
    facts = {
        "weights": ", ".join(f"{k} {v[:16]}" for k, v in manifest.checkpoint.items()),
        "warp": f"{manifest.warp.geometry} geometry, sha256 {manifest.warp.sha256[:16]}",
        "calibration": "none"
        if made is None
        else f"{made.method} over {made.count} frames of {made.frames}",
        "revision": manifest.source_revision,
        "fingerprint": manifest.fingerprint[:16],
        "exported": manifest.created,
        "made with": ", ".join(f"{k} {v}" for k, v in manifest.versions.items()),
    }
    return facts

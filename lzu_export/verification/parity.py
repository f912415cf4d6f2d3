"""Compare an engine with PyTorch's reference at every probe point. No torch."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError
from lzu_export.manifest.comparison import Agreement
from lzu_export.manifest.schema import (
    ROUNDING_NOTE,
    Derived,
    Engine,
    Parity,
)
from lzu_export.recipes import Recipe
from lzu_export.recipes.recipe import INPUT_NAMES
from lzu_export.runtime.compare import NO_SCALE, relative_difference, signal_to_noise
from lzu_export.runtime.predictor import KNOTS, Predictor
from lzu_export.runtime.preprocess import ZoomedInput
from lzu_export.runtime.reference import Reference, subsample
from lzu_export.support.limits import EMULATED
from lzu_export.support.session import Session
from lzu_export.targets.registry import DEFAULT_TARGET, find
from lzu_export.tasks.agreement import Tally
from lzu_export.tasks.outputs import compare_outputs
from lzu_export.tasks.predictors import make_predictor
from lzu_export.verification.selections import GivenSelections, noise_amplitude
from lzu_export.verification.sessions import is_emulated, open_at_probes, open_given, runs_here
from lzu_export.warp.grids import Sampling, stored_zoom

CLAMPED = tuple(f"clamped_{name}" for name in KNOTS)
"""Names of the probes with the knots that the host gave."""
GIVEN_NOTE = "outputs at PyTorch's selection among nearly equal scores"
RANKED_NOTE = "dB of scores by rank and of logits, without a limit"


def probe_order(names: Sequence[str]) -> list[str]:
    """Sort names of probe points in processing order, with levels ascending."""
    stages = ("saliency", *KNOTS, *CLAMPED, "zoomed", "level", "unzoomed")

    def key(name: str) -> tuple[int, str, int]:
        stem, _, number = name.rpartition("_")
        stem = stem if number.isdigit() else name
        place = stages.index(stem) if stem in stages else len(stages)
        return place, "" if place < len(stages) else stem, int(re.sub(r"\D", "", number) or 0)

    return sorted(names, key=key)


def verify_all(
    bundle: Bundle, references: Sequence[Reference] | None = None, provider: str = "cpu"
) -> list[Parity]:
    """Compare everything in a bundle with `references`, by default the bundle's own.

    Every graph is compared once, even if several engines were built from it. ONNX Runtime's files
    run in the session that `load` opens. Each one in a lower precision is followed by the same
    graph
    with the rounding of a device. Engines of devices that run here come last, and run themselves.
    `provider` is the provider for ONNX Runtime's own files, see `load`.

    Raises:
        LzuError: a file of the bundle was changed, an engine does not run as it should, or the
            provider does not load or has no file to run.
    """
    manifest = bundle.manifest
    if provider != "cpu" and all(each.target != DEFAULT_TARGET for each in manifest.engines):
        raise LzuError(
            f"--provider {provider} is for files of ONNX Runtime, of which {bundle.folder} has "
            "none; leave it out"
        )
    parities: dict[tuple[str, str, str], Parity] = {}
    for each in manifest.made:
        bundle.file(each.file)
        graph = (each.target, each.precision, each.onnx)
        if graph not in parities:
            parities[graph] = verify_engine(bundle, each, references, provider=provider)
            if is_emulated(each):
                rounded = verify_engine(bundle, each, references, emulate=True)
                parities[EMULATED, each.precision, each.onnx] = rounded
    here = [each for each in bundle.here().engines if find(each.target).on_device]
    return [
        *parities.values(),
        *(verify_on_device(bundle, each, references) for each in here),
    ]


def verify_on_device(
    bundle: Bundle,
    engine: Engine,
    references: Sequence[Reference] | None = None,
) -> Parity:
    """Run an engine that `Bundle.here` found on its device, and compare its outputs.

    In FP32 the outputs have a limit. In lower precisions, and where a network selects entries by
    rank, candidates change their order, so the scores of matched predictions have a limit. The
    signal-to-noise ratio of `ranked` outputs is recorded there, too, without a limit.

    Raises:
        LzuError: a file of the bundle was changed, the engine does not open, or an output is not
            finite.
    """
    recipe, zoom = bundle.recipe, bundle.zoom
    if references is None:
        references = bundle.references
    exact = engine.precision == "fp32" and not references[0].selections
    outputs: dict[str, float] = {}
    snr: dict[str, float] = {}
    tally = Tally(recipe.scored_as)
    with closing(bundle.open(engine, feedback=False, zoom=None)) as session:
        provider = session.provider
        predictor = bundle.predictor(session)
        remedy = "build it again, or a higher precision"
        runs = finite_runs(session, recipe, references, zoom, name=engine.file, remedy=remedy)
        for reference, result in runs:
            if exact:
                differences = compare_outputs(recipe, result, reference.outputs, reference.usual)
                _keep_largest(outputs, differences)
                continue
            _count(tally, predictor, result, reference)
            theirs = ranked(reference.outputs)
            for name, value in ranked(result).items():
                usual = reference.usual.get(name, NO_SCALE)
                snr[name] = min(
                    snr.get(name, math.inf), signal_to_noise(value, theirs[name], usual)
                )
    return Parity(
        target=engine.target,
        precision=engine.precision,
        status="passed",
        on_device=True,
        note=provider if exact else f"{provider}; {RANKED_NOTE}",
        outputs=outputs,
        snr=snr,
        limit=recipe.tolerances.probe if exact else None,
        agreement=None if exact else tally.result(),
        score_limit=None if exact else recipe.score_limit(engine.precision),
        matched_limit=None if exact else recipe.matched_limit(engine.precision),
    ).judged()


def finite_runs(
    session: Session,
    recipe: Recipe,
    references: Sequence[Reference],
    zoom: Sampling,
    *,
    name: str,
    remedy: str,
) -> Iterator[tuple[Reference, dict[str, NDArray[Any]]]]:
    """Run an engine on each reference; yield the reference with the engine's outputs.

    Raises:
        LzuError: an output has NaN or infinity; the message has the engine's file and the remedy.
    """
    for reference in references:
        outputs = session.run(reference_inputs(recipe, reference, zoom))
        for output, value in outputs.items():
            if not np.isfinite(value).all():
                raise LzuError(
                    f"output {output} of {name} is not finite on the reference frames; {remedy}"
                )
        yield reference, outputs


def ranked(outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the final outputs whose order does not depend on noise.

    These are the scores, sorted, and logits. Boxes and labels belong to candidates, whose order
    does depend on it.
    """
    found = {name: outputs[name] for name in ("logits",) if name in outputs}
    if "scores" in outputs:
        scores = outputs["scores"]
        found["scores"] = -np.sort(-scores.reshape(len(scores), -1), axis=1)
    return found


def verify_engine(
    bundle: Bundle,
    engine: Engine | Derived,
    references: Sequence[Reference] | None = None,
    *,
    emulate: bool = False,
    provider: str = "cpu",
) -> Parity:
    """Compare one engine of a bundle with `references`, by default the bundle's own; see `compare`.

    Raises:
        LzuError: a file of the bundle was changed.
    """
    bundle.file(engine.file)
    return compare(
        bundle.recipe,
        engine,
        bundle.canonical(engine.precision),
        bundle.executable(engine),
        bundle.references if references is None else references,
        bundle.warp,
        emulate=emulate,
        provider=provider,
    )


def compare(
    recipe: Recipe,
    engine: Engine | Derived,
    canonical: Path,
    executable: Path,
    references: Sequence[Reference],
    warp: Mapping[str, NDArray[Any]],
    *,
    emulate: bool = False,
    provider: str = "cpu",
) -> Parity:
    """Compare one engine's graph with `references`.

    An engine that runs on any machine is an ONNX file. That file runs in the session that `load`
    opens, and once more with the probe points marked as outputs. If an engine needs its device, or
    a library that is not installed, the ONNX graph it was built from runs in ONNX Runtime instead,
    with half precision rounded as on a device and plugins replaced by the operators' functions.
    FP32 is compared at probe points and outputs. Lower precisions are compared at the probe points,
    and by the scores of the detections that both find. If outputs or detections of a network that
    selects entries by rank differ only since it selects others of nearly equal scores, those at
    PyTorch's selection are compared instead, see `verification.selections`.

    Args:
        recipe: recipe of the export.
        engine: engine, or derived file for one, with its target, precision and lowerings.
        canonical: file of the canonical graph.
        executable: ONNX file that ONNX Runtime executes or that the engine was built from.
        references: PyTorch's values.
        warp: arrays of the bundle's `warp.npz`.
        emulate: for an engine of ONNX Runtime, run its canonical graph with the rounding of a
            device instead of its file.
        provider: ONNX Runtime's provider for its own file, see `load`.

    Raises:
        LzuError: PyTorch's outputs are not finite.
    """
    _refuse_infinite(references)
    exact = engine.precision == "fp32"
    names = probe_order(list(references[0].probes))
    if recipe.input != "source":  # "zoomed" is an input then, which no node of the graph makes
        names = [name for name in names if name != "zoomed"]
    itself, at_probes = open_at_probes(
        engine, canonical, executable, names, emulate=emulate, provider=provider
    )
    selections = list(references[0].selections)
    given = open_given(
        engine, canonical, executable, selections, emulate=emulate, provider=provider
    )
    figures = _figures(recipe, itself, at_probes, references, warp, exact=exact, given=given)
    target = find(engine.target)
    runs_itself = runs_here(engine) and not emulate
    note = ROUNDING_NOTE if emulate else target.note(engine.precision)
    if runs_itself and provider != "cpu":
        place = f" on GPU {itself.device}" if itself.device is not None else ""
        note += f", with {itself.provider}{place}"
    found = Parity(
        target=EMULATED if emulate else engine.target,
        precision=engine.precision,
        status="passed" if runs_itself else "graph passed",
        note=note,
        probes={**figures.probes, **figures.selections},
        outputs=figures.own.outputs,
        snr=figures.snr,
        limit=recipe.tolerances.probe if exact else None,
        snr_limit=None if exact else getattr(recipe.tolerances.snr, engine.precision),
        agreement=figures.own.agreement,
        score_limit=None if exact else recipe.score_limit(engine.precision),
        matched_limit=None if exact else recipe.matched_limit(engine.precision),
    )
    if given is None or found.passed or max(figures.selections.values()) > _rounding(found):
        return found.judged()
    update = {
        "outputs": figures.given.outputs,
        "agreement": figures.given.agreement,
        "note": f"{note}; {GIVEN_NOTE}",
    }
    return found.model_copy(update=update).judged()


def _refuse_infinite(references: Sequence[Reference]) -> None:
    """Refuse references with which nothing can be compared, since an output is not finite."""
    for reference in references:
        for name, value in reference.outputs.items():
            if name != "margins" and not np.isfinite(value).all():
                raise LzuError(
                    f"output {name} of PyTorch is not finite on the reference frames, so no engine "
                    "can be compared with it; let the network return finite numbers, such as -1e4 "
                    "in place of minus infinity"
                )


def _rounding(parity: Parity) -> float:
    """Return how far scores may deviate from PyTorch's, relative to the largest.

    It is the limit of differences in FP32, and the amplitude of the noise that the signal-to-noise
    ratio allows in lower precisions.
    """
    if parity.limit is not None:
        return parity.limit
    assert parity.snr_limit is not None, "one of the two limits a comparison has"
    return noise_amplitude(parity.snr_limit)


class _Results:
    """Comparison of a session's outputs and predictions with PyTorch's, over batches."""

    def __init__(self, predictor: Predictor, *, exact: bool) -> None:
        """Compare outputs if `exact`, else the predictions that the predictor makes of them."""
        self.predictor, self.exact = predictor, exact
        self.outputs: dict[str, float] = {}
        self._tally = Tally(predictor.recipe.scored_as)

    def add(self, outputs: Mapping[str, NDArray[Any]], reference: Reference) -> None:
        """Compare one batch's outputs."""
        if self.exact:
            recipe = self.predictor.recipe
            _keep_largest(
                self.outputs, compare_outputs(recipe, outputs, reference.outputs, reference.usual)
            )
        else:
            _count(self._tally, self.predictor, outputs, reference)

    @property
    def agreement(self) -> Agreement | None:
        """Agreement of the predictions; None if outputs were compared."""
        return None if self.exact else self._tally.result()


class _Figures(NamedTuple):
    """Comparison of a session with PyTorch's values; see `Parity` for the first two."""

    probes: dict[str, float]
    snr: dict[str, float]
    own: _Results
    """Comparison of what the engine returns."""
    given: _Results
    """Comparison of what it returns at PyTorch's selections; empty if it selects nothing."""
    selections: dict[str, float]
    """Deviations of the engine's selections, see `selections.deviation`."""


def _figures(
    recipe: Recipe,
    itself: Session,
    at_probes: Sequence[Session],
    references: Sequence[Reference],
    warp: Mapping[str, NDArray[Any]],
    *,
    exact: bool,
    given: GivenSelections | None,
) -> _Figures:
    """Compare the outputs and probe points of every batch; see `sessions`."""
    zoom = stored_zoom(warp)
    predictor = make_predictor(recipe, itself, warp)
    own, at_given = _Results(predictor, exact=exact), _Results(predictor, exact=exact)
    found = _Figures({}, {}, own, at_given, {})
    for reference in references:
        inputs = reference_inputs(recipe, reference, zoom)
        values = {k: v for each in at_probes for k, v in each.run(_taken(each, inputs)).items()}
        outputs = _final(values, reference) if itself in at_probes else itself.run(inputs)
        if recipe.input != "source":
            image = inputs[INPUT_NAMES[recipe.input]]
            values["zoomed"] = image[:, :, : recipe.canvas[0], : recipe.canvas[1]]
        for name in probe_order(list(reference.probes)):
            mine, theirs = subsample(values[name]), reference.probes[name]
            usual = reference.usual.get(name, NO_SCALE)
            _keep_largest(found.probes, {name: relative_difference(mine, theirs, usual)})
            ratio = signal_to_noise(mine, theirs, usual)
            found.snr[name] = min(found.snr.get(name, math.inf), ratio)
        found.own.add(outputs, reference)
        if given is not None:
            at_selections, deviations = given.run(inputs, reference.selections)
            found.given.add(at_selections, reference)
            _keep_largest(found.selections, deviations)
    return found


def _final(values: Mapping[str, NDArray[Any]], reference: Reference) -> dict[str, NDArray[Any]]:
    """Select an engine's outputs among them and its values at probe points."""
    return {k: v for k, v in values.items() if k in reference.outputs or k in KNOTS}


def _keep_largest(found: dict[str, float], more: Mapping[str, float]) -> None:
    """Raise figures to those of another batch that are larger."""
    for name, value in more.items():
        found[name] = max(found.get(name, 0.0), value)


def _taken(session: Session, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Select the inputs that a session has, since OpenVINO drops those that no output needs."""
    return {spec.name: inputs[spec.name] for spec in session.inputs}


def reference_inputs(
    recipe: Recipe, reference: Reference, zoom: Sampling
) -> dict[str, NDArray[Any]]:
    """Return the engine's inputs for a reference's frames and its other inputs."""
    image: NDArray[Any] = reference.frames
    if recipe.input == "zoomed":
        image = ZoomedInput(recipe, zoom)(reference.frames)
    return {INPUT_NAMES[recipe.input]: image, **reference.inputs}


def _count(
    tally: Tally, predictor: Predictor, outputs: Mapping[str, NDArray[Any]], reference: Reference
) -> None:
    """Count the agreement of an engine's predictions with those from PyTorch's outputs."""
    size, frames = predictor.recipe.source, len(reference.frames)
    pairs = zip(
        predictor.suppress_all(outputs, frames),
        predictor.suppress_all(reference.outputs, frames),
        strict=True,
    )
    weight = reference.strength()
    for mine, theirs in pairs:
        tally.add(
            predictor.to_prediction(mine, size), predictor.to_prediction(theirs, size), weight
        )

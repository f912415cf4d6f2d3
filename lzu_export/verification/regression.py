"""Compare a bundle with a stored state: accuracy, deviation and latency. No torch."""

import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pydantic import AliasChoices, Field, ValidationError

from lzu_export.bundle.bundle import Bundle
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.evaluation.content import DEFINITION, Content, Watched
from lzu_export.evaluation.datasets import EvaluationSet, Scorer
from lzu_export.evaluation.evaluate import batches, evaluate
from lzu_export.evaluation.resampling import difference, resampled_first
from lzu_export.graph.lowering.choose import lowerings_by_place
from lzu_export.manifest.comparison import ON_DEVICE, Agreement, Parity
from lzu_export.manifest.fields import Number
from lzu_export.manifest.resampled import Resampled
from lzu_export.manifest.schema import Engine, Manifest
from lzu_export.recipes import Recipe
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.support import provenance
from lzu_export.support.files import parse_json, read_bytes, write_text
from lzu_export.support.limits import EMULATED
from lzu_export.support.progress import Reporter
from lzu_export.support.section import Section
from lzu_export.targets.registry import find
from lzu_export.tasks.agreement import against_fp32
from lzu_export.verification.checks import Check, change_of, deviation_checks
from lzu_export.verification.pace import LatencyState, compare_latency, measure_latency
from lzu_export.verification.sessions import is_emulated, open_emulated

LIMIT = 16 << 20
"""Largest size in bytes of a stored state."""
FORMAT = 3
FORMATS = (2, 3)
"""Formats that can be read. In format 2 the key `parity` was `drift`."""
NOT_EXPORTED = "the bundle was not exported for"
ROUNDING = 0.01
"""Fraction of the deviation's limit below which differences are rounding."""


class AccuracyState(Section):
    """Metrics of the task for every engine that runs here."""

    dataset: str
    frames: int
    content: Content
    metric: str
    engines: dict[str, dict[str, Number]]
    agreement: dict[str, Agreement] = Field({})
    """Agreement of each engine with the FP32 engine, if that runs here."""
    resampled: dict[str, Resampled] = Field({})
    """The metric of the first engine on resampled sets."""


class State(Section):
    """Measured state of a bundle: deviation, accuracy and latency."""

    format: int = FORMAT
    bundle: str
    """Recipe, variant and sizes of the bundle, which have to equal the reference's."""
    fingerprint: str
    created: str
    source_revision: str
    versions: dict[str, str]
    parity: dict[str, dict[str, Number]] = Field(validation_alias=AliasChoices("parity", "drift"))
    """Deviation by engine and probe point: max|a - b| / max|b| in FP32, dB in lower precisions."""
    accuracy: AccuracyState | None
    latency: LatencyState | None
    elsewhere: dict[str, str] = Field(default_factory=dict)
    """Reason, by `target/precision`, why an engine was not run."""
    provider: str = "cpu"
    """ONNX Runtime's provider."""
    baseline: str | None = None
    """Recipe, variant and sizes of the baseline bundle for ratios of latencies."""
    lowerings: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Lowering of each warp by engine."""


@dataclass(frozen=True)
class OpenEngines:
    """Opened engines of a bundle that run here."""

    bundle: Bundle
    as_shipped: dict[str, Predictor]
    """Predictors by `target/precision`, opened as by `load`, that are timed and scored."""
    emulated: dict[str, Predictor]
    """Predictors by `emulated/precision`, with the rounding of a device, that are only scored."""
    elsewhere: dict[str, str]
    """Reason, by `target/precision`, why an engine does not run here."""
    provider: str = "cpu"
    """ONNX Runtime's provider."""

    def close(self) -> None:
        """Close all engines."""
        for predictor in (*self.as_shipped.values(), *self.emulated.values()):
            predictor.close()


def open_engines(bundle: Bundle, provider: str = "cpu") -> OpenEngines:
    """Open all engines of a bundle that run here; `provider` is ONNX Runtime's, see `load`.

    Raises:
        LzuError: the folder is no bundle, a file was changed, no engine runs here, or the provider
            does not load.
    """
    engines, elsewhere = bundle.here()
    if not engines:
        reasons = "; ".join(dict.fromkeys(elsewhere.values()))
        raise LzuError(f"{bundle.folder} has no engine that runs here: {reasons}")
    return OpenEngines(bundle, *open_predictors(bundle, engines, provider), elsewhere, provider)


def open_predictors(
    bundle: Bundle, engines: Sequence[Engine], provider: str = "cpu", *, spin: bool = True
) -> tuple[dict[str, Predictor], dict[str, Predictor]]:
    """Open engines that `Bundle.here` found, each lower precision also with a device's rounding.

    `spin` is for sessions that are timed, see `OpenOptions`.

    Returns:
        `OpenEngines.as_shipped` and `OpenEngines.emulated`.

    Raises:
        LzuError: a file was changed, an engine does not open, or the provider does not load.
    """
    shipped, rounded = {}, {}
    with ExitStack() as opened:  # closes the open ones if the next one fails
        for engine in engines:
            session = bundle.open(engine, provider=provider, spin=spin)
            opened.callback(session.close)
            shipped[engine.name] = bundle.predictor(session)
            as_on_device = open_emulated(bundle, engine, session)
            if as_on_device is not None:
                rounded[engine.emulated_name] = bundle.predictor(as_on_device)
        opened.pop_all()
    return shipped, rounded


def measure_state(
    opened: OpenEngines,
    parities: Iterable[Parity],
    dataset: EvaluationSet | None,
    *,
    baseline: OpenEngines | None = None,
    then: State | None = None,
    report: Reporter | None = None,
) -> State:
    """Score and time a bundle's engines.

    Args:
        opened: opened engines of the bundle.
        parities: results of its verification.
        dataset: frames and metric; without it accuracy is not measured.
        baseline: opened engines of another bundle, for further ratios of latencies.
        then: state to compare with; the engines are timed until the comparison is sure.
        report: display of the progress.
    """
    report = report or Reporter(quiet=True)
    manifest = opened.bundle.manifest
    accuracy = None
    if dataset is not None:
        with report.steps(f"accuracy on {dataset.name}", len(dataset)) as advance:
            scored = {**opened.as_shipped, **opened.emulated}
            agreements = against_fp32(manifest.recipe, list(scored))
            before = then.accuracy if then is not None else None
            watched = Watched(dataset, before.content.definition if before else DEFINITION)
            scorers: dict[str, Scorer] = {}
            scores = evaluate(scored, watched, advance, agreements=agreements, scorers=scorers)
        accuracy = AccuracyState(
            dataset=dataset.name,
            frames=len(dataset),
            content=watched.content(),
            metric=dataset.metric,
            engines=scores,
            agreement=agreements.result() if agreements is not None else {},
            resampled=resampled_first(scorers),
        )
    with report.working("measuring latency"):
        camera_frames = _camera_frames(opened, dataset)
        latency = _latency(
            opened, camera_frames, baseline, then.latency if then is not None else None
        )
    return State(
        bundle=identity(manifest.recipe),
        fingerprint=manifest.fingerprint,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        source_revision=provenance.source_revision(),
        versions=provenance.versions(),
        parity={each.engine: _values(each) for each in parities},
        accuracy=accuracy,
        latency=latency,
        elsewhere=opened.elsewhere,
        provider=opened.provider,
        baseline=identity(baseline.bundle.recipe) if baseline is not None else None,
        lowerings=_lowerings(manifest),
    )


def _lowerings(manifest: Manifest) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {
        each.name: {**lowerings_by_place(each.lowerings)} for each in manifest.made
    }
    emulated = {
        each.emulated_name: found[each.name] for each in manifest.engines if is_emulated(each)
    }
    return {**found, **emulated}


def identity(recipe: Recipe) -> str:
    """Return the text that identifies a bundle's subject, without weights, code or versions."""
    return f"{recipe.name} {recipe.label}, {recipe.path_of_sizes}, batch {recipe.batch}"


def _values(parity: Parity) -> dict[str, float]:
    return {**parity.probes, **parity.outputs} if parity.limit is not None else dict(parity.snr)


def _camera_frames(opened: OpenEngines, dataset: EvaluationSet | None) -> list[CameraFrame]:
    """Return one batch to time: of the data set, else reference frames with an invented camera."""
    recipe = opened.bundle.recipe
    if dataset is not None:
        first = next(batches(dataset.samples(), recipe.batch))
        camera_frames = [sample.camera_frame for sample in first]
    else:
        camera_frames = opened.bundle.batches()[0]
    return camera_frames + camera_frames[-1:] * (recipe.batch - len(camera_frames))


def _latency(
    opened: OpenEngines,
    camera_frames: list[CameraFrame],
    baseline: OpenEngines | None,
    then: LatencyState | None,
) -> LatencyState | None:
    recipe = opened.bundle.recipe
    against = None
    if baseline is not None:
        if baseline.bundle.recipe.source != recipe.source:
            raise LzuError(
                f"the baseline {baseline.bundle.folder} takes frames of another size; give one of "
                "the same source"
            )
        against = (baseline.bundle.recipe.label, baseline.as_shipped)
    return measure_latency(
        opened.as_shipped,
        camera_frames,
        provider=opened.provider,
        baseline=against,
        then=then,
        limits=recipe.tolerances.regression,
    )


def write_state(path: Path, state: State) -> None:
    """Store a state as the reference for later states.

    Raises:
        LzuError: a metric is not a number, or the file cannot be written.
    """
    accuracy = state.accuracy
    for engine, scores in accuracy.engines.items() if accuracy is not None else ():
        assert accuracy is not None
        if math.isnan(scores[accuracy.metric]):
            raise LzuError(
                f"{accuracy.metric} of {engine} is not a number on {accuracy.dataset}, so that "
                "nothing can be held against it; give a set whose truth has what the model predicts"
            )
    with readable_os_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, state.model_dump_json(indent=2) + "\n", named=True)


def read_state(path: Path) -> State:
    """Read a stored state.

    Raises:
        LzuError: the file does not exist, or is not a stored state.
    """
    try:
        if not path.exists():
            raise LzuError(
                f"the reference {path} does not exist; make it with --update, once you trust the "
                "bundle"
            )
        content = read_bytes(path, limit=LIMIT, remedy="make it again with --update")
        data = parse_json(content, unique=True)
        found = data.get("format")
        if found not in FORMATS:
            raise LzuError(
                f"the reference {path} has format {found} but this version reads "
                f"{' and '.join(map(str, FORMATS))}; make it again with --update"
            )
        return State.model_validate(data)
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        raise LzuError(f"the reference {path} is damaged; make it again with --update") from error


def refuse_others(then: State, *, bundle: str, provider: str, baseline: str | None) -> None:
    """Refuse a reference that was recorded for something else, before anything is measured.

    Raises:
        LzuError: the reference is for another bundle or provider, or was timed against another
            baseline.
    """
    if bundle != then.bundle:
        raise LzuError(
            f"the reference was recorded for {then.bundle}, but this bundle is {bundle}; give its "
            "own reference, or make one with --update"
        )
    if provider != then.provider:
        raise LzuError(
            f"the reference is of ONNX Runtime's provider {then.provider}, not {provider}; "
            f"give --provider {then.provider}, or keep a reference a provider"
        )
    if then.baseline is not None and baseline != then.baseline:
        given = "none was given" if baseline is None else f"this one is {baseline}"
        raise LzuError(
            f"the reference was timed against the baseline {then.baseline}, but {given}; give "
            "--baseline BUNDLE of that one, or make the reference again with --update"
        )


def compare_states(now: State, then: State, recipe: Recipe) -> list[Check]:
    """Compare a new state with a stored one, by the recipe's tolerances.

    Raises:
        LzuError: the states are for different bundles, providers or baselines, or were scored on
            different data.
    """
    refuse_others(then, bundle=now.bundle, provider=now.provider, baseline=now.baseline)
    limits = recipe.tolerances.regression
    return [
        *_compare_accuracy(now, then.accuracy, recipe),
        *_compare_parity(now, then, recipe),
        *compare_latency(now.latency, then.latency, limits, now.elsewhere),
    ]


def _compare_accuracy(state: State, then: AccuracyState | None, recipe: Recipe) -> list[Check]:
    if then is None:
        return []
    now, name = state.accuracy, then.metric
    if now is None:
        why = "no evaluation set was given"
        return [Check(engine, name, "skipped", why) for engine in then.engines]
    if (now.dataset, now.frames, now.metric) != (then.dataset, then.frames, then.metric):
        raise LzuError(
            f"the reference was scored on {then.frames} frames of {then.dataset} but the bundle on "
            f"{now.frames} of {now.dataset}; give the same --dataset and --frames"
        )
    if other := now.content.difference(then.content):
        raise LzuError(
            f"the reference was scored on a {then.dataset} of other {other}: its content differs, "
            "though its name and its number of frames do not; give the same data, or make the "
            "reference again with --update"
        )
    checks = []
    for engine, scores in then.engines.items():
        if engine not in now.engines:
            why = state.elsewhere.get(engine, "the engine does not run here")
            checks.append(Check(engine, name, "skipped", why))
            continue
        value, wanted = now.engines[engine][name], scores[name]
        limit = recipe.metric_limit(engine.rpartition("/")[2])
        message = f"{value:.2f} where the reference has {wanted:.2f}; {limit:g} may be lost"
        held = value >= wanted - limit  # NaN never passes
        gain = difference(value - wanted, now.resampled.get(engine), then.resampled.get(engine))
        span = None if gain is None else (gain.low, gain.high)
        change = change_of(value, wanted, "{:.2f}", span=span)
        checks.append(Check(engine, name, "passed" if held else "failed", message, change))
        if (agreement := now.agreement.get(engine)) is not None:
            checks += _scores_held(engine, agreement, recipe)
    return checks


def _scores_held(engine: str, agreement: Agreement, recipe: Recipe) -> list[Check]:
    """Check whether an engine now scores like FP32 and finds as much; ignore the reference."""
    precision = engine.rpartition("/")[2]
    limit, least = recipe.score_limit(precision), recipe.matched_limit(precision, sequences=True)
    return deviation_checks(engine, agreement.deviations(limit, least, "FP32"))


def _compare_parity(state: State, reference: State, recipe: Recipe) -> list[Check]:
    limits, checks = recipe.tolerances.regression, []
    floor = ROUNDING * recipe.tolerances.probe
    now = state.parity
    for engine, probes in reference.parity.items():
        why_not = _not_asked_for(engine, recipe) or _lowered_otherwise(engine, state, reference)
        if why_not and (engine not in now or not why_not.startswith(NOT_EXPORTED)):
            checks.append(Check(engine, "deviation, kept", "skipped", why_not))
            continue
        exact = engine.removesuffix(ON_DEVICE).endswith("/fp32")
        if engine.endswith(ON_DEVICE) and engine not in now:
            why = "the engine does not run here"
            checks.append(Check(engine, "deviation, kept", "skipped", why))
            continue
        for probe, wanted in probes.items():
            name = f"{'deviation' if exact else 'signal-to-noise ratio'} of {probe}, kept"
            value = now.get(engine, {}).get(probe)
            if value is None:
                checks.append(Check(engine, name, "failed", "is not in the bundle any more"))
                continue
            if exact:
                allowed = max(limits.deviation * wanted, floor)
                held = value <= allowed
                message = f"{value:.2g} where the reference has {wanted:.2g}"
                message += f"; {allowed:.2g} is allowed"
                change = change_of(value, wanted, "{:.1e}", relative=True)
            else:
                held = value >= wanted - limits.snr
                message = f"{value:.1f} dB where the reference has {wanted:.1f}"
                message += f"; {limits.snr:g} dB may be lost"
                change = change_of(value, wanted, "{:.1f} dB")
            checks.append(Check(engine, name, "passed" if held else "failed", message, change))
    return checks


def _not_asked_for(engine: str, recipe: Recipe) -> str:
    """Return why a bundle has no such engine, if its recipe does not ask for one."""
    target, _, precision = engine.removesuffix(ON_DEVICE).partition("/")
    rounds = any(find(each).rounds_on_export for each in recipe.targets)
    targets = {*recipe.targets, *([EMULATED] if rounds else [])}
    if target in targets and precision in recipe.precision:
        return ""
    return f"{NOT_EXPORTED} {target} in {precision}"


def _lowered_otherwise(engine: str, now: State, then: State) -> str:
    """Return why an engine's rounding is not comparable, if its warps are lowered otherwise."""
    mine, theirs = (each.lowerings.get(engine.removesuffix(ON_DEVICE), {}) for each in (now, then))
    changed = [place for place in mine if place in theirs and mine[place] != theirs[place]]
    if not changed:
        return ""
    listed = ", ".join(f"{place} {mine[place]}, was {theirs[place]}" for place in changed)
    return f"lowered otherwise, which rounds otherwise ({listed}); it is held to PyTorch alone"

"""Hold a bundle against an earlier state of itself: accuracy, drift and ratios of latencies.

Absolute times are a machine's own: they are compared where both states come from one machine.
Ratios of two engines that took turns are compared everywhere. No torch.
"""

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lzu_export import hardware, provenance
from lzu_export.checks import Check
from lzu_export.datasets import EvaluationSet
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.evaluate import batches, evaluate, latencies
from lzu_export.files import write_text
from lzu_export.limits import EMULATED
from lzu_export.progress import Reporter
from lzu_export.recipes import Recipe
from lzu_export.runtime.bundle import engines_here, make_predictor, open_here, read_warp
from lzu_export.runtime.manifest import (
    MATCHED,
    ON_DEVICE,
    Agreement,
    Drift,
    Manifest,
    Number,
    check_file,
    read_manifest,
)
from lzu_export.runtime.predictor import Predictor, Shot
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.runtime.reference import read_reference
from lzu_export.tasks.agreement import against_fp32, within
from lzu_export.verify import open_emulated

FORMAT = 1
ROUNDING = 0.01
"""Part of the drift's limit below which differences are of rounding."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AccuracyState(_Section):
    """The task's metrics of every engine that runs here."""

    dataset: str
    frames: int
    metric: str
    engines: dict[str, dict[str, Number]]
    agreement: dict[str, Agreement] = {}
    """With the FP32 engine, where that runs here."""


class LatencyState(_Section):
    """Median milliseconds a frame, end to end; all took turns."""

    machine: str
    """Processor, board, power mode and card: absolute times of another are not compared."""
    milliseconds: dict[str, float]
    ratios: dict[str, float]
    """By `target/precision over X`, X being another engine or the baseline bundle."""


class State(_Section):
    """What a bundle does, as it was measured."""

    format: int = FORMAT
    bundle: str
    """Recipe, variant and sizes: a reference is of these."""
    fingerprint: str
    created: str
    source_revision: str
    versions: dict[str, str]
    drift: dict[str, dict[str, Number]]
    """By engine and arrow: max|a - b| / max|b| in FP32, dB in lower precisions."""
    accuracy: AccuracyState | None
    latency: LatencyState | None
    elsewhere: dict[str, str] = Field(default_factory=dict)
    """By `target/precision`, why an engine was not run."""
    provider: str = "cpu"
    """Of ONNX Runtime."""


@dataclass(frozen=True)
class Opened:
    """A bundle whose engines run here."""

    folder: Path
    manifest: Manifest
    as_shipped: dict[str, Predictor]
    """By `target/precision`, opened as `load` opens them: what is timed and scored."""
    emulated: dict[str, Predictor]
    """By `emulated/precision`, lower precisions with the rounding of a device: scored besides."""
    elsewhere: dict[str, str]
    """By `target/precision`, why an engine does not run here."""
    provider: str = "cpu"
    """Of ONNX Runtime."""

    def close(self) -> None:
        """Close all engines."""
        for predictor in (*self.as_shipped.values(), *self.emulated.values()):
            predictor.close()


def open_bundle(folder: Path, provider: str = "cpu") -> Opened:
    """Open all engines of a bundle that run here; `provider` is of ONNX Runtime, see `load`.

    Raises:
        LzuError: it is no bundle, a file was changed, nothing in it runs here, or the provider
            does not load.
    """
    manifest = read_manifest(folder)
    warp = read_warp(folder, manifest)
    shipped, rounded = {}, {}
    engines, elsewhere = engines_here(manifest, folder)
    if not engines:
        reasons = "; ".join(dict.fromkeys(elsewhere.values()))
        raise LzuError(f"{folder} has no engine that runs here: {reasons}")
    with ExitStack() as opened:  # what is open when the next one fails
        for engine in engines:
            session = open_here(folder, manifest, engine, provider)
            opened.callback(session.close)
            name = f"{engine.target}/{engine.precision}"
            shipped[name] = make_predictor(manifest.recipe, session, warp)
            as_on_device = open_emulated(folder, manifest, engine, session)
            if as_on_device is not None:
                name = f"{EMULATED}/{engine.precision}"
                rounded[name] = make_predictor(manifest.recipe, as_on_device, warp)
        opened.pop_all()
    return Opened(folder, manifest, shipped, rounded, elsewhere, provider)


def measure_state(
    opened: Opened,
    drifts: Iterable[Drift],
    dataset: EvaluationSet | None,
    *,
    baseline: Opened | None = None,
    report: Reporter | None = None,
) -> State:
    """Score and time a bundle's engines.

    Args:
        opened: the bundle.
        drifts: what its verification came to.
        dataset: frames and metric; without one there is no accuracy.
        baseline: another bundle that ratios of latencies are taken to, too.
        report: where progress is shown.
    """
    report = report or Reporter(quiet=True)
    manifest = opened.manifest
    accuracy = None
    if dataset is not None:
        with report.steps(f"accuracy on {dataset.name}", len(dataset)) as advance:
            scored = {**opened.as_shipped, **opened.emulated}
            agreements = against_fp32(manifest.recipe, list(scored))
            scores = evaluate(scored, dataset, advance, agreements=agreements)
        accuracy = AccuracyState(
            dataset=dataset.name,
            frames=len(dataset),
            metric=dataset.metric,
            engines=scores,
            agreement=agreements.result() if agreements is not None else {},
        )
    with report.working("measuring latency"):
        latency = _latency(opened, _shots(opened, dataset), baseline)
    return State(
        bundle=identity(manifest.recipe),
        fingerprint=manifest.fingerprint,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        source_revision=provenance.source_revision(),
        versions=provenance.versions(),
        drift={each.engine: _values(each) for each in drifts},
        accuracy=accuracy,
        latency=latency,
        elsewhere=opened.elsewhere,
        provider=opened.provider,
    )


def identity(recipe: Recipe) -> str:
    """What makes two bundles the same subject: not their weights, code or versions."""
    return f"{recipe.name} {recipe.label}, {recipe.path_of_sizes}, batch {recipe.batch}"


def _values(drift: Drift) -> dict[str, float]:
    return {**drift.arrows, **drift.outputs} if drift.limit is not None else dict(drift.snr)


def _shots(opened: Opened, dataset: EvaluationSet | None) -> list[Shot]:
    """One batch to time: of the set, else the bundle's reference frames before a made-up camera."""
    recipe = opened.manifest.recipe
    if dataset is not None:
        first = next(batches(dataset.samples(), recipe.batch))
        shots = [sample.shot for sample in first]
    else:
        path = check_file(opened.folder, REFERENCE_FILE, opened.manifest)
        height, width = recipe.source
        camera = None
        if recipe.task == "det3d":
            camera = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]])
        shots = [Shot(frame, camera) for frame in read_reference(path)[0].frames]
    return shots + shots[-1:] * (recipe.batch - len(shots))


def _latency(opened: Opened, shots: list[Shot], baseline: Opened | None) -> LatencyState:
    predictors = dict(opened.as_shipped)
    prefix = ""
    if baseline is not None:
        if baseline.manifest.recipe.source != opened.manifest.recipe.source:
            raise LzuError(
                f"the baseline {baseline.folder} takes frames of another size; give one of the "
                "same source"
            )
        prefix = f"{baseline.folder.name} "
        predictors |= {prefix + name: each for name, each in baseline.as_shipped.items()}
    for predictor in predictors.values():
        predictor.reset()  # of the frames that were scored
    milliseconds, _ = latencies(predictors, shots)
    mine = {name: milliseconds[name] for name in opened.as_shipped}
    base = next(iter(mine))
    ratios = {f"{name} over {base}": mine[name] / mine[base] for name in mine if name != base}
    if baseline is not None:
        for name, value in mine.items():
            if prefix + name in milliseconds:
                label = f"{name} over {baseline.folder.name}"
                ratios[label] = value / milliseconds[prefix + name]
    return LatencyState(machine=hardware.identity(), milliseconds=mine, ratios=ratios)


def write_state(path: Path, state: State) -> None:
    """Store a state as the reference of later ones.

    Raises:
        LzuError: the file cannot be written.
    """
    with readable_os_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, state.model_dump_json(indent=2) + "\n")


def read_state(path: Path) -> State:
    """Read a stored state.

    Raises:
        LzuError: it is not there, or no such file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = data.get("format")
        if found != FORMAT:
            raise LzuError(
                f"the reference {path} has format {found} but this version reads {FORMAT}; make "
                "it again with --update"
            )
        return State.model_validate(data)
    except FileNotFoundError as error:
        raise LzuError(
            f"the reference {path} does not exist; make it with --update, once you trust the bundle"
        ) from error
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        raise LzuError(f"the reference {path} is damaged; make it again with --update") from error


def compare_states(now: State, then: State, recipe: Recipe) -> list[Check]:
    """Hold what is measured now against a stored state, by the recipe's tolerances.

    Raises:
        LzuError: they are of different bundles or providers, or scored on different frames.
    """
    if now.bundle != then.bundle:
        raise LzuError(
            f"the reference is of {then.bundle} but the bundle of {now.bundle}; give its own "
            "reference, or make one with --update"
        )
    if now.provider != then.provider:
        raise LzuError(
            f"the reference is of ONNX Runtime's provider {then.provider}, not {now.provider}; "
            f"give --provider {then.provider}, or keep a reference a provider"
        )
    return [
        *_compare_accuracy(now, then.accuracy, recipe),
        *_compare_drift(now.drift, then.drift, recipe),
        *_compare_latency(now, then.latency, recipe),
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
    checks = []
    for engine, scores in then.engines.items():
        if engine not in now.engines:
            why = state.elsewhere.get(engine, "the engine does not run here")
            checks.append(Check(engine, name, "skipped", why))
            continue
        value, wanted = now.engines[engine][name], scores[name]
        limit = recipe.metric_limit(engine.rpartition("/")[2])
        message = f"{value:.2f} where the reference has {wanted:.2f}; {limit:g} may be lost"
        held = value >= wanted - limit or (math.isnan(value) and math.isnan(wanted))
        checks.append(Check(engine, name, "passed" if held else "failed", message))
        if (agreement := now.agreement.get(engine)) is not None:
            checks.append(_scores_held(engine, agreement, recipe))
    return checks


def _scores_held(engine: str, agreement: Agreement, recipe: Recipe) -> Check:
    """Whether an engine is as sure as FP32 now, whatever it was."""
    limit = recipe.score_limit(engine.rpartition("/")[2])
    message = f"are {agreement.scores:.3f} times FP32's; 1 \N{PLUS-MINUS SIGN} {limit:g} is allowed"
    status: Literal["passed", "failed"] = "passed" if within(agreement, limit) else "failed"
    return Check(engine, MATCHED, status, message)


def _compare_drift(
    now: Mapping[str, Mapping[str, float]], then: Mapping[str, Mapping[str, float]], recipe: Recipe
) -> list[Check]:
    limits, checks = recipe.tolerances.regression, []
    floor = ROUNDING * recipe.tolerances.arrow
    for engine, arrows in then.items():
        exact = engine.removesuffix(ON_DEVICE).endswith("/fp32")
        if engine.endswith(ON_DEVICE) and engine not in now:
            why = "the engine does not run here"
            checks.append(Check(engine, "drift, kept", "skipped", why))
            continue
        for arrow, wanted in arrows.items():
            name = f"{'drift' if exact else 'signal-to-noise ratio'} of {arrow}, kept"
            value = now.get(engine, {}).get(arrow)
            if value is None:
                checks.append(Check(engine, name, "failed", "is not in the bundle any more"))
                continue
            if exact:
                allowed = max(limits.drift * wanted, floor)
                held = value <= allowed
                message = f"{value:.2g} where the reference has {wanted:.2g}"
                message += f"; {allowed:.2g} is allowed"
            else:
                held = value >= wanted - limits.snr
                message = f"{value:.1f} dB where the reference has {wanted:.1f}"
                message += f"; {limits.snr:g} dB may be lost"
            checks.append(Check(engine, name, "passed" if held else "failed", message))
    return checks


def _compare_latency(state: State, then: LatencyState | None, recipe: Recipe) -> list[Check]:
    now = state.latency
    if now is None or then is None:
        return []
    limit = recipe.tolerances.regression.latency
    same = now.machine == then.machine
    checks = []
    for what, before in then.ratios.items():
        engine, _, over = what.partition(" over ")
        name = f"latency over {over}"
        if what not in now.ratios:
            why = state.elsewhere.get(engine, "was not measured")
            checks.append(Check(engine, name, "skipped", why))
            continue
        checks.append(_held(engine, name, now.ratios[what], before, limit, "{:.2f}"))
    for engine, before in then.milliseconds.items():
        name = "latency on one machine"
        if not same or engine not in now.milliseconds:
            why = f"the reference is of another machine ({then.machine})"
            if same:
                why = state.elsewhere.get(engine, "was not measured")
            checks.append(Check(engine, name, "skipped", why))
            continue
        checks.append(_held(engine, name, now.milliseconds[engine], before, limit, "{:.2f} ms"))
    return checks


def _held(engine: str, name: str, value: float, before: float, limit: float, form: str) -> Check:
    message = f"{form.format(value)} where the reference has {form.format(before)}"
    message += f"; {limit:g} times that is allowed"
    return Check(engine, name, "passed" if value <= limit * before else "failed", message)

"""The export: from a recipe to a verified bundle, stage by stage."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import yaml
from pydantic import ValidationError
from rich.text import Text

from lzu_export.bundle.bundle import WARP_FILE, Bundle, open_session
from lzu_export.bundle.workspace import Record, Workspace, exclusive
from lzu_export.compiler import fingerprint as fingerprints
from lzu_export.compiler.acceptance import below_reference, refuse_drift, refuse_loss, refuse_scores
from lzu_export.compiler.additions import (
    carry_over,
    check_additions,
    refuse_to_lose,
    there_before,
    told,
    with_those_of,
)
from lzu_export.compiler.advice import FRAMES as TRIED_FRAMES
from lzu_export.compiler.advice import accuracy_advice, drift_advice
from lzu_export.compiler.comparison import compare_bundles
from lzu_export.compiler.derive import derive
from lzu_export.compiler.lowerings import TARGET, Decided
from lzu_export.compiler.remedy import Row, Trials
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.evaluation.datasets import EvaluationSet, open_dataset, sequences_of, told_frames
from lzu_export.evaluation.evaluate import Spent, evaluate, latencies
from lzu_export.evaluation.resume import Unfinished
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.choose import (
    NO_BF16_GRID,
    Choice,
    Step,
    choose_lowerings,
    exact_lowerings,
    steps_to_measure,
    without_grid_sample,
)
from lzu_export.graph.lowering.resample import Kind
from lzu_export.graph.passes import keep_outputs, name_zoom, run_passes
from lzu_export.graph.targets import DEFAULTS, lower_for
from lzu_export.inputs.frame import check_frame
from lzu_export.manifest.schema import (
    FILE,
    Accuracy,
    Drift,
    Engine,
    Graph,
    Latency,
    Lowering,
    Manifest,
    Tensor,
    Untrained,
    canonical_file,
    read_manifest,
)
from lzu_export.models.archive import read_meta
from lzu_export.models.file_kinds import check_checkpoint
from lzu_export.quantization.calibration import read_cache, write_cache
from lzu_export.quantization.ranges import FILE as CALIBRATION_FILE
from lzu_export.quantization.ranges import describe_ranges, find_ranges, measure_ranges
from lzu_export.recipes import Recipe
from lzu_export.recipes.load import default_recipe, portable
from lzu_export.recipes.schema import Precision
from lzu_export.runtime.detector import Detector
from lzu_export.runtime.predictor import Predictor, Shot
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.runtime.reference import read_reference, write_reference
from lzu_export.support import hardware, provenance
from lzu_export.support.files.hashes import sha256
from lzu_export.support.limits import EMULATED
from lzu_export.support.progress import Reporter
from lzu_export.support.session import Session, TensorSpec
from lzu_export.targets import onnxruntime
from lzu_export.targets.precision import (
    ORDER,
    check_range,
    emulated,
    emulated_lowered,
    half_graph,
    int8_graph,
)
from lzu_export.targets.tensorrt import rtx as tensorrt_rtx
from lzu_export.tasks.agreement import Agreements
from lzu_export.tasks.predictors import make_predictor
from lzu_export.tasks.pytorch import (
    assemble,
    make_reference,
    model_inputs,
    noise_shot,
    torch_predictor,
    whole_batches,
)
from lzu_export.tasks.training import check_training
from lzu_export.tasks.warps import Warp, make_warp, warp_source
from lzu_export.tasks.weights import checkpoint_identity
from lzu_export.verification.parity import compare, is_emulated, reference_inputs
from lzu_export.verification.streams import StreamWatch

log = logging.getLogger(__name__)

REFERENCE_BATCHES = 2
UNFINISHED = "accuracy.npz"
"""What was counted so far of an accuracy that is being measured; no part of a bundle."""
"""Batches of frames whose values at every arrow go into the bundle."""


Status = Literal["exported", "resumed", "up to date"]


@dataclass(frozen=True)
class Outcome:
    """What an export came to."""

    folder: Path
    manifest: Manifest
    status: Status


def export(
    recipe: Recipe, out: Path, *, force: bool = False, report: Reporter | None = None
) -> Outcome:
    """Export one recipe into the bundle `out`/TASK/`bundle_name(recipe)`.

    Does nothing where the bundle is there, whole and made from the same inputs; continues an
    interrupted export; publishes only a bundle whose engines passed their verification.

    Args:
        recipe: what to export.
        out: folder of all bundles.
        force: export again from the first stage, even if nothing changed.
        report: where progress is shown.

    Raises:
        LzuError: an input is missing or unfit, a target refuses the graph, an engine drifts from
            PyTorch, or the disk refuses.
    """
    return export_all([recipe], out, force=force, report=report)[0]


def export_all(
    recipes: Sequence[Recipe], out: Path, *, force: bool = False, report: Reporter | None = None
) -> list[Outcome]:
    """Export recipes that are to be compared, see `export`: the same steps are lowered alike.

    Raises:
        LzuError: what `export` refuses; bundles before the one at fault are finished.
    """
    report = report or Reporter(quiet=True)
    asked = {out / each.task / bundle_name(each): each for each in recipes}
    for recipe in recipes:
        _check_inputs(recipe)
    before = {final: there_before(final) for final in asked}
    recipes = [with_those_of(each, before[final]) for final, each in asked.items()]
    decided = {folder: Decided(folder) for folder in {out / recipe.task for recipe in recipes}}
    outcomes: dict[Path, Outcome] = {}
    runs: dict[Path, _Export] = {}
    again: dict[Path, list[str]] = {}
    with ExitStack() as stack:
        for recipe in recipes:
            final = out / recipe.task / bundle_name(recipe)
            fingerprint = fingerprints.fingerprint(recipe)
            manifest = None if force else _current(final, fingerprint, decided[final.parent])
            if manifest is None:
                stack.enter_context(exclusive(final))
            if manifest is None and not force:
                # Another export may have finished this very bundle while we waited to begin.
                manifest = _current(final, fingerprint, decided[final.parent])
            if manifest is not None:
                outcomes[final] = Outcome(final, manifest, "up to date")
                continue
            check_additions(recipe, asked[final], final, has_rtx=tensorrt_rtx.version() is not None)
            _tell_additions(recipe, asked[final], final, report)
            work = Workspace(final, fingerprint, fresh=force)
            stack.callback(work.tidy)
            runs[final] = _Export(recipe, work, report, decided[final.parent])
        _prepare(runs, report)
        for final, run in runs.items() if not force else ():
            refuse_to_lose(before[final], run.work.hashes()[canonical_file("fp32")], final)
        for recipe in recipes:
            final = out / recipe.task / bundle_name(recipe)
            report.note(Text.assemble((recipe.name, "bold"), f" {recipe.label}"))
            if final in runs:
                # Popped, which gives its memory back.
                outcomes[final], again[final] = _finish(runs.pop(final), before[final])
            report.note(f"  {outcomes[final].status}: {final}")
    for final, precisions in again.items():
        for precision in precisions:
            _derive_again(final, precision, report)
            outcomes[final] = replace(outcomes[final], manifest=read_manifest(final))
    ordered = [outcomes[out / each.task / bundle_name(each)] for each in recipes]
    return _compared(ordered, report)


def _finish(run: "_Export", before: Manifest | None) -> tuple[Outcome, list[str]]:
    """Run all stages and publish the bundle, with what others had added to the one before.

    Returns:
        What the export came to, and precisions whose file for TensorRT is to be derived again.
    """
    manifest, final = _all_stages(run), run.work.final
    with readable_os_errors(f"the bundle {final}"):
        carried = carry_over(before, final, manifest, run.work.folder)
    manifest = manifest.model_copy(update=carried.changes)
    run.work.publish(manifest)
    for each in told(carried, final):
        run.report.note(f"  {each}")
    status: Status = "resumed" if run.work.resumed else "exported"
    return Outcome(final, manifest, status), carried.derive_again


def _derive_again(final: Path, precision: str, report: Reporter) -> None:
    """Write a file for TensorRT again that the bundle before had, of the new graph."""
    try:
        with report.working(f"deriving {precision} for TensorRT again"):
            derive(final, precision=precision)
    except LzuError as error:
        report.note(f"  the file for TensorRT in {precision} was not derived again: {error}")


def _tell_additions(recipe: Recipe, asked: Recipe, final: Path, report: Reporter) -> None:
    """Say what is exported besides what was asked for."""
    more: list[str] = [each for each in recipe.precision if each not in asked.precision]
    more += [each for each in recipe.targets if each not in asked.targets]
    if more:
        report.note(f"  {', '.join(more)} too, which {final} has")


def _compared(outcomes: Sequence[Outcome], report: Reporter) -> list[Outcome]:
    """The outcomes with times that were measured in turns.

    An earlier command's times stand where it timed the same bundles, none of which is new.
    """
    timed = [each for each in outcomes if _is_timed(each.manifest)]
    bundles = [Bundle(each.folder, each.manifest) for each in timed]
    names = {each.folder.name for each in bundles}
    stored = [m.comparison for each in timed if (m := each.manifest).comparison is not None]
    together = len({each.created for each in stored}) == 1 and len(stored) == len(bundles)
    together = together and all(set(each.bundles) == names for each in stored)
    new = any(each.status != "up to date" for each in timed)
    if len(bundles) < 2 or (together and not new):
        return list(outcomes)
    changed = {}
    for folder, comparison in compare_bundles(bundles, report).items():
        with exclusive(folder), readable_os_errors(f"the bundle {folder}"):
            bundle = next(each for each in bundles if each.folder == folder)
            changed[folder] = bundle.rewrite([], {"comparison": comparison}).manifest
    return [replace(each, manifest=changed.get(each.folder, each.manifest)) for each in outcomes]


def _is_timed(manifest: Manifest) -> bool:
    return any(each.target == TARGET for each in manifest.engines)


def _all_stages(run: "_Export") -> Manifest:
    """All stages; what an earlier run left may be damaged in ways that no hash tells."""
    try:
        return run.all_stages()
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        if not run.work.resumed:
            raise
        raise LzuError(
            f"the unfinished export in {run.work.folder} cannot be gone on with "
            f"({type(error).__name__}); remove that folder, or give --force"
        ) from error


def _prepare(runs: Mapping[Path, "_Export"], report: Reporter) -> None:
    """Trace all models, and decide on the lowerings of the steps that they share."""
    steps: dict[Path, dict[str, list[Step]]] = {}
    for final, run in runs.items():
        run.open()
        if TARGET in run.recipe.targets:
            steps.setdefault(final.parent, {})[final.name] = run.steps()
    for folder, mine in steps.items():
        run = next(run for final, run in runs.items() if final.parent == folder)
        for final, each in runs.items():
            if final.parent == folder:
                each.take_over_decisions()
        with report.working("timing the warps' lowerings"):
            run.decided.measure(mine, _time_on_onnxruntime)


def bundle_name(recipe: Recipe) -> str:
    """Folder of a recipe's bundle: `fixed-0.5x`, behind its name unless it is the task's own."""
    own = default_recipe(recipe.task) == recipe.name
    return recipe.label if own else f"{recipe.name}-{recipe.label}"


class _Export:
    """One export: its workspace and what the stages share."""

    def __init__(self, recipe: Recipe, work: Workspace, report: Reporter, decided: Decided) -> None:
        self.recipe, self.work, self.report = recipe, work, report
        self.decided = decided
        self.lowerings: dict[str, list[Choice]] = {}

    @cached_property
    def warp(self) -> Warp:
        return make_warp(self.recipe)

    @cached_property
    def untrained(self) -> tuple[Untrained, ...]:
        """In what the export differs from the checkpoint's training; refused without consent."""
        path = self.recipe.checkpoint.get(self.recipe.variant)
        if path is None:
            return ()
        found = check_training(self.recipe, self.warp.saliency, read_meta(path), str(path))
        return tuple(Untrained(**each.shown()) for each in found)

    @cached_property
    def pytorch(self) -> Predictor:
        """PyTorch, imported only by the stages that need it."""
        return torch_predictor(self.recipe, self.warp)

    @cached_property
    def dataset(self) -> EvaluationSet | None:
        name = self.recipe.evaluation.dataset
        frames = self.recipe.evaluation.frames
        return open_dataset(name, frames, self.recipe.task, self.recipe) if name else None

    def open(self) -> None:
        """Trace the model, unless that is done; what cannot be opened is refused before."""
        _ = self.dataset
        _ = self.untrained
        self._canonical()

    def steps(self) -> list[Step]:
        """The warps of the canonical graph whose lowerings are to be measured."""
        settings = self.recipe.lowering
        return steps_to_measure(self._load("fp32"), zoom=settings.zoom, unzoom=settings.unzoom)

    def take_over_decisions(self) -> None:
        """Let what an interrupted export decided on hold, where no finished bundle says more."""
        done = self.work.stages.get(_stage_of_lowerings(TARGET))
        for each in done["record"]["lowerings"] if done else []:
            self.decided.add(Lowering(**each))

    def all_stages(self) -> Manifest:
        """Run what is not done yet, in order, and describe the result."""
        graphs = {"fp32": self._canonical()}
        self.work.run("reference", [REFERENCE_FILE], self._reference)
        for target in self.recipe.targets:
            self.lowerings[target] = self._lowerings(target)
        calibration = None
        if {"fp16", "int8"} & set(self.recipe.precision):
            self.work.run("range of fp16", [], self._check_range)
        if "int8" in self.recipe.precision:
            calibration = self.work.run("calibrate", [CALIBRATION_FILE], self._calibrate)
        for precision in self.precisions:
            if precision != "fp32":
                graphs[precision] = self._converted(precision)
        engines, drifts = [], []
        for target, precision in product(self.recipe.targets, self.precisions):
            if (target, precision) == ("onnxruntime", "bf16"):
                continue  # its CPU has no kernels for it
            engine = self._engine(target, precision)
            engines.append(engine)
            stage = f"verify {target} {precision}"
            record = self.work.run(stage, [], partial(self._verify, engine))
            drifts.append(Drift.model_validate(record))
            if is_emulated(engine):
                stage = f"verify {EMULATED} {precision}"
                record = self.work.run(stage, [], partial(self._verify, engine, emulate=True))
                drifts.append(Drift.model_validate(record))
        accuracy = latency = None
        timed = [engine for engine in engines if engine.target == "onnxruntime"]
        scored = [engine for engine in engines if engine in timed or engine.precision == "bf16"]
        if self.dataset is not None and scored:
            record = self.work.run("accuracy", [], lambda: self._accuracy(scored))
            accuracy = Accuracy.model_validate(record)
        if timed:
            record = self.work.run("latency", [], lambda: self._latency(timed))
            latency = Latency.model_validate(record)
        return Manifest(
            name=self.recipe.name,
            task=self.recipe.task,
            variant=self.recipe.variant,
            precision=self.precisions,
            recipe=portable(self.recipe),
            graphs=graphs,
            fingerprint=self.work.fingerprint,
            checkpoint=checkpoint_identity(self.recipe),
            untrained=self.untrained + (below_reference(self.recipe, accuracy) if accuracy else ()),
            warp={
                "sha256": self.work.hashes()[WARP_FILE],
                "geometry": self.recipe.warp.geometry,
                "source": warp_source(self.recipe),
            },
            calibration=calibration,
            engines=tuple(engines),
            drift=tuple(drifts),
            accuracy=accuracy,
            latency=latency,
            versions=provenance.versions(),
            source_revision=provenance.source_revision(),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            stages=self.work.seconds(),
            files=self.work.hashes(),
        )

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those of the recipe, from the highest to the lowest."""
        return tuple(each for each in ORDER if each in self.recipe.precision)

    def _canonical(self) -> Graph:
        files = [canonical_file("fp32"), WARP_FILE, "recipe.yaml", "labels.txt"]
        record = self.work.run("trace", files, self._trace)
        return Graph(file=canonical_file("fp32"), **record)

    def _trace(self) -> Record:
        with self.report.working("tracing the model"):
            import torch

            from lzu_export.models.trace import OPSET, trace

            from_source = self.recipe.input == "source"
            module = assemble(self.recipe, self.warp, from_source=from_source)
            specs = model_inputs(self.recipe, from_source=from_source)
            examples = [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs]
            names = [spec.name for spec in specs]
            model = trace(module, examples, names, module.output_names)
            model, _ = run_passes(model, [keep_outputs(module.engine_outputs), name_zoom()])
        onnx.save(model, self.work.path(canonical_file("fp32")))
        np.savez_compressed(self.work.path(WARP_FILE), **self.warp.arrays())
        data = portable(self.recipe).model_dump(mode="json")
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        self.work.path("recipe.yaml").write_text(text, encoding="utf-8")
        self.work.path("labels.txt").write_text("\n".join(self.recipe.classes) + "\n", "utf-8")
        return {"opset": OPSET}

    def _reference(self) -> Record:
        with self.report.working("running PyTorch for the reference"):
            batches = self._reference_shots()
            references = [make_reference(self.pytorch, batch) for batch in batches]
        write_reference(self.work.path(REFERENCE_FILE), references)
        return {}

    def _lowerings(self, target: str) -> list[Choice]:
        """How the warps are lowered for a target: the same in every precision."""
        stage = _stage_of_lowerings(target)
        done = self.work.stages.get(stage)
        then = [Lowering(**each) for each in done["record"]["lowerings"]] if done else []
        if not all(self.decided.keeps(each) for each in then):
            self.work.forget_from(stage)  # bundles beside this one were measured since
        record = self.work.run(stage, [], lambda: self._choose(target))
        return [Choice(**each) for each in record["lowerings"]]

    def _choose(self, target: str) -> Record:
        with self.report.working(f"choosing the warps' lowerings for {target}"):
            choices = choose_lowerings(
                self._load("fp32"),
                zoom=self.recipe.lowering.zoom,
                unzoom=self.recipe.lowering.unzoom,
                defaults=DEFAULTS.get(target, {}),
                decide=self.decided if target == TARGET else None,
            )
        for choice in choices:
            log.info("%s: %s as %s (%s)", target, choice.place, choice.kind, choice.reason)
        return {"lowerings": [asdict(choice) for choice in choices]}

    def _load(self, precision: str) -> onnx.ModelProto:
        return onnx.load(self.work.path(canonical_file(precision)))

    def _choices(self, target: str, precision: str) -> list[Choice]:
        """The lowerings of a target, in a spelling that the precision's opset has."""
        if precision != "bf16":
            return self.lowerings[target]
        return without_grid_sample(
            self._load("fp32"),
            self.lowerings[target],
            NO_BF16_GRID,
        )

    @cached_property
    def _float32_kinds(self) -> dict[str, Kind]:
        """Lowerings for runs of the float32 graph here, also where ONNX Runtime is no target."""
        if "onnxruntime" in self.lowerings:
            return _kinds(self.lowerings["onnxruntime"])
        return _kinds(exact_lowerings(self._load("fp32")))

    def _check_range(self) -> Record:
        references = read_reference(self.work.path(REFERENCE_FILE))
        with self.report.working("holding tensors against the range of FP16"):
            inputs = [reference_inputs(self.recipe, each, self.warp.zoom) for each in references]
            largest = check_range(
                self._load("fp32"), self._float32_kinds, self.recipe.keep_high, inputs
            )
        worst = max(largest, key=lambda name: largest[name])
        log.info("fp16: the largest tensor is %s, %.4g", worst, largest[worst])
        return {"tensor": worst, "largest": largest[worst]}

    def _calibrate(self) -> Record:
        recipe, model = self.recipe, self._load("fp32")
        cache = find_ranges(recipe, model, self.work.final / CALIBRATION_FILE)
        if cache is None:
            warp = self.warp.arrays()
            cache = measure_ranges(recipe, model, self._float32_kinds, warp, self.report)
        write_cache(self.work.path(CALIBRATION_FILE), cache)
        return describe_ranges(cache)

    def _converted(self, precision: Precision) -> Graph:
        file = canonical_file(precision)
        record = self.work.run(f"convert {precision}", [file], lambda: self._convert(precision))
        return Graph(file=file, **record)

    def _convert(self, precision: Precision) -> Record:
        model, keep = self._load("fp32"), self.recipe.keep_high
        with self.report.working(f"writing {precision} into the graph"):
            if precision == "int8":
                ranges = read_cache(self.work.path(CALIBRATION_FILE)).ranges
                converted = int8_graph(model, ranges, keep)
            else:
                assert precision != "fp32", "traced, not converted"
                converted = half_graph(model, precision, keep)
        onnx.save(converted.model, self.work.path(canonical_file(precision)))
        for reason, names in converted.kept.items():
            log.info("%s: higher, as %s: %s", precision, reason, ", ".join(names))
        return {
            "opset": next(each.version for each in converted.model.opset_import if not each.domain),
            "kept": converted.kept,
            "int8_layers": converted.int8_layers,
        }

    def _engine(self, target: str, precision: Precision) -> Engine:
        name = f"{target} {precision}"
        derived = f"model.{precision}.{target}.onnx"
        derive = partial(self._derive, target, precision, derived)
        record = self.work.run(f"derive {name}", [derived], derive)
        if target == "onnxruntime":
            file = derived
            built = self.work.run(f"build {name}", [], lambda: self._open_engine(derived))
        else:
            file = f"model.{precision}.rtx.engine"
            build = partial(self._build_rtx, precision, derived, file)
            built = self.work.run(f"build {name}", [file], build)
        lowerings = [asdict(choice) for choice in self._choices(target, precision)]
        described = {"target": target, "precision": precision, "file": file, "onnx": derived}
        size = self.work.path(file).stat().st_size
        return Engine.model_validate(
            {**described, "lowerings": lowerings, "bytes": size, **record, **built}
        )

    def _derive(self, target: str, precision: Precision, file: str) -> Record:
        kinds = _kinds(self._choices(target, precision))
        with self.report.working(f"lowering {precision} for {target}"):
            derived, records = lower_for(target, self._load(precision), kinds)
        lint(derived, target)
        onnx.save(derived, self.work.path(file))
        return {"passes": [asdict(record) for record in records]}

    def _open_engine(self, file: str) -> Record:
        session = onnxruntime.OnnxRuntimeSession(self.work.path(file))
        return _built(onnxruntime.version(), (), session.inputs, session.outputs, 0.0)

    def _build_rtx(self, precision: Precision, onnx_file: str, file: str) -> Record:
        start = time.perf_counter()
        with self.report.working(f"building the TensorRT-RTX engine in {precision}"):
            built = tensorrt_rtx.build(
                self.work.path(onnx_file),
                self.work.path(file),
                compute_capabilities=self.recipe.compute_capabilities,
            )
        seconds = time.perf_counter() - start
        capabilities = built.compute_capabilities
        return _built(built.version, capabilities, built.inputs, built.outputs, seconds)

    def _verify(self, engine: Engine, *, emulate: bool = False) -> Record:
        name = f"{EMULATED if emulate else engine.target} {engine.precision}"
        with self.report.working(f"comparing {name} with PyTorch at every probe point"):
            drift = compare(
                self.recipe,
                engine,
                self.work.path(canonical_file(engine.precision)),
                self.work.path(engine.onnx),
                read_reference(self.work.path(REFERENCE_FILE)),
                self.warp.arrays(),
                emulate=emulate,
            )
        # Within the stage: a failure is no finished stage.
        refuse_drift(drift, partial(self._drift_advice, engine, emulate=emulate))
        return drift.model_dump(mode="json")

    def _accuracy(self, engines: list[Engine]) -> Record:
        assert self.dataset is not None
        predictors = self._scored(engines)
        agreements = Agreements(self.recipe, "pytorch", list(predictors))
        watch = self._stream_watch(predictors) if self.recipe.follows_boxes else None
        spent = Spent()
        with self.report.steps(f"accuracy on {self.dataset.name}", len(self.dataset)) as advance:
            metrics = evaluate(
                predictors,
                self.dataset,
                advance,
                watch,
                agreements=agreements,
                unfinished=Unfinished(self.work.path(UNFINISHED), self.work.fingerprint),
                spent=spent,
            )
        sequences = sequences_of(self.dataset, self.recipe)
        if sequences is not None:
            frames = told_frames(len(self.dataset), sequences)
            self.report.note(
                f"  whole sequences, since the warp goes by the frame before: {frames}"
            )
        self.report.note(f"  accuracy: {spent}")
        accuracy = Accuracy(
            dataset=self.dataset.name,
            note=self.dataset.note,
            metric=self.dataset.metric,
            frames=len(self.dataset),
            sequences=sequences_of(self.dataset, self.recipe),
            pytorch=metrics.pop("pytorch"),
            engines=metrics,
            limits={each: self.recipe.metric_limit(each) for each in self.precisions},
            agreement=agreements.result(),
            score_limits={each: self.recipe.score_limit(each) for each in self.precisions},
            matched_limits={each: self.recipe.matched_limit(each) for each in self.precisions},
            stream=watch.result() if watch is not None else None,
        )
        below_reference(self.recipe, accuracy)
        advice = partial(self._accuracy_advice, accuracy, engines)
        refuse_loss(accuracy, advice)
        refuse_scores(accuracy, advice)
        return accuracy.model_dump(mode="json")

    def _drift_advice(self, engine: Engine, *, emulate: bool) -> str:
        """Which layers to keep higher so that all engines of a precision pass."""
        rows: list[Row] = []
        for target in self.recipe.targets:
            choices = self._choices(target, engine.precision)
            lowerings = tuple(Lowering(**asdict(each)) for each in choices)
            other = engine.model_copy(update={"target": target, "lowerings": lowerings})
            if (target, engine.precision) != (TARGET, "bf16"):
                rows += _rows(other)
        trials = self._trials(engine.precision)
        vanishing = trials.vanishing(self._float32_kinds)
        return drift_advice(trials, (engine, emulate), rows, self.report, vanishing)

    def _accuracy_advice(
        self, accuracy: Accuracy, engines: Sequence[Engine], precision: str
    ) -> str:
        """Which layers to keep higher so that the engines of a precision lose less."""
        rows = [row for each in engines if each.precision == precision for row in _rows(each)]
        name, frames = self.recipe.evaluation.dataset, min(TRIED_FRAMES, accuracy.frames)
        assert name is not None, "it was scored on one"
        few = open_dataset(name, frames, self.recipe.task, self.recipe)
        trials = self._trials(precision)
        return accuracy_advice(trials, rows, few, self.pytorch, accuracy, self.report)

    def _trials(self, precision: str) -> Trials:
        ranges: Mapping[str, float] = {}
        if precision == "int8":
            ranges = read_cache(self.work.path(CALIBRATION_FILE)).ranges
        references = read_reference(self.work.path(REFERENCE_FILE))
        warp = self.warp.arrays()
        return Trials(self.recipe, precision, self._load("fp32"), ranges, references, warp)

    def _stream_watch(self, predictors: dict[str, Predictor]) -> StreamWatch | None:
        """Of the FP32 engine, if it runs here: lower precisions find other boxes anyway."""
        name = "onnxruntime/fp32"
        if name not in predictors:
            return None
        told = make_predictor(self.recipe, predictors[name].session, self.warp.arrays())
        assert isinstance(self.pytorch, Detector), "warps by boxes are of detection"
        assert isinstance(told, Detector)
        return StreamWatch(("pytorch", self.pytorch), (name, told))

    def _latency(self, engines: list[Engine]) -> Record:
        shots = self._reference_shots()[0]
        with self.report.working("measuring latency"):
            milliseconds, runs = latencies(self._predictors(engines), shots)
        return Latency(
            machine=hardware.processor(),
            threads=hardware.threads(),
            runs=runs,
            pytorch=milliseconds.pop("pytorch"),
            engines=milliseconds,
            note=provenance.low_precision_note() if self.precisions != ("fp32",) else "",
        ).model_dump(mode="json")

    def _predictors(self, engines: list[Engine]) -> dict[str, Predictor]:
        """PyTorch and the engines, whose files are opened as `load` opens them."""
        predictors = {"pytorch": self.pytorch}
        for engine in engines:
            session = open_session(engine, self.work.path(engine.file))
            predictors[f"{engine.target}/{engine.precision}"] = self._predictor(session)
        return predictors

    def _scored(self, engines: list[Engine]) -> dict[str, Predictor]:
        """PyTorch, ONNX Runtime's files, and lower precisions with the rounding of a device."""
        here = [engine for engine in engines if engine.target == "onnxruntime"]
        predictors = self._predictors(here)
        for engine in engines:
            name = f"{EMULATED}/{engine.precision}"
            if is_emulated(engine):
                kinds = _kinds(self._choices(engine.target, engine.precision))
                session = emulated(self._load(engine.precision), kinds)
                predictors[name] = self._predictor(session)
            elif engine not in here:  # bfloat16, which ONNX Runtime's CPU does not run
                session = emulated_lowered(onnx.load(self.work.path(engine.onnx)))
                predictors[name] = self._predictor(session)
        return predictors

    def _predictor(self, session: Session) -> Predictor:
        return make_predictor(self.recipe, session, self.warp.arrays())

    def _reference_shots(self) -> list[list[Shot]]:
        size, name = self.recipe.batch, self.recipe.evaluation.dataset
        if name is None:
            # Where boxes are fed back the second batch has some.
            batches = REFERENCE_BATCHES if self.pytorch.remembers else 1
            seeds = range(batches * size)
            return whole_batches([noise_shot(self.recipe, seed=i) for i in seeds], size)
        few = open_dataset(name, REFERENCE_BATCHES * size, self.recipe.task, self.recipe)
        chosen = []
        for sample in few.samples():
            what = f"frame {sample.number} of {few.name}"
            check_frame(sample.shot.frame, self.recipe.source, what)
            chosen.append(sample.shot)
        if not chosen:
            raise LzuError(f"the evaluation set {few.name} holds no frames; add some")
        return whole_batches(chosen, size)


def _rows(engine: Engine) -> list[Row]:
    """An engine, and its row with the rounding of a device if it has one."""
    return [(engine, False), *([(engine, True)] if is_emulated(engine) else [])]


def _stage_of_lowerings(target: str) -> str:
    return f"lowerings {target}"


def _current(final: Path, fingerprint: str, decided: Decided) -> Manifest | None:
    """The finished bundle if it was made from these inputs, is whole, and lowers the steps that it
    shares with the bundles beside it as they do.
    """
    if not (final / FILE).is_file():
        return None
    try:
        manifest = read_manifest(final)
    except LzuError:
        return None  # damaged, or of an older format: it is made again
    whole = manifest.fingerprint == fingerprint and all(
        (final / name).is_file() and sha256(final / name) == digest
        for name, digest in manifest.files.items()
    )
    return manifest if whole and decided.agrees(manifest) else None


def _check_inputs(recipe: Recipe) -> None:
    """Refuse before any work what would fail later."""
    path = recipe.checkpoint.get(recipe.variant)
    if path is None and recipe.random_weights is None:
        raise LzuError(
            f"recipe {recipe.name} has no checkpoint for the variant {recipe.variant}; give one "
            "(CHECKPOINT=file), or RANDOM_WEIGHTS=0 to time an untrained network"
        )
    if path is not None:
        check_checkpoint(path)
    saliency = recipe.warp.saliency
    if recipe.variant != "uniform" and saliency is not None and not saliency.exists():
        raise LzuError(f"saliency {saliency} does not exist; give a path that does")
    # The calibration frames themselves are opened, and refused, by the fingerprint that follows.
    if "int8" in recipe.precision and recipe.calibration.cache is not None:
        read_cache(recipe.calibration.cache)
    if "tensorrt-rtx" in recipe.targets and tensorrt_rtx.version() is None:
        raise LzuError(
            "TensorRT-RTX is not installed; pip install 'lzu-export[rtx]' on Linux x86-64, or "
            "leave tensorrt-rtx out of TARGET"
        )


def _kinds(choices: Sequence[Choice]) -> dict[str, Kind]:
    return {choice.place: choice.kind for choice in choices}


def _time_on_onnxruntime(models: Sequence[onnx.ModelProto]) -> list[list[float]]:
    return onnxruntime.compare_models([model.SerializeToString() for model in models])


def _built(
    version: str,
    capabilities: tuple[str, ...],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    seconds: float,
) -> Record:
    def tensors(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
        return [Tensor(**asdict(spec)).model_dump(mode="json") for spec in specs]

    return {
        "version": version,
        "compute_capabilities": list(capabilities),
        "inputs": tensors(inputs),
        "outputs": tensors(outputs),
        "build_seconds": round(seconds, 3),
    }

"""A whole export: the stages that make files, and those that compare them with PyTorch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from itertools import product

from lzu_export.bundle.bundle import WARP_FILE
from lzu_export.bundle.workspace import Record
from lzu_export.compiler.acceptance import (
    below_reference,
    no_interval,
    refuse_deviation,
    refuse_loss,
    refuse_scores,
)
from lzu_export.compiler.advice import FRAMES as TRIED_FRAMES
from lzu_export.compiler.advice import accuracy_advice, parity_advice
from lzu_export.compiler.remedy import Row, Trials
from lzu_export.compiler.scoring import PYTORCH, Counted, make_watch, open_scored
from lzu_export.compiler.stages import Stages
from lzu_export.evaluation.datasets import EvaluationSet, open_dataset, sequences_of, told_frames
from lzu_export.evaluation.evaluate import Timing, evaluate, latencies
from lzu_export.evaluation.metrics.bootstrap import Interval
from lzu_export.evaluation.resampling import difference, resample, resampled_first
from lzu_export.evaluation.resume import Unfinished
from lzu_export.manifest.schema import (
    Accuracy,
    Calibration,
    Engine,
    Latency,
    Lowering,
    Manifest,
    Parity,
    WarpRecord,
    canonical_file,
)
from lzu_export.quantization.calibration import read_cache
from lzu_export.quantization.ranges import FILE as CALIBRATION_FILE
from lzu_export.recipes.load import portable
from lzu_export.runtime.predictor import Predictor
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.runtime.reference import read_reference
from lzu_export.support import hardware, provenance
from lzu_export.support.limits import EMULATED
from lzu_export.support.prefetch import prefetch
from lzu_export.support.threads import bounded_threads
from lzu_export.targets.registry import find, runs_anywhere
from lzu_export.tasks.predictors import make_predictor
from lzu_export.tasks.warps import warp_source
from lzu_export.tasks.weights import checkpoint_identity
from lzu_export.verification.parity import compare
from lzu_export.verification.sessions import is_emulated

UNFINISHED = "accuracy.npz"
"""File of the counts of an accuracy measurement that is not finished; not part of a bundle."""


class Export(Stages):
    """One export: every stage in order, with the comparison, accuracy and latency of engines."""

    def all_stages(self) -> Manifest:
        """Run the stages that are not done yet, in order, and describe the result."""
        graphs = {"fp32": self._canonical()}
        self.work.run("reference", [REFERENCE_FILE], self._reference)
        for target in self.recipe.targets:
            self.lowerings[target] = self._lowerings(target)
        calibration = None
        if {"fp16", "int8"} & set(self.recipe.precision):
            self.work.run("range of fp16", [], self._check_range)
        if "int8" in self.recipe.precision:
            record = self.work.run("calibrate", [CALIBRATION_FILE], self._calibrate)
            calibration = Calibration.model_validate(record)
        for precision in self.precisions:
            if precision != "fp32":
                graphs[precision] = self._converted(precision)
        engines: list[Engine] = []
        parities: list[Parity] = []
        # The next engine is made while this one is compared: both leave processors idle by turns.
        with closing(prefetch(self._engines(), most=1)) as made:
            for engine in made:
                engines.append(engine)
                parities += self._parities(engine)
        accuracy = latency = None
        timed = [engine for engine in engines if runs_anywhere(engine.target)]
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
            warp=WarpRecord(
                sha256=self.work.hashes()[WARP_FILE],
                geometry=self.recipe.warp.geometry,
                source=warp_source(self.recipe),
            ),
            calibration=calibration,
            engines=tuple(engines),
            parity=tuple(parities),
            accuracy=accuracy,
            latency=latency,
            versions=provenance.versions(),
            source_revision=provenance.source_revision(),
            # The oldest bundle in a folder decides on lowerings, for which seconds are too coarse.
            created=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            stages=self.work.seconds(),
            files=self.work.hashes(),
        )

    def _engines(self) -> Iterator[Engine]:
        """Make the engines of all targets, each in its precisions."""
        for target, precision in product(self.recipe.targets, self.precisions):
            if precision in find(target).precisions:
                yield self._engine(target, precision)

    def _parities(self, engine: Engine) -> Iterator[Parity]:
        """Compare an engine with PyTorch, then its graph with the rounding of a device."""
        stage = f"verify {engine.target} {engine.precision}"
        record = self.work.run(stage, [], partial(self._verify, engine))
        yield Parity.model_validate(record)
        if is_emulated(engine):
            stage = f"verify {EMULATED} {engine.precision}"
            record = self.work.run(stage, [], partial(self._verify, engine, emulate=True))
            yield Parity.model_validate(record)

    def _verify(self, engine: Engine, *, emulate: bool = False) -> Record:
        name = f"{EMULATED if emulate else engine.target} {engine.precision}"
        with self.report.working(f"comparing {name} with PyTorch at every probe point"):
            parity = compare(
                self.recipe,
                engine,
                self.work.path(canonical_file(engine.precision)),
                self.work.path(engine.onnx),
                read_reference(self.work.path(REFERENCE_FILE)),
                self.warp.arrays(),
                emulate=emulate,
            )
        # Checked within the stage, so that a failing stage does not count as finished.
        refuse_deviation(parity, partial(self._parity_advice, engine, emulate=emulate))
        return parity.model_dump(mode="json")

    def _accuracy(self, engines: list[Engine]) -> Record:
        assert self.dataset is not None
        counted = self.split.score(engines, self.dataset) if self.split is not None else None
        if counted is None:
            counted = self._count(engines, self.dataset)
        metrics = dict(counted.metrics)
        with self.report.working("resampling the frames for intervals"):
            resampled = resampled_first(counted.scorers)
        sequences = sequences_of(self.dataset, self.recipe)
        if sequences is not None:
            frames = told_frames(len(self.dataset), sequences)
            self.report.note(
                f"  whole sequences, since the warp goes by the frame before: {frames}"
            )
        accuracy = Accuracy(
            dataset=self.dataset.name,
            note=self.dataset.note,
            metric=self.dataset.metric,
            frames=len(self.dataset),
            sequences=sequences_of(self.dataset, self.recipe),
            pytorch=metrics.pop(PYTORCH),
            engines=metrics,
            limits={each: self.recipe.metric_limit(each) for each in self.precisions},
            agreement=counted.agreements.result(),
            score_limits={each: self.recipe.score_limit(each) for each in self.precisions},
            matched_limits={
                each: self.recipe.matched_limit(each, sequences=True) for each in self.precisions
            },
            resampled=resampled,
            stream=counted.streams.result() if counted.streams is not None else None,
        )
        below_reference(self.recipe, accuracy)
        advice = partial(self._accuracy_advice, accuracy, engines)
        part = self.recipe.scored_frames is not None
        interval_of = partial(_interval, accuracy, counted) if part else no_interval
        for doubt in refuse_loss(accuracy, advice, interval_of):
            self.report.note(f"  {doubt}")
        refuse_scores(accuracy, advice)
        return accuracy.model_dump(mode="json")

    def _count(self, engines: list[Engine], dataset: EvaluationSet) -> Counted:
        """Count the predictions in all frames, in this process."""
        warp, folder = self.warp.arrays(), self.work.folder
        predictors = open_scored(self.recipe, engines, folder, self.pytorch, warp)
        counted = Counted.nothing(self.recipe, list(predictors), dataset)
        watch, spent = make_watch(self.recipe, predictors, warp), Timing()
        with self.report.steps(f"accuracy on {dataset.name}", len(dataset)) as advance:
            counted.metrics = evaluate(
                predictors,
                dataset,
                advance,
                watch,
                agreements=counted.agreements,
                unfinished=Unfinished(self.work.path(UNFINISHED), self.work.fingerprint),
                spent=spent,
                scorers=counted.scorers,
            )
        counted.streams = watch.compared if watch is not None else None
        self.report.note(f"  accuracy: {spent}")
        return counted

    def _parity_advice(self, engine: Engine, *, emulate: bool) -> str:
        """Return advice on the layers to keep higher so that a precision's engines pass."""
        rows: list[Row] = []
        for target in self.recipe.targets:
            choices = self._choices(target, engine.precision)
            lowerings = tuple(Lowering(**asdict(each)) for each in choices)
            other = engine.model_copy(update={"target": target, "lowerings": lowerings})
            if engine.precision in find(target).precisions:
                rows += _rows(other)
        trials = self._trials(engine.precision)
        vanishing = trials.vanishing(self.float32_lowerings)
        return parity_advice(trials, (engine, emulate), rows, self.report, vanishing)

    def _accuracy_advice(
        self, accuracy: Accuracy, engines: Sequence[Engine], precision: str
    ) -> str:
        """Return advice on the layers to keep higher so that a precision's engines lose less."""
        rows = [row for each in engines if each.precision == precision for row in _rows(each)]
        name, frames = self.recipe.evaluation.dataset, min(TRIED_FRAMES, accuracy.frames)
        assert name is not None, "it was scored on one"
        few = open_dataset(name, frames, self.recipe.scored_as, self.recipe)
        trials = self._trials(precision)
        return accuracy_advice(trials, rows, few, self.pytorch, accuracy, self.report)

    def _trials(self, precision: str) -> Trials:
        ranges: Mapping[str, float] = {}
        if precision == "int8":
            ranges = read_cache(self.work.path(CALIBRATION_FILE)).ranges
        references = read_reference(self.work.path(REFERENCE_FILE))
        warp = self.warp.arrays()
        return Trials(self.recipe, precision, self._load("fp32"), ranges, references, warp)

    def _latency(self, engines: list[Engine]) -> Record:
        camera_frames = self._reference_shots()[0]
        with self.report.working("measuring latency"):
            milliseconds, runs = latencies(self._predictors(engines), camera_frames)
        return Latency(
            machine=hardware.processor(),
            threads=bounded_threads() or hardware.threads(),
            runs=runs,
            pytorch=milliseconds.pop("pytorch"),
            engines=milliseconds,
            note=provenance.low_precision_note() if self.precisions != ("fp32",) else "",
        ).model_dump(mode="json")

    def _predictors(self, engines: list[Engine]) -> dict[str, Predictor]:
        """Return predictors of PyTorch and of the engines, opened as `load` opens them."""
        predictors = {PYTORCH: self.pytorch}
        for engine in engines:
            session = find(engine.target).open_file(engine, self.work.path(engine.file))
            predictors[engine.name] = make_predictor(self.recipe, session, self.warp.arrays())
        return predictors


def _interval(accuracy: Accuracy, counted: Counted, engine: str) -> Interval | None:
    """Return the interval of an engine's metric minus PyTorch's, over the choice of frames."""
    mine, base = (resample(counted.scorers[name]) for name in (engine, PYTORCH))
    gap = accuracy.engines[engine][accuracy.metric] - accuracy.pytorch[accuracy.metric]
    return difference(gap, mine, base)


def _rows(engine: Engine) -> list[Row]:
    """Return an engine's row, and its row with the rounding of a device if it has one."""
    return [(engine, False), *([(engine, True)] if is_emulated(engine) else [])]

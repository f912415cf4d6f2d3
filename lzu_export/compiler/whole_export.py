"""A whole export: the stages that make files, and those that compare them with PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from itertools import product

import onnx

from lzu_export.bundle.bundle import WARP_FILE
from lzu_export.bundle.workspace import Record
from lzu_export.compiler.acceptance import (
    below_reference,
    refuse_deviation,
    refuse_loss,
    refuse_scores,
)
from lzu_export.compiler.advice import FRAMES as TRIED_FRAMES
from lzu_export.compiler.advice import accuracy_advice, parity_advice
from lzu_export.compiler.remedy import Row, Trials
from lzu_export.compiler.stages import Stages
from lzu_export.evaluation.datasets import Scorer, open_dataset, sequences_of, told_frames
from lzu_export.evaluation.evaluate import Timing, evaluate, latencies
from lzu_export.evaluation.resampling import resampled_first
from lzu_export.evaluation.resume import Unfinished
from lzu_export.graph.lowering.choose import lowerings_by_place
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
from lzu_export.runtime.detector import Detector
from lzu_export.runtime.predictor import Predictor
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.runtime.reference import read_reference
from lzu_export.support import hardware, provenance
from lzu_export.support.limits import EMULATED
from lzu_export.support.session import Session
from lzu_export.targets.precision import (
    emulated,
    emulated_lowered,
)
from lzu_export.targets.registry import find, runs_anywhere
from lzu_export.tasks.agreement import Agreements
from lzu_export.tasks.predictors import make_predictor
from lzu_export.tasks.warps import warp_source
from lzu_export.tasks.weights import checkpoint_identity
from lzu_export.verification.parity import compare
from lzu_export.verification.sessions import is_emulated
from lzu_export.verification.streams import StreamWatch

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
        engines, parities = [], []
        for target, precision in product(self.recipe.targets, self.precisions):
            if precision not in find(target).precisions:
                continue
            engine = self._engine(target, precision)
            engines.append(engine)
            stage = f"verify {target} {precision}"
            record = self.work.run(stage, [], partial(self._verify, engine))
            parities.append(Parity.model_validate(record))
            if is_emulated(engine):
                stage = f"verify {EMULATED} {precision}"
                record = self.work.run(stage, [], partial(self._verify, engine, emulate=True))
                parities.append(Parity.model_validate(record))
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
        predictors = self._scored(engines)
        agreements = Agreements(self.recipe, "pytorch", list(predictors))
        watch = self._stream_watch(predictors) if self.recipe.follows_boxes else None
        spent, scorers = Timing(), dict[str, Scorer]()
        with self.report.steps(f"accuracy on {self.dataset.name}", len(self.dataset)) as advance:
            metrics = evaluate(
                predictors,
                self.dataset,
                advance,
                watch,
                agreements=agreements,
                unfinished=Unfinished(self.work.path(UNFINISHED), self.work.fingerprint),
                spent=spent,
                scorers=scorers,
            )
        with self.report.working("resampling the frames for intervals"):
            resampled = resampled_first(scorers)
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
            resampled=resampled,
            stream=watch.result() if watch is not None else None,
        )
        below_reference(self.recipe, accuracy)
        advice = partial(self._accuracy_advice, accuracy, engines)
        refuse_loss(accuracy, advice)
        refuse_scores(accuracy, advice)
        return accuracy.model_dump(mode="json")

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

    def _stream_watch(self, predictors: dict[str, Predictor]) -> StreamWatch | None:
        """Make the watch of the FP32 engine if it runs here; lower precisions find other boxes."""
        name = next((each for each in predictors if each.endswith("/fp32")), "")
        if not name:
            return None
        told = make_predictor(self.recipe, predictors[name].session, self.warp.arrays())
        assert isinstance(self.pytorch, Detector), "warps by boxes are of detection"
        assert isinstance(told, Detector)
        return StreamWatch(("pytorch", self.pytorch), (name, told))

    def _latency(self, engines: list[Engine]) -> Record:
        camera_frames = self._reference_shots()[0]
        with self.report.working("measuring latency"):
            milliseconds, runs = latencies(self._predictors(engines), camera_frames)
        return Latency(
            machine=hardware.processor(),
            threads=hardware.threads(),
            runs=runs,
            pytorch=milliseconds.pop("pytorch"),
            engines=milliseconds,
            note=provenance.low_precision_note() if self.precisions != ("fp32",) else "",
        ).model_dump(mode="json")

    def _predictors(self, engines: list[Engine], *, spin: bool = True) -> dict[str, Predictor]:
        """Return predictors of PyTorch and of the engines, opened as `load` opens them if `spin`,
        see `OpenOptions`.
        """
        predictors = {"pytorch": self.pytorch}
        for engine in engines:
            path = self.work.path(engine.file)
            session = find(engine.target).open_file(engine, path, spin=spin)
            predictors[engine.name] = self._predictor(session)
        return predictors

    def _scored(self, engines: list[Engine]) -> dict[str, Predictor]:
        """Return predictors of PyTorch, of engines that run anywhere, and of emulated ones."""
        here = [engine for engine in engines if runs_anywhere(engine.target)]
        predictors = self._predictors(here, spin=False)
        for engine in engines:
            name = engine.emulated_name
            if is_emulated(engine):
                lowerings = lowerings_by_place(self._choices(engine.target, engine.precision))
                session = emulated(self._load(engine.precision), lowerings)
                predictors[name] = self._predictor(session)
            elif engine not in here:  # bfloat16 graphs, which ONNX Runtime cannot run on the CPU
                session = emulated_lowered(onnx.load(self.work.path(engine.onnx)))
                predictors[name] = self._predictor(session)
        return predictors

    def _predictor(self, session: Session) -> Predictor:
        return make_predictor(self.recipe, session, self.warp.arrays())


def _rows(engine: Engine) -> list[Row]:
    """Return an engine's row, and its row with the rounding of a device if it has one."""
    return [(engine, False), *([(engine, True)] if is_emulated(engine) else [])]

"""The stages of an export that make its files: graphs, reference, ranges and engines."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, partial
from itertools import islice
from typing import Any

import numpy as np
import onnx
import yaml

from lzu_export.bundle.bundle import WARP_FILE, WARP_TENSORS
from lzu_export.bundle.workspace import Record, Workspace
from lzu_export.cluster.cluster import Cluster
from lzu_export.compiler.lowerings import Decided
from lzu_export.compiler.split import Split
from lzu_export.errors import LzuError
from lzu_export.evaluation.datasets import EvaluationSet, open_dataset
from lzu_export.graph.derivation import lower_for
from lzu_export.graph.lint import lint
from lzu_export.graph.lowering.choose import (
    NO_BF16_GRID,
    Choice,
    Step,
    choose_lowerings,
    exact_lowerings,
    lowerings_by_place,
    steps_to_measure,
    without_grid_sample,
)
from lzu_export.graph.lowering.resample import Kind
from lzu_export.graph.passes import keep_outputs, name_zoom, run_passes
from lzu_export.inputs.frame import check_frame
from lzu_export.manifest.schema import (
    Engine,
    Graph,
    Lowering,
    Tensor,
    Untrained,
    canonical_file,
)
from lzu_export.models.archive import read_meta
from lzu_export.quantization.calibration import read_cache, write_cache
from lzu_export.quantization.ranges import FILE as CALIBRATION_FILE
from lzu_export.quantization.ranges import (
    describe_ranges,
    find_ranges,
    measure_ranges,
    ranges_of,
    recipe_frames,
)
from lzu_export.recipes import Recipe
from lzu_export.recipes.load import portable
from lzu_export.recipes.schema import Precision
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.runtime.reference import read_reference, write_reference
from lzu_export.support.files import write_tensors
from lzu_export.support.progress import Reporter
from lzu_export.support.session import TensorSpec
from lzu_export.targets.base import PRECISIONS, Built
from lzu_export.targets.precision import (
    check_range,
    half_graph,
    int8_graph,
)
from lzu_export.targets.registry import DEFAULT_TARGET, find
from lzu_export.tasks.pytorch import (
    assemble,
    make_references,
    model_inputs,
    noise_camera_frame,
    torch_predictor,
    whole_batches,
)
from lzu_export.tasks.training import check_training
from lzu_export.tasks.warps import Warp, make_warp
from lzu_export.verification.parity import reference_inputs

log = logging.getLogger(__name__)

REFERENCE_BATCHES = 2
"""Number of batches of frames whose values at every probe point are stored in the bundle."""


class Stages:
    """One export: its workspace, the values its stages share, and the stages that make files."""

    def __init__(
        self,
        recipe: Recipe,
        work: Workspace,
        report: Reporter,
        decided: Decided,
        cluster: Cluster | None = None,
    ) -> None:
        self.recipe, self.work, self.report = recipe, work, report
        self.decided = decided
        self.split = Split(cluster, recipe, work, report) if cluster is not None else None
        self.lowerings: dict[str, list[Choice]] = {}

    @cached_property
    def warp(self) -> Warp:
        return make_warp(self.recipe)

    @cached_property
    def untrained(self) -> tuple[Untrained, ...]:
        """Differences from the checkpoint's training; refused unless the recipe permits them."""
        path = self.recipe.checkpoint.get(self.recipe.variant)
        if path is None:
            return ()
        found = check_training(self.recipe, self.warp.saliency, read_meta(path), str(path))
        return tuple(Untrained(**each.shown()) for each in found)

    @cached_property
    def pytorch(self) -> Predictor:
        """PyTorch's predictor; torch is imported only by the stages that need it."""
        return torch_predictor(self.recipe, self.warp)

    @cached_property
    def dataset(self) -> EvaluationSet | None:
        name = self.recipe.evaluation.dataset
        frames = self.recipe.scored_frames
        return open_dataset(name, frames, self.recipe.scored_as, self.recipe) if name else None

    def open(self) -> None:
        """Refuse an unfit data set or checkpoint, then trace the model unless that is done."""
        _ = self.dataset
        _ = self.untrained
        self._canonical()

    def steps(self) -> list[Step]:
        """Return the warps of the canonical graph whose lowerings are to be measured."""
        settings = self.recipe.lowering
        return steps_to_measure(
            self._load("fp32"),
            zoom=settings.zoom,
            unzoom=settings.unzoom,
            blocks=find(DEFAULT_TARGET).dialect.blocks,
        )

    def take_over_decisions(self) -> None:
        """Adopt an interrupted export's decisions on steps that no finished bundle decided."""
        done = self.work.stages.get(_stage_of_lowerings(DEFAULT_TARGET))
        for each in done["record"]["lowerings"] if done else []:
            self.decided.add(Lowering(**each))

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions of the recipe, from the highest to the lowest."""
        return tuple(each for each in PRECISIONS if each in self.recipe.precision)

    def _canonical(self) -> Graph:
        files = [canonical_file("fp32"), WARP_FILE, WARP_TENSORS, "recipe.yaml", "labels.txt"]
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
        arrays = self.warp.arrays()
        np.savez_compressed(self.work.path(WARP_FILE), **arrays)
        write_tensors(self.work.path(WARP_TENSORS), arrays, self.recipe.places)
        data = portable(self.recipe).model_dump(mode="json")
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        self.work.path("recipe.yaml").write_text(text, encoding="utf-8")
        self.work.path("labels.txt").write_text("\n".join(self.recipe.classes) + "\n", "utf-8")
        return {"opset": OPSET}

    def _reference(self) -> Record:
        with self.report.working("running PyTorch for the reference"):
            batches = self._reference_shots()
            references = make_references(self.pytorch, batches)
        write_reference(self.work.path(REFERENCE_FILE), references)
        return {}

    def _lowerings(self, target: str) -> list[Choice]:
        """Return the lowerings of the warps for a target, which are the same in every precision."""
        stage = _stage_of_lowerings(target)
        done = self.work.stages.get(stage)
        then = [Lowering(**each) for each in done["record"]["lowerings"]] if done else []
        if not all(self.decided.keeps(each) for each in then):
            self.work.forget_from(stage)  # since then, bundles beside this one were measured
        record = self.work.run(stage, [], lambda: self._choose(target))
        return [Choice(**each) for each in record["lowerings"]]

    def _choose(self, target: str) -> Record:
        with self.report.working(f"choosing the warps' lowerings for {target}"):
            dialect = find(target).dialect
            choices = choose_lowerings(
                self._load("fp32"),
                zoom=self.recipe.lowering.zoom,
                unzoom=self.recipe.lowering.unzoom,
                defaults=dialect.lowerings,
                blocks=dialect.blocks,
                decide=self.decided if target == DEFAULT_TARGET else None,
            )
        for choice in choices:
            log.info("%s: %s as %s (%s)", target, choice.place, choice.kind, choice.reason)
        return {"lowerings": [asdict(choice) for choice in choices]}

    def _load(self, precision: str) -> onnx.ModelProto:
        return onnx.load(self.work.path(canonical_file(precision)))

    def _choices(self, target: str, precision: str) -> list[Choice]:
        """Return a target's lowerings in operators that the precision supports."""
        if precision != "bf16":
            return self.lowerings[target]
        return without_grid_sample(
            self._load("fp32"),
            self.lowerings[target],
            NO_BF16_GRID,
        )

    @cached_property
    def float32_lowerings(self) -> dict[str, Kind]:
        """Lowerings for running the float32 graph here, even if ONNX Runtime is not a target."""
        if DEFAULT_TARGET in self.lowerings:
            return lowerings_by_place(self.lowerings[DEFAULT_TARGET])
        return lowerings_by_place(exact_lowerings(self._load("fp32")))

    def _check_range(self) -> Record:
        references = read_reference(self.work.path(REFERENCE_FILE))
        with self.report.working("holding tensors against the range of FP16"):
            inputs = [reference_inputs(self.recipe, each, self.warp.zoom) for each in references]
            largest = check_range(
                self._load("fp32"), self.float32_lowerings, self.recipe.higher_precision, inputs
            )
        worst = max(largest, key=lambda name: largest[name])
        log.info("fp16: the largest tensor is %s, %.4g", worst, largest[worst])
        return {"tensor": worst, "largest": largest[worst]}

    def _calibrate(self) -> Record:
        recipe, model = self.recipe, self._load("fp32")
        cache = find_ranges(recipe, model, self.work.final / CALIBRATION_FILE)
        if cache is None and self.split is not None:
            frames = recipe_frames(recipe)
            histograms = self.split.histograms(frames, self.float32_lowerings)
            cache = ranges_of(recipe, model, histograms, frames) if histograms else None
        if cache is None:
            warp = self.warp.arrays()
            cache = measure_ranges(recipe, model, self.float32_lowerings, warp, self.report)
        write_cache(self.work.path(CALIBRATION_FILE), cache)
        return describe_ranges(cache)

    def _converted(self, precision: Precision) -> Graph:
        file = canonical_file(precision)
        record = self.work.run(f"convert {precision}", [file], lambda: self._convert(precision))
        return Graph(file=file, **record)

    def _convert(self, precision: Precision) -> Record:
        model, keep = self._load("fp32"), self.recipe.higher_precision
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
        derived, file = find(target).graph_file(precision), find(target).engine_file(precision)
        derive = partial(self._derive, target, precision, derived)
        record = self.work.run(f"derive {name}", [derived], derive)
        files = [file] if file != derived else []
        built = self.work.run(f"build {name}", files, partial(self._build, target, precision))
        lowerings = [asdict(choice) for choice in self._choices(target, precision)]
        described = {"target": target, "precision": precision, "file": file, "onnx": derived}
        size = self.work.path(file).stat().st_size
        return Engine.model_validate(
            {**described, "lowerings": lowerings, "bytes": size, **record, **built}
        )

    def _derive(self, target: str, precision: Precision, file: str) -> Record:
        lowerings = lowerings_by_place(self._choices(target, precision))
        with self.report.working(f"lowering {precision} for {target}"):
            derived, records = lower_for(find(target).dialect, self._load(precision), lowerings)
        lint(derived, find(target).dialect)
        onnx.save(derived, self.work.path(file))
        return {"passes": [asdict(record) for record in records]}

    def _build(self, target: str, precision: Precision) -> Record:
        known, start = find(target), time.perf_counter()
        graph, engine = known.graph_file(precision), known.engine_file(precision)
        with self.report.working(known.building(precision)):
            built = known.build(self.work.path(graph), self.work.path(engine), self.recipe)
        return _built(built, time.perf_counter() - start if engine != graph else 0.0)

    def _reference_shots(self) -> list[list[CameraFrame]]:
        size, name = self.recipe.batch, self.recipe.evaluation.dataset
        # Where the warp changes, the second batch has another: by boxes of the first, or knots.
        # With a constant warp a batch of a large network's frames shows what a second one would.
        changes = name is None and (self.pytorch.is_stateful or self.recipe.takes_knots)
        frames = size * (REFERENCE_BATCHES if changes else 1)
        if name is None and self.recipe.calibration.frames is not None:
            found = [frame for _, frame in islice(recipe_frames(self.recipe).frames(), frames)]
            if all(frame.shape[:2] == self.recipe.source for frame in found):
                camera = noise_camera_frame(self.recipe, seed=0).cam2img
                return whole_batches([CameraFrame(frame, camera) for frame in found], size)
        if name is None:
            return whole_batches(
                [noise_camera_frame(self.recipe, seed=i) for i in range(frames)], size
            )
        few = open_dataset(name, REFERENCE_BATCHES * size, self.recipe.scored_as, self.recipe)
        chosen = []
        for sample in few.samples():
            what = f"frame {sample.number} of {few.name}"
            check_frame(sample.camera_frame.frame, self.recipe.source, what)
            chosen.append(sample.camera_frame)
        if not chosen:
            raise LzuError(f"the evaluation set {few.name} holds no frames; add some")
        return whole_batches(chosen, size)


def _stage_of_lowerings(target: str) -> str:
    return f"lowerings {target}"


def _built(built: Built, seconds: float) -> Record:
    def tensors(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
        return [Tensor(**asdict(spec)).model_dump(mode="json") for spec in specs]

    return {
        "version": built.version,
        "compute_capabilities": list(built.compute_capabilities),
        "inputs": tensors(built.inputs),
        "outputs": tensors(built.outputs),
        "build_seconds": round(seconds, 3),
    }

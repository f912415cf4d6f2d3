"""Engines of bundles, opened to be timed, and the frames that they are shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from lzu_benchmarks.harness.latency_results import (
    StartTimes,
)
from lzu_export.bundle.bundle import Bundle
from lzu_export.evaluation.datasets import named_sets, open_dataset
from lzu_export.inputs.frame import check_frame
from lzu_export.runtime import load
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.support.interleave import (
    Subject,
)
from lzu_export.targets.registry import DEFAULT_TARGET, find
from lzu_export.tasks.pytorch import noise_camera_frame, whole_batches

STAGES = ("pre-processing", "engine", "suppression", "post-processing")
"""The stages of a frame. Pre-processing makes the engine's inputs. The engine's time includes
copies to and from the device. Suppression runs on the host; adaptive engines that keep their boxes
on the device include it in their run. Post-processing makes the predictions."""
GRAPHS: dict[str, tuple[bool, ...]] = {"off": (False,), "on": (True,), "both": (False, True)}
"""Sessions that are opened, by the option `--cuda-graph`: whether each replays a CUDA graph."""
FRAMES = 8
"""Different frames that are shown in turn; of a warp that remembers they follow one another."""
NO_DATASET = "none"


@dataclass(frozen=True)
class Candidate:
    """An opened engine, ready to be timed."""

    name: str
    bundle: str
    target: str
    precision: str
    predictor: Predictor
    camera_frames: Sequence[Sequence[CameraFrame]]
    """Batches, shown in turn."""
    base: str | None = None
    """Name of the one it is compared with."""
    cuda_graph: bool | None = None
    start: StartTimes | None = None
    note: str = ""
    """What is to be told with its figures."""
    frames: str = ""
    """What its batches show."""
    noise: bool = False
    """Whether that is noise."""

    def end_to_end(self) -> Subject:
        """From frames to predictions."""
        predictor, camera_frames = self.predictor, self.camera_frames
        shown: list[Sequence[CameraFrame]] = [camera_frames[0]]

        def feed(number: int) -> Sequence[CameraFrame]:
            place = number % len(camera_frames)
            if place == 0 and predictor.is_stateful:
                predictor.reset()
            shown[0] = camera_frames[place]
            return camera_frames[place]

        stages: tuple[Callable[[Any], Any], ...] = (
            predictor.preprocess,
            predictor.session.run,
            lambda outputs: predictor.suppress_all(outputs, len(shown[0])),
            lambda kept: predictor.to_predictions(kept, shown[0]),
        )
        return Subject(dict(zip(STAGES, stages, strict=True)), feed)

    def engine(self) -> Subject:
        """From inputs to outputs, with the inputs that the frames lead to."""
        predictor = self.predictor
        predictor.reset()
        inputs = []
        for batch in self.camera_frames:
            inputs.append(predictor.preprocess(batch))
            predictor.postprocess(predictor.session.run(inputs[-1]), batch)

        def feed(number: int) -> Mapping[str, Any]:
            return inputs[number % len(inputs)]

        return Subject({"engine": predictor.session.run}, feed)


class Shown(NamedTuple):
    """Batches of frames that fit a bundle, and where they come from."""

    batches: list[list[CameraFrame]]
    what: str
    noise: bool = False
    """Whether they show nothing."""


def open_candidates(
    bundle: Path,
    *,
    precisions: Sequence[str] | None = None,
    target: str | None = None,
    threads: int | None = None,
    provider: str = "cpu",
    graphs: Sequence[bool] = GRAPHS["both"],
    dataset: str | None = None,
) -> list[Candidate]:
    """Open the engines of a bundle that are asked for, by default all of one target.

    Args:
        bundle: folder that export made.
        precisions: all by default.
        target: onnxruntime by default.
        threads: of ONNX Runtime on the CPU.
        provider: of ONNX Runtime.
        graphs: of engines on a device: with and without CUDA graph each is opened anew. Where
            both are asked for and one cannot be captured, there is only the one without, and its
            note says why.
        dataset: whose frames are shown, see `frames_of`.

    Raises:
        LzuError: the bundle is damaged, has no such engine that runs here, or a CUDA graph alone
            is asked for in vain.
    """
    opened = Bundle(bundle)
    wanted = target or DEFAULT_TARGET
    there = [each.precision for each in opened.manifest.engines if each.target == wanted]
    shown = frames_of(opened, dataset)
    if not there:
        opened.engine(target)  # which says what there is instead
    if precisions is None:  # other releases and cards have engines of their own
        precisions = list(dict.fromkeys(there))

    def open_predictor(precision: str, graph: bool | None) -> Predictor:
        return load(
            bundle,
            target=target,
            precision=precision,
            threads=threads,
            provider=provider,
            graph=graph,
        )

    modes: Sequence[bool | None] = graphs if find(wanted).on_device else (None,)
    return [
        each
        for precision in precisions
        for each in _enter_precision(bundle, wanted, precision, modes, open_predictor, shown)
    ]


def _enter_precision(
    bundle: Path,
    target: str,
    precision: str,
    modes: Sequence[bool | None],
    open_predictor: Callable[[str, bool | None], Predictor],
    shown: Shown,
) -> list[Candidate]:
    """Open one engine in each graph mode; None: its target has no such choice."""
    compiles = find(target).compiles_at_start
    cold = _cold_first_run(bundle, target, precision) if compiles else None
    found: list[Candidate] = []
    without: Candidate | None = None
    for graph in modes:
        predictor = open_predictor(precision, None if graph and without is not None else graph)
        session = predictor.session
        note = getattr(session, "graph_note", "")
        if graph and without is not None and note:
            session.close()
            told = f"{without.name} has no CUDA graph to be compared with: {note}"
            found[-1] = replace(without, note="; ".join(filter(None, (without.note, told))))
            continue
        suffix = "" if graph is None else " graph" if graph else " no graph"
        opened = Candidate(
            name=f"{bundle.name} {target} {precision}{suffix}",
            bundle=bundle.name,
            target=target,
            precision=precision,
            predictor=predictor,
            camera_frames=shown.batches,
            frames=shown.what,
            noise=shown.noise,
            cuda_graph=graph,
            start=None if graph is None else _start(session, cold),
            note=_host_note(bundle.name, session),
        )
        found.append(opened)
        without = opened if graph is False else None
    return found


def _host_note(bundle: str, session: Any) -> str:
    boxes, zoom = (getattr(session, name, "") for name in ("feedback_note", "zoom_note"))
    notes = [f"boxes of {bundle} go through the host: {boxes}"] if boxes else []
    return "; ".join([*notes, f"the host zooms for {bundle}: {zoom}"] if zoom else notes)


def _cold_first_run(bundle: Path, target: str, precision: str) -> float:
    """Seconds of the first run where TensorRT-RTX compiles all its kernels.

    Leaves what was compiled in the cache, so that every first run after it is a warm one.
    """
    seconds = []
    for cache in (False, True):
        predictor = load(bundle, target=target, precision=precision, runtime_cache=cache)
        seconds.append(float(predictor.session.warm_up_seconds))
        predictor.session.close()
    return seconds[0]


def _start(session: Any, cold: float | None) -> StartTimes:
    return StartTimes(
        load=session.load_seconds, first_run=session.warm_up_seconds, cold_first_run=cold
    )


def frames_of(bundle: Bundle, dataset: str | None = None, count: int = FRAMES) -> Shown:
    """Frames to time and to draw: the first of a data set; else the bundle's own reference.

    Args:
        bundle: whose frames they are to be.
        dataset: the set's name or path; by default the recipe's own, if that has a name. A bundle
            does not hold the path of another one, but some of its frames.
        count: most batches of a set.

    Returns:
        Batches; of noise only where the bundle was exported without a data set and none is given.

    Raises:
        LzuError: there is no such set, or its frames do not fit the bundle.
    """
    recipe, size = bundle.recipe, bundle.recipe.batch
    own = recipe.evaluation.dataset
    name = own if dataset is None and own in named_sets() else dataset
    if name not in (None, NO_DATASET):
        opened = open_dataset(str(name), None, recipe.task, recipe)
        camera_frames = []
        for sample in islice(opened.samples(), count * size):
            what = sample.name or f"frame {sample.number} of {opened.name}"
            check_frame(sample.camera_frame.frame, recipe.source, what)
            camera_frames.append(sample.camera_frame)
        if camera_frames:
            told = f"the first {len(camera_frames)} frames of {opened.name} in turn"
            return Shown(whole_batches(camera_frames, size), told)
    if own is not None:
        batches = bundle.batches()
        told = f"{len(batches) * size} frames of {own} that the bundle holds, in turn"
        return Shown(batches, told)
    camera_frames = [noise_camera_frame(recipe, seed=i) for i in range(count * size)]
    return Shown(
        whole_batches(camera_frames, size), "random noise, as no data set is given", noise=True
    )


def pair(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Give each the first one of its target, precision and graph mode as its base."""
    bases: dict[Any, str] = {}
    paired = []
    for each in candidates:
        base = bases.setdefault((each.target, each.precision, each.cuda_graph), each.name)
        paired.append(Candidate(**{**vars(each), "base": base}))
    return paired

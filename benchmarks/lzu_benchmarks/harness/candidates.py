"""Open the engines of bundles for timing, with the frames that they run on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from lzu_benchmarks.harness.latency_results import StartTimes
from lzu_export.bundle.bundle import Bundle
from lzu_export.evaluation.datasets import Sample, named_sets, open_dataset
from lzu_export.inputs.frame import check_frame
from lzu_export.runtime import load
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.support.interleave import Subject
from lzu_export.support.session import Session
from lzu_export.targets.registry import DEFAULT_TARGET, find
from lzu_export.tasks.pytorch import noise_camera_frame, whole_batches

STAGES = ("pre-processing", "engine", "suppression", "post-processing")
"""The stages of a frame. Pre-processing makes the engine's inputs. The engine's time includes
copies to and from the device. Suppression runs on the host; adaptive engines that keep their boxes
on the device include it in their run. Post-processing makes the predictions."""
GRAPHS: dict[str, tuple[bool, ...]] = {"off": (False,), "on": (True,), "both": (False, True)}
"""Sessions to open for each value of `--cuda-graph`: whether each session replays a CUDA graph."""
FRAMES = 8
"""Largest number of different batches run in turn; a stateful warp sees them in order."""
NO_DATASET = "none"


@dataclass(frozen=True)
class Candidate:
    """An opened engine, ready to be timed."""

    name: str
    """Name of the candidate, unique among those that are timed together."""
    bundle: str
    """Name of the bundle's folder."""
    target: str
    """Target of the engine."""
    precision: str
    """Precision of the engine."""
    predictor: Predictor
    """Predictor that runs the engine."""
    camera_frames: Sequence[Sequence[CameraFrame]]
    """Batches of camera frames, run in turn."""
    base: str | None = None
    """Name of the candidate that this one is compared with."""
    cuda_graph: bool | None = None
    """Whether the session replays a CUDA graph; None if its target has no CUDA graphs."""
    start: StartTimes | None = None
    """Seconds until the engine was ready; None on a CPU."""
    note: str = ""
    """Remark that is reported with this candidate's figures."""
    frames: str = ""
    """Description of the frames in the batches."""
    noise: bool = False
    """Whether the frames are random noise."""

    def end_to_end(self) -> Subject:
        """Return the subject that times a whole query, from frames to predictions."""
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
        """Return the subject that times the engine alone, on inputs made from the frames."""
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
    """Batches of frames that fit a bundle, and a description of their source."""

    batches: list[list[CameraFrame]]
    what: str
    noise: bool = False
    """Whether the frames are random noise."""
    samples: tuple[Sample, ...] = ()
    """The frames with their truth, in the order of the batches; empty without a data set."""


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
    """Open the requested engines of a bundle, by default all engines of one target.

    Args:
        bundle: folder of an exported bundle.
        precisions: precisions to open; all by default.
        target: target to open; onnxruntime by default.
        threads: number of threads of ONNX Runtime on the CPU.
        provider: execution provider of ONNX Runtime.
        graphs: CUDA graph modes of engines on a device; each mode opens a session of its own.
            If both modes are requested and the graph cannot be captured, only the session
            without a graph is returned, and its note gives the reason.
        dataset: data set that the frames come from, see `frames_of`.

    Raises:
        LzuError: the bundle is damaged, no requested engine runs here, or only the CUDA graph
            mode is requested and the graph cannot be captured.
    """
    opened = Bundle(bundle)
    wanted = target or DEFAULT_TARGET
    there = [each.precision for each in opened.manifest.engines if each.target == wanted]
    shown = frames_of(opened, dataset)
    if not there:
        opened.engine(target)  # raises an error that lists the targets of the bundle
    if precisions is None:  # once each: other releases and cards have engines of their own
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
    """Open one engine in each graph mode; the mode is None if the target has no CUDA graphs."""
    compiles = find(target).compiles_at_start
    cold = _cold_first_run(bundle, target, precision) if compiles else None
    found: list[Candidate] = []
    without: Candidate | None = None
    for graph in modes:
        predictor = open_predictor(precision, None if graph and without is not None else graph)
        session = predictor.session
        note = session.graph_note
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
            note=_note(bundle.name, session),
        )
        found.append(opened)
        without = opened if graph is False else None
    return found


def _note(bundle: str, session: Session) -> str:
    asked = (
        "TensorRT-RTX can capture one and does not report whether it replays it"
        if session.graph_requested
        else ""
    )
    said = {
        f"boxes of {bundle} go through the host": session.feedback_note,
        f"the host zooms for {bundle}": session.zoom_note,
        f"a CUDA graph of {bundle} was requested": asked,
        f"memory of {bundle} was chosen by time": session.memory_note,
    }
    return "; ".join(f"{what}: {why}" for what, why in said.items() if why)


def _cold_first_run(bundle: Path, target: str, precision: str) -> float:
    """Return the seconds of a first run in which TensorRT-RTX compiles all its kernels.

    Then run once with the runtime cache, so that later first runs find the compiled kernels.
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
    """Return frames to time and to draw: the first of a data set, or those stored in the bundle.

    Args:
        bundle: bundle that the frames have to fit.
        dataset: name or path of the data set. The default is the recipe's own set if that is a
            named set; otherwise the frames of it that the bundle stores are taken.
        count: largest number of batches from a data set.

    Returns:
        Batches. They are random noise only if no data set is given and the bundle was exported
        without one.

    Raises:
        LzuError: there is no such data set, or its frames do not fit the bundle.
    """
    recipe, size = bundle.recipe, bundle.recipe.batch
    own = recipe.evaluation.dataset
    name = own if dataset is None and own in named_sets() else dataset
    if name not in (None, NO_DATASET):
        opened = open_dataset(str(name), None, recipe.task, recipe)
        samples = tuple(islice(opened.samples(), count * size))
        for sample in samples:
            what = sample.name or f"frame {sample.number} of {opened.name}"
            check_frame(sample.camera_frame.frame, recipe.source, what)
        if samples:
            told = f"the first {len(samples)} frames of {opened.name} in turn"
            batches = whole_batches([each.camera_frame for each in samples], size)
            return Shown(batches, told, samples=samples)
    if own is not None:
        batches = bundle.batches()
        told = f"{len(batches) * size} frames of {own} that the bundle holds, in turn"
        return Shown(batches, told)
    camera_frames = [noise_camera_frame(recipe, seed=i) for i in range(count * size)]
    return Shown(
        whole_batches(camera_frames, size), "random noise, as no data set is given", noise=True
    )


def pair(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Set each candidate's base to the first one of the same target, precision and graph mode.

    Args:
        candidates: candidates of all bundles, those of the base first.

    Returns:
        Copies of the candidates, in the same order.
    """
    bases: dict[Any, str] = {}
    paired = []
    for each in candidates:
        base = bases.setdefault((each.target, each.precision, each.cuda_graph), each.name)
        paired.append(Candidate(**{**vars(each), "base": base}))
    return paired

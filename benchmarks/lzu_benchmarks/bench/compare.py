"""Compare bundles with one another, and keep every result in a file as it arrives.

A result is made again only where what it depends on changed: the bundle, the frames, this harness,
and for latencies the machine, the plan and those that take turns.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lzu_benchmarks.harness.flops import Flops, count_flops
from lzu_benchmarks.harness.latency import (
    GRAPHS,
    NO_DATASET,
    STAGES,
    Contestant,
    enter,
    frames_of,
    measure,
)
from lzu_benchmarks.harness.summary import Section
from lzu_benchmarks.report.pictures import draw_pictures
from lzu_benchmarks.report.schema import (
    ORDER,
    BundleResult,
    EngineResult,
    LatencyGroup,
    Pictures,
    Score,
)
from lzu_export.bundle.bundle import Bundle, Here
from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.evaluation.datasets import open_dataset
from lzu_export.evaluation.evaluate import Spent, evaluate
from lzu_export.evaluation.resume import Unfinished, key_of
from lzu_export.manifest.schema import (
    ROUNDING_NOTE,
    Engine,
    Manifest,
    untrained_note,
)
from lzu_export.runtime import load
from lzu_export.runtime.plugin_library import library_at, library_places
from lzu_export.runtime.predictor import Predictor
from lzu_export.support import interleave
from lzu_export.support.files import read_text, write_text
from lzu_export.support.files.hashes import sha256
from lzu_export.support.interleave import Plan
from lzu_export.support.limits import EMULATED
from lzu_export.support.machine import describe
from lzu_export.support.progress import Reporter
from lzu_export.support.provenance import source_digest
from lzu_export.targets.cuda.interface import open_cuda
from lzu_export.targets.registry import DEFAULT_TARGET, find
from lzu_export.tasks.agreement import against_fp32
from lzu_export.verification.parity import open_emulated

PACKAGE = Path(__file__).resolve().parents[1]
"""The harness, whose change makes results stale."""
SHOWN = (3, 7)
"""Sample frames, by place among the consecutive ones that are shown."""

Result = TypeVar("Result", bound=Section)


class Contender(Bundle):
    """A bundle to compare: its engines of some targets and precisions."""

    def __init__(
        self,
        folder: Path,
        targets: tuple[str, ...] | None = None,
        precisions: tuple[str, ...] | None = None,
        provider: str = "cpu",
    ) -> None:
        """Open the bundle.

        Args:
            folder: that export made.
            targets: of the engines that are compared; all by default.
            precisions: the same.
            provider: of ONNX Runtime, that scores and times its engines.

        Raises:
            LzuError: see `Bundle`.
        """
        super().__init__(folder)
        self.targets, self.precisions, self.provider = targets, precisions, provider

    @cached_property
    def asked(self) -> list[Engine]:
        """Its engines that are to be compared."""
        return [
            each
            for each in self.manifest.engines
            if (self.targets is None or each.target in self.targets)
            and (self.precisions is None or each.precision in self.precisions)
        ]

    @cached_property
    def _here(self) -> Here:
        return self.here(self.asked)

    @property
    def runs(self) -> list[Engine]:
        """Those of them that run here, and did so once."""
        return [each for each in self._here[0] if name_of(each) not in self.failed]

    @cached_property
    def failed(self) -> dict[str, str]:
        """By `target/precision`, why an engine that is to run here did not open, or not run.

        Raises:
            LzuError: a provider is asked for on which none of them opens.
        """
        found = {}
        for engine in self._here[0]:
            try:
                with load(
                    self.folder,
                    target=engine.target,
                    precision=engine.precision,
                    provider=self.provider,
                ) as predictor:
                    predictor.run(self.batches()[0])
            except Exception as error:  # each runtime has types of its own
                text = str(error).strip() or type(error).__name__
                found[name_of(engine)] = text.splitlines()[0]
        if self.provider != "cpu" and found and len(found) == len(self._here[0]):
            raise LzuError(next(iter(found.values())))
        return found

    @property
    def elsewhere(self) -> dict[str, str]:
        """By `target/precision`, why the others of them do not."""
        return self._here[1]


def name_of(engine: Engine) -> str:
    """What an engine is called in results."""
    return f"{engine.target}/{engine.precision}"


@dataclass(frozen=True)
class Store:
    """Results in a folder, one file each."""

    folder: Path
    again: bool = False
    """Whether everything is measured again."""

    def get(self, name: str, key: str, kind: type[Result], make: Callable[[], Result]) -> Result:
        """The stored result of this key, else a new one, which is stored before it is returned.

        Raises:
            LzuError: it cannot be written.
        """
        path = self.folder / f"{name}.json"
        if not self.again and path.is_file():
            try:
                stored = kind.model_validate_json(read_text(path))
                if getattr(stored, "key", None) == key:
                    return stored
            except (LzuError, ValueError, ValidationError):
                pass  # cut off, or of another release
        made = make()
        with readable_os_errors(f"the result {path}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(path, made.model_dump_json(indent=1) + "\n")
        return made


def open_bundles(
    folders: Iterable[Path],
    targets: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    provider: str = "cpu",
) -> list[Contender]:
    """Read the manifests of bundles, uniform ones first, by scale.

    Args:
        folders: that export made.
        targets: only engines of these are compared; all by default.
        precisions: the same.
        provider: of ONNX Runtime: `cpu`, `cuda`, `tensorrt`, or a name of its own.

    Raises:
        LzuError: one is no bundle, there are none, they are of different tasks or sources, or one
            has no engine of what is asked for.
    """
    chosen = (tuple(targets) if targets else None, tuple(precisions) if precisions else None)
    # Results are filed under the folder's name, which `.` and `..` have not.
    places = [Path(os.path.abspath(folder)) for folder in folders]
    for place in places:
        if os.fsencode(place.name).decode(errors="replace") != place.name:
            raise LzuError(f"the folder {place} has a name that is not UTF-8; rename it")
    found = [Contender(folder, *chosen, provider) for folder in places]
    if not found:
        raise LzuError("there are no bundles to compare; give the folders that export made")
    subjects = {(b.manifest.task, b.manifest.recipe.source) for b in found}
    if len(subjects) > 1:
        raise LzuError(
            "the bundles are of different tasks or sizes of frames; compare those of one at a time"
        )
    names = [bundle.folder.name for bundle in found]
    if len(set(names)) < len(names):
        raise LzuError(f"two bundles are called {max(names, key=names.count)}; rename one")
    for bundle in found:
        if not bundle.asked:
            wanted = " in ".join(" or ".join(each) for each in chosen if each)
            there = ", ".join(f"{each.target} {each.precision}" for each in bundle.manifest.engines)
            raise LzuError(f"{bundle.folder} has no engine of {wanted}; it has {there}")
    return sorted(found, key=lambda b: (b.manifest.recipe.scale, ORDER.index(b.manifest.variant)))


def bundle_result(
    bundle: Contender,
    store: Store,
    *,
    dataset: str | None = None,
    frames: int | None = None,
    shown: str | None = None,
    report: Reporter,
) -> BundleResult:
    """What a bundle is and scores.

    Scores are the manifest's where those are of the asked frames and of every engine that runs
    here; else engines are scored now.

    Args:
        bundle: to score.
        store: where results are kept.
        dataset: to score on, or `none`; the manifest's scores are taken by default.
        frames: at most so many of it.
        shown: the set whose frames are drawn, see `latency.frames_of`.
        report: where progress is shown.
    """
    annotations = sha256(Path(dataset)) if dataset and Path(dataset).is_file() else None
    code = source_digest(PACKAGE)
    asked = sorted(f"{each.target}/{each.precision}" for each in bundle.asked)
    parts = (asked, _runs(bundle), bundle.provider, dataset, annotations, frames, code)
    key = key_of(bundle.manifest.files, *parts, _set_key(shown))
    unfinished = Unfinished(store.folder / f"{bundle.folder.name}.accuracy.npz", key)
    if store.again:
        unfinished.remove()
    return store.get(
        bundle.folder.name,
        key,
        BundleResult,
        lambda: _measure_bundle(
            bundle, key, store.folder, dataset, frames, shown, report, unfinished
        ),
    )


def _measure_bundle(
    bundle: Contender,
    key: str,
    folder: Path,
    dataset: str | None,
    frames: int | None,
    shown: str | None,
    report: Reporter,
    unfinished: Unfinished,
) -> BundleResult:
    manifest, recipe = bundle.manifest, bundle.manifest.recipe
    drifts = {(drift.target, drift.precision): drift for drift in manifest.drift}
    scores, about = _scores(bundle, dataset, frames, report, unfinished)
    engines = {
        f"{engine.target}/{engine.precision}": EngineResult(
            target=engine.target,
            precision=engine.precision,
            bytes=engine.bytes,
            build_seconds=engine.build_seconds or None,
            score=scores.get(f"{engine.target}/{engine.precision}"),
            drift=drifts[engine.target, engine.precision],
            failed=bundle.failed.get(name_of(engine), ""),
        )
        for engine in bundle.asked
    } | _emulated_results(bundle, scores)
    with report.working("drawing pictures"):
        pictures = _pictures(bundle, folder, shown)
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
        flops=_flops(bundle),
        pictures=pictures,
        untrained=untrained_note(manifest),
        facts=_facts(manifest),
        **about,
    )


def _emulated_results(bundle: Contender, scores: Mapping[str, Score]) -> dict[str, EngineResult]:
    """Lower precisions with the rounding of a device, of the precisions that are asked for."""
    drifts = {(each.target, each.precision): each for each in bundle.manifest.drift}
    asked = dict.fromkeys((engine.target, engine.precision) for engine in bundle.asked)
    found = {}
    for target, precision in asked:
        name = f"{EMULATED}/{precision}"
        if name in scores and name not in found:
            drift = drifts.get((EMULATED, precision), drifts[target, precision])
            found[name] = EngineResult(
                target=EMULATED,
                precision=precision,
                bytes=None,
                build_seconds=None,
                score=scores[name],
                drift=drift,
            )
    return found


def _scores(
    bundle: Contender,
    dataset: str | None,
    frames: int | None,
    report: Reporter,
    unfinished: Unfinished,
) -> tuple[dict[str, Score], dict[str, Any]]:
    """Scores by engine, PyTorch's too where it is known, and what they are of."""
    stored = bundle.manifest.accuracy
    runs = {f"{engine.target}/{engine.precision}" for engine in bundle.runs}
    as_stored = dataset in (None, NO_DATASET) and frames is None and bundle.provider == "cpu"
    if stored is not None and as_stored and runs <= set(stored.engines):
        scores = {
            name: Score(metrics=metrics, how=_how(name), agreement=stored.agreement.get(name))
            for name, metrics in stored.engines.items()
        }
        scores["pytorch"] = Score(metrics=stored.pytorch, how="")
        about = {
            "dataset": stored.dataset, "frames": stored.frames, "metric": stored.metric,
            "note": stored.note,
        }  # fmt: skip
        return scores, about
    name = dataset or bundle.manifest.recipe.evaluation.dataset
    nothing = {"dataset": None, "frames": None, "metric": None, "note": ""}
    if name in (None, NO_DATASET):
        return {}, nothing
    if dataset is None:  # the recipe's, and as many of them
        frames = frames or bundle.manifest.recipe.evaluation.frames
    opened = open_dataset(name, frames, bundle.manifest.task, bundle.manifest.recipe)
    spent = Spent()
    title = f"accuracy of {bundle.folder.name} on {opened.name}"
    with ExitStack() as stack:  # a device's memory is for those that are timed
        predictors = _predictors(bundle, stack)
        if not predictors:
            return {}, nothing
        with report.steps(title, len(opened)) as advance:
            agreements = against_fp32(bundle.manifest.recipe, list(predictors))
            found = evaluate(
                predictors,
                opened,
                advance,
                agreements=agreements,
                unfinished=unfinished,
                spent=spent,
            )
    report.note(f"  accuracy: {spent}")
    agreed = agreements.result() if agreements is not None else {}
    scores = {
        name: Score(metrics=metrics, how=_how(name), agreement=agreed.get(name))
        for name, metrics in found.items()
    }
    if stored is not None and (stored.dataset, stored.frames) == (opened.name, len(opened)):
        scores["pytorch"] = Score(metrics=stored.pytorch, how="")
    about = {
        "dataset": opened.name, "frames": len(opened), "metric": opened.metric, "note": opened.note,
    }  # fmt: skip
    return scores, about


def _how(engine: str) -> str:
    return ROUNDING_NOTE if engine.startswith(f"{EMULATED}/") else ""


def _predictors(bundle: Contender, stack: ExitStack) -> dict[str, Predictor]:
    """Engines that run here, and lower precisions of a processor with the rounding of a device.

    `stack` closes them.
    """
    found: dict[str, Predictor] = {}
    as_on_device: dict[str, Predictor] = {}
    for engine in bundle.runs:
        session = bundle.open(engine, provider=bundle.provider)
        stack.callback(session.close)
        name = f"{engine.target}/{engine.precision}"
        found[name] = stack.enter_context(bundle.predictor(session))
        rounded = open_emulated(bundle, engine, session)
        if rounded is not None:
            name = f"{EMULATED}/{engine.precision}"
            as_on_device[name] = stack.enter_context(bundle.predictor(rounded))
    return {**found, **as_on_device}


def _flops(bundle: Contender) -> Flops:
    """Of a frame, of the highest precision's executable graph."""
    engines = bundle.manifest.engines
    chosen = next((each for each in engines if each.target == DEFAULT_TARGET), engines[0])
    found = count_flops(bundle.executable(chosen))
    batch = bundle.manifest.recipe.batch
    return Flops(network=found.network // batch, warps=found.warps // batch)


def _set_key(dataset: str | None) -> list[str | None]:
    """What results of a set depend on: its name, and the content of annotations."""
    annotations = Path(dataset) if dataset else None
    return [dataset, sha256(annotations) if annotations and annotations.is_file() else None]


def _pictures(bundle: Contender, folder: Path, shown: str | None) -> Pictures:
    runs = bundle.runs
    if not runs:
        return Pictures()
    frames = frames_of(bundle, shown)
    drawn = [i for i in SHOWN if i < len(frames.batches)] or [0]
    with load(
        bundle.folder,
        target=runs[0].target,
        precision=runs[0].precision,
        provider=bundle.provider,
    ) as predictor:
        pictures = draw_pictures(predictor, frames.batches, drawn, folder, bundle.folder.name)
    return pictures.model_copy(update={"noise": frames.noise})


def _facts(manifest: Manifest) -> dict[str, str]:
    made = manifest.calibration
    facts = {
        "weights": ", ".join(f"{k} {v[:16]}" for k, v in manifest.checkpoint.items()),
        "warp": f"{manifest.warp['geometry']} geometry, sha256 {manifest.warp['sha256'][:16]}",
        "calibration": "none"
        if made is None
        else f"{made['method']} over {made['count']} frames of {made['frames']}",
        "revision": manifest.source_revision,
        "fingerprint": manifest.fingerprint[:16],
        "exported": manifest.created,
        "made with": ", ".join(f"{k} {v}" for k, v in manifest.versions.items()),
    }
    return facts


def latency_groups(
    bundles: Sequence[Contender],
    store: Store,
    plan: Plan,
    *,
    threads: int | None = None,
    graphs: Sequence[bool] = GRAPHS["both"],
    shown: str | None = None,
    failed: dict[str, str] | None = None,
    report: Reporter,
) -> list[LatencyGroup]:
    """Time the bundles of each scale, target and precision in turns; uniform is the base.

    Args:
        bundles: what takes turns.
        store: where results are kept.
        plan: how long.
        threads: of ONNX Runtime on the CPU.
        graphs: see `latency.enter`.
        shown: the set whose frames are shown, see `latency.frames_of`.
        failed: takes, by group, why it could not be timed, and the other groups are; without it
            the first failure ends all.
        report: where progress is shown.

    Raises:
        LzuError: a group cannot be timed, or a result not be written.
    """
    places: dict[tuple[float, str, str], list[Contender]] = {}
    for bundle in bundles:
        for engine in bundle.runs:
            place = (bundle.manifest.recipe.scale, engine.target, engine.precision)
            places.setdefault(place, []).append(bundle)
    machine = describe().identity
    groups = []
    for (scale, target, precision), members in places.items():
        files = {b.folder.name: (b.manifest.files, _runs(b)) for b in members}
        code = [source_digest(PACKAGE / "harness"), sha256(Path(interleave.__file__))]
        device = _device_of(target, members)
        provider = members[0].provider
        parts = (threads, provider, code, STAGES, graphs, device, _set_key(shown))
        key = key_of(files, machine, vars(plan), *parts)
        name = f"latency-{target}-{precision}-{scale:g}x"

        def make(
            members: Sequence[Contender] = members,
            place: tuple[float, str, str] = (scale, target, precision),
            key: str = key,
        ) -> LatencyGroup:
            scale, target, precision = place
            title = f"latency of {target} {precision} at {scale:g}x"
            with report.working(title), ExitStack() as stack:
                contestants: list[Contestant] = []
                for bundle in members:
                    entered = enter(
                        bundle.folder,
                        target=target,
                        precisions=[precision],
                        threads=threads,
                        provider=bundle.provider,
                        graphs=graphs,
                        dataset=shown,
                    )
                    for each in entered:
                        stack.enter_context(each.predictor)
                    contestants += entered
                run = measure(_against_uniform(contestants, members), plan)
            return LatencyGroup(key=key, target=target, precision=precision, scale=scale, run=run)

        try:
            groups.append(store.get(name, key, LatencyGroup, make))
        except LzuError as error:
            if failed is None:
                raise
            failed[f"latency of {target} {precision} at {scale:g}x"] = str(error)
    return groups


def _runs(bundle: Contender) -> list[str]:
    return sorted(f"{engine.target}/{engine.precision}" for engine in bundle.runs)


def _device_of(target: str, members: Sequence[Contender]) -> list[Any] | None:
    """What the engines of a device run by: CUDA's back end, TensorRT, and each plugin library."""
    if not find(target).on_device:
        return None
    found = [library_at(library_places(bundle.folder)) for bundle in members]
    libraries = [sha256(path) if path is not None else None for path in found]
    return [open_cuda().name, find(target).version(), libraries]


def _against_uniform(
    contestants: Sequence[Contestant], members: Sequence[Contender]
) -> list[Contestant]:
    """Give each the uniform bundle's engine, of its graph mode, as its base."""
    uniform = {b.folder.name for b in members if b.manifest.variant == "uniform"}
    bases = {each.cuda_graph: each.name for each in contestants if each.bundle in uniform}
    return [
        Contestant(**{**vars(each), "base": bases.get(each.cuda_graph)}) for each in contestants
    ]

"""Time the bundles of each scale, target and precision interleaved, and keep the results."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from lzu_benchmarks.bench.contender import PACKAGE, Contender, Store, runs_of, set_key
from lzu_benchmarks.harness.candidates import (
    GRAPHS,
    STAGES,
    Candidate,
    open_candidates,
)
from lzu_benchmarks.harness.latency import measure
from lzu_benchmarks.report.schema import (
    LatencyGroup,
)
from lzu_export.errors import LzuError
from lzu_export.evaluation.resume import key_of
from lzu_export.runtime.plugin_library import library_at, library_places
from lzu_export.support import interleave
from lzu_export.support.device import device_number
from lzu_export.support.files.hashes import sha256
from lzu_export.support.interleave import Plan
from lzu_export.support.machine import describe
from lzu_export.support.progress import Reporter
from lzu_export.support.provenance import source_digest
from lzu_export.targets.cuda.interface import open_cuda
from lzu_export.targets.registry import find


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
    """Time the bundles of each scale, target and precision interleaved; uniform is the base.

    Args:
        bundles: bundles to time.
        store: storage of results.
        plan: duration of the measurement.
        threads: number of threads of ONNX Runtime on the CPU.
        graphs: CUDA graph modes, see `candidates.open_candidates`.
        shown: data set whose frames the engines run on, see `candidates.frames_of`.
        failed: receives the reason for each group that could not be timed, and the other groups
            are still timed; without it the first failure is raised.
        report: progress reporter.

    Raises:
        LzuError: a group cannot be timed or its result cannot be written, and `failed` is None.
    """
    places: dict[tuple[float, str, str], list[Contender]] = {}
    for bundle in bundles:
        for engine in bundle.runs:
            place = (bundle.manifest.recipe.scale, engine.target, engine.precision)
            places.setdefault(place, []).append(bundle)
    machine = describe().identity
    groups = []
    for (scale, target, precision), members in places.items():
        files = {b.folder.name: (b.manifest.files, runs_of(b)) for b in members}
        code = [source_digest(PACKAGE / "harness"), sha256(Path(interleave.__file__))]
        device = _device_of(target, members)
        provider = members[0].provider
        gpu = device_number()
        parts = (threads, provider, code, STAGES, graphs, device, gpu, set_key(shown))
        key = key_of(files, machine, vars(plan), *parts)
        name = f"latency-{target}-{precision}-{scale:g}x"

        title = f"latency of {target} {precision} at {scale:g}x"
        make = partial(
            _time_group,
            members,
            (key, target, precision, scale),
            plan,
            threads=threads,
            graphs=graphs,
            shown=shown,
            working=partial(report.working, title),
        )
        try:
            groups.append(store.get(name, key, LatencyGroup, make))
        except LzuError as error:
            if failed is None:
                raise
            failed[title] = str(error)
    return groups


def _time_group(
    members: Sequence[Contender],
    place: tuple[str, str, str, float],
    plan: Plan,
    *,
    threads: int | None,
    graphs: Sequence[bool],
    shown: str | None,
    working: Callable[[], AbstractContextManager[Any]],
) -> LatencyGroup:
    """Time one engine of each member interleaved; `place` is key, target, precision and scale."""
    key, target, precision, scale = place
    with working(), ExitStack() as stack:
        candidates: list[Candidate] = []
        for bundle in members:
            opened = open_candidates(
                bundle.folder,
                target=target,
                precisions=[precision],
                threads=threads,
                provider=bundle.provider,
                graphs=graphs,
                dataset=shown,
            )
            for each in opened:
                stack.enter_context(each.predictor)
            candidates += opened
        run = measure(_against_uniform(candidates, members), plan)
    return LatencyGroup(key=key, target=target, precision=precision, scale=scale, run=run)


def _device_of(target: str, members: Sequence[Contender]) -> list[Any] | None:
    """Identify the software that engines on a device run on; None if the target needs no device.

    The parts are the CUDA back end, the version of TensorRT, and the hash of each plugin library.
    """
    if not find(target).on_device:
        return None
    found = [library_at(library_places(bundle.folder)) for bundle in members]
    libraries = [sha256(path) if path is not None else None for path in found]
    return [open_cuda().name, find(target).version(), libraries]


def _against_uniform(
    candidates: Sequence[Candidate], members: Sequence[Contender]
) -> list[Candidate]:
    """Set each candidate's base to the uniform bundle's engine of the same graph mode."""
    uniform = {b.folder.name for b in members if b.manifest.variant == "uniform"}
    bases = {each.cuda_graph: each.name for each in candidates if each.bundle in uniform}
    return [Candidate(**{**vars(each), "base": bases.get(each.cuda_graph)}) for each in candidates]

"""Time the engines of several bundles interleaved, so that their ratios are comparable.

No torch: PyTorch is not timed here. It is timed with its own bundle's engines during the export,
and a bundle that was exported earlier has no PyTorch model available.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from statistics import median

from lzu_export.bundle.bundle import Bundle
from lzu_export.manifest.schema import Comparison, Engine
from lzu_export.runtime.predictor import CameraFrame, Predictor
from lzu_export.support import hardware
from lzu_export.support.interleave import Plan, Subject, drift, ratio, take_turns
from lzu_export.support.progress import Reporter
from lzu_export.targets.registry import runs_anywhere

SECONDS = 12.0
"""Time of a comparison: it takes as many rounds as fit, within the bounds of ROUNDS."""
ROUNDS = (6, 20)
BLOCK = 3
"""Timed queries of a turn, after one that is not timed. Where a round of such turns would take more
than a tenth of SECONDS, a turn is a single query."""
UNSTEADY = 0.1
"""Change from the first to the last quarter of the queries beyond which a time is doubtful."""


def compare_bundles(
    bundles: Sequence[Bundle], report: Reporter | None = None
) -> dict[Path, Comparison]:
    """Time the engines of several bundles that need no device, interleaved, frame to prediction.

    The frames are those of each bundle's reference.

    Args:
        bundles: bundles to be timed; a bundle's times are also divided by those of the uniform
            bundle of its recipe and scale, precision by precision.
        report: receiver of progress.

    Returns:
        Comparisons by the bundle's folder, without bundles that have no such engine.

    Raises:
        LzuError: a bundle's file is missing or was changed.
    """
    report = report or Reporter(quiet=True)
    names = {
        (bundle, engine.name): f"{bundle.folder.name} {engine.name}"
        for bundle in bundles
        for engine in bundle.here(_of_any_machine(bundle)).engines
    }
    with ExitStack() as stack, report.working("timing all variants interleaved"):
        subjects = {}
        for (bundle, key), name in names.items():
            session = bundle.session(*key.split("/"))
            predictor = stack.enter_context(bundle.predictor(session))
            subjects[name] = subject_of(predictor, bundle.batches())
        timings = take_turns(subjects, plan_for(subjects))
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    timed = tuple(dict.fromkeys(bundle.folder.name for bundle, _ in names))
    found = {}
    for bundle in bundles:
        mine = {p: timings[name] for (b, p), name in names.items() if b is bundle}
        if not mine:
            continue
        base = base_of(bundle, bundles)
        theirs = {p: timings[name] for (b, p), name in names.items() if b is base}
        frames = bundle.recipe.batch
        found[bundle.folder] = Comparison(
            created=created,
            machine=hardware.processor(),
            bundles=timed,
            rounds=len(next(iter(mine.values())).turns),
            milliseconds={p: median(each.totals) / 1e6 / frames for p, each in mine.items()},
            base=None if base is None else base.folder.name,
            ratios={p: ratio(each, theirs[p]) for p, each in mine.items() if p in theirs},
            unsteady=tuple(p for p, each in mine.items() if abs(drift(each)) > UNSTEADY),
        )
    return found


def _of_any_machine(bundle: Bundle) -> list[Engine]:
    return [each for each in bundle.manifest.engines if runs_anywhere(each.target)]


def base_of(bundle: Bundle, bundles: Sequence[Bundle]) -> Bundle | None:
    """Return the uniform bundle of a bundle's recipe and scale, None for uniform bundles."""
    if bundle.manifest.variant == "uniform":
        return None
    mine = (bundle.manifest.name, bundle.recipe.scale)
    for other in bundles:
        if (
            other.manifest.variant == "uniform"
            and (other.manifest.name, other.recipe.scale) == mine
        ):
            return other
    return None


def subject_of(predictor: Predictor, batches: Sequence[Sequence[CameraFrame]]) -> Subject:
    """Make the subject that runs a predictor on batches in turn, frame to prediction."""
    numbers = count()

    def feed(_: int) -> Sequence[CameraFrame]:
        place = next(numbers) % len(batches)
        if place == 0:
            predictor.reset()
        return batches[place]

    return Subject({"all": predictor.run}, feed)


def plan_for(subjects: Mapping[str, Subject]) -> Plan:
    """Return a plan of as many rounds as there is time for."""
    pilot = Plan(queries=1, block=1, settle=0, warmup_queries=1, warmup_seconds=0.0)
    spent = sum(each.totals[0] for each in take_turns(subjects, pilot).values()) / 1e9
    single = spent * (BLOCK + 1) > SECONDS / 10
    block, settle = (1, 0) if single else (BLOCK, 1)
    least, most = ROUNDS
    rounds = round(min(max(SECONDS / (spent * (block + settle)), least), most))
    return Plan(
        queries=block * rounds, block=block, settle=settle, warmup_queries=0, warmup_seconds=0.0
    )

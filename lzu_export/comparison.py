"""Times the engines of several bundles in turns, so that their ratios are those of one moment.

No torch: PyTorch is not among them. It is timed with its own bundle's engines during the export,
and a bundle that was exported before has no PyTorch model at hand.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np

from lzu_export import hardware
from lzu_export.interleave import Plan, Subject, drift, ratio, take_turns
from lzu_export.progress import Reporter
from lzu_export.runtime.bundle import load
from lzu_export.runtime.manifest import Comparison, Manifest, check_file
from lzu_export.runtime.predictor import Predictor, Shot
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.runtime.reference import read_reference

TARGET = "onnxruntime"
SECONDS = 12.0
"""A comparison takes as many rounds as fit into SECONDS, within the bounds of ROUNDS."""
ROUNDS = (6, 20)
BLOCK = 3
"""Timed queries of a turn, behind one that is not timed; where a round of those would take more
than a tenth of SECONDS a turn is a single query."""
UNSTEADY = 0.1
"""Change from the first to the last quarter of the queries beyond which a time is doubtful."""


def compare_bundles(
    bundles: Mapping[Path, Manifest], report: Reporter | None = None
) -> dict[Path, Comparison]:
    """Time all engines for ONNX Runtime of several bundles in turns, from frames to predictions.

    The frames are those of each bundle's reference.

    Args:
        bundles: by folder; a bundle's times are also put over those of the uniform bundle of its
            scale and precision.
        report: where progress is shown.

    Returns:
        By folder; without those that have no engine for ONNX Runtime.

    Raises:
        LzuError: a bundle's file is missing or was changed.
    """
    report = report or Reporter(quiet=True)
    names = {
        (folder, engine.precision): f"{folder.name} {TARGET}/{engine.precision}"
        for folder, manifest in bundles.items()
        for engine in manifest.engines
        if engine.target == TARGET
    }
    with ExitStack() as stack, report.working("timing all variants in turns"):
        subjects = {}
        for (folder, precision), name in names.items():
            predictor = stack.enter_context(load(folder, target=TARGET, precision=precision))
            subjects[name] = _subject(predictor, reference_batches(folder, bundles[folder]))
        timings = take_turns(subjects, _plan(subjects))
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    timed = tuple(dict.fromkeys(folder.name for folder, _ in names))
    found = {}
    for folder, manifest in bundles.items():
        mine = {p: timings[name] for (f, p), name in names.items() if f == folder}
        if not mine:
            continue
        base = base_of(folder, bundles)
        theirs = {p: timings[name] for (f, p), name in names.items() if f == base}
        frames = manifest.recipe.batch
        found[folder] = Comparison(
            created=created,
            machine=hardware.processor(),
            bundles=timed,
            rounds=len(next(iter(mine.values())).turns),
            milliseconds={
                f"{TARGET}/{p}": median(each.totals) / 1e6 / frames for p, each in mine.items()
            },
            base=None if base is None else base.name,
            ratios={
                f"{TARGET}/{p}": ratio(each, theirs[p]) for p, each in mine.items() if p in theirs
            },
            unsteady=tuple(
                f"{TARGET}/{p}" for p, each in mine.items() if abs(drift(each)) > UNSTEADY
            ),
        )
    return found


def base_of(folder: Path, bundles: Mapping[Path, Manifest]) -> Path | None:
    """The uniform bundle that another is compared with: of its recipe and scale."""
    mine = bundles[folder]
    if mine.variant == "uniform":
        return None
    for other, manifest in bundles.items():
        same = (manifest.name, manifest.recipe.scale) == (mine.name, mine.recipe.scale)
        if same and manifest.variant == "uniform":
            return other
    return None


def reference_batches(folder: Path, manifest: Manifest) -> list[list[Shot]]:
    """The batches of frames that a bundle's reference holds, before a made-up camera."""
    height, width = manifest.recipe.source
    camera = None
    if manifest.recipe.task == "det3d":
        camera = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]])
    references = read_reference(check_file(folder, REFERENCE_FILE, manifest))
    return [[Shot(frame, camera) for frame in each.frames] for each in references]


def _subject(predictor: Predictor, batches: Sequence[Sequence[Shot]]) -> Subject:
    numbers = count()

    def feed(_: int) -> Sequence[Shot]:
        place = next(numbers) % len(batches)
        if place == 0:
            predictor.reset()
        return batches[place]

    return Subject({"all": predictor.run}, feed)


def _plan(subjects: Mapping[str, Subject]) -> Plan:
    """As many rounds as there is time for."""
    pilot = Plan(queries=1, block=1, settle=0, warmup_queries=1, warmup_seconds=0.0)
    spent = sum(each.totals[0] for each in take_turns(subjects, pilot).values()) / 1e9
    single = spent * (BLOCK + 1) > SECONDS / 10
    block, settle = (1, 0) if single else (BLOCK, 1)
    least, most = ROUNDS
    rounds = round(min(max(SECONDS / (spent * (block + settle)), least), most))
    return Plan(
        queries=block * rounds, block=block, settle=settle, warmup_queries=0, warmup_seconds=0.0
    )

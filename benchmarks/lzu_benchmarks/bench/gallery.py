"""Make the pictures of a report: all bundles on the same frames, and the objects they differ in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lzu_benchmarks.bench.contender import PACKAGE, Contender, Store, runs_of, set_key
from lzu_benchmarks.harness.candidates import Shown, frames_of
from lzu_benchmarks.report.examples import draw_examples
from lzu_benchmarks.report.pictures import draw_found, draw_truth, draw_warp
from lzu_benchmarks.report.schema import Gallery, GalleryFrame, WarpPictures
from lzu_export.evaluation.resume import key_of
from lzu_export.runtime.predictor import Predictor
from lzu_export.support.progress import Reporter
from lzu_export.support.provenance import source_digest

FRAMES = 32
"""Largest number of batches that are run, in which objects are counted."""
DRAWN = 4
"""Number of frames that are drawn, evenly spread over those."""


def make_gallery(
    bundles: Sequence[Contender], store: Store, shown: str | None, report: Reporter
) -> Gallery:
    """Draw what every bundle finds in some frames, its warp, and examples of small objects.

    Args:
        bundles: bundles whose first engine that runs here is shown; others are left out.
        store: storage of results; the pictures lie beside them.
        shown: data set of the frames, see `candidates.frames_of`.
        report: progress reporter.

    Raises:
        LzuError: the frames do not fit a bundle, or a file cannot be written.
    """
    able = [bundle for bundle in bundles if bundle.runs]
    files = [(bundle.folder.name, bundle.manifest.files, runs_of(bundle)) for bundle in able]
    key = key_of(files, set_key(shown), source_digest(PACKAGE))
    if not able:
        return Gallery(key=key)
    return store.get("gallery", key, Gallery, lambda: _gallery(able, store, shown, key, report))


def _gallery(
    bundles: Sequence[Contender], store: Store, shown: str | None, key: str, report: Reporter
) -> Gallery:
    folder = store.folder
    folder.mkdir(parents=True, exist_ok=True)
    frames = frames_of(bundles[0], shown, FRAMES)
    chosen = drawn_of(len(frames.batches))
    pictures: dict[str, dict[int, str]] = {}
    warps: dict[str, WarpPictures] = {}
    predictions: dict[str, list[Any]] = {}
    with report.steps("drawing pictures", len(bundles) * len(frames.batches)) as advance:
        for bundle in bundles:
            name = bundle.folder.name
            with bundle.load(bundle.runs[0]) as predictor:
                found, warp, predicted = _run(predictor, frames, chosen, folder, name, advance)
            pictures[name], predictions[name] = found, predicted
            if warp is not None:
                warps[name] = warp
    return Gallery(
        key=key,
        frames=tuple(_frame(bundles[0], frames, i, pictures, folder) for i in chosen),
        what=frames.what,
        noise=frames.noise,
        warps=warps,
        examples=draw_examples(bundles, frames.samples, predictions, folder),
    )


def drawn_of(count: int) -> list[int]:
    """Return the indices of the drawn batches, evenly spread over `count`."""
    wanted = min(DRAWN, count)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def _run(
    predictor: Predictor,
    frames: Shown,
    chosen: Sequence[int],
    folder: Path,
    name: str,
    advance: Any,
) -> tuple[dict[int, str], WarpPictures | None, list[Any]]:
    """Predict in all batches, and draw the first frame of the chosen ones."""
    size = predictor.recipe.batch
    sequences = [each.sequence for each in frames.samples[::size]]
    found: dict[int, str] = {}
    warp: WarpPictures | None = None
    predictions: list[Any] = []
    predictor.reset()
    for i, batch in enumerate(frames.batches):
        if i and sequences and sequences[i] != sequences[i - 1]:
            predictor.reset()
        predicted = predictor.run(batch)
        predictions += predicted
        if i in chosen:
            found[i] = draw_found(predictor, batch[0], predicted[0], folder, f"{name}-{i}")
        if i == chosen[0] and predictor.recipe.variant != "uniform":
            warp = draw_warp(predictor, batch[0].frame, folder, f"{name}-warp")
        advance()
    return found, warp, predictions


def _frame(
    bundle: Contender, frames: Shown, i: int, pictures: dict[str, dict[int, str]], folder: Path
) -> GalleryFrame:
    recipe = bundle.manifest.recipe
    sample = frames.samples[i * recipe.batch] if frames.samples else None
    truth = None if sample is None else draw_truth(recipe, sample, folder, f"truth-{i}")
    named = sample.name if sample is not None and sample.name else str(i * recipe.batch + 1)
    found = {name: files[i] for name, files in pictures.items() if i in files}
    return GalleryFrame(name=Path(named).name, truth=truth, found=found)

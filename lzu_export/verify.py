"""Hold an engine against PyTorch's reference, arrow by arrow. No torch."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lzu_export.engines.base import Session
from lzu_export.errors import LzuError
from lzu_export.graph.lower_resample import Kind
from lzu_export.graph.passes import keep_outputs, run_passes
from lzu_export.graph.targets import target_passes
from lzu_export.recipes import Recipe
from lzu_export.runtime.compare import candidate_difference, relative_difference
from lzu_export.runtime.detector import INPUT_NAMES, WARP_FILE, open_session
from lzu_export.runtime.manifest import Drift, Engine, Manifest, check_file
from lzu_export.runtime.preprocess import ZoomedInput
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.runtime.reference import Reference, read_reference, subsample
from lzu_export.warp.tables import TablePair


def arrow_order(names: Sequence[str]) -> list[str]:
    """Arrow names in the order of the chain, levels ascending."""
    stages = ("zoomed", "level", "unzoomed")

    def key(name: str) -> tuple[int, str, int]:
        stem, _, number = name.rpartition("_")
        stem = stem if number.isdigit() else name
        place = stages.index(stem) if stem in stages else len(stages)
        return place, "" if place < len(stages) else stem, int(re.sub(r"\D", "", number) or 0)

    return sorted(names, key=key)


def verify_bundle(
    folder: Path,
    manifest: Manifest,
    engine: Engine,
    references: Sequence[Reference] | None = None,
) -> Drift:
    """Compare one engine of a bundle with `references`, by default the bundle's own.

    The arrows come from a flavour of the same graph with marked outputs, in the same lowering; the
    shipped engine is checked at its outputs.

    Raises:
        LzuError: a file of the bundle was changed.
    """
    if engine.target != "onnxruntime":
        check_file(folder, engine.file, manifest)
        return not_run(engine, manifest.recipe)
    if references is None:
        references = read_reference(check_file(folder, REFERENCE_FILE, manifest))
    with np.load(check_file(folder, WARP_FILE, manifest)) as arrays:
        zoom = TablePair(arrays["zoom_rows"], arrays["zoom_cols"])
    canonical = check_file(folder, f"model.{engine.precision}.onnx", manifest)
    choices = {each.place: each.kind for each in engine.lowerings}
    shipped = open_session(engine, check_file(folder, engine.file, manifest))
    return compare(manifest.recipe, engine, canonical, choices, shipped, references, zoom)


def not_run(engine: Engine, recipe: Recipe) -> Drift:
    """The entry of an engine that this machine cannot execute."""
    return Drift(
        target=engine.target,
        precision=engine.precision,
        status="not run",
        note="built and its parsed network checked; running it awaits an RTX card",
        limit=recipe.tolerances.arrow,
    )


def compare(
    recipe: Recipe,
    engine: Engine,
    canonical: Path,
    choices: Mapping[str, str],
    shipped: Session,
    references: Sequence[Reference],
    zoom: TablePair,
) -> Drift:
    """Largest relative difference at every arrow and output over all references."""
    arrows: dict[str, float] = {}
    outputs: dict[str, float] = {}
    names = arrow_order(list(references[0].arrows))
    prepare = ZoomedInput(recipe, zoom) if recipe.input == "zoomed" else None
    in_graph = [name for name in names if not (prepare and name == "zoomed")]
    marked = _marked_session(engine, canonical, choices, in_graph)
    for reference in references:
        image = prepare(reference.frames) if prepare else reference.frames
        inputs = {INPUT_NAMES[recipe.input]: image}
        values = marked.run(inputs)
        if prepare:
            values["zoomed"] = image[:, :, : recipe.canvas[0], : recipe.canvas[1]]
        for name in names:
            difference = relative_difference(subsample(values[name]), reference.arrows[name])
            arrows[name] = max(arrows.get(name, 0.0), difference)
        result = shipped.run(inputs)
        for name, difference in candidates(recipe, result, reference.outputs).items():
            outputs[name] = max(outputs.get(name, 0.0), difference)
    return Drift(
        target=engine.target,
        precision=engine.precision,
        status=_status({**arrows, **outputs}, recipe.tolerances.arrow),
        arrows=arrows,
        outputs=outputs,
        limit=recipe.tolerances.arrow,
    )


def first_drift(drift: Drift) -> str | None:
    """The first arrow or output of the chain that is over the limit."""
    for name, difference in {**drift.arrows, **drift.outputs}.items():
        if not difference <= drift.limit:
            return name
    return None


def candidates(
    recipe: Recipe, value: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]]
) -> dict[str, float]:
    """Worst differences of the decoded candidates over a batch."""
    worst: dict[str, float] = {}
    for i in range(recipe.batch):
        # Where no candidate would become a detection, the best ones are compared all the same.
        best = float(np.max(reference["scores"][i]))
        differences = candidate_difference(
            {name: array[i] for name, array in value.items()},
            {name: array[i] for name, array in reference.items()},
            recipe.candidates,
            floor=min(recipe.postprocess.score_threshold, best / 2),
            tie=recipe.tolerances.arrow,
        )
        worst = {name: max(worst.get(name, 0.0), d) for name, d in differences.items()}
    return worst


def _status(differences: Mapping[str, float], limit: float) -> str:
    return "passed" if all(d <= limit for d in differences.values()) else "drifted"


def _marked_session(
    engine: Engine, canonical: Path, choices: Mapping[str, str], names: Sequence[str]
) -> Session:
    model = onnx.load(canonical)
    kinds: dict[str, Kind] = dict(choices)  # type: ignore[arg-type]
    marked, _ = run_passes(model, [keep_outputs(names), *target_passes(engine.target, kinds)])
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "arrows.onnx"
            path.write_bytes(marked.SerializeToString())
            return open_session(engine, path)
    except OSError as error:
        raise LzuError(
            "the arrows' graph cannot be written to the temporary folder "
            f"({error.strerror or error}); free space there or set TMPDIR"
        ) from error

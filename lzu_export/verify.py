"""Hold an engine against PyTorch's reference, arrow by arrow. No torch."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from lzu_export.engines.base import Session
from lzu_export.engines.onnxruntime import OnnxRuntimeSession
from lzu_export.errors import LzuError
from lzu_export.graph.lower_deform_conv import deforms
from lzu_export.graph.lower_resample import Kind
from lzu_export.graph.passes import keep_outputs, run_passes
from lzu_export.graph.targets import target_passes
from lzu_export.recipes import Recipe
from lzu_export.runtime.bundle import WARP_FILE
from lzu_export.runtime.compare import relative_difference
from lzu_export.runtime.manifest import Drift, Engine, Manifest, check_file
from lzu_export.runtime.predictor import INPUT_NAMES
from lzu_export.runtime.preprocess import ZoomedInput
from lzu_export.runtime.reference import FILE as REFERENCE_FILE
from lzu_export.runtime.reference import Reference, read_reference, subsample
from lzu_export.tasks.outputs import compare_outputs
from lzu_export.warp.tables import TablePair

GRAPH_NOTE = (
    "its ONNX graph equals PyTorch in ONNX Runtime and its parsed network the graph; running the "
    "engine itself awaits an RTX card"
)


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
    shipped engine is checked at its outputs. Of an engine that needs its device, the ONNX graph it
    was built from is run in ONNX Runtime instead.

    Raises:
        LzuError: a file of the bundle was changed.
    """
    check_file(folder, engine.file, manifest)
    if references is None:
        references = read_reference(check_file(folder, REFERENCE_FILE, manifest))
    with np.load(check_file(folder, WARP_FILE, manifest)) as arrays:
        zoom = TablePair(arrays["zoom_rows"], arrays["zoom_cols"])
    canonical = check_file(folder, f"model.{engine.precision}.onnx", manifest)
    executable = check_file(folder, engine.onnx, manifest)
    return compare(manifest.recipe, engine, canonical, executable, references, zoom)


def compare(
    recipe: Recipe,
    engine: Engine,
    canonical: Path,
    executable: Path,
    references: Sequence[Reference],
    zoom: TablePair,
) -> Drift:
    """Largest relative difference at every arrow and output over all references.

    Args:
        recipe: what was exported.
        engine: its target and lowerings.
        canonical: the canonical graph, which knows the arrows.
        executable: the ONNX file that ONNX Runtime executes as it is or the engine was built from.
        references: PyTorch's values.
        zoom: tables of the zoom, for engines that begin at the zoomed image.
    """
    shipped = OnnxRuntimeSession(executable)
    itself = engine.target == "onnxruntime"
    arrows: dict[str, float] = {}
    outputs: dict[str, float] = {}
    names = arrow_order(list(references[0].arrows))
    prepare = ZoomedInput(recipe, zoom) if recipe.input == "zoomed" else None
    in_graph = [name for name in names if not (prepare and name == "zoomed")]
    marked = _marked_session(engine, canonical, in_graph)
    for reference in references:
        image = prepare(reference.frames) if prepare else reference.frames
        inputs = {INPUT_NAMES[recipe.input]: image, **reference.inputs}
        values = marked.run(inputs)
        if prepare:
            values["zoomed"] = image[:, :, : recipe.canvas[0], : recipe.canvas[1]]
        for name in names:
            difference = relative_difference(subsample(values[name]), reference.arrows[name])
            arrows[name] = max(arrows.get(name, 0.0), difference)
        result = shipped.run(inputs)
        for name, difference in compare_outputs(recipe, result, reference.outputs).items():
            outputs[name] = max(outputs.get(name, 0.0), difference)
    return Drift(
        target=engine.target,
        precision=engine.precision,
        status=_status({**arrows, **outputs}, recipe.tolerances.arrow, itself=itself),
        note="" if itself else GRAPH_NOTE,
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


def _status(differences: Mapping[str, float], limit: float, *, itself: bool) -> str:
    if not all(d <= limit for d in differences.values()):
        return "drifted"
    return "passed" if itself else "graph passed"


def _marked_session(engine: Engine, canonical: Path, names: Sequence[str]) -> Session:
    model = onnx.load(canonical)
    kinds: dict[str, Kind] = {each.place: each.kind for each in engine.lowerings}  # type: ignore[misc]
    passes = target_passes(engine.target, kinds, deforms=deforms(model))
    marked, _ = run_passes(model, [keep_outputs(names), *passes])
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "arrows.onnx"
            path.write_bytes(marked.SerializeToString())
            return OnnxRuntimeSession(path)
    except OSError as error:
        raise LzuError(
            "the arrows' graph cannot be written to the temporary folder "
            f"({error.strerror or error}); free space there or set TMPDIR"
        ) from error

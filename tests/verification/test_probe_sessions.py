"""An engine's outputs and probe points come from one session where they can."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="exporting needs torch")

from lzu_export.bundle.bundle import Bundle
from lzu_export.graph.lowering.choose import lowerings_by_place
from lzu_export.graph.read import load_graph
from lzu_export.targets.precision import emulated
from lzu_export.verification.parity import probe_order, reference_inputs
from lzu_export.verification.sessions import open_at_probes


@pytest.mark.parametrize(("precision", "one"), [("fp32", True), ("int8", False)])
def test_one_run_gives_outputs_and_probe_points(
    precision: str, one: bool, tiny_bundle: Path
) -> None:
    """The same values as two sessions give; only INT8, whose warps need the whole graph, has two.

    The graph is in FP32 in both cases.
    """
    bundle = Bundle(tiny_bundle)
    engine = bundle.manifest.engines[0]
    canonical, reference = bundle.canonical("fp32"), bundle.references[0]
    names = probe_order(list(reference.probes))
    itself, at_probes = open_at_probes(
        engine.model_copy(update={"precision": precision}),
        canonical,
        bundle.executable(engine),
        names,
        emulate=True,
        provider="cpu",
    )
    assert (itself in at_probes) == one
    inputs = reference_inputs(bundle.recipe, reference, bundle.zoom)
    values = itself.run(inputs)
    model, lowerings = load_graph(canonical), lowerings_by_place(engine.lowerings)
    outputs = emulated(model, lowerings).run(inputs)
    probes = emulated(model, lowerings, names).run(inputs)
    assert set(values) == set(outputs) | (set(probes) if one else set())
    for name, value in {**outputs, **(probes if one else {})}.items():
        np.testing.assert_array_equal(values[name], value)

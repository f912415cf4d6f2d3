"""Which layers to keep higher so that a refused engine passes: found, tried, and said."""

import math
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lzu_export.bundle.bundle import Bundle
from lzu_export.compiler.advice import parity_advice
from lzu_export.compiler.pipeline import Outcome, export
from lzu_export.compiler.remedy import Row, Trials, find_remedy, heads
from lzu_export.graph.lowering.choose import lowerings_by_place
from lzu_export.manifest.schema import Agreement, Parity
from lzu_export.recipes import Recipe
from lzu_export.recipes.schema import HigherPrecision
from lzu_export.runtime.reference import read_reference
from lzu_export.support.progress import Reporter
from lzu_export.targets.precision import calibrated_tensors, float32_session
from samples import tiny_recipe

HIDDEN, READER = "backbone.layer2.0.conv1", "backbone.layer2.0.conv2"
LAYERS = ("backbone.layer1.0.conv1", HIDDEN, READER)
QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A tiny detector in float32; not to be changed."""
    folder = tmp_path_factory.mktemp("remedy")
    lowering = {"zoom": "banded", "unzoom": "matmul"}
    return export(tiny_recipe(folder, lowering=lowering), folder)


def rescaled(outcome: Outcome, factors: Any) -> onnx.ModelProto:
    """The same function, with the hidden tensor of a block multiplied by this, channel by channel.

    What reads it takes that back.
    """
    model = onnx.load(outcome.folder / "model.fp32.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        name = tensor.name.removeprefix("model.")
        if name == f"{HIDDEN}.weight" or (values.ndim == 1 and name.startswith(f"{HIDDEN}.")):
            shape = [-1] + [1] * (values.ndim - 1)
            values = values * np.resize(factors, len(values)).reshape(shape)
        elif name == f"{READER}.weight":
            values = values / np.resize(factors, values.shape[1]).reshape(1, -1, 1, 1)
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return model


def trials(
    outcome: Outcome, model: onnx.ModelProto, precision: str, **tolerances: Any
) -> tuple[Trials, Row]:
    """What can be tried with a model, and the engine that its graph is of."""
    folder, manifest = outcome.folder, outcome.manifest
    engine = manifest.engines[0].model_copy(update={"precision": precision})
    if precision == "bf16":
        engine = engine.model_copy(update={"target": "tensorrt-rtx"})
    references = read_reference(folder / "reference.npz")
    names = calibrated_tensors(model, HigherPrecision())
    session = float32_session(model, lowerings_by_place(engine.lowerings), names)
    found = session.run({"frame": references[0].frames})
    ranges = {name: float(np.abs(found[name]).max()) for name in names}
    # An untrained network's scores say nothing: the probe points alone are held.
    limits = {
        "snr": {precision: tolerances.pop("snr")},
        "scores": {precision: 9.0},
        "matched": {precision: 0.0},
    }
    data = manifest.recipe.model_dump(mode="json")
    recipe: Recipe = type(manifest.recipe).model_validate({**data, "tolerances": limits})
    warp = Bundle(folder).warp
    tried = Trials(recipe, precision, model, ranges, references, warp)
    assert set(LAYERS) < set(tried.layers)
    tried.layers = LAYERS  # of all, which would take a minute
    return tried, (engine, False)


def worst(tried: Trials, row: Row, *high: str) -> float:
    return min(tried.parity(row, high).snr.values())


def test_the_layer_that_int8_costs_most_is_named_and_its_keeping_was_tried(
    exported: Outcome,
) -> None:
    """One channel is 3000 times the others, which all share its range."""
    factors = np.ones(4, np.float32)
    factors[0] = 3000
    model = rescaled(exported, factors)
    refused, whole = trials(exported, model, "int8", snr=0.0)
    before = worst(refused, whole)
    cured = worst(refused, whole, READER)
    assert cured > before + 3
    tried, row = trials(exported, model, "int8", snr=(before + cured) / 2)
    assert not tried.parity(row, ()).passed
    found = find_remedy(tried, row, [row, (row[0], True)])
    assert found.costliest == (READER,)
    assert found.keep == (READER,)
    said = parity_advice(tried, row, [row], QUIET)
    assert (
        f"due to {READER} most of all; with higher_precision.int8=[{READER}] the reference" in said
    )


def test_what_fp16_rounds_away_is_named_with_what_was_tried(exported: Outcome) -> None:
    model = rescaled(exported, np.float32([6e-6]))
    loose, row = trials(exported, model, "fp16", snr=0.0)
    emulated = row[0], True
    before, cured = worst(loose, emulated), worst(loose, emulated, HIDDEN, READER)
    assert cured > before + 1
    tried, _ = trials(exported, model, "fp16", snr=(before + cured) / 2)
    assert not tried.parity(emulated, ()).passed
    said = parity_advice(
        tried,
        emulated,
        [row, emulated],
        QUIET,
        tried.vanishing(lowerings_by_place(row[0].lowerings)),
    )
    assert said.startswith("it is due to ")
    assert ", which is at most" in said
    assert "FP16 has steps of 6e-08" in said
    keep = said.partition("higher_precision.fp16=[")[2].partition("]")[0].split(", ")
    assert HIDDEN in keep
    assert tried.parity(emulated, keep).passed
    assert tried.listed(keep) == tuple(keep)


@pytest.mark.slow
def test_bfloat16_is_advised_by_the_list_of_half_precision(exported: Outcome) -> None:
    model = rescaled(exported, np.ones(1, np.float32))
    loose, row = trials(exported, model, "bf16", snr=0.0)
    before = worst(loose, row)
    loose.layers = layers = Trials(
        loose.recipe, "bf16", model, {}, loose.references, loose.warp
    ).layers
    found: dict[str, float] = {name: worst(loose, row, name) for name in loose.layers}
    best = max(found, key=lambda name: found[name])
    assert found[best] > before
    tried, row = trials(exported, model, "bf16", snr=(before + found[best]) / 2)
    tried.layers = layers
    said = parity_advice(
        tried, row, [row], QUIET, tried.vanishing(lowerings_by_place(row[0].lowerings))
    )
    assert "steps of" not in said
    keep = said.partition("higher_precision.fp16=[")[2].partition("]")[0].split(", ")
    assert tried.parity(row, keep).passed


def test_where_no_list_cures_that_is_said(exported: Outcome) -> None:
    model = rescaled(exported, np.ones(1, np.float32))
    tried, row = trials(exported, model, "int8", snr=150.0)
    said = parity_advice(tried, row, [row], QUIET)
    assert "no list of layers in higher_precision.int8 was found to cure it, since what" in said
    assert "leave int8 out of --precision, try another calibration.method than max" in said
    assert "with higher_precision" not in said


def parity(**changes: Any) -> Parity:
    given = {"snr": {"level_0": 10.0, "level_1": 6.0}, "snr_limit": 8.0, **changes}
    return Parity(target="t", precision="int8", status="", limit=None, **given)


def test_noise_is_told_over_what_is_allowed() -> None:
    assert parity().excess() == pytest.approx(10**0.1)
    assert parity().excess("level_0") == pytest.approx(10**-0.1)
    assert parity(snr={"level_0": -math.inf}).excess() > 1e9
    assert parity(snr={"level_0": math.nan}).excess() == math.inf
    agreed = Agreement(scores=0.91, matched=0.5, count=100)
    found = parity(agreement=agreed, score_limit=0.03, matched_limit=0.9)
    assert found.excess("matched scores") == pytest.approx(3)
    assert found.excess() == pytest.approx(5)


def test_heads_of_a_ranking_never_hold_all() -> None:
    ranking = [("a",), ("b", "c"), ("d",), ("e",)]
    assert list(heads(ranking)) == [("a",), ("a", "b", "c"), ("a", "b", "c", "d")]
    assert list(heads(ranking, (1, 4))) == [("a",)]
    assert list(heads([])) == []

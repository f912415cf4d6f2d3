"""The steps of docs/architecture.md, followed once: a target, an operator, a lowering, a command.

A task and a layout of its own are followed in tests/tasks/test_own_task.py, a source of knots in
tests/tasks/test_adaptive_warps.py.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import typer.testing
import yaml

pytest.importorskip("torch", reason="exporting needs torch")

import torch

import lzu_export
from lzu_export.bundle.bundle import Bundle
from lzu_export.cli import installed
from lzu_export.cli.app import app
from lzu_export.compiler.pipeline import export
from lzu_export.errors import LzuError
from lzu_export.graph.lowering import registry as lowerings
from lzu_export.ops import bodies
from lzu_export.ops import registry as operators
from lzu_export.ops.base import Operator
from lzu_export.ops.body import Body
from lzu_export.ops.contract import Contract, Field, Tensor
from lzu_export.ops.contracts import config_text
from lzu_export.recipes.targets import TARGETS
from lzu_export.targets.onnxruntime_target import DIALECT, OnnxRuntime
from samples import adaptive_model, run_onnx, tiny_recipe


class Mine(OnnxRuntime):
    """A target of one's own, which takes FP32 alone."""

    name = "mine"
    title = "A runtime of one's own"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    dialect = replace(
        DIALECT,
        name="mine",
        lowerings={"zoom": ("matmul", "its default"), "unzoom": ("matmul", "its default")},
    )


def test_a_target_of_one_s_own_is_exported_verified_and_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TARGETS, "_registered", {"mine": Mine()})
    recipe = tiny_recipe(tmp_path, targets=["onnxruntime", "mine"])
    bundle = export(recipe, tmp_path / "out").folder
    manifest = Bundle(bundle).manifest
    assert [each.name for each in manifest.made] == ["onnxruntime/fp32", "mine/fp32"]
    assert {each.target: each.status for each in manifest.parity}["mine"] == "passed"
    (engine,) = [each for each in manifest.engines if each.target == "mine"]
    assert {each.reason for each in engine.lowerings} == {"its default"}
    frame = np.random.default_rng(0).integers(0, 255, (*recipe.source, 3), np.uint8)
    mine, theirs = (
        lzu_export.load(bundle, target=target, score_threshold=0.0)(frame)
        for target in ("mine", "onnxruntime")
    )
    assert len(mine) > 0
    np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=1e-4)


def halve(x: torch.Tensor, by: float) -> torch.Tensor:
    return x / by


def halved(call: onnx.NodeProto, shapes: Sequence[Sequence[int]], opset: int) -> onnx.FunctionProto:
    (by,) = [each.f for each in call.attribute if each.name == "by"]
    body = Body("Halve")
    body.node("Div", "x", np.float32(by), name="y")
    return body.function(HALVE.contract, opset)


HALVE = Operator(
    name="Halve",
    torch_name="halve",
    doc="Divides.",
    contract=Contract(
        inputs=(Tensor("x", ("B", "n"), "float32"),),
        outputs=(Tensor("y", ("B", "n"), "float32"),),
        fields={"by": Field("float32", default=2)},
        formats=("float32 linear",),
    ),
    definition=halve,
    body=halved,
    computed_warp=True,
)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operators.OPERATORS, "Halve", HALVE)  # type: ignore[arg-type]
    monkeypatch.setattr(lowerings, "LOWERINGS", dict(lowerings.LOWERINGS))
    assert bodies.OPERATORS is operators.OPERATORS


X = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)


@pytest.mark.usefixtures("registered")
def test_an_operator_s_schema_body_and_contract_follow_from_its_file() -> None:
    schema = HALVE.schema()
    assert [each.name for each in schema.inputs] == ["x"]
    assert schema.attributes["by"].default_value.f == 2
    found = run_onnx(adaptive_model("Halve", {"x": X}, {"y": X.shape}, by=4.0), x=X)["y"]
    np.testing.assert_allclose(found, halve(torch.from_numpy(X), 4.0).numpy(), rtol=1e-6)
    contract = yaml.safe_load(config_text(HALVE))
    assert contract["attributes"]["by"]["default"] == 2
    assert contract["inputs"]


@pytest.mark.usefixtures("registered")
def test_a_lowering_of_it_is_found_by_its_call_and_replaces_it() -> None:
    def lower(graph: gs.Graph, call: gs.Node, kind: str) -> None:
        (by,) = [call.attrs["by"]]
        factor = gs.Constant("factor", np.array(1 / by, np.float32))
        outputs = list(call.outputs)
        call.outputs.clear()
        graph.nodes.append(gs.Node("Mul", "halved", {}, [call.inputs[0], factor], outputs))

    graph = gs.import_onnx(adaptive_model("Halve", {"x": X}, {"y": X.shape}, bodies=False, by=4.0))
    (call,) = graph.nodes
    with pytest.raises(LzuError, match="calls Halve, which has no lowerings"):
        lowerings.lowerings_of(call)
    lowerings.register("Halve", ("multiply",), lower)
    found = lowerings.lowerings_of(call)
    assert found.possible(call) == ["multiply"]
    found.lower(graph, call, "multiply")
    lowered = gs.export_onnx(graph.cleanup())
    assert [each.op_type for each in lowered.graph.node] == ["Mul"]
    np.testing.assert_allclose(run_onnx(lowered, x=X)["y"], X / 4, rtol=1e-6)


def test_a_lowering_of_an_unknown_operator_is_refused() -> None:
    with pytest.raises(LzuError, match="there is no operator lzu::Ghost to lower; add it to"):
        lowerings.register("Ghost", ("multiply",), lambda *_: None)


@pytest.fixture
def greeting(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """An installed package that announces the command `greet`; what it was called with."""
    calls: list[Sequence[str]] = []
    package = ModuleType("greeting")
    package.main = calls.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "greeting", package)
    entry = SimpleNamespace(
        name="greet",
        value="greeting:main",
        dist=SimpleNamespace(name="lzu-greeting"),
        load=lambda: package.main,
    )
    monkeypatch.setattr(installed, "entry_points", lambda group: [entry])
    return calls


def test_a_command_of_an_installed_package_is_listed_and_gets_all_arguments(
    greeting: list[Sequence[str]],
) -> None:
    runner = typer.testing.CliRunner()
    shown = runner.invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    assert "greet" in shown
    assert "Command of the installed package lzu-greeting." in shown
    assert runner.invoke(app, ["greet", "you", "--loud", "--help"]).exit_code == 0
    assert greeting == [["you", "--loud", "--help"]]
    assert runner.invoke(app, ["great"]).exit_code == 2

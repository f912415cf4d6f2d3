"""Engines of networks that select entries by rank, among which are ties."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import lzu_export as lzu
from lzu_export.bundle.bundle import Bundle
from lzu_export.manifest.comparison import Parity
from lzu_export.verification.parity import compare
from lzu_export.verification.selections import deviation
from wrapped_networks import seeded, warp


class TwoStages(nn.Module):
    """The eight patches of the best scores, each added to the mean of all eight.

    The scores are all equal if `tied`, so any eight are right.
    """

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 6, 1)
        self.tied = tied

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        entries = self.head(self.body(x)).flatten(2).transpose(1, 2)
        scores = entries.amax(2)
        scores = scores.abs().clamp(max=1e-6) if self.tied else scores
        chosen = scores.topk(8, dim=1).indices
        queries = entries.gather(1, chosen[..., None].expand(-1, -1, 6))
        return {"logits": queries + queries.mean(1, keepdim=True)}


def exported(out: Path, *, tied: bool) -> Bundle:
    network = lzu.wrap(seeded(TwoStages, tied=tied), warp(), ["body"])
    options: dict[str, Any] = {
        "normalisation": {"order": "rgb", "mean": [100, 110, 120], "std": [60, 61, 62]},
        "targets": ["onnxruntime"],
        "precision": ["fp32"],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lzu_export.evaluation.evaluate.SECONDS", 0.0)
        return Bundle(lzu.export(network, out, **options).folder)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Bundle of a network whose scores are all equal."""
    return exported(tmp_path_factory.mktemp("tied"), tied=True)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Bundle of a network whose scores differ."""
    return exported(tmp_path_factory.mktemp("apart"), tied=False)


def test_ties_are_compared_at_pytorchs_selection(tied: Bundle) -> None:
    """PyTorch's eight of equal scores are not ONNX Runtime's; both are right, and it is told."""
    reference = tied.references[0]
    assert reference.selections["selected_0"].tolist() != [list(range(8))], "no other selection"
    (parity,) = lzu.verify(tied.folder)
    assert parity.status == "passed"
    assert "outputs at PyTorch's selection among nearly equal scores" in parity.note
    assert parity.probes["selected_0"] == 0.0
    assert 0 < parity.outputs["logits"] < 1e-5


def test_where_both_select_the_same_the_engines_own_outputs_count(apart: Bundle) -> None:
    (parity,) = lzu.verify(apart.folder)
    assert parity.status == "passed"
    assert "selection" not in parity.note
    assert parity.probes["selected_0"] < 1e-7


def compared(bundle: Bundle, model: onnx.ModelProto, folder: Path) -> Parity:
    """Compare a changed graph in place of the bundle's engine."""
    onnx.save(model, folder / "changed.onnx")
    return compare(
        bundle.recipe,
        bundle.manifest.engines[0],
        bundle.canonical("fp32"),
        folder / "changed.onnx",
        bundle.references,
        bundle.warp,
    )


def executed(bundle: Bundle) -> onnx.ModelProto:
    return onnx.load(bundle.executable(bundle.manifest.engines[0]))


def test_an_engine_that_selects_the_worst_fails(apart: Bundle, tmp_path: Path) -> None:
    """All that follows is right at PyTorch's selection, but its own selection is not."""
    model = executed(apart)
    (node,) = [each for each in model.graph.node if each.op_type == "TopK"]
    (largest,) = [each for each in node.attribute if each.name == "largest"]
    largest.i = 0
    found = compared(apart, model, tmp_path)
    assert (found.status, found.first and found.first.name) == ("failed", "selected_0")


def test_an_engine_that_errs_after_a_tie_fails(tied: Bundle, tmp_path: Path) -> None:
    """PyTorch's selection excuses other entries, and nothing that is computed from them."""
    model = executed(tied)
    (last,) = [each for each in model.graph.node if "logits" in each.output]
    last.output[0] = "right"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1.001), "wrong"))
    model.graph.node.append(onnx.helper.make_node("Mul", ["right", "wrong"], ["logits"]))
    found = compared(tied, model, tmp_path)
    assert (found.status, found.first and found.first.name) == ("failed", "logits")
    assert found.outputs["logits"] == pytest.approx(0.001, rel=0.01)


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=9, unique=True), st.integers(0), st.data())
def test_the_deviation_is_what_flips_the_selection(
    scores: list[int], at: int, data: st.DataObject
) -> None:
    """If all scores move by as much, PyTorch's entry ties with the engine's; by less, it loses."""
    x = np.array(scores, np.float64)
    own, theirs = int(np.argmax(x)), at % len(x)
    largest = np.abs(x).max()
    moved = deviation(x[[theirs]], x[[own]], largest) * largest
    part = data.draw(st.floats(0, 0.99))
    assert x[theirs] + moved == pytest.approx(x[own] - moved)
    assert theirs == own or x[theirs] + part * moved < x[own] - part * moved


def test_equal_selections_do_not_deviate_even_among_zeros() -> None:
    zeros = np.zeros(3, np.float32)
    assert deviation(zeros, zeros, np.zeros((), np.float32)) == 0.0

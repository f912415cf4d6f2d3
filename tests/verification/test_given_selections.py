"""Engines of networks that select entries by rank, among which are ties."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import lzu_export as lzu
from lzu_export.bundle.bundle import Bundle
from lzu_export.manifest.comparison import Parity
from lzu_export.verification.parity import compare
from lzu_export.verification.selections import deviation, ranked_scores, unlikeness
from samples import refusal
from wrapped_networks import seeded, warp


class TwoStages(nn.Module):
    """The eight patches of the best scores, each added to the mean of all eight.

    The scores are all equal if `tied`, so any eight are right. With a `mask`, every third patch has
    that score and is not selected.
    """

    def __init__(self, *, tied: bool = False, mask: float | None = None) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 6, 1)
        self.tied, self.mask = tied, mask

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        entries = self.head(self.body(x)).flatten(2).transpose(1, 2)
        scores = entries.amax(2)
        scores = scores.abs().clamp(max=1e-6) if self.tied else scores
        if self.mask is not None:
            masked = torch.arange(scores.shape[1])[None] % 3 == 0
            scores = scores.masked_fill(masked, self.mask)
        chosen = scores.topk(8, dim=1).indices
        queries = entries.gather(1, chosen[..., None].expand(-1, -1, 6))
        return {"logits": queries + queries.mean(1, keepdim=True)}


class Classifier(nn.Module):
    """The class and the score of each image; two classes are equally likely."""

    def __init__(self, *, mask: float = 0.0) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 4)
        self.mask = mask

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores = self.head(self.body(x).mean((2, 3)))
        scores = torch.cat([scores, scores.flip(1)], 1)
        return {"label": scores.argmax(1), "score": scores.amax(1) + self.mask}


def exported(out: Path, network: type[nn.Module] = TwoStages, **kinds: Any) -> Bundle:
    wrapped = lzu.wrap(seeded(network, **kinds), warp(), ["body"])
    options: dict[str, Any] = {
        "normalisation": {"order": "rgb", "mean": [100, 110, 120], "std": [60, 61, 62]},
        "targets": ["onnxruntime"],
        "precision": ["fp32"],
    }
    return Bundle(lzu.export(wrapped, out, **options).folder)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Bundle of a network whose scores are all equal."""
    return exported(tmp_path_factory.mktemp("tied"), tied=True)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Bundle of a network whose scores differ."""
    return exported(tmp_path_factory.mktemp("apart"))


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


def test_a_number_per_image_is_an_output(tmp_path: Path) -> None:
    """Its shape is (B,), as is that of the classes selected from ties."""
    bundle = exported(tmp_path, Classifier)
    assert [each.shape for each in bundle.references[0].selections.values()] == [(1,)]
    (parity,) = lzu.verify(bundle.folder)
    assert parity.status == "passed"
    assert set(parity.outputs) == {"label", "score"}
    found = lzu.load(bundle.folder)(bundle.references[0].frames[0])
    assert int(found["label"]) in range(8)
    assert np.ndim(found["score"]) == 0


def test_infinite_outputs_are_refused_as_the_network_s_own(tmp_path: Path) -> None:
    """They were called a difference of the engine, with a lowering as the remedy."""
    said = refusal(lambda: exported(tmp_path, Classifier, mask=-math.inf))
    assert said.startswith(
        "output score of PyTorch is not finite on the reference frames, so no engine can be "
        "compared with it; let the network return finite numbers"
    )


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


@pytest.mark.parametrize("mask", [-math.inf, -1e9])
def test_a_mask_excuses_no_selection(mask: float, tmp_path: Path) -> None:
    """Neither its magnitude nor the difference of two infinite scores is that of rounding.

    The changed engine selects the eight worst patches that are not masked.
    """
    bundle = exported(tmp_path, mask=mask)
    model = executed(bundle)
    (node,) = [each for each in model.graph.node if each.op_type == "TopK"]
    scores, place = node.input[0], list(model.graph.node).index(node)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(-100), "low"))
    for shift, (op, inputs, output) in enumerate(
        [
            ("Neg", [scores], "negated"),
            ("Less", [scores, "low"], "masked"),
            ("Where", ["masked", scores, "negated"], "reversed"),
        ]
    ):
        model.graph.node.insert(place + shift, onnx.helper.make_node(op, inputs, [output]))
    node.input[0] = "reversed"
    found = compared(bundle, model, tmp_path)
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
    largest = float(np.abs(x).max())
    moved = deviation(x[[theirs]], x[[own]], largest) * largest
    part = data.draw(st.floats(0, 0.99))
    assert x[theirs] + moved == pytest.approx(x[own] - moved)
    assert theirs == own or x[theirs] + part * moved < x[own] - part * moved


def test_equal_selections_do_not_deviate_even_among_zeros() -> None:
    zeros = np.zeros(3, np.float32)
    assert deviation(zeros, zeros, np.zeros((), np.float32)) == 0.0


ROUNDED = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(ROUNDED, st.floats(0, 20), st.floats(0, 0.1))
def test_a_selection_among_noisy_scores_is_rounding(
    random: np.random.Generator, offset: float, noise: float
) -> None:
    """The noise is a part of the scores' spread, as that of a lower precision."""
    theirs = random.standard_normal(300) + offset
    scores = theirs + noise * random.standard_normal(300)
    ranked = np.argsort(-theirs)[:30]
    own = -np.sort(-scores)[:30]
    assert unlikeness(scores[ranked], own, scores) <= 4 * noise


@given(ROUNDED, st.floats(3, 20))
def test_an_opposite_selection_is_none(random: np.random.Generator, offset: float) -> None:
    """However close together the scores lie in relation to their magnitude."""
    scores = 10 * offset + random.standard_normal(300)
    best = -np.sort(-scores)
    assert unlikeness(np.sort(scores), best, scores) >= 1


@pytest.mark.parametrize("mask", [-math.inf, -1e9, np.finfo(np.float32).min])
def test_masked_scores_are_left_out(mask: float) -> None:
    scores = np.array([3, mask, 1, mask, 2], np.float32)
    np.testing.assert_array_equal(ranked_scores(scores), [3, 1, 2])
    best, own = np.array([3, mask], np.float32), np.array([3, mask], np.float32)
    assert unlikeness(best, own, scores) == 0.0
    assert unlikeness(np.array([1.0]), np.array([3.0]), scores) == pytest.approx(1.0)


def test_infinite_scores_against_others_are_no_rounding() -> None:
    scores = np.array([-math.inf, 1, 2, math.nan])
    assert unlikeness(scores[:1], scores[1:2], scores) == math.inf
    assert unlikeness(scores[3:], scores[3:], scores) == math.inf

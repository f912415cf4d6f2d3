"""INT8: which layers stay in a higher precision, by themselves or by the recipe."""

import numpy as np
import pytest
from quantised_networks import (
    MAP,
    SHAPE,
    behind,
    constants,
    finished,
    network,
    pairs,
    placed,
    quantised,
)

from lzu_export.errors import LzuError
from samples import node_named


def test_predictions_deformable_convolutions_and_their_offsets_stay() -> None:
    net = network()
    net.predicted_deform("stem", MAP)
    net.conv("deform", SHAPE, to="after")
    net.op("MatMul", np.full((3, 12), 1 / 12, np.float32), "after", to="means")
    net.conv("means", (4, 4, 1, 1), to="pooled")
    net.op("Neg", np.ones((4, 4, 1, 1), np.float32), to="weight")
    net.op("Conv", "pooled", "weight", to="computed")
    model = finished(net, "computed")
    placement = placed(model)
    assert set(placement.layers) == {"first", "after"}
    assert placement.kept == {
        "conv_offset": "it computes where a deformable convolution samples",
        "deform": "a deformable convolution has no INT8 kernel",
        "pooled": "its data are pooled means, few and precise",
        "computed": "its weights are computed",
        "last": "a prediction: scores and regressions keep their resolution",
    }
    made = quantised(model)
    for name in placement.kept:
        assert behind(made, name, 0) == behind(made, name, 1) == ""


def test_the_recipe_keeps_layers_by_pattern_and_mistakes_are_told_the_nearest() -> None:
    net = network()
    net.conv("stem", SHAPE, to="layer1.0.conv1")
    net.conv("layer1.0.conv1", SHAPE, to="layer1.0.conv2")
    model = finished(net, "layer1.0.conv2")
    placement = placed(model, "layer1.*")
    assert set(placement.layers) == {"first"}
    assert placement.kept["layer1.0.conv1"] == "the recipe keeps it"
    assert pairs(quantised(model, "layer1.*")) == {"x"}
    message = (
        r"higher_precision\.int8 names layer1\.0\.conv, which matches no layer; did you mean layer1"
    )
    with pytest.raises(LzuError, match=message):
        placed(model, "layer1.0.conv")
    with pytest.raises(LzuError, match="matches no layer"):
        placed(model, "stem")  # a tensor, no layer


def test_a_layer_of_several_levels_has_one_set_of_weights_and_is_kept_as_a_whole() -> None:
    net = network()
    net.op("MaxPool", "stem", to="coarse", kernel_shape=[2, 2], strides=[2, 2])
    for level, x in (("fine", "stem"), ("low", "coarse")):
        net.conv(x, SHAPE, to=f"{level}_tower", layer="tower")
        net.conv(f"{level}_tower", (4, 4, 1, 1), to=f"{level}_scores", layer="scores")
    model = net.model("fine_scores", "low_scores")
    assert placed(model).layers == {"first": ("first",), "tower": ("fine_tower", "low_tower")}
    made = quantised(model)
    read = [node_named(made, f"{level}_tower").input[1] for level in ("fine", "low")]
    assert read[0] == read[1]
    assert sum(name.endswith("weight/int8") for name in constants(made)) == 2
    assert set(placed(model, "tower").layers) == {"first"}


def test_one_level_that_predicts_keeps_its_layer_high_everywhere() -> None:
    net = network()
    net.conv("stem", SHAPE, to="inner", layer="shared")
    net.conv("inner", SHAPE, to="outer", layer="shared")
    placement = placed(net.model("outer"))
    assert set(placement.layers) == {"first"}
    assert placement.kept["shared"].startswith("a prediction")


def test_weights_too_small_for_a_scale_stay_high_and_single_channels_do_not() -> None:
    """In INT8 such weights would become a few steps or zero, which a later layer enlarges."""
    net = network()
    net.conv("stem", SHAPE, to="small")
    net.conv("small", SHAPE, to="mixed")
    net.constants["model.small.weight"] *= np.float32(1e-5)
    net.constants["model.mixed.weight"][1:] *= np.float32(1e-20)
    placement = placed(finished(net, "mixed"))
    assert placement.kept["small"] == "its weights are smaller than a float16 scale can resolve"
    assert set(placement.layers) == {"first", "mixed"}

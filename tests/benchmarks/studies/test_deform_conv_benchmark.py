"""The benchmark runs every form of a layer, and they compute the same."""

import json
from pathlib import Path

import numpy as np
import pytest

from lzu_benchmarks.studies import deform_conv
from lzu_benchmarks.studies.deform_conv import DECOMPOSITIONS, LAYERS, Layer, layer_model, main
from lzu_export.graph.lowering.deform_conv import KINDS
from lzu_export.recipes.networks import Fcos3dConfig
from samples import relative, run_onnx

SMALL = Layer("small", 8, 8, 3)
SCALE = 0.05  # 45 x 80, padded to 64 x 96


def test_layers_have_the_sizes_of_the_network() -> None:
    config = Fcos3dConfig(num_classes=10)
    assert config.stage_with_dcn == (False, False, True, True)
    assert config.dcn_on_last_conv
    assert [layer.size(0.5) for layer in LAYERS] == [(30, 50), (15, 25), (60, 100)]
    assert [layer.size(1.0) for layer in LAYERS] == [(58, 100), (29, 50), (116, 200)]
    assert [layer.channels for layer in LAYERS] == [
        config.base_channels * 4,
        config.base_channels * 8,
        config.feat_channels,
    ]


def test_all_forms_of_a_layer_compute_the_same() -> None:
    rng = np.random.default_rng(0)
    height, width = SMALL.size(SCALE)
    assert (height, width) == (8, 12)
    inputs = {
        name: rng.standard_normal((1, channels, height, width)).astype(np.float32)
        for name, channels in (("x", 8), ("offset", 18), ("mask", 9))
    }
    first, *others = (run_onnx(layer_model(SMALL, SCALE, kind), **inputs)["y"] for kind in KINDS)
    for other in others:
        assert relative(other, first) < 1e-5


@pytest.mark.parametrize("build", [True, False])
def test_figures_are_printed_and_written(
    build: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deform_conv, "LAYERS", (SMALL,))
    monkeypatch.setattr(deform_conv, "peak_memory", len)
    monkeypatch.setattr(deform_conv, "builds", lambda *_: {"gather": "builds"})
    options = ["--out", str(tmp_path / "bench"), "--scale", str(SCALE), "--rounds", "1"]
    main(options if build else [*options, "--no-build"])
    result = json.loads((tmp_path / "bench" / "deform_conv.json").read_text())
    assert [each["kind"] for each in result["layers"]] == list(KINDS)
    totals = result["per_frame"]["0.05"]
    for each in result["layers"]:
        assert each["milliseconds"] > 0
        assert totals[each["kind"]] == pytest.approx(3 * each["milliseconds"])
    assert result["tensorrt_rtx"] == ({"gather": "builds"} if build else {})
    printed = capsys.readouterr().out
    assert all(kind in printed for kind in KINDS)
    assert ("TensorRT-RTX, gather: builds" in printed) == build


@pytest.mark.slow
def test_memory_is_that_of_the_run() -> None:
    """A map of 8 MB cannot be convolved in less, nor does this one take much more."""
    layer = Layer("large", 64, 8, 1)
    model = layer_model(layer, 1.5, "deformconv").SerializeToString()
    height, width = layer.size(1.5)
    needed = 4 * 64 * height * width
    assert needed < deform_conv.peak_memory(model) < 30 * needed


@pytest.mark.slow
def test_tensorrt_rtx_builds_them_all() -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    found = deform_conv.builds(SMALL, SCALE)
    assert list(found) == list(DECOMPOSITIONS)
    assert all(text.startswith("builds with") for text in found.values())

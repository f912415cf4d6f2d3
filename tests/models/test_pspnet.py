"""PSPNet against mmseg's outputs, its cuts, its label decode, and its export."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from golden_weights import load_golden
from lzu_export.errors import LzuError
from lzu_export.models.checkpoint import load_into, load_state, save_checkpoint
from lzu_export.models.pspnet import (
    AUXILIARY,
    ClassMap,
    FusedFPN,
    PSPNet,
    build_pspnet,
    inference_state,
)
from lzu_export.models.trace import trace
from lzu_export.models.zoom import Resample, SourceToCanvas, Unzoom, ZoomedModel
from lzu_export.recipes.networks import PSPNetConfig
from lzu_export.warp.geometry import level_sizes
from lzu_export.warp.knots import separable_knots
from lzu_export.warp.tables import label_tables, unzoom_tables, zoom_tables
from samples import dialect, relative, run_onnx

SLIM = PSPNetConfig(num_classes=5, depth=18, base_channels=8, channels=8, fpn_channels=8)
CUTS: list[dict[str, Any]] = [
    {},
    {"output_stride": 16},
    {"cut": "fpn"},
    {"cut": "fpn", "fpn_stride": 8, "output_stride": 32},
]
SOURCE, CANVAS = (90, 140), (64, 96)


def slim(**changes: Any) -> PSPNet:
    torch.manual_seed(0)
    net = build_pspnet(SLIM.model_copy(update=changes)).eval()
    for name, tensor in net.state_dict().items():
        if name.endswith("weight") and tensor.dim() == 1:
            tensor.uniform_(0.3, 0.7)  # or every residual branch would start silent
    nn.init.normal_(net.decode_head.conv_seg.weight)
    return net


def test_resnet50_has_mmsegs_names_and_outputs(golden: Path) -> None:
    file = golden / "openmmlab_pspnet_r50.npz"
    data = np.load(file)
    net = build_pspnet(PSPNetConfig(num_classes=19)).eval()
    load_golden(net, file, ignored=AUXILIARY)
    with torch.no_grad():
        logits = net(torch.from_numpy(data["input"])).numpy()
    assert relative(logits, data["output_00"]) < 1e-4


def test_only_the_auxiliary_head_of_mmseg_s_checkpoint_is_left_out(
    golden: Path, tmp_path: Path
) -> None:
    data = np.load(golden / "openmmlab_pspnet_r50.npz")
    state = {
        name: torch.zeros([int(n) for n in shape.split(",")] if shape else [])
        for name, shape in zip(data["keys"].tolist(), data["shapes"].tolist(), strict=True)
    }
    save_checkpoint(tmp_path / "mmseg.pth", state)
    kept = inference_state(load_state(tmp_path / "mmseg.pth"))
    assert {name for name in state if name not in kept} == {
        name for name in state if name.startswith("auxiliary_head.")
    }
    load_into(build_pspnet(PSPNetConfig(num_classes=19)), kept, name="mmseg.pth")


@pytest.mark.parametrize("changes", CUTS)
def test_forward_is_extract_then_head(changes: dict[str, Any]) -> None:
    config, net = SLIM.model_copy(update=changes), slim(**changes)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        (level,) = net.extract(image)
        ((logits,),) = net.head([level])
        torch.testing.assert_close(net(image), logits, rtol=0, atol=0)
    (stride,) = config.strides
    assert level.shape[2:] == logits.shape[2:] == (64 // stride, 96 // stride)
    assert level.shape[1] == (8 if config.cut == "fpn" else 64)
    assert logits.shape[1] == 5
    assert level.std() > 0


def test_a_stride_that_only_an_own_network_has_is_refused() -> None:
    with pytest.raises(LzuError, match=r"no level has the FPN's stride 2; choose one of \[4, "):
        slim(cut="fpn", fpn_stride=2)


@pytest.mark.parametrize("size", [(70, 101), (33, 64), (256, 64)])
@pytest.mark.parametrize("changes", CUTS)
def test_levels_have_the_sizes_that_the_geometry_expects(
    size: tuple[int, int], changes: dict[str, Any]
) -> None:
    """Sizes are divided by the stride and rounded up."""
    with torch.no_grad():
        (level,) = slim(**changes).extract(torch.randn(1, 3, *size))
    strides = SLIM.model_copy(update=changes).strides
    assert tuple(level.shape[2:]) == level_sizes(size, strides, 1)[0].size


def test_the_head_is_mmsegs_formula() -> None:
    """It concatenates the map with pooling branches by PyTorch's own pooling and interpolation."""
    head = slim().decode_head
    x = torch.randn(2, 64, 7, 11)
    parts = [x]
    for bins, module in zip((1, 2, 3, 6), head.psp_modules, strict=True):
        assert isinstance(module, nn.Sequential)
        branch = module[1](functional.adaptive_avg_pool2d(x, bins))
        parts.append(functional.interpolate(branch, x.shape[2:], mode="bilinear"))
    expected = head.conv_seg(head.bottleneck(torch.cat(parts, dim=1)))
    torch.testing.assert_close(head(x), expected, rtol=1e-4, atol=1e-4)


def test_the_fused_map_is_the_sum_of_the_pyramid_in_phase() -> None:
    torch.manual_seed(1)
    neck = FusedFPN((2, 3, 4, 5), (4, 8, 16, 32), 6, 8).eval()
    levels = [
        torch.randn(1, c, 64 // s, 96 // s)
        for c, s in zip((2, 3, 4, 5), (4, 8, 16, 32), strict=True)
    ]
    with torch.no_grad():
        (fused,) = neck(levels)
        p2, p3, p4, p5 = super(FusedFPN, neck).forward(levels)
    # At every fourth cell all levels have a cell of their own.
    expected = p2[..., ::8, ::8] + p3[..., ::4, ::4] + p4[..., ::2, ::2] + p5
    torch.testing.assert_close(fused[..., ::4, ::4], expected)


def test_a_neck_without_a_level_of_its_stride_is_refused() -> None:
    with pytest.raises(LzuError, match="stride 4"):
        FusedFPN((2, 3), (8, 16), 6, 4)


def test_another_number_of_classes_is_named_as_such() -> None:
    state = slim(num_classes=7).state_dict()
    with pytest.raises(LzuError, match="has 7 classes, recipe has 5"):
        load_into(slim(), state, name="a.pth")


def test_it_trains_one_step() -> None:
    net = slim().train()
    loss = functional.cross_entropy(net(torch.randn(2, 3, 64, 64)), torch.zeros(2, 8, 8).long())
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def class_map(cells: tuple[int, int], size: tuple[int, int]) -> ClassMap:
    """Edge on edge, as mmseg resizes."""
    tables = label_tables(cells, 1.0, cells, size, canvas_step=(1.0, 1.0), upsampling="half-pixel")
    return ClassMap(*tables)


@pytest.mark.parametrize("size", [(32, 48), (33, 50), (4, 6), (3, 5)])
def test_class_map_is_upsampling_and_argmax(size: tuple[int, int]) -> None:
    logits = torch.randn(2, 6, 4, 6)
    resized, classes = class_map((4, 6), size)(logits)
    expected = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized, expected, rtol=1e-5, atol=1e-5)
    assert (classes.dtype, tuple(classes.shape)) == (torch.int32, (2, *size))
    np.testing.assert_array_equal(classes, resized.argmax(dim=1))


def test_class_map_of_half_logits_is_compared_in_single_precision() -> None:
    logits = torch.randn(1, 4, 3, 3).half()
    resized, classes = class_map((3, 3), (30, 30))(logits)
    assert resized.dtype == torch.float32
    np.testing.assert_array_equal(classes, class_map((3, 3), (30, 30))(logits.float())[1])


class Segmenter(nn.Module):
    """Network input to the class map and the logits behind it."""

    def __init__(self, net: PSPNet, size: tuple[int, int]) -> None:
        super().__init__()
        self.net, self.size = net, size

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits = self.net(image)
        height, width = logits.shape[2:]
        resized, classes = class_map((int(height), int(width)), self.size)(logits)
        return classes, resized


def traced(net: PSPNet, batch: int = 1) -> onnx.ModelProto:
    image = torch.zeros(batch, 3, 72, 96)
    return trace(Segmenter(net, SOURCE), image, "image", ["classes", "logits"])


@pytest.mark.parametrize(
    "changes",
    [
        CUTS[0],
        CUTS[2],
        *(pytest.param(each, marks=pytest.mark.slow) for each in (CUTS[1], CUTS[3])),
    ],
)
def test_onnx_runtime_gives_pytorch_s_labels(changes: dict[str, Any]) -> None:
    net = slim(**changes)
    model = traced(net, batch=2)
    onnx.checker.check_model(model, full_check=True)
    calls = [node.op_type for node in model.graph.node if node.domain]
    assert calls == ["SeparableResample"]
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"AveragePool", "Shape", "Gather", "Loop", "If", "NonZero", "Expand"}
    if "cut" not in changes:
        assert "Resize" not in operators

    image = torch.randn(2, 3, 72, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        classes, logits = Segmenter(net, SOURCE)(image)
    got = run_onnx(model, image=image.numpy())
    assert got["classes"].dtype == np.int32
    assert relative(got["logits"], logits.numpy()) < 1e-5
    np.testing.assert_array_equal(got["classes"], got["logits"].argmax(axis=1))
    first, second = logits.topk(2, dim=1).values.unbind(1)
    clear = (first - second > 1e-4 * logits.abs().max()).numpy()
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(got["classes"][clear], classes.numpy()[clear])


@pytest.mark.parametrize("changes", [CUTS[0], CUTS[2]])
def test_it_stands_between_a_zoom_and_an_unzoom(changes: dict[str, Any]) -> None:
    net = slim(**changes)
    knots = separable_knots(np.random.default_rng(0).uniform(0.2, 2, (9, 13)), 4)
    (level,) = level_sizes(CANVAS, SLIM.model_copy(update=changes).strides)
    unzoom = Unzoom(unzoom_tables(*knots, level, CANVAS, geometry="consistent", unfilled=()))
    zoom = Resample(*zoom_tables(*knots, SOURCE, CANVAS))

    def decode(groups: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
        return class_map(level.size, SOURCE)(groups[0][0])[1:]

    model = ZoomedModel(
        net,
        decode,
        to_canvas=SourceToCanvas(zoom, (110, 112, 108), (58, 57, 57), "rgb"),
        padding=(0, 0),
        unzoom=[unzoom],
        groups=("logits",),
        outputs=("classes",),
        levels=1,
    ).eval()
    assert model.output_names == ("zoomed", "level_0", "unzoomed_0", "logits_0", "classes")
    frame = np.random.default_rng(1).integers(0, 256, (1, *SOURCE, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = model(torch.from_numpy(frame))
    got = run_onnx(trace(model, torch.from_numpy(frame), "frame", model.output_names), frame=frame)
    for name, value in zip(model.output_names[:-1], expected, strict=False):
        assert relative(got[name], value.numpy()) < 1e-5, name
    assert np.mean(got["classes"] == expected[-1].numpy()) > 0.999


@pytest.mark.parametrize("changes", [CUTS[0], pytest.param(CUTS[2], marks=pytest.mark.slow)])
def test_a_slim_one_builds_with_tensorrt_rtx(changes: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    from lzu_export.graph.derivation import target_passes
    from lzu_export.graph.lint import lint
    from lzu_export.graph.passes import run_passes
    from lzu_export.targets.tensorrt.rtx import build

    canonical = traced(slim(**changes))
    (place,) = (node.output[0] for node in canonical.graph.node if node.domain)
    model, _ = run_passes(canonical, target_passes(dialect("tensorrt-rtx"), {place: "matmul"}))
    lint(model, dialect("tensorrt-rtx"))
    onnx.save(model, tmp_path / "model.onnx")
    built = build(tmp_path / "model.onnx", tmp_path / "model.engine")
    assert [(spec.name, spec.dtype, spec.shape) for spec in built.outputs] == [
        ("classes", "int32", (1, *SOURCE)),
        ("logits", "float32", (1, 5, *SOURCE)),
    ]


@pytest.mark.slow
def test_mmseg_s_network_at_512_runs_and_its_matrices_are_small() -> None:
    torch.manual_seed(0)
    net = build_pspnet(PSPNetConfig(num_classes=19)).eval()
    image = torch.randn(1, 3, 512, 512)
    model = trace(Segmenter(net, (1024, 1024)), image, "image", ["classes", "logits"])
    weights = sum(p.numel() for p in net.state_dict().values())
    stored = sum(int(np.prod(t.dims)) for t in model.graph.initializer)
    assert stored < 1.01 * weights + 2 * 1024 * 64 + 2 * 64 * 24
    with torch.no_grad():
        _, logits = Segmenter(net, (1024, 1024))(image)
    got = run_onnx(model, image=image.numpy())
    assert relative(got["logits"], logits.numpy()) < 1e-4

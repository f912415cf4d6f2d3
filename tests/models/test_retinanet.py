"""RetinaNet against mmdet's outputs, its decode, and its export."""

import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from golden_weights import load_golden
from lzu_export.errors import LzuError
from lzu_export.models.retinanet import RetinaNet, build_retinanet, decode, delta_to_box
from lzu_export.recipes.networks import AnchorSpec, RetinaNetConfig
from lzu_export.runtime.postprocess import suppress
from lzu_export.warp.anchors import grid_anchors

SLIM = RetinaNetConfig(
    num_classes=3, depth=18, base_channels=4, fpn_channels=8, feat_channels=8, stacked_convs=1
)


def test_resnet50_has_mmdets_names_and_outputs(golden: Path) -> None:
    data = np.load(golden / "openmmlab_retinanet_r50.npz")
    net = build_retinanet(RetinaNetConfig(num_classes=8)).eval()
    load_golden(net, golden / "openmmlab_retinanet_r50.npz")
    with torch.no_grad():
        cls_scores, bbox_preds = net(torch.from_numpy(data["input"]))
    for index, output in enumerate([*cls_scores, *bbox_preds]):
        reference = data[f"output_{index:02d}"]
        deviation = np.abs(output.numpy() - reference).max() / np.abs(reference).max()
        assert deviation < 1e-4, index


def test_decode_and_suppression_give_mmdets_detections(golden: Path) -> None:
    data = np.load(golden / "openmmlab_retinanet_decode.npz")
    cls_scores = [torch.from_numpy(data[f"cls_{i}"]) for i in range(5)]
    bbox_preds = [torch.from_numpy(data[f"reg_{i}"]) for i in range(5)]
    spec = AnchorSpec()
    sizes = [(x.shape[2], x.shape[3]) for x in cls_scores]
    anchors = [torch.from_numpy(a) for a in grid_anchors(sizes, spec.strides, spec)]
    height, width = data["img_shape"].tolist()
    boxes, scores, labels = decode(cls_scores, bbox_preds, anchors, (height, width))
    kept = suppress(
        boxes[0].numpy(),
        scores[0].numpy(),
        labels[0].numpy(),
        score_threshold=0.05,
        iou_threshold=0.5,
        max_detections=100,
    )
    np.testing.assert_allclose(kept[0] / data["scale"], data["boxes"], atol=1e-3)
    np.testing.assert_allclose(kept[1], data["scores"], atol=1e-6)
    np.testing.assert_array_equal(kept[2], data["labels"])


def test_forward_is_extract_then_head() -> None:
    net = build_retinanet(SLIM.model_copy(update={"start_level": 0, "num_outs": 4})).eval()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        cls_scores, bbox_preds = net(image)
        levels = net.extract(image)
        again = net.head(levels)
    assert [tuple(x.shape[2:]) for x in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert cls_scores[0].shape == (2, 9 * 3, 16, 24)
    assert bbox_preds[0].shape == (2, 9 * 4, 16, 24)
    torch.testing.assert_close(again, (cls_scores, bbox_preds), rtol=0, atol=0)


def test_first_scores_are_the_prior() -> None:
    net = build_retinanet(SLIM).eval()
    with torch.no_grad():
        cls_scores, _ = net(torch.randn(1, 3, 64, 64))
    assert abs(float(cls_scores[0].sigmoid().mean()) - 0.01) < 1e-3


def random_outputs(
    batch: int, classes: int, sizes: list[tuple[int, int]], per_cell: int
) -> tuple[list[Tensor], list[Tensor]]:
    rng = torch.Generator().manual_seed(3)
    cls_scores = [3 * torch.randn(batch, per_cell * classes, *s, generator=rng) for s in sizes]
    bbox_preds = [2 * torch.randn(batch, per_cell * 4, *s, generator=rng) for s in sizes]
    return cls_scores, bbox_preds


@pytest.mark.parametrize("classes", [1, 5])
def test_decode_equals_a_loop_over_all_entries(classes: int) -> None:
    spec = AnchorSpec(strides=(8, 16), scales_per_octave=1, ratios=(1.0, 2.0))
    sizes = [(4, 5), (2, 3)]
    cls_scores, bbox_preds = random_outputs(2, classes, sizes, spec.per_cell)
    anchors = grid_anchors(sizes, spec.strides, spec)
    boxes, scores, labels = decode(
        cls_scores, bbox_preds, [torch.from_numpy(a) for a in anchors], (30, 35), 7
    )
    k = [7, min(7, 2 * 3 * 2 * classes)]
    assert boxes.shape == (2, sum(k), 4)
    assert (boxes.dtype, scores.dtype, labels.dtype) == (torch.float32, torch.float32, torch.int64)
    for image in range(2):
        expected = []
        for level, (height, width) in enumerate(sizes):
            entries = []
            for row in range(height):
                for column in range(width):
                    for a in range(2):
                        anchor = anchors[level][(row * width + column) * 2 + a]
                        delta = bbox_preds[level][image, 4 * a : 4 * a + 4, row, column].numpy()
                        x1, y1, x2, y2 = anchor
                        w, h = x2 - x1, y2 - y1
                        limit = abs(np.log(16 / 1000))
                        cx, cy = (x1 + x2) / 2 + w * delta[0], (y1 + y2) / 2 + h * delta[1]
                        w, h = (w, h) * np.exp(np.clip(delta[2:], -limit, limit))
                        box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                        box = np.clip(box, 0, [35, 30, 35, 30])
                        for c in range(classes):
                            logit = float(cls_scores[level][image, a * classes + c, row, column])
                            entries.append((1 / (1 + np.exp(-logit)), c, box))
            expected += sorted(entries, key=lambda entry: -entry[0])[: k[level]]
        np.testing.assert_allclose(scores[image], [e[0] for e in expected], rtol=1e-5)
        np.testing.assert_array_equal(labels[image], [e[1] for e in expected])
        np.testing.assert_allclose(boxes[image], [e[2] for e in expected], atol=1e-3)


def test_extreme_log_ratios_are_bounded() -> None:
    box = delta_to_box(torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([[0, 0, 99.0, -99.0]]))
    torch.testing.assert_close(box, torch.tensor([[-492.0, 7.872, 508.0, 8.128]]))


def test_half_precision_outputs_decode_in_float32() -> None:
    spec = AnchorSpec(strides=(8,), scales_per_octave=1, ratios=(1.0,))
    cls_scores, bbox_preds = random_outputs(1, 2, [(4, 5)], 1)
    anchors = [torch.from_numpy(a) for a in grid_anchors([(4, 5)], (8,), spec)]
    halves = decode([cls_scores[0].half()], [bbox_preds[0].half()], anchors, (32, 40), 9)
    wide = decode(
        [cls_scores[0].half().float()], [bbox_preds[0].half().float()], anchors, (32, 40), 9
    )
    torch.testing.assert_close(halves, wide, rtol=0, atol=0)


def test_what_decode_cannot_do_is_refused() -> None:
    spec = AnchorSpec(strides=(8,), scales_per_octave=1, ratios=(1.0,))
    cls_scores, bbox_preds = random_outputs(1, 200, [(4, 5)], 1)
    anchors = [torch.from_numpy(a) for a in grid_anchors([(4, 5)], (8,), spec)]
    decode(cls_scores, bbox_preds, anchors, (32, 40), 3840)
    with pytest.raises(LzuError, match="lower k_per_level"):
        decode(cls_scores, bbox_preds, anchors, (32, 40), 3841)
    with pytest.raises(LzuError, match="one of each per level"):
        decode(cls_scores, bbox_preds, [], (32, 40))
    with pytest.raises(LzuError, match="do not fit"):
        decode(cls_scores, bbox_preds, [anchors[0][:-1]], (32, 40))
    two, deltas = random_outputs(1, 2, [(4, 5)], 1)
    with pytest.raises(LzuError, match=r"\[2, 200\] classes"):
        decode(cls_scores + two, bbox_preds + deltas, anchors * 2, (32, 40))


class Decoded(nn.Module):
    """A network with its decode, as it is exported."""

    def __init__(self, net: RetinaNet, sizes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.net = net
        spec = net.bbox_head.anchors
        self.anchors = [torch.from_numpy(a) for a in grid_anchors(sizes, spec.strides, spec)]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cls_scores, bbox_preds = self.net(image)
        return decode(cls_scores, bbox_preds, self.anchors, (90, 150), 50)


@pytest.fixture(scope="module")
def decoded() -> Decoded:
    torch.manual_seed(0)
    net = build_retinanet(SLIM)
    with torch.no_grad():  # scores far apart, so that rounding cannot change their order
        net.bbox_head.retina_cls.weight.mul_(300)
        net.bbox_head.retina_reg.weight.mul_(30)
    return Decoded(net, [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]).eval()


def export(model: nn.Module, image: Tensor, *, dynamo: bool) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(
                model, (image,), dynamo=True, opset_version=17, verbose=False
            )
            assert program is not None
            return program.model_proto
        buffer = io.BytesIO()
        torch.onnx.export(model, (image,), buffer, dynamo=False, opset_version=17)  # type: ignore[arg-type]
        return onnx.load_from_string(buffer.getvalue())


@pytest.mark.parametrize("dynamo", [True, False])
def test_exported_detector_gives_the_same_candidates(decoded: Decoded, dynamo: bool) -> None:
    image = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = decoded(image)
    model = export(decoded, image, dynamo=dynamo)
    assert [o.version for o in model.opset_import if o.domain == ""] == [17]
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    boxes, scores, labels = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    assert boxes.shape == (2, 4 * 50 + 50, 4)
    np.testing.assert_allclose(boxes, expected[0], atol=2e-3)
    np.testing.assert_allclose(scores, expected[1], atol=1e-5)
    np.testing.assert_array_equal(labels, expected[2])
    static = [d.dim_value > 0 for o in model.graph.output for d in o.type.tensor_type.shape.dim]
    assert all(static)


def test_exported_detector_has_constant_sizes_and_whole_numbered_indices(decoded: Decoded) -> None:
    model = export(decoded, torch.zeros(1, 3, 96, 160), dynamo=True)
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"Shape", "NonZero", "GatherND", "GatherElements", "ScatterND", "If"}
    constants = {tensor.name for tensor in model.graph.initializer}
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert len(resizes) == 2
    assert all(node.input[3] in constants for node in resizes)
    # Entry numbers exceed what float16 and, on large inputs, float32 division can tell apart.
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert all(a.i != onnx.TensorProto.FLOAT for node in casts for a in node.attribute)

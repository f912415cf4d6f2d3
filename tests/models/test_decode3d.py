"""The decode of FCOS3D against mmdet3d's, against a loop, and as it is exported."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.graph.derivation import target_passes
from lzu_export.graph.lint import lint
from lzu_export.graph.passes import run_passes
from lzu_export.inputs.camera_matrix import camera_matrices
from lzu_export.models.decode3d import arctan2, decode_3d, level_points
from lzu_export.models.fcos3d import Fcos3d, build_fcos3d
from lzu_export.models.trace import trace
from lzu_export.runtime.postprocess3d import suppress_3d
from samples import SLIM_FCOS3D, dialect, run_onnx

CAMERA = np.array([[120.0, 0, 76], [0, 125, 43], [0, 0, 1]])
STRIDES = (8, 16)
SIZES = [(4, 5), (2, 3)]
Groups = list[list[Tensor]]


def bottom_centres(boxes: np.ndarray) -> np.ndarray:
    """Camera boxes (N, 9) with the lower face's centre for the gravity centre, as mmdet3d has."""
    moved = boxes.copy()
    moved[:, 1] += moved[:, 4] / 2
    return moved


def cameras(batch: int) -> tuple[Tensor, Tensor]:
    pair = camera_matrices(np.stack([CAMERA * [[1 + i], [1], [1]] for i in range(batch)]), batch)
    return torch.from_numpy(pair[0]), torch.from_numpy(pair[1])


def random_outputs(batch: int, classes: int = 3) -> Groups:
    """What a head could give: depths and sizes are positive."""
    rng = torch.Generator().manual_seed(3)
    groups: Groups = []
    for width in (classes, 9, 2, 4, 1):
        maps = [2 * torch.randn(batch, width, *size, generator=rng) for size in SIZES]
        if width == 9:
            maps = [torch.cat([m[:, :2] * 8, m[:, 2:6].exp(), m[:, 6:]], dim=1) for m in maps]
        groups.append(maps)
    return groups


def test_decode_and_suppression_give_mmdet3ds_detections(golden: Path) -> None:
    data = np.load(golden / "openmmlab_fcos3d_decode.npz")
    names = ("cls", "reg", "dir", "attr", "ctr")
    groups = [[torch.from_numpy(data[f"{name}_{i}"]) for i in range(5)] for name in names]
    sizes = [(x.shape[2], x.shape[3]) for x in groups[0]]
    points = level_points(sizes, (8, 16, 32, 64, 128))
    # The decode that made the vectors wrote the found x and y over the offsets it had read from
    # the first two channels, so these are recovered by projecting them.
    camera = data["cam2img"]
    for i, level in enumerate(groups[1]):
        x, y, depth = level[0, :3].double()
        column = x / depth * camera[0, 0] + camera[0, 2]
        row = y / depth * camera[1, 1] + camera[1, 2]
        level[0, :2] = points[i].T.reshape(2, *sizes[i]) - torch.stack([column, row])
    offsets = torch.cat(
        [each[0, :2].reshape(2, -1) / (8 << i) for i, each in enumerate(groups[1])], 1
    )
    assert float(offsets.mean(1).abs().max()) < 0.1  # of random numbers: the points are right
    matrices = map(torch.from_numpy, camera_matrices(camera, 1))
    boxes, scores, attributes = (each[0].numpy() for each in decode_3d(groups, points, *matrices))
    kept = suppress_3d(
        boxes, scores, attributes, score_threshold=0.05, iou_threshold=0.8, max_detections=200
    )
    np.testing.assert_allclose(bottom_centres(kept.boxes), data["boxes_3d"], atol=1e-4)
    np.testing.assert_allclose(kept.boxes[:, :3], data["gravity_center"], atol=1e-4)
    np.testing.assert_allclose(kept.scores, data["scores_3d"], atol=1e-6)
    np.testing.assert_array_equal(kept.labels, data["labels_3d"])
    np.testing.assert_array_equal(kept.attributes, data["attr_labels"])


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


@pytest.mark.parametrize(("batch", "classes"), [(1, 3), (2, 1)])
def test_decode_equals_a_loop_over_all_cells(batch: int, classes: int) -> None:
    groups = random_outputs(batch, classes)
    cam2img, img2cam = cameras(batch)
    boxes, scores, attributes = decode_3d(groups, level_points(SIZES, STRIDES), cam2img, img2cam, 7)
    assert boxes.shape == (batch, 7 + 6, 9)
    assert scores.shape == (batch, 13, classes)
    assert (boxes.dtype, scores.dtype, attributes.dtype) == (
        torch.float32,
        torch.float32,
        torch.int64,
    )
    for image in range(batch):
        camera = cam2img[image].double().numpy()
        expected = []
        for level, (height, width) in enumerate(SIZES):
            cells = []
            for row in range(height):
                for column in range(width):
                    cls, box, way, attr, ctr = (
                        group[level][image, :, row, column].double().numpy() for group in groups
                    )
                    stride = STRIDES[level]
                    u = stride * column + stride // 2 - box[0]
                    v = stride * row + stride // 2 - box[1]
                    x = (u - camera[0, 2]) / camera[0, 0] * box[2]
                    y = (v - camera[1, 2]) / camera[1, 1] * box[2]
                    yaw = (box[6] - 0.7854) % np.pi + 0.7854 + np.pi * (way[1] > way[0])
                    yaw += np.arctan2(u - camera[0, 2], camera[0, 0])
                    score = [sigmoid(c) * sigmoid(ctr[0]) for c in cls]
                    cells.append(([x, y, *box[2:6], yaw, *box[7:]], score, attr.argmax()))
            if len(cells) > 7:
                cells = sorted(cells, key=lambda cell: -max(cell[1]))[:7]
            expected += cells
        np.testing.assert_allclose(boxes[image], [e[0] for e in expected], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(scores[image], [e[1] for e in expected], rtol=1e-5)
        np.testing.assert_array_equal(attributes[image], [e[2] for e in expected])


def test_angles_of_all_quadrants() -> None:
    angle = torch.linspace(-3.14, 3.14, 400, dtype=torch.float64)
    for radius in (1e-3, 1.0, 1e3):
        y, x = radius * angle.sin(), radius * angle.cos()
        torch.testing.assert_close(arctan2(y, x), angle)
    zero = torch.zeros(2)
    torch.testing.assert_close(
        arctan2(zero, torch.tensor([2.0, -2.0])), torch.tensor([0, np.pi]).float()
    )


def test_half_precision_outputs_decode_in_float32() -> None:
    points, matrices = level_points(SIZES, STRIDES), cameras(1)
    halves = [[each.half() for each in group] for group in random_outputs(1)]
    wide = [[each.float() for each in group] for group in halves]
    got, expected = decode_3d(halves, points, *matrices), decode_3d(wide, points, *matrices)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_what_decode_cannot_do_is_refused() -> None:
    groups, points = random_outputs(1), level_points(SIZES, STRIDES)
    cam2img, img2cam = cameras(1)
    decode_3d(groups, points, cam2img, img2cam, 20, max_k=20)
    with pytest.raises(LzuError, match=r"level 0 takes 20 candidates.*lower k_per_level"):
        decode_3d(groups, points, cam2img, img2cam, max_k=19)
    with pytest.raises(LzuError, match="one of each per level"):
        decode_3d(groups, points[:1], cam2img, img2cam)
    with pytest.raises(LzuError, match="one of each per level"):
        decode_3d(groups[:4], points, cam2img, img2cam)
    with pytest.raises(LzuError, match=r"level 0 has outputs .* and 6 points, which do not fit"):
        decode_3d(groups, points[::-1], cam2img, img2cam)
    with pytest.raises(LzuError, match="level 0 has outputs"):
        decode_3d([groups[1], groups[0], *groups[2:]], points, cam2img, img2cam)
    with pytest.raises(LzuError, match=r"cam2img has shape \(1, 3, 3\); give one 4 x 4"):
        decode_3d(groups, points, cam2img[:, :3, :3], img2cam)
    with pytest.raises(LzuError, match=r"img2cam has shape \(2, 4, 4\)"):
        decode_3d(groups, points, cam2img, cameras(2)[1])
    with pytest.raises(LzuError, match="give one stride per level"):
        level_points(SIZES, (8,))


class Decoded(nn.Module):
    """A network with its decode, as it is exported."""

    def __init__(self, net: Fcos3d, sizes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.net = net
        for i, each in enumerate(level_points(sizes, net.bbox_head.strides)):
            self.register_buffer(f"points_{i}", each)
        self.levels = len(sizes)

    def forward(self, image: Tensor, cam2img: Tensor, img2cam: Tensor) -> tuple[Tensor, ...]:
        points = [getattr(self, f"points_{i}") for i in range(self.levels)]
        boxes, scores, attributes = decode_3d(self.net(image), points, cam2img, img2cam, 40)
        return boxes, scores, attributes.to(torch.int32)


INPUTS, OUTPUTS = ("image", "cam2img", "img2cam"), ("boxes", "scores", "attributes")


@pytest.fixture(scope="module")
def exported() -> tuple[Decoded, tuple[Tensor, ...], onnx.ModelProto]:
    """A slim network whose scores are far apart, with inputs, and its canonical graph."""
    torch.manual_seed(0)
    net = build_fcos3d(SLIM_FCOS3D)
    with torch.no_grad():  # offsets of several pixels, and scores that rounding does not reorder
        for name, each in net.named_parameters():
            if "conv_offset" in name:
                each.normal_(0, 0.3)
        net.bbox_head.conv_cls.weight.mul_(300)
        net.bbox_head.conv_centerness.weight.mul_(100)
        for layer in net.bbox_head.conv_regs:
            layer.weight.mul_(20)
    module = Decoded(net, [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]).eval()
    inputs = (torch.randn(2, 3, 96, 160), *cameras(2))
    return module, inputs, trace(module, inputs, INPUTS, OUTPUTS)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["canonical", "onnxruntime", "tensorrt-rtx"])
def test_the_exported_detector_gives_the_same_candidates(
    target: str, exported: tuple[Decoded, tuple[Tensor, ...], onnx.ModelProto]
) -> None:
    module, inputs, model = exported
    with torch.no_grad():
        expected = module(*inputs)
    if target != "canonical":
        model, _ = run_passes(model, target_passes(dialect(target), {}, deforms=True))
        lint(model, dialect(target))
    feeds = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)}
    got = run_onnx(model, **feeds)
    assert got["boxes"].shape == (2, 40 + 40 + 15 + 6 + 2, 9)
    np.testing.assert_allclose(got["boxes"], expected[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(got["scores"], expected[1], atol=1e-5)
    np.testing.assert_array_equal(got["attributes"], expected[2])


@pytest.mark.slow
def test_the_exported_decode_has_constant_sizes_and_one_gather(
    exported: tuple[Decoded, tuple[Tensor, ...], onnx.ModelProto],
) -> None:
    model, _ = run_passes(exported[2], target_passes(dialect("onnxruntime"), {}, deforms=True))
    operators = [node.op_type for node in model.graph.node]
    refused = {
        "Shape",
        "NonZero",
        "GatherND",
        "GatherElements",
        "ScatterND",
        "If",
        "Atan2",
        "Range",
    }
    assert not set(operators) & refused
    assert operators.count("TopK") == 2  # the other levels have fewer cells than candidates


@pytest.mark.slow
def test_tensorrt_rtx_builds_it(
    exported: tuple[Decoded, tuple[Tensor, ...], onnx.ModelProto], tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    from lzu_export.targets.tensorrt.rtx import build

    model, _ = run_passes(exported[2], target_passes(dialect("tensorrt-rtx"), {}, deforms=True))
    lint(model, dialect("tensorrt-rtx"))
    onnx.save(model, tmp_path / "mono.onnx")
    built = build(tmp_path / "mono.onnx", tmp_path / "mono.engine")
    assert [spec.name for spec in built.inputs] == list(INPUTS)
    assert [(spec.dtype, spec.shape) for spec in built.outputs] == [
        ("float32", (2, 103, 9)),
        ("float32", (2, 103, 3)),
        ("int32", (2, 103)),
    ]

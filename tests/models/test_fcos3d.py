"""FCOS3D against mmdet3d's outputs, its decode, and its export."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from golden_weights import load_golden
from lzu_export.errors import LzuError
from lzu_export.models.checkpoint import load_into, load_state, save_checkpoint
from lzu_export.models.dcn import ModulatedDeformConv
from lzu_export.models.fcos3d import Fcos3d, build_fcos3d
from lzu_export.models.resnet import Bottleneck, ResNet
from lzu_export.models.retinanet import build_retinanet
from lzu_export.ops.taps import tap_positions
from lzu_export.recipes.networks import Fcos3dConfig, RetinaNetConfig
from samples import SLIM_FCOS3D, relative

SLIM = SLIM_FCOS3D.model_copy(update={"num_attributes": 4})


@pytest.fixture(scope="module")
def published(golden: Path) -> tuple[Fcos3d, dict[str, np.ndarray]]:
    """The network that gave the golden outputs, and those."""
    file = golden / "openmmlab_fcos3d_r50.npz"
    net = build_fcos3d(Fcos3dConfig(num_classes=10)).eval()
    load_golden(net, file)
    return net, dict(np.load(file))


def deviations(net: Fcos3d, data: dict[str, np.ndarray]) -> np.ndarray:
    """Relative deviation per group of outputs and level."""
    with torch.no_grad():
        groups = net(torch.from_numpy(data["input"]))
    outputs = [level for group in groups for level in group]
    values = [relative(x.numpy(), data[f"output_{i:02d}"]) for i, x in enumerate(outputs)]
    return np.array(values).reshape(5, 5)


def test_resnet50_has_mmdet3ds_names_and_outputs(
    published: tuple[Fcos3d, dict[str, np.ndarray]],
) -> None:
    # The last level, of one row, was not made with mmcv's sampling: see the next test.
    assert deviations(*published)[:, :4].max() < 1e-4


def test_the_golden_level_of_one_row_was_sampled_with_aligned_corners(
    published: tuple[Fcos3d, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With aligned corners a single row answers at any height; mmcv and ONNX read zeros."""

    def aligned(self: ModulatedDeformConv, x: Tensor) -> Tensor:
        moves = self.conv_offset(x)
        offset, mask = moves[:, : 2 * self.taps], moves[:, 2 * self.taps :].sigmoid()
        batch, channels, height, width = x.shape
        out = tuple(offset.shape[2:])
        base = tap_positions(out, self.weight.shape[2:], *self.geometry)
        position = offset.reshape(batch, self.taps, 2, *out) + torch.from_numpy(base).float()
        last = torch.tensor([max(height - 1, 1), max(width - 1, 1)]).reshape(2, 1, 1)
        grid = (2 * position / last - 1).flip(2).permute(0, 1, 3, 4, 2)
        samples = functional.grid_sample(
            x, grid.reshape(batch, -1, out[1], 2), align_corners=True
        ) * mask.reshape(batch, 1, -1, out[1])
        return functional.conv2d(
            samples.reshape(batch, channels * self.taps, *out),
            self.weight.reshape(len(self.weight), -1, 1, 1),
            self.bias,
        )

    monkeypatch.setattr(ModulatedDeformConv, "forward", aligned)
    assert deviations(*published).max() < 1e-4


def test_forward_is_extract_then_head() -> None:
    net = build_fcos3d(SLIM).eval()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        groups = net(image)
        levels = net.extract(image)
        again = net.head(levels)
    assert [tuple(x.shape[2:]) for x in levels] == [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    assert [group[0].shape[1] for group in groups] == [3, 9, 2, 4, 1]
    torch.testing.assert_close(again, groups, rtol=0, atol=0)


def test_first_scores_are_the_prior_and_first_taps_undisplaced() -> None:
    net = build_fcos3d(SLIM).eval()
    with torch.no_grad():
        groups = net(torch.randn(1, 3, 64, 64))
    assert abs(float(groups[0][0].sigmoid().mean()) - 0.01) < 1e-3
    layers = [module for module in net.modules() if isinstance(module, ModulatedDeformConv)]
    assert len(layers) == 6 + 3 + 2
    assert not any(
        value.any() for each in layers for value in each.conv_offset.state_dict().values()
    )


def test_a_stage_with_deformable_convolutions_strides_where_it_should() -> None:
    for style, strides in (("pytorch", (1, 2)), ("caffe", (2, 1))):
        config = SLIM.model_copy(update={"style": style})
        first = build_fcos3d(config).get_submodule("backbone.layer3.0")
        assert isinstance(first, Bottleneck)
        assert isinstance(first.conv2, ModulatedDeformConv)
        assert (first.conv1.stride[0], first.conv2.geometry[0][0]) == strides
        assert first.conv2.conv_offset.stride[0] == strides[1]


def test_distances_are_in_strides_while_training() -> None:
    net = build_fcos3d(SLIM)
    levels = [torch.randn(1, 8, 4, 5) for _ in range(5)]
    with torch.no_grad():
        training, running = net.head(levels)[1], net.eval().head(levels)[1]
    for stride, before, after in zip(SLIM.strides, training, running, strict=True):
        torch.testing.assert_close(before[:, :2] * stride, after[:, :2])
        torch.testing.assert_close(before[:, 2:], after[:, 2:])
        assert bool((after[:, 2:6] > 0).all())


def test_every_weight_is_trained() -> None:
    torch.manual_seed(0)
    net = build_fcos3d(SLIM)
    for module in net.modules():
        if isinstance(module, ModulatedDeformConv):
            torch.nn.init.normal_(module.conv_offset.weight, std=0.1)
    sum(value.sum() for group in net(torch.randn(1, 3, 64, 96)) for value in group).backward()
    idle = [name for name, each in net.named_parameters() if each.grad is None]
    assert idle == []


def test_shallow_networks_have_no_deformable_stages() -> None:
    with pytest.raises(LzuError, match="only bottlenecks convolve deformably"):
        ResNet(18, stage_with_dcn=(False, False, False, True))


def test_checkpoints_of_other_heads_and_classes_are_refused(tmp_path: Path) -> None:
    net = build_fcos3d(SLIM)
    save_checkpoint(tmp_path / "same.pth", net.state_dict())
    load_into(build_fcos3d(SLIM), load_state(tmp_path / "same.pth"), name="same.pth")
    other = build_fcos3d(SLIM.model_copy(update={"num_classes": 7})).state_dict()
    with pytest.raises(LzuError, match=r"checkpoint seven\.pth has 7 classes, recipe has 3"):
        load_into(net, other, name="seven.pth")
    flat = RetinaNetConfig(num_classes=3, base_channels=4, fpn_channels=8, feat_channels=8)
    with pytest.raises(LzuError, match=r"checkpoint flat\.pth does not fit the model") as caught:
        load_into(net, build_retinanet(flat).state_dict(), name="flat.pth")
    assert "\n" not in str(caught.value)

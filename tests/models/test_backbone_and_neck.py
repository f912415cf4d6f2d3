"""ResNet and FPN apart from the detector."""

import pytest
import torch

from lzu_export.errors import LzuError
from lzu_export.models.fpn import FPN
from lzu_export.models.resnet import BasicBlock, Bottleneck, ResNet


@pytest.mark.parametrize(("depth", "expansion"), [(18, 1), (34, 1), (50, 4), (101, 4)])
def test_stages_have_the_usual_strides_and_channels(depth: int, expansion: int) -> None:
    net = ResNet(depth, base_channels=4).eval()
    with torch.no_grad():
        stages = net(torch.randn(1, 3, 70, 101))
    assert net.out_channels == tuple(4 * expansion << i for i in range(4))
    assert [tuple(x.shape[1:]) for x in stages] == [
        (net.out_channels[0], 18, 26),
        (net.out_channels[1], 9, 13),
        (net.out_channels[2], 5, 7),
        (net.out_channels[3], 3, 4),
    ]


def test_convolutions_of_one_network_number_its_depth() -> None:
    for depth in (18, 34, 50, 101):
        net = ResNet(depth, base_channels=2)
        blocks = [m for m in net.modules() if isinstance(m, BasicBlock | Bottleneck)]
        per_block = 2 if depth < 50 else 3
        assert per_block * len(blocks) + 2 == depth  # the stem and the classifier left out here


def test_style_moves_the_stride() -> None:
    for style, strides in (("pytorch", (1, 2)), ("caffe", (2, 1))):
        block = ResNet(50, base_channels=2, style=style).get_submodule("layer2.0")  # type: ignore[arg-type]
        assert isinstance(block, Bottleneck)
        assert (block.conv1.stride[0], block.conv2.stride[0]) == strides


def test_only_the_wanted_stages_run() -> None:
    net = ResNet(18, base_channels=2, out_indices=(1, 2))
    assert [x.shape[1] for x in net(torch.randn(2, 3, 64, 64))] == [4, 8]
    assert net.out_channels == (4, 8)


def test_unknown_depth_is_refused() -> None:
    with pytest.raises(LzuError, match="depth 20"):
        ResNet(20)


def test_a_deep_stem_halves_once_and_has_mmsegs_names() -> None:
    net = ResNet(18, base_channels=4, deep_stem=True).eval()
    names = [name for name in net.state_dict() if name.startswith("stem.") and "weight" in name]
    assert names == [f"stem.{i}.weight" for i in (0, 1, 3, 4, 6, 7)]
    assert not [name for name in net.state_dict() if name.startswith(("conv1", "bn1"))]
    assert net.stem(torch.randn(1, 3, 21, 32)).shape == (1, 4, 11, 16)
    assert [m.out_channels for m in net.stem if isinstance(m, torch.nn.Conv2d)] == [2, 2, 4]


def test_a_deep_stem_of_odd_width_is_refused() -> None:
    with pytest.raises(LzuError, match="even"):
        ResNet(18, base_channels=3, deep_stem=True)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("contract", [False, True])
def test_dilations_replace_strides(depth: int, contract: bool) -> None:
    net = ResNet(
        depth,
        base_channels=4,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=contract,
    ).eval()
    assert net.out_strides == (4, 8, 8, 8)
    with torch.no_grad():
        assert [x.shape[2:] for x in net(torch.randn(1, 3, 70, 101))] == [(18, 26)] + 3 * [(9, 13)]
    for stage, (first, rest) in enumerate(
        [(1, 1), (1, 1), (2 - contract, 2), (4 - 2 * contract, 4)]
    ):
        blocks = list(net.get_submodule(f"layer{stage + 1}").children())
        conv = "conv1" if depth == 18 else "conv2"
        found = [getattr(block, conv).dilation[0] for block in blocks]
        assert found == [first] + [rest] * (len(blocks) - 1)
        others = {
            m.dilation[0]
            for block in blocks
            for name, m in block.named_modules()
            if isinstance(m, torch.nn.Conv2d) and name != conv
        }
        assert others == {1}


def test_a_dilated_stage_holds_the_strided_one() -> None:
    """With contraction a bottleneck's dilated map, every other cell of it, is the strided map.

    A basic block's second convolution never dilates, as in mmseg, so there it is another map.
    """
    torch.manual_seed(0)
    strided = ResNet(50, base_channels=4, out_indices=(3,)).eval()
    dilated = ResNet(
        50,
        base_channels=4,
        out_indices=(3,),
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
    ).eval()
    for module in strided.modules():
        if isinstance(module, Bottleneck):
            torch.nn.init.constant_(module.last_norm.weight, 0.2)
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 128, 160)
    with torch.no_grad():
        (coarse,), (fine,) = strided(image), dilated(image)
    torch.testing.assert_close(fine[..., ::4, ::4], coarse, rtol=1e-4, atol=1e-4)


def inputs() -> list[torch.Tensor]:
    sizes = [(20, 28), (10, 14), (5, 7), (3, 4)]
    return [torch.randn(1, 2 << i, *size) for i, size in enumerate(sizes)]


def test_neck_levels_halve_and_odd_sizes_meet() -> None:
    levels = FPN((2, 4, 8, 16), 6, 6, start_level=0)(inputs())
    assert [tuple(x.shape[1:]) for x in levels] == [
        (6, *size) for size in [(20, 28), (10, 14), (5, 7), (3, 4), (2, 2), (1, 1)]
    ]


def test_top_down_path_repeats_the_coarse_cell_above() -> None:
    neck = FPN((4, 8), 1, 2, start_level=0)
    for module in neck.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.zeros_(module.weight)
    with torch.no_grad():
        neck.get_parameter("lateral_convs.1.conv.weight")[:, 0] = 1.0
        neck.get_parameter("fpn_convs.0.conv.weight")[:, :, 1, 1] = 1.0
        coarse = torch.zeros(1, 8, 3, 4)
        coarse[0, 0] = torch.arange(12.0).reshape(3, 4)
        fine = neck([torch.zeros(1, 4, 5, 7), coarse])[0][0, 0]
    rows, columns = torch.arange(5) * 3 // 5, torch.arange(7) * 4 // 7
    torch.testing.assert_close(fine, coarse[0, 0][rows][:, columns])


def test_extra_levels_start_from_the_stated_source() -> None:
    x = inputs()
    for mode, relu in (("on_input", False), ("on_output", False), ("on_output", True)):
        torch.manual_seed(0)
        neck = FPN(
            (2, 4, 8, 16),
            6,
            5,
            add_extra_convs=mode,  # type: ignore[arg-type]
            relu_before_extra_convs=relu,
        )
        levels = neck(x)
        sixth = neck.fpn_convs[3](x[-1] if mode == "on_input" else levels[2])
        torch.testing.assert_close(levels[3], sixth)
        torch.testing.assert_close(levels[4], neck.fpn_convs[4](sixth.relu() if relu else sixth))


def test_neck_with_too_few_outputs_is_refused() -> None:
    with pytest.raises(LzuError, match="num_outs"):
        FPN((2, 4, 8, 16), 6, 2)

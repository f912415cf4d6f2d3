"""Where cells lie, against receptive fields found by brute force and against closed formulas."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from lzu_export.warp.geometry import Level
from lzu_export.wrapping.calls import Call
from lzu_export.wrapping.receptive import Measured, measure_levels
from samples import refusal
from wrapped_networks import CUTS, Attentive, Lopsided, Patches, Pyramid, ResNet, built, seeded

CALL = Call()


def measured(network: nn.Module, *names: str, size: tuple[int, int] = (64, 96)) -> Measured:
    modules = {name: network.get_submodule(name) for name in names}
    return measure_levels(network, CALL, modules, size)


def level(network: nn.Module, name: str, size: tuple[int, int] = (64, 96)) -> Level:
    (found,) = measured(network, name, size=size).levels[name]
    return found


def averaging(network: nn.Module) -> nn.Module:
    """Give convolutions equal weights and pool by the mean, so that a gradient counts paths."""
    with torch.no_grad():
        for name, each in list(network.named_children()):
            if isinstance(each, nn.MaxPool2d):
                setattr(network, name, nn.AvgPool2d(each.kernel_size, each.stride, each.padding))
        for each in network.modules():
            if isinstance(each, nn.Conv2d):
                each.weight.fill_(1 / each.weight[0].numel())
                if each.bias is not None:
                    each.bias.fill_(0.1)
            if isinstance(each, nn.BatchNorm2d):
                each.reset_running_stats()
    return network


def brute_force(network: nn.Module, name: str, side: int = 256) -> list[list[float]]:
    """Return stride and phase per axis from the gradients of two neighbouring middle cells.

    Activations see positive values alone, so that they pass gradients on.
    """
    network = averaging(network).double()
    found: dict[str, Tensor] = {}
    handle = network.get_submodule(name).register_forward_hook(
        lambda _m, _a, output: found.update(map=output)
    )
    image = torch.ones(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    network(image)
    middle = [count // 2 for count in found["map"].shape[2:]]
    weights = []
    for step in (0, 1):
        cell = found["map"][0, :, middle[0] + step, middle[1] + step].sum()
        (gradient,) = torch.autograd.grad(cell, image, retain_graph=True)
        weights.append(gradient[0].sum(0))
    handle.remove()
    axes = []
    for axis in (0, 1):
        at = [
            float((w.sum(1 - axis) @ torch.arange(side, dtype=w.dtype)) / w.sum()) for w in weights
        ]
        axes.append([at[1] - at[0], at[0] - (at[1] - at[0]) * middle[axis]])
    return axes


@pytest.mark.parametrize(
    ("kind", "args", "name", "stride", "phase"),
    [
        (ResNet, (), "layer1", 4, 0.0),
        (ResNet, (), "neck.1", 8, 0.0),
        (Patches, (8,), "mix", 8, 3.5),
        (Patches, (4,), "embed", 4, 1.5),
        (Patches, (3,), "embed", 3, 1.0),
        (Lopsided, (), "first", 2, 1.0),
        (Lopsided, (), "second", 4, 3.0),
    ],
)
def test_networks_have_the_phases_of_brute_force(
    kind: Any, args: tuple[int, ...], name: str, stride: int, phase: float
) -> None:
    """ResNet's cells are at stride * i, patches at their middle, and padding on one side counts."""
    side = 240 if args == (3,) else 256
    for found in brute_force(seeded(kind, *args), name, side):
        assert found == pytest.approx([stride, phase], abs=1e-6)
    exact = level(seeded(kind, *args), name, (side // 2, side))
    assert exact == Level(stride, (side // 2 // stride, side // stride), (phase, phase))


class Convolutions(nn.Module):
    """Chain of convolutions and pools, each (kind, kernel, stride, padding, dilation)."""

    def __init__(self, layers: list[tuple[str, int, int, int, int]]) -> None:
        super().__init__()
        kinds: list[nn.Module] = []
        channels = 3
        for kind, kernel, stride, padding, dilation in layers:
            if kind == "conv":
                kinds += [nn.Conv2d(channels, 4, kernel, stride, padding, dilation), nn.ReLU()]
                channels = 4
            elif kind == "max":
                kinds.append(nn.MaxPool2d(kernel, stride, padding))
            else:
                kinds.append(nn.AvgPool2d(kernel, stride, padding))
        self.layers = nn.Sequential(*kinds)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@st.composite
def chains(draw: st.DrawFn) -> list[tuple[str, int, int, int, int]]:
    """Draw layers whose strides multiply to at most 8, with any padding that they take."""
    layers, total = [], 1
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "conv", "max", "mean"]))
        kernel = draw(st.integers(1, 5))
        stride = draw(st.sampled_from([each for each in (1, 2, 3, 4) if total * each <= 8]))
        padding = draw(st.integers(0, kernel // 2 if kind != "conv" else kernel - 1))
        dilation = draw(st.integers(1, 2)) if kind == "conv" else 1
        layers.append((kind, kernel, stride, padding, dilation))
        total *= stride
    return layers


@settings(max_examples=60)
@given(layers=chains(), seed=st.integers(0, 9))
def test_any_chain_has_the_phase_of_the_closed_formula(
    layers: list[tuple[str, int, int, int, int]], seed: int
) -> None:
    """A layer moves the first cell by (kernel - 1) dilation / 2 - padding cells of its input."""
    stride, phase = 1, 0.0
    for _, kernel, step, padding, dilation in layers:
        phase += stride * ((kernel - 1) * dilation / 2 - padding)
        stride *= step
    torch.manual_seed(seed)
    # All strides divide the input, so that it does not matter how lengths are rounded.
    found = level(Convolutions(layers).eval(), "layers", (96, 144))
    assert found.stride == stride
    assert found.phase == pytest.approx((phase, phase), abs=1e-3)


def test_axes_are_measured_apart() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, (3, 4), 2, (1, 0)), nn.Conv2d(4, 4, (5, 1), 1, (2, 0)))
    assert level(network.eval(), "1").phase == (0.0, 1.5)


def test_weights_and_activations_do_not_matter() -> None:
    """The same network, with weights of other seeds, in training mode, and far from averages."""
    for seed in range(4):
        network = seeded(ResNet)
        torch.manual_seed(seed)
        with torch.no_grad():
            for each in network.parameters():
                each.copy_(torch.randn_like(each) * 3)
        assert level(network.train(), "layer1").phase == (0.0, 0.0)
        assert network.training


def test_upsampled_context_does_not_move_the_finer_map() -> None:
    found = measured(seeded(Pyramid), "smooth.0", "smooth.1").levels
    assert found["smooth.0"] == [Level(4, (16, 24), (0.0, 0.0))]
    assert found["smooth.1"] == [Level(8, (8, 12), (0.0, 0.0))]


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_a_map_of_upsampled_values_alone_is_measured_through_them(mode: str) -> None:

    class Enlarging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.up = nn.Conv2d(3, 4, 8, 8), nn.Upsample(scale_factor=2, mode=mode)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(self.body(x))

    found = level(seeded(Enlarging), "up")
    assert (found.stride, found.size) == (4, (16, 24))
    # Patches of 8 are centred on 3.5; the cells of stride 4 edge on edge are centred on 1.5.
    assert found.phase == pytest.approx((1.5, 1.5), abs=0.01)


def test_transposed_convolutions_are_measured_through() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ConvTranspose2d(4, 4, 2, 2)).eval()
    found = level(network, "1")
    assert (found.stride, found.phase) == (4, pytest.approx((1.5, 1.5), abs=0.01))


class Scaled(nn.Module):
    """Layer scales, squeeze and excitation, a fixed shift: none of them moves a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 7, 2, 3)
        self.gamma = nn.Parameter(torch.randn(6))
        self.bias = nn.Parameter(torch.randn(6, 1, 1))
        self.squeeze = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.gelu(self.body((x - 120.0) / 58.0)) * self.gamma.view(1, -1, 1, 1)
        y = y + self.bias
        y = y * self.squeeze(y.mean((2, 3), keepdim=True)).sigmoid()
        return y * self.squeeze(functional.adaptive_avg_pool2d(y, 1)).sigmoid()


def test_factors_and_shifts_of_channels_do_not_matter() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = Scaled()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    for seed in range(5):
        torch.manual_seed(seed)
        found = measured(Net().eval(), "body")
        assert found.levels["body"] == [Level(2, (32, 48), (0.0, 0.0))]
        assert not found.attends
        assert not found.positional


def test_attention_and_position_codes_are_noticed() -> None:
    found = measured(seeded(Attentive), "fold", size=(32, 32))
    assert (found.attends, found.positional) == (True, True)
    assert found.levels["fold"] == [Level(8, (4, 4), (3.5, 3.5))]
    found = measured(seeded(Attentive, codes=False), "fold", size=(32, 32))
    assert (found.attends, found.positional) == (True, False)
    found = measured(seeded(Attentive), "embed", size=(32, 32))
    assert (found.attends, found.positional) == (False, False)


def test_attention_written_out_is_bound_to_its_place() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 24)
            self.fold = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            maps = self.embed(x)
            q, k, v = self.mix(maps.flatten(2).mT).chunk(3, -1)
            y = (q @ k.mT / 8**0.5).softmax(-1) @ v
            return self.fold(y.mT.reshape(maps.shape))

    found = measured(seeded(Written), "fold", size=(32, 32))
    assert found.attends
    assert found.levels["fold"] == [Level(4, (8, 8), (1.5, 1.5))]


@pytest.mark.parametrize("name", CUTS)
def test_sizes_are_those_at_the_network_s_own_input(name: str) -> None:
    network, names, call = built(name)
    modules = {each: network.get_submodule(each) for each in names}
    found = measure_levels(network, call, modules, (32, 32)).levels
    for levels in found.values():
        for each in levels:
            assert each.size == (32 // each.stride, 32 // each.stride)
            assert all(-0.5 * each.stride <= phase < each.stride for phase in each.phase)


def test_a_network_of_one_input_size_is_measured_at_it() -> None:
    class Strict(Patches):
        def forward(self, image: Tensor) -> Tensor:
            if image.shape[2:] != (32, 64):
                raise ValueError("another size")
            return super().forward(image)

    assert level(seeded(Strict), "mix", (32, 64)) == Level(8, (4, 8), (3.5, 3.5))


class Odd(nn.Module):
    """Maps whose cells cannot be placed."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Conv2d(3, 4, 4, (4, 2) if kind == "two strides" else 4)
        self.cut = nn.Identity()
        self.plane = nn.Parameter(torch.zeros(1, 4, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.kind == "detached":
            return self.cut(y.detach())
        if self.kind == "constant":
            return self.cut(torch.zeros_like(y))
        if self.kind == "uneven":
            return self.cut(functional.adaptive_avg_pool2d(y, (5, 5)))
        return self.cut(y)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("detached", "map 0 of cut cannot be traced back to the image; give the levels' phases"),
        ("constant", "map 0 of cut cannot be traced back to the image; give the levels' phases"),
        ("two strides", "map 0 of cut has stride 4 down and 2 across"),
        ("uneven", "map 0 of cut"),
    ],
)
def test_maps_without_even_cells_are_refused(kind: str, said: str) -> None:
    assert said in refusal(lambda: measured(seeded(Odd, kind), "cut", size=(32, 32)))


def test_places_of_random_frames_are_not_a_matter_of_their_size() -> None:
    """The input is enlarged until receptive fields fit; small ones give the same phases."""
    sizes = [(32, 32), (32, 64), (64, 96), (224, 320)]
    found = {level(seeded(ResNet), "neck.1", size).phase for size in sizes}
    assert found == {(0.0, 0.0)}
    assert np.ptp([level(seeded(Lopsided), "second", size).phase for size in sizes]) == 0

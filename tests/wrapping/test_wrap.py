"""A wrapped network: its image is zoomed, maps of its cut are unzoomed, all else stays."""

import copy
import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import lzu_export as lzu
from lzu_export.models.zoom import Unzoom, resample
from lzu_export.wrapping.calls import Call
from lzu_export.wrapping.hooks import wrapping_of
from lzu_export.wrapping.nested import named_tensors
from samples import refusal
from wrapped_networks import (
    CUTS,
    FRAME,
    SOURCE,
    Attentive,
    Choosing,
    Keyword,
    Pair,
    Record,
    ResNet,
    Returning,
    built,
    hooks_of,
    seeded,
    sequential,
    warp,
)

CANVAS = (24, 32)
LEVELS = ["neck.0", "neck.1"]
KINDS = {"list": list, "tuple": tuple, "dict": dict, "named tuple": Pair, "data class": Record}


def values(network: nn.Module, call: Call, image: Tensor = FRAME) -> dict[str, Tensor]:
    """Return a network's output tensors by name."""
    found = dict(named_tensors(call.run(network, image)))
    assert found
    return {name: each.detach() for name, each in found.items()}


def differ(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    assert list(mine) == list(theirs)
    return any(not torch.equal(each, theirs[name]) for name, each in mine.items())


def padded(image: Tensor) -> Tensor:
    """Pad a canvas of 24 rows to 32."""
    return functional.pad(image, (0, 0, 0, 8))


def resized(image: Tensor) -> Tensor:
    """Shrink to the canvas with aligned corners, as the identity warp does, and pad."""
    return padded(functional.interpolate(image, size=CANVAS, mode="bilinear", align_corners=True))


@pytest.fixture(params=list(CUTS))
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module, Call]:
    """The network of each kind without a warp and, built again, in one; with its call."""
    network, names, call = built(request.param)
    return built(request.param)[0], lzu.wrap(network, warp(), names, example=call), call


Wrapped = tuple[nn.Module, nn.Module, Call]


def test_weights_and_their_names_stay(pair: Wrapped) -> None:
    """Statistics of batch normalisation are among them: the checks leave them alone."""
    plain, network, _ = pair
    mine, theirs = network.state_dict(), plain.state_dict()
    assert list(mine) == list(theirs)
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    assert list(dict(network.named_modules())) == list(dict(plain.named_modules()))


def test_checkpoints_go_both_ways(pair: Wrapped) -> None:
    plain, network, call = pair
    first = values(network, call)
    with torch.no_grad():
        for each in network.parameters():
            each.copy_(torch.randn(each.shape, generator=torch.Generator().manual_seed(1)))
    changed = values(network, call)
    assert differ(first, changed)
    network.load_state_dict(plain.state_dict(), strict=True)
    assert not differ(first, values(network, call))
    network.load_state_dict(plain.state_dict(), strict=True)
    plain.load_state_dict(network.state_dict(), strict=True)
    lzu.unwrap(network)
    canvas = resized(FRAME)
    assert not differ(values(plain, call, canvas), values(network, call, canvas))


def test_the_warp_changes_the_outputs_and_unwrapping_undoes_it(pair: Wrapped) -> None:
    plain, network, call = pair
    canvas = resized(FRAME)
    own = values(plain, call, canvas)
    assert differ(values(network, call), own)
    assert hooks_of(network) != []
    assert lzu.unwrap(network) is network
    assert hooks_of(network) == []
    assert not differ(values(network, call, canvas), own)
    assert "is not wrapped; there is nothing" in refusal(lambda: lzu.unwrap(network))


@pytest.mark.parametrize("name", CUTS)
def test_the_identity_warp_gives_the_outputs_of_the_resized_image(name: str) -> None:
    network, names, call = built(name)
    own = values(network, call, resized(FRAME))
    lzu.wrap(network, lzu.FixedWarp.uniform(SOURCE, scale=0.5), names, example=call)
    found = values(network, call)
    assert list(found) == list(own)
    for key, value in found.items():
        torch.testing.assert_close(value, own[key], rtol=0, atol=1e-5)


def test_copies_are_wrapped_and_unwrapped_by_themselves(pair: Wrapped) -> None:
    plain, network, call = pair
    expected = values(network, call)
    own = values(plain, call, resized(FRAME))
    stored = io.BytesIO()
    torch.save(network, stored)
    stored.seek(0)
    for twin in (copy.deepcopy(network), torch.load(stored, weights_only=False)):
        assert not differ(values(twin, call), expected)
        lzu.unwrap(twin)
        assert hooks_of(twin) == []
        assert not differ(values(twin, call, resized(FRAME)), own)
        assert not differ(values(network, call), expected)


def test_all_parameters_get_gradients_and_so_does_the_image(pair: Wrapped) -> None:
    _, network, call = pair
    image = FRAME.clone().requires_grad_()
    outputs = [each for _, each in named_tensors(call.run(network, image))]
    if not outputs[0].is_floating_point():
        assert not outputs[0].requires_grad  # labels have none
        return
    sum(each.square().sum() for each in outputs).backward()
    assert [name for name, each in network.named_parameters() if each.grad is None] == []
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0


def test_the_modes_of_all_modules_are_restored() -> None:
    network = seeded(ResNet)
    network.train()
    network.layer1.eval()
    modes = [each.training for each in network.modules()]
    statistics = network.layer2.norms[0].running_mean.clone()
    lzu.suggest(network, (32, 32))
    lzu.wrap(network, warp(), LEVELS)
    assert [each.training for each in network.modules()] == modes
    assert torch.equal(network.layer2.norms[0].running_mean, statistics)
    assert not bool(network.layer2.norms[0].num_batches_tracked)
    network(FRAME)
    assert not torch.equal(network.layer2.norms[0].running_mean, statistics)


def test_a_training_step_learns_under_the_warp() -> None:
    network = lzu.wrap(seeded(ResNet).train(), warp(), LEVELS)
    optimiser = torch.optim.SGD(network.parameters(), 0.05)
    losses = []
    for _ in range(6):
        loss = sum((each - 1).square().mean() for each in network(FRAME))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("separable", [True, False])
def test_the_unzoomed_maps_are_those_of_the_warp_s_tables(separable: bool) -> None:
    """What the head receives is computed here step by step, without a hook."""
    plan = warp(separable=separable)
    plain = seeded(ResNet)
    network = lzu.wrap(seeded(ResNet), plan, LEVELS)
    wrapping = wrapping_of(network)
    assert wrapping is not None
    zoomed = padded(resample(plan.tables().zoom)(FRAME))
    c2 = plain.layer1(plain.pool(plain.stem(zoomed).relu()))
    maps = [neck(each) for neck, each in zip(plain.neck, (c2, plain.layer2(c2)), strict=True)]
    unzooms = [Unzoom(each) for each in plan.tables(wrapping.all_levels).unzoom or ()]
    found = network(FRAME)
    for mine, unzoom, each in zip(found, unzooms, maps, strict=True):
        torch.testing.assert_close(mine, plain.head(unzoom(each).relu()))
        assert not torch.allclose(mine, plain.head(each.relu()), atol=1e-2)


def test_a_separable_warp_differs_from_the_uniform_one_where_it_should() -> None:
    """Nothing but the zoom and the unzoom tells the three networks apart."""
    found = [
        lzu.wrap(seeded(ResNet), each, LEVELS)(FRAME)[0]
        for each in (warp(), warp(separable=False), warp().as_uniform())
    ]
    shares = [((each - found[2]).abs().mean() / found[2].abs().mean()).item() for each in found[:2]]
    assert min(shares) > 0.05


def test_without_an_unzoom_the_network_sees_the_zoomed_image_alone() -> None:
    network = lzu.wrap(seeded(ResNet), warp())
    wrapping = wrapping_of(network)
    assert wrapping is not None
    assert wrapping.levels == {}
    zoomed = padded(resample(warp().tables().zoom)(FRAME))
    for mine, theirs in zip(network(FRAME), seeded(ResNet)(zoomed), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_compiled_network_equals_the_eager_one() -> None:
    """The hooks are traced without a break of the graph."""
    torch._dynamo.reset()
    network = lzu.wrap(seeded(ResNet), warp(), LEVELS)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    for mine, theirs in zip(compiled(FRAME), network(FRAME), strict=True):
        torch.testing.assert_close(mine, theirs)
    sum(each.sum() for each in compiled(FRAME)).backward()
    mine = [each.grad.clone() for each in network.parameters()]
    network.zero_grad()
    sum(each.sum() for each in network(FRAME)).backward()
    for one, other in zip(mine, network.parameters(), strict=True):
        torch.testing.assert_close(one, other.grad)


def test_autocast_keeps_the_outputs_of_float32_within_its_rounding() -> None:
    network = lzu.wrap(seeded(ResNet), warp(), LEVELS)
    exact = network(FRAME)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(FRAME)
    for mine, theirs in zip(rough, exact, strict=True):
        assert mine.dtype == torch.bfloat16
        assert float((mine.float() - theirs).abs().max()) < 0.02 * float(theirs.abs().max())


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_networks_of_other_types_are_wrapped_in_their_own(kind: torch.dtype) -> None:
    network = lzu.wrap(seeded(ResNet).to(kind), warp(), LEVELS)
    exact = lzu.wrap(seeded(ResNet), warp(), LEVELS)(FRAME)
    for mine, theirs in zip(network(FRAME.to(kind)), exact, strict=True):
        assert mine.dtype == kind
        assert float((mine.float() - theirs).abs().max()) < 0.03 * float(theirs.abs().max())


def test_channels_last_changes_nothing() -> None:
    network = lzu.wrap(seeded(ResNet), warp(), LEVELS)
    expected = network(FRAME)
    network = network.to(memory_format=torch.channels_last)
    found = network(FRAME.to(memory_format=torch.channels_last))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_containers_of_maps_and_of_outputs_keep_their_types(name: str) -> None:
    network, names, _ = built(name)
    lzu.wrap(network, warp(), names)
    seen: list[Any] = []
    network.neck.register_forward_hook(lambda _module, _args, output: seen.append(output))
    assert type(network(FRAME)) is KINDS[name]
    assert [type(each) for each in seen] == [KINDS[name]]
    if isinstance(seen[0], Record):
        assert seen[0].size == (3, 4)


def test_the_image_is_found_as_a_keyword_or_by_its_position() -> None:
    network = lzu.wrap(seeded(Keyword), warp(), ["body"], example=Call("pixel_values", (2.0,)))
    one, two = network(1.0, pixel_values=FRAME), network(factor=2.0, pixel_values=FRAME)
    torch.testing.assert_close(2 * one, two)
    by_name = lzu.wrap(seeded(ResNet), warp(), LEVELS, image="x")
    by_place = lzu.wrap(seeded(ResNet), warp(), LEVELS, image=0)
    for each in (by_name, by_place):
        for mine, theirs in zip(each(x=FRAME), each(FRAME), strict=True):
            assert torch.equal(mine, theirs)


def test_what_a_wrapped_network_is_not_called_with_is_refused() -> None:
    network = lzu.wrap(seeded(ResNet), warp(), LEVELS)
    said = refusal(lambda: network(FRAME[..., :40]))
    assert "the image is 48x40, but the warp was made for frames of 48x64" in said
    assert "called without its image, argument x" in refusal(network)
    assert "is a tensor (3, 48, 64); it must be" in refusal(lambda: network(FRAME[0]))
    assert "argument x, is <class 'str'>" in refusal(lambda: network("frame.png"))


def test_maps_of_another_size_or_number_are_refused_when_they_come() -> None:
    class Changing(Returning):
        more = 0

        def forward(self, x: Tensor) -> Any:
            a = self.a(x)
            maps = self.neck(a[..., self.more :, :], self.b(a))
            return [self.head(each) for each in maps]

    network = lzu.wrap(seeded(Changing, "list"), warp(), ["neck"])
    network(FRAME)
    network.more = 1
    said = refusal(lambda: network(FRAME))
    assert "submodule neck returns a map of 7x8 cells where it was 8x8" in said
    assert "wrap the network again" in said
    network.more = 0
    network.neck.forward = lambda a, b: [a]
    assert "neck returns 1 feature maps in place of 2" in refusal(lambda: network(FRAME))
    network.neck.forward = lambda a, b: [a, b, b]
    assert "neck returns more than 2 feature maps" in refusal(lambda: network(FRAME))


def test_a_wrapped_network_is_not_wrapped_again() -> None:
    network = lzu.wrap(seeded(ResNet), warp(), LEVELS)
    expected = network(FRAME)[0]
    hooks = hooks_of(network)
    said = refusal(lambda: lzu.wrap(network, warp(), LEVELS))
    assert "ResNet is wrapped already; call lzu_export.unwrap" in said
    outer = nn.Sequential(network)
    said = refusal(lambda: lzu.wrap(outer, warp(), ["0.neck.0", "0.neck.1"]))
    assert said.startswith("submodule 0 is wrapped already")
    assert hooks_of(network) == hooks
    assert torch.equal(network(FRAME)[0], expected)
    lzu.wrap(lzu.unwrap(network), warp(), LEVELS)
    assert torch.equal(network(FRAME)[0], expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": len}, "network is a builtin_function_or_method; give a torch.nn.Module"),
        ({"warp": None}, "warp is no FixedWarp; make one, such as FixedWarp.from_boxes(...)"),
        ({"warp": 0.5}, "warp is no FixedWarp; make one, such as FixedWarp.from_boxes(...)"),
        ({"multiple": 0}, "multiple is 0; give a whole number of at least 1, such as 32"),
        ({"multiple": 8.5}, "multiple is 8.5; give a whole number of at least 1, such as 32"),
    ],
)
def test_arguments_of_another_kind_are_refused(change: dict[str, Any], said: str) -> None:
    arguments = {"network": seeded(ResNet), "warp": warp(), "unzoom": LEVELS, **change}
    assert refusal(lambda: lzu.wrap(**arguments)) == said


def test_hooks_of_the_user_s_own_stay() -> None:
    network = seeded(ResNet)
    sizes = []
    network.neck[0].register_forward_hook(lambda _m, _a, y: sizes.append(tuple(y.shape)))
    network.register_forward_pre_hook(lambda _m, args: sizes.append(tuple(args[0].shape)))
    lzu.wrap(network, warp(), LEVELS)
    sizes.clear()
    network(FRAME)
    assert sizes == [(2, 3, *SOURCE), (2, 8, 8, 8)]
    lzu.unwrap(network)
    sizes.clear()
    network(padded(FRAME[..., :24, :32]))
    assert sizes == [(2, 3, 32, 32), (2, 8, 8, 8)]


def test_replicas_of_data_parallel_are_wrapped() -> None:
    """A replica shares the hooks; what they keep per call is not shared between threads."""
    from concurrent.futures import ThreadPoolExecutor

    network = lzu.wrap(seeded(ResNet), warp(), LEVELS)
    with torch.no_grad():
        images = torch.randn(8, 1, 3, *SOURCE, generator=torch.Generator().manual_seed(2))
        expected = [network(each)[1] for each in images]
        replicas = [copy.copy(network._replicate_for_data_parallel()) for _ in images]
        for each in replicas:
            each._modules = dict(network._modules)
            each._parameters = dict(network._parameters)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda replica, image: replica(image)[1], replicas, images))
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


def test_the_tables_follow_the_image_to_another_device() -> None:
    """`meta` stands for a device."""
    network = copy.deepcopy(lzu.wrap(seeded(ResNet), warp(), LEVELS)).to("meta")
    found = network(FRAME.to("meta"))
    assert [(each.device.type, tuple(each.shape)) for each in found] == [
        ("meta", (2, 4, 8, 8)),
        ("meta", (2, 4, 4, 4)),
    ]


def test_phases_are_given_by_hand() -> None:
    given = {"neck.1": [(1.0, 2.5)]}
    wrapping = wrapping_of(lzu.wrap(seeded(ResNet), warp(), LEVELS, phase=given))
    assert wrapping is not None
    assert [each.phase for each in wrapping.all_levels] == [(0.0, 0.0), (1.0, 2.5)]
    wrapping = wrapping_of(lzu.wrap(seeded(ResNet), warp(), LEVELS, phase={"neck.0": [3]}))
    assert wrapping is not None
    assert wrapping.levels["neck.0"][0].phase == (3.0, 3.0)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, logger="lzu_export"):
        yield caplog


def test_where_cells_lie_is_told(told: pytest.LogCaptureFixture) -> None:
    network, names, _ = built("patches")
    lzu.wrap(network, warp(), names)
    assert told.messages == [
        "mix: stride 8, 4 x 4 cells, cell (0, 0) centred on canvas pixel (3.5, 3.5)"
    ]


def test_attention_and_position_codes_are_told_from_convolutions(
    told: pytest.LogCaptureFixture,
) -> None:
    lzu.wrap(seeded(ResNet), warp(), LEVELS)
    assert [each for each in told.records if each.levelno >= logging.WARNING] == []
    lzu.wrap(seeded(Attentive, codes=False), warp(), ["fold"])
    assert [each for each in told.messages if "attention lies between the image and fold" in each]
    assert not [each for each in told.messages if "position codes" in each]
    told.clear()
    lzu.wrap(seeded(Attentive), warp(), ["fold"])
    assert [each for each in told.messages if "position codes lie between the image" in each]
    assert "fine-tune the network with the warp" in told.text


def test_a_network_that_returns_the_same_for_all_images_is_told(
    told: pytest.LogCaptureFixture,
) -> None:
    network = seeded(Choosing)
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([0.0, 9999, 0, 0, 0]))
    lzu.wrap(network, warp(), ["body"])
    assert "Choosing returns the same for two images of noise" in told.text


def test_outputs_without_elements_or_with_nan_are_compared() -> None:
    """A detector finds nothing in noise; a logarithm is not defined everywhere."""

    class Finding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 4, 4)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.body(x)
            return {"maps": y, "found": y[:0], "logarithm": y.log(), "most": y.amax().log()}

    network = lzu.wrap(seeded(Finding), warp(), ["body"])
    assert network(FRAME)["found"].numel() == 0


def test_a_sequential_network_is_wrapped_at_a_number() -> None:
    network = lzu.wrap(seeded(sequential), warp(), ["2"])
    assert network(FRAME).shape == (2, 2, 16, 16)
    assert next(iter(network.state_dict())) == "0.weight"

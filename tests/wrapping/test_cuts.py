"""Cut points: what is no cut is refused with the way around it, and `suggest` lists those that are.

A refusal leaves the network as it was: no hook stays behind.
"""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lzu_export as lzu
from lzu_export.wrapping.calls import Call
from lzu_export.wrapping.suggest import Candidates
from samples import refusal
from wrapped_networks import (
    CUTS,
    FRAME,
    Attentive,
    Choosing,
    Keyword,
    Lopsided,
    Patches,
    Pyramid,
    ResNet,
    Returning,
    Shared,
    Skipping,
    built,
    hooks_of,
    seeded,
    sequential,
    warp,
)

SIZE = (32, 32)


def refused(network: nn.Module, names: Any, **options: Any) -> str:
    """Return why `wrap` refuses, after checking that the network is as before."""
    network.train()
    weights = copy.deepcopy(network.state_dict())
    said = refusal(lambda: lzu.wrap(network, warp(), names, **options))
    assert hooks_of(network) == []
    assert all(each.training for each in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, weights[name])
    return said


def test_a_path_around_the_cut_is_named() -> None:
    said = refused(seeded(Skipping), ["neck"])
    assert said.startswith("neck is no cut: the output still depends on the image around it: ")
    assert "image -> body -> around -> head -> the output" in said
    assert "lzu_export.suggest lists cuts" in said
    said = refused(seeded(ResNet), ["neck.0"])
    assert "neck.0 is no cut: 1 still depends on the image around it" in said
    assert ": image -> stem -> pool -> layer1." in said
    assert "-> layer2 -> neck.1 -> head -> 1; name the submodules of that path" in said
    said = refused(seeded(Pyramid), ["smooth.0"])
    assert "coarse still depends on the image around it: image -> body" in said
    assert "smooth.1 -> head -> coarse;" in said


def test_both_ways_together_are_a_cut() -> None:
    network = lzu.wrap(seeded(Skipping), warp(), ["neck", "around"])
    assert network(FRAME).shape == (2, 2, 8, 8)


def test_a_submodule_that_is_fed_by_another_one_is_refused() -> None:
    """Its map would be unzoomed twice."""
    said = refused(seeded(Patches), ["embed", "mix"])
    assert said.startswith("mix is computed from what is unzoomed at embed, so that it would be")
    said = refused(seeded(ResNet), ["neck.1", "layer1", "neck.0"])
    assert "neck.0 is computed from what is unzoomed at layer1" in said


def test_the_way_around_is_found_without_gradients() -> None:
    """Labels have none; the way is not named then."""

    class Around(Choosing):
        def __init__(self) -> None:
            super().__init__()
            self.skip = nn.Conv2d(3, 5, 4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return (self.head(self.body(x)) + self.skip(x)).argmax(1)

    said = refused(seeded(Around), ["body"])
    assert said.startswith("body is no cut: the output still depends on the image around it; name")
    lzu.wrap(seeded(Around), warp(), ["body", "skip"])


def test_a_detour_through_numpy_is_found() -> None:
    class Detour(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            mean = float(x.detach().numpy().mean())
            return self.head(self.body(x)) + mean

    assert "the output still depends on the image" in refused(seeded(Detour), ["body"])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nek.0"], "ResNet has no submodule 'nek.0'; did you mean neck.0?"),
        (["layer3", "neck.0"], "has no submodule 'layer3'; did you mean layer"),
        ([3], "has no submodule 3; lzu_export.suggest lists them"),
        (["zzz"], "has no submodule 'zzz'; lzu_export.suggest lists them"),
        ([""], "has no submodule ''"),
        (["neck.0", "neck.0"], "unzoom names neck.0 twice"),
        (["layer1", "layer1.a"], "unzoom names layer1 and layer1.a inside it"),
        ("neck.0", "unzoom is the text 'neck.0'; give a list of names"),
        (None, "unzoom is None; give a list of names"),
    ],
)
def test_names_are_checked(names: Any, said: str) -> None:
    assert said in refused(seeded(ResNet), names)


def test_an_output_that_is_no_map_is_refused() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.pool = nn.Conv2d(3, 4, 4, 4), nn.AdaptiveAvgPool2d(1)
            self.head, self.labels = nn.Linear(4, 2), nn.Identity()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.pool(self.body(x))
            z = self.head(y.flatten(1))
            return z, self.labels(z.argmax(1))

    said = refused(seeded(Pooled), ["head"])
    assert "submodule head returns (1, 2), which is no 2-D feature map (B, C, H, W)" in said
    assert "submodule pool returns (1, 4, 1, 1), which is no" in refused(seeded(Pooled), ["pool"])
    assert "submodule labels returns (1,), which" in refused(seeded(Pooled), ["labels"])

    class Text(Pooled):
        def __init__(self) -> None:
            super().__init__()
            self.words = Words()

        def forward(self, x: Tensor) -> Any:
            self.words(x)
            return super().forward(x)

    said = refused(seeded(Text), ["words"])
    assert "submodule words returns no tensor, which is no" in said


class Words(nn.Module):
    """Returns a text."""

    def forward(self, x: Tensor) -> str:
        return "nothing"


def test_a_submodule_that_runs_twice_or_never_is_refused() -> None:
    said = refused(seeded(Shared), ["twice"])
    assert said.startswith("submodule twice runs more than once in a forward pass")
    network = seeded(ResNet)
    network.spare = nn.Conv2d(8, 8, 1)
    assert "submodule spare does not run in a forward pass" in refused(network, ["spare"])


def test_a_network_that_does_not_run_is_refused_with_its_reason() -> None:
    said = refused(seeded(Keyword), ["body"])
    assert said.startswith("Keyword does not run on an image of 32x32 in eval mode (TypeError: ")
    assert "pass the others that it needs as example" in said
    said = refused(seeded(ResNet), ["neck.0"], channels=4)
    assert "to have 3 channels, but got 4 channels" in said


def test_an_image_that_is_no_argument_is_refused() -> None:
    said = refused(seeded(ResNet), ["neck.0"], image="picture")
    assert said.startswith("forward of ResNet has no argument picture; it has x: name the one")
    said = refused(seeded(ResNet), ["neck.0"], image=1)
    assert "argument 1" in said


def test_a_random_network_is_refused_as_such() -> None:
    class Random(Patches):
        def forward(self, image: Tensor) -> Tensor:
            y = self.mix(self.embed(image))
            return self.head(y + torch.rand_like(y))

    said = refused(seeded(Random), ["mix"])
    assert said.startswith("Random returns other outputs for the same image in eval mode")
    lzu.wrap(seeded(Random), warp(), ["mix"], check=False)


def test_another_number_of_outputs_per_image_is_no_cut() -> None:
    class Finding(Patches):
        def forward(self, image: Tensor) -> Any:
            scores = super().forward(image)
            count = int(image.sum().abs()) % 3 if image.shape[0] == 1 else 0
            return [scores[:1]] * (1 + count)

    network = seeded(Finding)
    images = [torch.zeros(1, 3, *SIZE), torch.ones(1, 3, *SIZE) / 3]
    assert [len(network(each)) for each in images] == [1, 1 + 1024 % 3]
    from lzu_export.wrapping.cuts import check_cut

    def check() -> None:
        check_cut(network, Call(), (images[0], images[1]), {"mix": network.mix})

    assert "mix is no cut: 1 still depends on the image around it" in refusal(check)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"body": [0]}, "phase names body, which is not among the unzoomed neck.0, neck.1"),
        ({"neck.0": []}, "phase of neck.0 has 0 entries, but the submodule returns 1 maps"),
        ({"neck.0": [1, 2]}, "phase of neck.0 has 2 entries"),
        ({"neck.0": [float("nan")]}, "phase of neck.0 is nan; give a finite number"),
        ({"neck.0": [(1, 2, 3)]}, "phase of neck.0 is (1, 2, 3); give"),
        ({"neck.0": ["left"]}, "phase of neck.0 is left; give"),
        ({"neck.0": 3}, "phase of neck.0 is 3; give a list with one entry per map"),
    ],
)
def test_phases_by_hand_are_checked(given: Any, said: str) -> None:
    assert said in refused(seeded(ResNet), ["neck.0", "neck.1"], phase=given)


def names(found: Candidates) -> list[tuple[str, ...]]:
    return [each.names for each in found]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ResNet, [("stem",), ("pool",), ("layer1",), ("neck.0", "neck.1")]),
        (Pyramid, [("body",), ("smooth.0", "smooth.1")]),
        (Patches, [("embed",), ("mix.0",), ("mix",), ("head",)]),
        (Lopsided, [("first",), ("second",), ("head",)]),
        (Skipping, [("body",), ("head",)]),
        (Shared, [("body",), ("last",)]),
        (Attentive, [("embed",), ("fold",), ("head",)]),
    ],
)
def test_suggestions_are_the_cuts(kind: Any, expected: list[tuple[str, ...]]) -> None:
    network = seeded(kind).train()
    found = lzu.suggest(network, SIZE)
    assert names(found) == expected
    assert hooks_of(network) == []
    assert all(each.training for each in network.modules())


@pytest.mark.parametrize("name", [each for each in CUTS if each != "labels"])
def test_every_suggestion_can_be_wrapped(name: str) -> None:
    """And what is not suggested alone is no cut, or feeds what is."""
    network, _, call = built(name)
    found = lzu.suggest(network, SIZE, call=call)
    assert len(found) >= 2
    for each in found:
        lzu.wrap(network, warp(), each.names, example=call)
        lzu.unwrap(network)
    single = {each.names[0] for each in found if len(each.names) == 1}
    if name == "sequential":  # its activation works in place on the map before, which is listed
        single.add("2")
    for left in set(dict(network.named_children())) - single:
        said = refusal(lambda left=left: lzu.wrap(network, warp(), [left], example=call))
        assert any(part in said for part in ("no cut", "2-D", "more than once", "stride", "run in"))


def test_suggestions_have_shapes_and_are_printed_a_line_each() -> None:
    found = lzu.suggest(seeded(Returning, "dict"), torch.zeros(1, 3, 32, 48))
    assert found[-1].maps == ((4, 8, 12), (4, 4, 6))
    assert str(found).splitlines() == ["a: 4x8x12", "neck: 4x8x12, 4x4x6"]
    assert str(Candidates()) == "no cut: no submodule with 2-D maps has all paths through it"
    many = Candidates(found * 30)
    assert str(many).splitlines()[0] == "... 20 earlier ones"
    assert len(str(many).splitlines()) == 41


def test_no_gradient_is_told() -> None:
    said = refusal(lambda: lzu.suggest(seeded(Choosing), SIZE))
    assert said.startswith("the outputs of Choosing have no gradient to the image")
    frozen = sequential().requires_grad_(False)
    assert names(lzu.suggest(frozen, SIZE))[0] == ("0",)


def test_a_compiled_submodule_is_refused() -> None:
    """Candidates are the others."""
    network = nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 4, 4)), nn.Conv2d(4, 2, 1))
    assert names(lzu.suggest(network, SIZE)) == [("1",)]
    said = refusal(lambda: lzu.wrap(network, warp(), ["0"]))
    assert said.startswith("submodule 0 is compiled by torch.jit, which takes no hook")


class OneByOne(nn.Module):
    """Each image of a batch goes through the network by itself, as in torchvision's detectors."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 2, 1)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.head(self.body(each[None])) for each in images]


def test_a_submodule_that_takes_single_images_is_refused() -> None:
    said = refusal(lambda: lzu.wrap(OneByOne(), warp(), ["body"]))
    assert said.startswith("submodule body returns 1 maps for a batch of 4 images; name one")


@pytest.mark.parametrize(
    ("example", "called"),
    [(96, "96"), ((0, 32), "(0, 32)"), ((1, 3, 32, 32), "(1, 3, 32, 32)"), (object(), "object")],
)
def test_an_example_that_is_no_image_is_refused(example: Any, called: str) -> None:
    said = refusal(lambda: lzu.suggest(sequential(), example))
    assert said == (
        f"example is {called}; give an image as a tensor (B, C, H, W), or its (height, width)"
    )


def test_suggest_says_why_a_network_does_not_run() -> None:
    said = refusal(lambda: lzu.suggest(seeded(Keyword), SIZE))
    assert "Keyword does not run on an image of 32x32" in said
    found = lzu.suggest(seeded(Keyword), SIZE, call=Call(args=(1.0,)), image="pixel_values")
    assert names(found) == [("body",), ("head",)]

"""Warps that a module of the user's own computes from each image, trained with the network."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lzu_export
from lzu_export.errors import LzuError
from lzu_export.models.grid_warp import GridZoom
from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.wrapping import learned as learned_module
from lzu_export.wrapping.hooks import KNOTS
from lzu_export.wrapping.learned import SUBMODULE, LearnedWarp
from lzu_export.wrapping.wrap import unwrap, wrap

SOURCE, CANVAS = (48, 64), (24, 32)


class Spacing(nn.Module):
    """Knots of an axis as the running sum of a softmax of the image's mean colours."""

    def __init__(self, plane: bool = False) -> None:
        super().__init__()
        self.along_x, self.along_y = nn.Linear(3, 8), nn.Linear(3, 6)
        self.plane = plane

    def forward(self, image: Tensor) -> Any:
        colours = image.mean((2, 3))
        x, y = (_knots(layer(colours)) for layer in (self.along_x, self.along_y))
        if not self.plane:
            return x, y
        shape = (-1, y.shape[1], x.shape[1])
        rows, columns = y[:, :, None].expand(shape), x[:, None, :].expand(shape)
        return torch.stack([columns, rows], dim=-1)


def _knots(logits: Tensor) -> Tensor:
    ends = torch.cumsum(torch.softmax(logits, 1), 1)
    return 2 * torch.cat([torch.zeros_like(ends[:, :1]), ends], 1) - 1


class Small(nn.Module):
    """A network with a cut at stride 4."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.Tanh(), nn.Conv2d(6, 6, 3, 2, 1))
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        return {"map": self.head(self.stem(x))}


def network() -> Small:
    torch.manual_seed(1)
    return Small()


def spacing(plane: bool = False) -> Spacing:
    torch.manual_seed(2)
    return Spacing(plane)


def learned(module: nn.Module) -> LearnedWarp:
    return LearnedWarp.of(module, SOURCE, canvas=CANVAS)


@pytest.mark.parametrize("plane", [False, True])
def test_each_image_is_warped_by_its_own_knots(plane: bool) -> None:
    """A batch gives what fixed warps of the same knots give, image by image."""
    module = spacing(plane)
    images = torch.rand(2, 3, *SOURCE) * torch.tensor([1.0, 6.0]).reshape(2, 1, 1, 1)
    with torch.no_grad():
        both = wrap(network(), learned(module), ["stem"])(images)["map"]
        for i, image in enumerate(images):
            knots = module(image[None])
            own = (
                {"knots": knots} if plane else dict(zip(("knots_x", "knots_y"), knots, strict=True))
            )
            arrays = {name: each[0].double().numpy() for name, each in own.items()}
            fixed = FixedWarp(arrays, SOURCE, CANVAS)
            alone = wrap(network(), fixed, ["stem"])(image[None])["map"]
            torch.testing.assert_close(both[i], alone[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(both[0], both[1])


@pytest.mark.parametrize("plane", [False, True])
def test_the_loss_trains_the_warp(plane: bool) -> None:
    """A few steps lower a loss by the warp's parameters alone."""
    wrapped = wrap(network(), learned(spacing(plane)), ["stem"])
    image = torch.rand(1, 3, *SOURCE)
    own = [each for name, each in wrapped.named_parameters() if name.startswith(SUBMODULE)]
    assert len(own) == 4
    optimizer = torch.optim.Adam(own, 0.05)
    losses = []
    for _ in range(12):
        loss = (wrapped(image)["map"] - 0.3).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(each.grad is not None and float(each.grad.abs().sum()) > 0 for each in own)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_the_module_is_part_of_the_network_until_unwrapped() -> None:
    wrapped = wrap(network(), learned(spacing()), ["stem"])
    assert f"{SUBMODULE}.along_x.weight" in wrapped.state_dict()
    again = wrap(network(), learned(Spacing()), ["stem"])
    again.load_state_dict(wrapped.state_dict())
    image = torch.rand(1, 3, *SOURCE)
    with torch.no_grad():
        torch.testing.assert_close(again(image)["map"], wrapped(image)["map"])
    unwrap(wrapped)
    assert set(wrapped.state_dict()) == set(network().state_dict())


def test_no_graph_is_kept_between_calls() -> None:
    """Knots are dropped after use: a copy of the network can be made after a training step."""
    wrapped = wrap(network(), learned(spacing()), ["stem"])
    wrapped(torch.rand(1, 3, *SOURCE))["map"].sum().backward()
    assert getattr(wrapped.stem, KNOTS) is None
    assert copy.deepcopy(wrapped)(torch.rand(1, 3, *SOURCE))["map"].shape == (1, 2, 8, 8)


def test_constants_of_a_plane_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call makes them, whatever its mode; a tracer makes its own, and keeps none."""
    made = []

    class Counted(GridZoom):
        def __init__(self, *arguments: Any) -> None:
            made.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(learned_module, "GridZoom", Counted)
    wrapped = wrap(network(), learned(spacing(plane=True)), ["stem"])
    image = torch.rand(1, 3, *SOURCE)
    with torch.inference_mode():
        first = wrapped(image)["map"]
    traced = torch.export.export(wrapped, (image,), strict=False).module()
    again = wrapped(image)["map"]
    again.sum().backward()
    assert made == [((7, 9), SOURCE, CANVAS)] * 2  # once by a call, once by the tracer
    torch.testing.assert_close(again, first)
    torch.testing.assert_close(traced(image)["map"], first)


class Constant(nn.Module):
    """The same learned knots for every image."""

    def __init__(self, plane: bool) -> None:
        super().__init__()
        self.shares, self.plane = nn.Parameter(torch.linspace(0, 1, 8)), plane

    def forward(self, image: Tensor) -> Any:
        x = _knots(self.shares[None]).expand(len(image), -1)
        if not self.plane:
            return x, x
        shape = (-1, x.shape[1], x.shape[1])
        return torch.stack([x[:, None, :].expand(shape), x[:, :, None].expand(shape)], dim=-1)


@pytest.mark.parametrize("plane", [False, True])
def test_knots_that_are_the_same_for_all_images_become_a_fixed_warp(plane: bool) -> None:
    warp = learned(Constant(plane))
    image = torch.rand(1, 3, *SOURCE)
    with torch.no_grad():
        wanted = wrap(network(), warp, ["stem"])(image)["map"]
        found = wrap(network(), warp.as_fixed(), ["stem"])(image)["map"]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert warp.module.training


def test_knots_that_depend_on_the_image_are_no_fixed_warp() -> None:
    with pytest.raises(LzuError, match="the knots of Spacing depend on the image"):
        learned(spacing()).as_fixed()


def test_a_window_beside_a_learned_warp() -> None:
    window = FixedWarp.from_window(SOURCE, (10, 5, 32, 24), canvas=CANVAS)
    image = torch.rand(1, 3, *SOURCE)
    with torch.no_grad():
        both = wrap(network(), [learned(spacing()), window], ["stem"])(image)["map"]
        alone = wrap(network(), window)(image)["map"]
    torch.testing.assert_close(both[1:], alone)


class Wrong(nn.Module):
    """Returns knots of a wrong shape."""

    def forward(self, image: Tensor) -> Tensor:
        return image.mean((2, 3))


def test_bad_warps_are_refused() -> None:
    with pytest.raises(LzuError, match=r"the warp's module returns \[\(1, 3\)\] for 1 images"):
        wrap(network(), learned(Wrong()), ["stem"])(torch.rand(1, 3, *SOURCE))
    with pytest.raises(LzuError, match=r"learned warp is str; give a torch\.nn\.Module"):
        LearnedWarp.of("spacing", SOURCE, scale=0.5)  # type: ignore[arg-type]
    chain = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 2, 1))
    with pytest.raises(LzuError, match="put the chain into a module of your own"):
        wrap(chain, learned(spacing()), ["0"])


@pytest.mark.slow  # exports: half a minute
@pytest.mark.parametrize("plane", [False, True])
def test_a_learned_warp_is_exported_and_computed_in_the_engine(plane: bool, tmp_path: Path) -> None:
    module = spacing(plane)
    wrapped = wrap(network(), learned(module), ["stem"]).eval()
    norm = {"order": "rgb", "mean": [0.0] * 3, "std": [255.0] * 3}
    done = lzu_export.export(
        wrapped,
        tmp_path,
        normalisation=norm,
        targets=["onnxruntime"],
        precision=["fp32", "fp16"],
    )
    assert done.folder.name == f"small-adaptive-0.5x{'-nonseparable' if plane else ''}"
    frames = np.random.default_rng(0).integers(0, 256, (2, *SOURCE, 3), dtype=np.uint8)
    frames[1] //= 8
    with lzu_export.load(done.folder, precision="fp32") as predictor:
        for frame in frames:
            image = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
            with torch.no_grad():
                wanted = wrapped(image)["map"][0].numpy()
            found = predictor(frame)
            assert set(found) == {"map"}
            np.testing.assert_allclose(found["map"], wanted, rtol=0, atol=1e-4)

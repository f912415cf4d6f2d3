"""Small networks of different kinds that tests wrap in a warp, and warps for them.

All take images (B, 3, H, W). Their weights are random, from a seed.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lzu_export.warp.fixed_warp import FixedWarp
from lzu_export.wrapping.calls import Call
from lzu_export.wrapping.hooks import wrapping_of

SOURCE = (48, 64)
"""Size (height, width) of the frames of these tests."""
FRAME = torch.randn(2, 3, *SOURCE, generator=torch.Generator().manual_seed(7))
"""Two images of that size."""


def warp(*, separable: bool = True, scale: float | None = 0.5, **options: Any) -> FixedWarp:
    """Make a warp that magnifies the middle of frames of `SOURCE`."""
    rows, columns = np.mgrid[0:7, 0:9]
    saliency = 0.1 + np.exp(-(((rows - 3) / 1.5) ** 2) - ((columns - 5) / 2) ** 2)
    return FixedWarp.from_saliency(
        saliency, SOURCE, scale=scale, fwhm=3, separable=separable, **options
    )


def seeded(kind: Any, *args: Any, **kwargs: Any) -> Any:
    """Build a network with weights and batch-norm statistics by seed 0, in eval mode."""
    torch.manual_seed(0)
    network = kind(*args, **kwargs)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def hooks_of(network: nn.Module) -> list[str]:
    """Return the names of submodules on which a hook is left, and of a wrapping."""
    kinds = [name for name in vars(network) if name.endswith(("_hooks", "_with_kwargs"))]
    found = [
        f"{name}.{kind}"
        for name, module in network.named_modules()
        for kind in kinds
        if vars(module)[kind]
    ]
    return found if wrapping_of(network) is None else [*found, "wrapping"]


class Block(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.b = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outer), nn.BatchNorm2d(outer)])
        self.short = nn.Conv2d(inner, outer, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norms[0](self.a(x)), inplace=True)
        return functional.relu(self.norms[1](self.b(y)) + self.short(x))


class ResNet(nn.Module):
    """Stem with maximum pooling, blocks of stride 4 and 8, and a head on each of the two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, 2, 3)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2 = Block(8, 8, 1), Block(8, 8, 2)
        self.neck = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(2))
        self.head = nn.Conv2d(8, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        c2 = self.layer1(self.pool(functional.relu(self.stem(x))))
        maps = zip(self.neck, (c2, self.layer2(c2)), strict=True)
        return [self.head(functional.relu(neck(each))) for neck, each in maps]


class Pyramid(nn.Module):
    """Feature pyramid: the coarse map is enlarged and added to the fine one."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.top = nn.Conv2d(3, 8, 3, 4, 1), Block(8, 8, 2)
        self.lateral = nn.Conv2d(8, 8, 1)
        self.smooth = nn.ModuleList(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(2))
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.body(x)
        coarse = self.top(fine)
        enlarged = functional.interpolate(coarse, size=fine.shape[2:], mode="nearest")
        fine = self.smooth[0](self.lateral(fine) + enlarged)
        return {"fine": self.head(fine), "coarse": self.head(self.smooth[1](coarse))}


class Patches(nn.Module):
    """Cuts patches, mixes channels, classifies every patch."""

    def __init__(self, side: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, side, side)
        self.mix = nn.Sequential(nn.Conv2d(8, 8, 1), nn.GELU())
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.mix(self.embed(image)))


class Lopsided(nn.Module):
    """Pads at the bottom and right alone, as networks of TensorFlow do."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.first, self.second = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, 2)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.second(self.pad(functional.silu(self.first(self.pad(x)))))
        z = self.head(y)
        return z, z.sigmoid()


class Attentive(nn.Module):
    """Patches with position codes and self-attention; its head returns class scores."""

    def __init__(self, *, codes: bool = True) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 8, 8)
        self.codes = nn.Parameter(torch.randn(1, 32, 8)) if codes else None
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fold = nn.Identity()
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.embed(x)
        tokens = maps.flatten(2).transpose(1, 2)
        if self.codes is not None:
            tokens = tokens + self.codes[:, : tokens.shape[1]]
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(self.fold(tokens.transpose(1, 2).reshape(maps.shape)))


class Pair(NamedTuple):
    """A named tuple of outputs."""

    boxes: Tensor
    scores: Tensor


@dataclass
class Record:
    """A data class of outputs, with one that is not a tensor."""

    boxes: Tensor
    scores: Tensor
    size: tuple[int, int] = field(default=(0, 0))


class Returning(nn.Module):
    """A neck that returns two maps in a container of a kind, and a head that returns another."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b = nn.Conv2d(3, 4, 3, 4, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.neck, self.head = Gather(kind), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        a = self.a(x)
        maps = self.neck(a, self.b(a))
        values = list(vars(maps).values())[:2] if isinstance(maps, Record) else maps
        values = list(maps.values()) if isinstance(maps, dict) else values
        return made(self.kind, *(self.head(each) for each in values))


class Gather(nn.Module):
    """Returns its arguments in a container of a kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return made(self.kind, a, b)


def made(kind: str, a: Tensor, b: Tensor) -> Any:
    """Return two tensors in a list, tuple, dict, named tuple or data class."""
    makers = {"list": list, "tuple": tuple}
    if kind in makers:
        return makers[kind]((a, b))
    if kind == "dict":
        return {"boxes": a, "scores": b}
    return Pair(a, b) if kind == "named tuple" else Record(a, b, (3, 4))


class Keyword(nn.Module):
    """Takes its image as a keyword, beside a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 2, 1)

    def forward(self, factor: float, *, pixel_values: Tensor) -> Tensor:
        return self.head(self.body(pixel_values)) * factor


class Shared(nn.Module):
    """Runs one convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.twice = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 3, 1, 1)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.twice(self.twice(self.body(x))))


class InPlace(nn.Module):
    """Changes in place what its submodules return, more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y += 1
        y.mul_(2).relu_()
        return self.head(y).add_(3)


class Choosing(nn.Module):
    """Returns labels alone, which have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).argmax(1)


class Skipping(nn.Module):
    """Adds a part of the image to its head around the neck."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.neck = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 3, 1, 1)
        self.around = nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.head(self.neck(y) + self.around(y))


def sequential() -> nn.Sequential:
    """Return a network that is `nn.Sequential` at the top."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 2, 1)
    )


CUTS: dict[str, tuple[Any, tuple[Any, ...], list[str], Call]] = {
    "resnet": (ResNet, (), ["neck.0", "neck.1"], Call()),
    "pyramid": (Pyramid, (), ["smooth.0", "smooth.1"], Call()),
    "patches": (Patches, (), ["mix"], Call()),
    "lopsided": (Lopsided, (), ["second"], Call()),
    "attention": (Attentive, (), ["fold"], Call()),
    "list": (Returning, ("list",), ["neck"], Call()),
    "tuple": (Returning, ("tuple",), ["neck"], Call()),
    "dict": (Returning, ("dict",), ["neck"], Call()),
    "named tuple": (Returning, ("named tuple",), ["neck"], Call()),
    "data class": (Returning, ("data class",), ["neck"], Call()),
    "keyword": (Keyword, (), ["body"], Call("pixel_values", (2.0,))),
    "shared": (Shared, (), ["body"], Call()),
    "in place": (InPlace, (), ["body"], Call()),
    "labels": (Choosing, (), ["body"], Call()),
    "sequential": (sequential, (), ["2"], Call()),
}
"""By name, a network with its arguments, names of submodules that are a cut, and its call."""


def built(name: str) -> tuple[nn.Module, list[str], Call]:
    """Build a network of `CUTS`; return it with its cut and call."""
    kind, args, names, call = CUTS[name]
    return seeded(kind, *args), list(names), call

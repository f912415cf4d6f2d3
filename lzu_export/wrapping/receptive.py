"""Measure where the cells of feature maps lie on the network's input.

Networks differ by up to half a cell: a ResNet centres cell i of stride s on pixel s * i, a network
that cuts patches on s * i + (s - 1) / 2. A cell's place is the centroid of its receptive field,
where each pixel weighs as many paths as lead from it to the cell. Paths are counted by the
derivative of the network with every convolution an average, activations and normalisations the
identity, maximum pooling average pooling, attention bound to its place, and global pooling without
effect. Maps that are upsampled count only if nothing else leads to the cell: they carry context,
while the finer maps that they are added to say where things are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lzu_export.errors import LzuError
from lzu_export.warp.geometry import Level
from lzu_export.wrapping.calls import Call, evaluating, image_of
from lzu_export.wrapping.cuts import maps_of, outputs_at, outputs_until

log = logging.getLogger(__name__)

IDENTITIES = frozenset(
    (
        *("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize"),
        *("relu", "relu_", "relu6", "gelu", "silu", "silu_", "sigmoid", "sigmoid_", "tanh"),
        *("tanh_", "hardswish", "hardswish_", "hardsigmoid", "leaky_relu", "leaky_relu_", "elu"),
        *("elu_", "selu", "celu", "mish", "prelu", "softplus", "hardtanh", "hardtanh_", "clamp"),
        *("clamp_", "clip", "clip_", "dropout", "dropout2d", "local_response_norm"),
    )
)
"""Functions that act on each place by itself, so that they are left out."""
ATTENTIONS = frozenset(
    (
        "multi_head_attention_forward",
        "_native_multi_head_attention",
        "_transformer_encoder_layer_fwd",
        "scaled_dot_product_attention",
    )
)
PRODUCTS = frozenset(("mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__"))
SUMS = frozenset(("add", "add_", "__add__", "__radd__", "__iadd__"))
UPSAMPLINGS = frozenset(["interpolate", "upsample", "grid_sample", "pixel_shuffle"])
LARGEST_INPUT = 640
"""Side in pixels from which on the input is not enlarged to make receptive fields fit in."""
BORDER, BORDER_MASS = 0.02, 1e-3
"""Share of the input's sides that is its border, and mass of a receptive field allowed there."""
MOST_CELLS = 8
"""Largest number of cells whose places are averaged."""
EXACT, SLOPE = 1e-3, 0.1
"""Largest distances of a measured stride from a whole number, as shares of it: up to the first it
is that number, up to the second it is where lengths are no multiples of each other."""


class Measured(NamedTuple):
    """Levels of a network's submodules, and what was noticed while they were measured."""

    levels: dict[str, list[Level]]
    """By submodule, the stride, size and phase of each of its feature maps."""
    attends: bool
    """Whether attention lies between the image and the maps, which looks beyond a cell's place."""
    positional: bool
    """Whether position encodings are added between the image and the maps."""


class PathCounting(TorchFunctionMode):
    """Mode in which a network's derivative counts the paths from pixels to cells."""

    def __init__(self, *, upsampled: bool) -> None:
        """Choose whether paths through upsampled maps count."""
        super().__init__()
        self.upsampled = upsampled
        self.attends = self.positional = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function, or what stands for it while paths are counted."""
        name, named = getattr(func, "__name__", ""), dict(kwargs or {})
        first = args[0] if args else named.get("input")
        stand_in = self._stand_in(name, first)
        if stand_in is not None:
            return stand_in(func, args, named)
        result = func(*args, **named)
        if name in UPSAMPLINGS and not self.upsampled:
            return result.detach()
        return result.detach() if _is_global(name, first, result) else result

    def _stand_in(self, name: str, first: Any) -> Callable[..., Any] | None:
        """Return what runs in place of a function; None for the function itself."""
        of_floats = isinstance(first, Tensor) and first.is_floating_point()
        if name in IDENTITIES:
            return (lambda func, args, named: first) if of_floats else None
        if name in ATTENTIONS:
            return self._attention
        if name == "softmax":
            return self._softmax if of_floats else None
        if name in PRODUCTS | SUMS:
            return self._with_parameters
        return LINEAR.get(name)

    def _attention(
        self, func: Callable[..., Any], args: Sequence[Any], named: dict[str, Any]
    ) -> Any:
        """Bind attention to its own place: return the query, or the value of as many places."""
        name = func.__name__
        self.attends = True
        query = args[0] if args else named["query"]
        if name == "scaled_dot_product_attention":
            value = _argument(args, named, 2, "value")
            return value if value.shape[-2] == query.shape[-2] else torch.zeros_like(query)
        return query if name.startswith("_transformer") else (query, None)

    def _softmax(
        self, func: Callable[..., Any], args: Sequence[Any], named: dict[str, Any]
    ) -> Tensor:
        """Bind attention of places on each other to their own; other choices count nothing."""
        scores: Tensor = _argument(args, named, 0, "input")
        if scores.ndim >= 3 and scores.shape[-1] == scores.shape[-2]:
            self.attends = True
            return torch.eye(scores.shape[-1]).to(scores).expand_as(scores)
        return torch.full_like(scores, 1 / scores.shape[-1])

    def _with_parameters(
        self, func: Callable[..., Any], args: Sequence[Any], named: dict[str, Any]
    ) -> Any:
        """Leave out weights of channels, whose sign and size say nothing about places."""
        result = func(*args, **named)
        for mine, other in (args, args[::-1]) if len(args) == 2 else ():
            if _is_weight(mine) and isinstance(other, Tensor) and result.shape == other.shape:
                spread = sum(length > 1 for length in mine.shape) > 1
                self.positional |= func.__name__ in SUMS and spread and _is_traced(other)
                return other
        return result


def measure_levels(
    network: nn.Module,
    call: Call,
    modules: Mapping[str, nn.Module],
    network_input: tuple[int, int],
    channels: int = 3,
) -> Measured:
    """Measure stride, size and phase of the feature maps of submodules.

    Sizes are those at the network's own input. Places are measured on a larger input where the
    network takes one, so that whole receptive fields fit in.

    Args:
        network: network without hooks of a wrapping.
        call: how it is called.
        modules: submodules by name, each run once.
        network_input: (height, width) of the padded canvas.
        channels: number of channels of the image.

    Raises:
        LzuError: a map cannot be traced back to the image, or its cells are not evenly spaced.
    """
    with evaluating(network):
        plain = image_of(network, torch.zeros(1, channels, *network_input))
        outputs, _ = outputs_at(network, call, plain, modules)
    sizes = {
        name: [(x.shape[2], x.shape[3]) for x in maps_of(name, output)]
        for name, output in outputs.items()
    }
    size = network_input
    places, mode, mass = _places(network, call, modules, size, channels)
    while mass > BORDER_MASS and max(size) < LARGEST_INPUT:
        larger = (2 * size[0], 2 * size[1])
        try:
            found, mode, mass = _places(network, call, modules, larger, channels)
        except Exception as error:  # a network of one input size may raise anything
            log.debug("the network takes no input of %dx%d: %s", *larger, error)
            break
        places, size = found, larger
    levels = {
        name: [
            _level(f"map {i} of {name}", size, each)
            for i, (size, each) in enumerate(zip(sizes[name], places[name], strict=True))
        ]
        for name in modules
    }
    return Measured(levels, mode.attends, mode.positional)


class _Axis(NamedTuple):
    """Middle cells of one axis of a map, and the centroids of their receptive fields in pixels."""

    cells: list[int]
    centres: list[float]
    pixels: int
    length: int


def _places(
    network: nn.Module,
    call: Call,
    modules: Mapping[str, nn.Module],
    size: tuple[int, int],
    channels: int,
) -> tuple[dict[str, list[tuple[_Axis, _Axis]]], PathCounting, float]:
    """Return the places of middle cells per map, the mode, and the largest mass at the border."""
    probes = image_of(network, _probes(size, channels))
    for upsampled in (False, True):
        mode = PathCounting(upsampled=upsampled)
        with evaluating(network), forward_ad.dual_level():
            # Forward derivatives along these images are sums over the paths to every cell at once.
            image = forward_ad.make_dual(torch.ones_like(probes), probes)
            with mode:
                outputs = outputs_until(network, call, image, modules)
            maps = {name: maps_of(name, output) for name, output in outputs.items()}
            sums = {
                name: [forward_ad.unpack_dual(x).tangent for x in found]
                for name, found in maps.items()
            }
        if all(each is not None for found in sums.values() for each in found):
            break
    most = 0.0
    places: dict[str, list[tuple[_Axis, _Axis]]] = {}
    for name, found in sums.items():
        places[name] = []
        for i, each in enumerate(found):
            if each is None:
                raise LzuError(
                    f"map {i} of {name} cannot be traced back to the image; give the levels' "
                    "phases by hand (phase=...)"
                )
            if len(each) != len(probes):
                raise LzuError(
                    f"submodule {name} returns {len(each)} maps for a batch of {len(probes)} "
                    "images; name one that takes the whole batch at once, so that its first axis "
                    "is the batch"
                )
            axes, mass = _axes(each.double().sum(1).cpu(), size)
            places[name].append(axes)
            most = max(most, mass)
    return places, mode, most


def _probes(size: tuple[int, int], channels: int) -> Tensor:
    """Return images (4, channels, size): ones, the row, the column, and a mask of the border.

    Rows and columns count from the middle, where they are measured, in heights and widths.
    """
    rows, columns = (torch.arange(count) / count - _middle(count) for count in size)
    border = torch.zeros(size)
    for axis, count in enumerate(size):
        edge = max(1, int(BORDER * count))
        for place in (slice(None, edge), slice(-edge, None)):
            border[(slice(None),) * axis + (place,)] = 1
    images = [torch.ones(size), rows[:, None].expand(size), columns.expand(size), border]
    return torch.stack(images)[:, None].expand(-1, channels, -1, -1).contiguous()


def _axes(sums: Tensor, size: tuple[int, int]) -> tuple[tuple[_Axis, _Axis], float]:
    """Return the centroids of middle cells along y and x, and the mass at or over the border.

    Args:
        sums: (4, H, W) derivatives of a map along the images of `_probes`.
        size: (height, width) of the images.
    """
    counts = (sums.shape[1], sums.shape[2])
    first = [(count - min(MOST_CELLS, count)) // 2 for count in counts]
    rows, columns = (slice(at, at + MOST_CELLS) for at in first)
    block = sums[:, rows, columns]
    mass = block[0]
    centres = [
        ((block[1 + axis] / mass).mean(1 - axis) + _middle(size[axis])) * size[axis]
        for axis in (0, 1)
    ]
    y, x = (
        _Axis(
            [first[axis] + step for step in range(len(centres[axis]))],
            centres[axis].tolist(),
            size[axis],
            counts[axis],
        )
        for axis in (0, 1)
    )
    # A field that reaches over the border has lost a part of its mass to the padding.
    lost = 1 - mass.abs().amin() / mass.abs().amax()
    at_border = (block[3] / mass).abs().max()
    return (y, x), float(torch.stack([lost, at_border]).nan_to_num(0.0).amax())


def _middle(count: int) -> float:
    """Return the middle of an axis' pixels as a share of their number."""
    return (count - 1) / 2 / count


def _level(called: str, size: tuple[int, int], axes: tuple[_Axis, _Axis]) -> Level:
    """Return a level of a size from the places of its cells.

    Raises:
        LzuError: strides are no whole numbers, or differ between the axes.
    """
    strides = []
    for axis in axes:
        values = torch.tensor(axis.centres, dtype=torch.float64)
        if not bool(torch.isfinite(values).all()):
            raise LzuError(
                f"{called} does not depend on the image in its middle; give the levels' phases by "
                "hand (phase=...), or name another submodule"
            )
        strides.append(_stride(called, axis))
    if strides[0] != strides[1]:
        raise LzuError(
            f"{called} has stride {strides[0]} down and {strides[1]} across; name a submodule "
            "whose maps have one stride"
        )
    phases = []
    for axis, stride in zip(axes, strides, strict=True):
        gaps = [at - stride * i for i, at in zip(axis.cells, axis.centres, strict=True)]
        phases.append(round(sum(gaps) / len(gaps), 3) + 0.0)
    return Level(strides[0], size, (phases[0], phases[1]))


def _stride(called: str, axis: _Axis) -> int:
    """Return the pixels per cell of an axis: by its cells' places, or by its lengths.

    Places are exact unless fields reach over the border or maps are upsampled; lengths are exact
    unless convolutions lack padding.

    Raises:
        LzuError: neither is a whole number.
    """
    span = axis.cells[-1] - axis.cells[0]
    spacing = (axis.centres[-1] - axis.centres[0]) / span if span else axis.pixels / axis.length
    stride = round(spacing)
    if stride >= 1 and abs(spacing - stride) <= EXACT * stride:
        return stride
    if axis.pixels % axis.length == 0:
        return axis.pixels // axis.length
    if stride < 1 or abs(spacing - stride) > SLOPE * stride:
        raise LzuError(
            f"{called} has cells {spacing:.2f} pixels apart, which is no whole stride; name a "
            "submodule whose maps lie on an even grid"
        )
    return stride


def _argument(args: Sequence[Any], named: Mapping[str, Any], place: int, name: str) -> Any:
    return args[place] if len(args) > place else named[name]


def _average(weight: Tensor) -> Tensor:
    """Return equal weights of sum 1 for each output, in the shape of a weight."""
    return torch.full_like(weight, 1 / max(1, weight[0].numel()), requires_grad=False)


def _averaging(func: Callable[..., Any], args: Sequence[Any], named: dict[str, Any]) -> Any:
    """Run a convolution or a linear layer with weights that average, without its bias."""
    values = [*args]
    more = dict(named)
    for place, (name, made) in enumerate((("weight", _average), ("bias", lambda _: None)), start=1):
        if len(values) > place:
            values[place] = made(values[place])
        elif name in more:
            more[name] = made(more[name])
    return func(*values, **more)


def _average_pool(func: Callable[..., Any], args: Sequence[Any], named: dict[str, Any]) -> Any:
    """Pool as maximum pooling does, but by the mean, whose centre is the same."""
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    values = {**dict(zip(names, args, strict=False)), **named}
    pooled = functional.avg_pool2d(
        values["input"],
        values["kernel_size"],
        values.get("stride"),
        values.get("padding", 0),
        values.get("ceil_mode", False),
    )
    return (pooled, None) if values.get("return_indices") else pooled


LINEAR: Mapping[str, Callable[..., Any]] = {
    "conv2d": _averaging,
    "conv_transpose2d": _averaging,
    "linear": _averaging,
    "max_pool2d": _average_pool,
    "max_pool2d_with_indices": _average_pool,
}
"""Functions with weights or choices, and what counts paths in their place."""


def _is_global(name: str, first: Any, result: Any) -> bool:
    """Return whether a function pools whole maps, whose effect is the same for every cell."""
    if not (isinstance(first, Tensor) and isinstance(result, Tensor) and first.ndim == 4):
        return False
    if name.startswith("adaptive_"):
        return result.shape[-1] * result.shape[-2] < first.shape[-1] * first.shape[-2]
    return name in ("mean", "amax", "amin", "max", "sum") and result.numel() <= (
        first.shape[0] * first.shape[1]
    )


def _is_weight(x: Any) -> bool:
    """Return whether a value is a parameter, or a view of one such as `gamma.view(1, -1, 1, 1)`."""
    return isinstance(x, nn.Parameter) or (
        isinstance(x, Tensor) and isinstance(x._base, nn.Parameter)
    )


def _is_traced(x: Tensor) -> bool:
    """Return whether a tensor depends on the image."""
    return forward_ad.unpack_dual(x).tangent is not None

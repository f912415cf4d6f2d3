"""List the places in a network at which a warp can be undone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.wrapping.calls import Call, evaluating, first_run, image_argument, image_of
from lzu_export.wrapping.cuts import hooked
from lzu_export.wrapping.hooks import is_map
from lzu_export.wrapping.nested import named_tensors

MOST_ROWS = 40
"""Largest number of candidates in the printed list."""


@dataclass(frozen=True)
class Candidate:
    """Submodules that together are a cut, to be passed to `wrap(..., unzoom=names)`."""

    names: tuple[str, ...]
    """Names of the submodules."""
    maps: tuple[tuple[int, int, int], ...]
    """(channels, height, width) of each of their 2-D feature maps."""

    def __str__(self) -> str:
        """Return one line: names, then sizes of the maps."""
        sizes = ", ".join("x".join(map(str, each)) for each in self.maps)
        return f"{', '.join(self.names)}: {sizes}"


class Candidates(tuple[Candidate, ...]):
    """Candidates in the order in which they run; printed as a list."""

    def __str__(self) -> str:
        """Return a line for each candidate."""
        if not self:
            return "no cut: no submodule with 2-D maps has all paths through it"
        rows = [str(each) for each in self[-MOST_ROWS:]]
        left = len(self) - len(rows)
        return "\n".join([f"... {left} earlier ones"] * bool(left) + rows)


def suggest(
    network: nn.Module,
    example: Tensor | tuple[int, int],
    *,
    image: str | int | None = None,
    call: Call | None = None,
) -> Candidates:
    """List submodules of a network at which the features of a warped image can be unzoomed.

    A candidate has 2-D feature maps smaller than the image, and every path from the image to the
    outputs goes through them, by the graph of gradients. Submodules that are numbered siblings,
    such as `neck.convs.0` and `neck.convs.1`, are tried together, too. The later a candidate, the
    less is computed on it afterwards; usually the last one before the head is best, since
    everything before it profits from the zoom.

    Args:
        network: network that is not wrapped.
        example: image (B, C, H, W) as the network receives it, or its (height, width).
        image: name or position of the image among the arguments of `forward`.
        call: other arguments that `forward` needs.

    Raises:
        LzuError: the example is no image and no size, or the network does not run on it or keeps no
            gradients.
    """
    called = call or Call()
    called = Call(
        image_argument(network, image if image is not None else called.image),
        called.args,
        called.kwargs,
    )
    picture = example if isinstance(example, Tensor) else torch.randn(1, 3, *_size(example))
    picture = image_of(network, picture.detach().clone()).requires_grad_()
    maps, roots = _maps_and_roots(network, called, picture)
    found: dict[tuple[int, ...], Candidate] = {}
    alone: set[tuple[str, ...]] = set()
    for names in _groups(maps):
        tensors = [x for name in names for x in maps[name]]
        key = tuple(sorted(id(x.grad_fn) for x in tensors))
        if key in found and len(found[key].names[0]) <= len(names[0]):
            continue
        if any((name,) in alone for name in names):
            continue
        cut = frozenset(x.grad_fn for x in tensors)
        if not any(_reaches(root, picture, cut) for root in roots):
            shapes = tuple((x.shape[1], x.shape[2], x.shape[3]) for x in tensors)
            found[key] = Candidate(names, shapes)
            alone.add(names)
    order = {name: place for place, name in enumerate(maps)}
    return Candidates(sorted(found.values(), key=lambda each: order[each.names[-1]]))


def _size(example: object) -> tuple[int, int]:
    """Return an example's (height, width).

    Raises:
        LzuError: it is not two whole numbers above zero.
    """
    sides = tuple(example) if isinstance(example, Sequence) else ()
    if len(sides) != 2 or not all(isinstance(each, int) and each > 0 for each in sides):
        called = repr(example) if isinstance(example, Sequence | int) else type(example).__name__
        raise LzuError(
            f"example is {called}; give an image as a tensor (B, C, H, W), or its (height, width)"
        )
    return sides[0], sides[1]


def _maps_and_roots(
    network: nn.Module, call: Call, picture: Tensor
) -> tuple[dict[str, list[Tensor]], list[Any]]:
    """Run the network; return maps smaller than the image by submodule, and the outputs' nodes.

    Raises:
        LzuError: the network does not run on the image, or keeps no gradients.
    """
    seen: dict[str, list[Tensor]] = {}
    repeated: set[str] = set()

    def note(name: str, output: Any) -> None:
        if name in seen:
            repeated.add(name)
        seen[name] = [each for _, each in named_tensors(output) if is_map(each)]

    inner = {name: module for name, module in network.named_modules() if name}
    with evaluating(network), torch.enable_grad(), hooked(inner, note):
        outputs = first_run(network, call, picture)
    roots = [each.grad_fn for _, each in named_tensors(outputs) if each.grad_fn is not None]
    if not any(_reaches(root, picture, frozenset()) for root in roots):
        raise LzuError(
            f"the outputs of {type(network).__name__} have no gradient to the image, so that cuts "
            "cannot be found; name submodules and let wrap check them"
        )
    size = tuple(picture.shape[2:])
    maps = {
        name: each
        for name, each in seen.items()
        if name not in repeated
        and each
        and all(x.grad_fn is not None and _is_smaller(x, size) for x in each)
    }
    return maps, roots


def _groups(maps: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return single submodules, and numbered siblings together."""
    groups: dict[str, list[str]] = {}
    for name in maps:
        if re.search(r"\d", name.rpartition(".")[2]):
            groups.setdefault(re.sub(r"\d+$", "*", name), []).append(name)
    together = [tuple(each) for each in groups.values() if len(each) > 1]
    return [*((name,) for name in maps), *together]


def _is_smaller(x: Tensor, size: tuple[int, ...]) -> bool:
    return x.shape[2] < size[0] and x.shape[3] < size[1]


def _reaches(root: Any, leaf: Tensor, cut: frozenset[Any]) -> bool:
    """Return whether the graph of gradients leads from a root to a leaf around the cut."""
    if root in cut:
        return False
    seen, queue = {root}, [root]
    while queue:
        node = queue.pop()
        if getattr(node, "variable", None) is leaf:
            return True
        for each, _ in node.next_functions:
            if each is not None and each not in seen and each not in cut:
                seen.add(each)
                queue.append(each)
    return False

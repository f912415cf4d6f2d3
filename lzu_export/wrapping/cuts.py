"""Cut points: sets of submodules through which everything flows from the image to the outputs.

An unzoom at a cut undoes the warp for all that follows. If part of the image reaches the outputs
around the named submodules, that part stays warped, and features of two geometries are mixed.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.wrapping.calls import Call, evaluating, first_run
from lzu_export.wrapping.hooks import is_map
from lzu_export.wrapping.nested import map_tensors, named_tensors

log = logging.getLogger(__name__)

LONGEST_PATH = 12
"""Largest number of submodules of a path that a message names."""


def find_modules(network: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """Return submodules by name.

    Raises:
        LzuError: a name is unknown (the message has the nearest one), given twice, empty, inside
            another one, or that of a module compiled by torch.jit.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        kind = "the text " if isinstance(names, str) else ""
        raise LzuError(f"unzoom is {kind}{names!r}; give a list of names of submodules")
    known = dict(network.named_modules())
    known.pop("", None)
    found: dict[str, nn.Module] = {}
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}?" if close else "lzu_export.suggest lists them"
            raise LzuError(f"{type(network).__name__} has no submodule {name!r}; {hint}")
        if name in found:
            raise LzuError(f"unzoom names {name} twice; give each submodule once")
        if isinstance(known[name], torch.jit.ScriptModule):
            raise LzuError(
                f"submodule {name} is compiled by torch.jit, which takes no hook; build the "
                "network without torch.jit.script"
            )
        found[name] = known[name]
    for name in found:
        outer = [each for each in found if name.startswith(f"{each}.")]
        if outer:
            raise LzuError(
                f"unzoom names {outer[0]} and {name} inside it, which would unzoom twice; keep one"
            )
    return found


@contextmanager
def hooked(modules: Mapping[str, nn.Module], function: Callable[[str, Any], Any]) -> Iterator[None]:
    """Call a function with the name and output of each module; it may return another output.

    Modules that are compiled by torch.jit are left out.
    """
    handles = []
    for name, module in modules.items():
        if isinstance(module, torch.jit.ScriptModule):  # takes no hook
            continue

        def hook(_module: nn.Module, _args: Any, output: Any, name: str = name) -> Any:
            return function(name, output)

        handles.append(module.register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def outputs_at(
    network: nn.Module, call: Call, image: Tensor, modules: Mapping[str, nn.Module]
) -> tuple[dict[str, Any], Any]:
    """Run the network; return the output of each named module, and the network's own.

    Raises:
        LzuError: a module does not run, or runs more than once.
    """
    seen: dict[str, Any] = {}

    def keep(name: str, output: Any) -> None:
        if name in seen:
            raise LzuError(
                f"submodule {name} runs more than once in a forward pass, so that its outputs "
                "cannot be told apart; name a submodule that runs once"
            )
        # A network may work in place on what a submodule returned.
        seen[name] = map_tensors(torch.clone, output)

    with hooked(modules, keep):
        result = first_run(network, call, image)
    for name in modules:
        if name not in seen:
            raise LzuError(
                f"submodule {name} does not run in a forward pass in eval mode; name one that does"
            )
    return seen, result


def outputs_until(
    network: nn.Module, call: Call, image: Tensor, modules: Mapping[str, nn.Module]
) -> dict[str, Any]:
    """Run the network only until each named module has run; return their outputs.

    What follows the modules may be impossible to run, or slow.
    """
    seen: dict[str, Any] = {}

    def keep(name: str, output: Any) -> None:
        seen.setdefault(name, output)
        if len(seen) == len(modules):
            raise _AllSeen

    with hooked(modules, keep), suppress(_AllSeen):
        call.run(network, image)
    return {name: seen[name] for name in modules}


class _AllSeen(Exception):
    """Raised to leave a forward pass."""


def maps_of(name: str, output: Any) -> list[Tensor]:
    """Return the 2-D feature maps among a submodule's outputs, in order.

    Raises:
        LzuError: there are none.
    """
    tensors = [each for _, each in named_tensors(output)]
    found = [each for each in tensors if is_map(each)]
    if not found:
        shapes = ", ".join(str(tuple(each.shape)) for each in tensors) or "no tensor"
        raise LzuError(
            f"submodule {name} returns {shapes}, which is no 2-D feature map (B, C, H, W); name "
            "one whose output is"
        )
    return found


def check_cut(
    network: nn.Module, call: Call, images: tuple[Tensor, Tensor], modules: Mapping[str, nn.Module]
) -> None:
    """Refuse submodules around which the outputs still depend on the image.

    The submodules' outputs for one image are put in place of those for another one. If the network
    then returns what it returned for the first, all that it knows of an image comes through them.
    A submodule whose own output is changed by that is computed from another one of them; it is
    refused, too, since what is unzoomed already would be unzoomed again.

    Args:
        network: network in eval mode, without hooks of a wrapping.
        call: how it is called.
        images: two different images (B, C, H, W) as the network receives them.
        modules: submodules by name.

    Raises:
        LzuError: the submodules are no cut, with a path around them; one feeds another; or the
            network returns other outputs for the same image.
    """
    fed: list[str] = []
    with evaluating(network):
        kept, first = outputs_at(network, call, images[0], modules)
        first = map_tensors(torch.clone, first)
        own, other = outputs_at(network, call, images[1], modules)
        other = map_tensors(torch.clone, other)

        def exchange(name: str, output: Any) -> Any:
            if changed_names(output, own[name]):
                fed.append(name)
            return map_tensors(torch.clone, kept[name])

        with hooked(modules, exchange):
            changed = changed_names(first, call.run(network, images[1]))
        if not changed_names(first, other):
            log.warning(
                "%s returns the same for two images of noise, so that its cut cannot be checked",
                type(network).__name__,
            )
        if (fed or changed) and changed_names(other, call.run(network, images[1])):
            raise LzuError(
                f"{type(network).__name__} returns other outputs for the same image in eval mode, "
                "so that its cut cannot be checked; take what is random out of it, or pass "
                "check=False"
            )
    if fed:
        others = [name for name in kept if name not in fed]
        raise LzuError(
            f"{fed[0]} is computed from what is unzoomed at {' or '.join(others)}, so that it "
            "would be unzoomed twice; name submodules of which none feeds another "
            "(lzu_export.suggest)"
        )
    if not changed:
        return
    path = path_around(network, call, images[0], modules)
    way = f": {' -> '.join(['image', *path, changed[0]])}" if path else ""
    raise LzuError(
        f"{', '.join(modules)} is no cut: {changed[0]} still depends on the image around "
        f"{'it' if len(modules) == 1 else 'them'}{way}; name the submodules of that path, too, or "
        "later ones (lzu_export.suggest lists cuts)"
    )


def changed_names(first: Any, second: Any) -> list[str]:
    """Return the names of the tensors that two nested outputs do not have in common."""
    mine, theirs = dict(named_tensors(first)), dict(named_tensors(second))
    changed = [name for name in mine if name not in theirs or not _equal(mine[name], theirs[name])]
    return [name or "the output" for name in [*changed, *(theirs.keys() - mine.keys())]]


def _equal(mine: Tensor, theirs: Tensor) -> bool:
    """Return whether two tensors are equal, where NaN equals NaN."""
    if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        return False
    return bool(((mine == theirs) | (mine.isnan() & theirs.isnan())).all())


def path_around(
    network: nn.Module, call: Call, image: Tensor, modules: Mapping[str, nn.Module]
) -> list[str]:
    """Return the submodules on a path from the image to an output around the named ones.

    The path is found in the graph of gradients; it is empty where the network keeps none.
    """
    inner = {name: each for name, each in network.named_modules() if name}
    owner: dict[Any, str] = {}

    def note(name: str, output: Any) -> Any:
        cut = name in modules
        for _, tensor in named_tensors(output):
            if tensor.grad_fn is not None and not cut:
                owner.setdefault(tensor.grad_fn, name)
        return map_tensors(torch.detach, output) if cut else None

    with evaluating(network), torch.enable_grad(), hooked(inner, note):
        start = image.detach().clone().requires_grad_()
        outputs = call.run(network, start)
    roots = [each.grad_fn for _, each in named_tensors(outputs) if each.grad_fn is not None]
    depth = max(name.count(".") for name in modules) + 1
    for root in roots:
        nodes = _path_to(root, start)
        if nodes:
            names = [owner[node].split(".") for node in nodes if node in owner]
            # As deep as the named submodules: those around them are what the user has to name.
            shown = list(dict.fromkeys(".".join(each[:depth]) for each in reversed(names)))
            return shown if len(shown) <= LONGEST_PATH else [*shown[: LONGEST_PATH - 1], "..."]
    return []


def _path_to(root: Any, leaf: Tensor) -> list[Any]:
    """Return the nodes of the graph of gradients from a root to a leaf's node; empty for none."""
    before: dict[Any, Any] = {root: None}
    queue = [root]
    while queue:
        node = queue.pop()
        if getattr(node, "variable", None) is leaf:
            path = []
            while node is not None:
                path.append(node)
                node = before[node]
            return path[::-1]
        for each, _ in node.next_functions:
            if each is not None and each not in before:
                before[each] = node
                queue.append(each)
    return []

"""Wrap a network in a warp: its image is zoomed, named submodules' feature maps are unzoomed."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from lzu_export.errors import LzuError
from lzu_export.warp.geometry import Level
from lzu_export.wrapping.calls import Call, evaluating, image_argument, image_of
from lzu_export.wrapping.cuts import check_cut, find_modules, maps_of, outputs_at
from lzu_export.wrapping.hooks import View, Wrapping, wrapping_of
from lzu_export.wrapping.learned import LearnedWarp
from lzu_export.wrapping.nested import named_tensors
from lzu_export.wrapping.receptive import Measured, measure_levels

log = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

MULTIPLE = 32
"""Default multiple to which the canvas is padded with zeros at the bottom and right."""
EQUAL = 1e-4
"""Largest relative difference of outputs with the identity warp from those without a warp."""


def wrap(
    network: Network,
    warp: View | Sequence[View],
    unzoom: Sequence[str] = (),
    *,
    image: str | int | None = None,
    example: Call | None = None,
    phase: Mapping[str, Sequence[float | tuple[float, float]]] | None = None,
    multiple: int = MULTIPLE,
    channels: int = 3,
    check: bool = True,
) -> Network:
    """Add hooks to a network that zoom its image and unzoom feature maps, and return the network.

    Nothing else of the network changes: its class, methods, parameters and `state_dict` keys stay,
    so checkpoints go both ways. From then on it takes images (B, C, H, W) of the warp's source
    size, normalised as before. Its outputs refer to the uniform canvas, padded to the network
    input: see `FixedWarp.boxes_to_canvas` for targets. With the identity warp
    (`FixedWarp.uniform`) the image is only resized, which is the baseline at equal cost.

    Args:
        network: any module; it is changed in place. `unwrap` removes the hooks.
        warp: warp of the frames, fixed or learned (`LearnedWarp`); or several views of each frame
            with one canvas size: the first is unzoomed, the others are windows
            (`FixedWarp.from_window`). The network then sees the views of B images as one batch: the
            first view of all, then the second of all.
        unzoom: names of submodules whose 2-D outputs (B, C, h, w) are unzoomed. They may return a
            tensor, list, tuple, mapping or data class. Together they must be a cut: everything
            flows through them. Empty: outputs stay on the zoomed canvas.
        image: name or position of the image among `forward`'s arguments; the first by default.
        example: other arguments that `forward` needs, for the checks; none by default.
        phase: by submodule, the canvas pixel on which the cell (0, 0) of each of its maps is
            centred, one number or (y, x) per map, in place of the measured one.
        multiple: multiple to which the canvas is padded with zeros at the bottom and right.
        channels: number of channels of the image.
        check: refuse submodules that are no cut, and compare the outputs with the identity warp.
            The checks run the network a few times in eval mode.

    Raises:
        LzuError: the network is no module or wrapped already, a name is unknown, the submodules are
            no cut or return no 2-D map, cells are not evenly spaced, or the image is not found.
    """
    if not isinstance(network, nn.Module):
        raise LzuError(f"network is a {type(network).__name__}; give a torch.nn.Module")
    if not isinstance(multiple, int) or multiple < 1:
        raise LzuError(f"multiple is {multiple}; give a whole number of at least 1, such as 32")
    _refuse_wrapped(network)
    views = _views(warp)
    if isinstance(network, nn.Sequential):
        _refuse_sequential(network, views[0])
    call = example or Call()
    call = replace(call, image=image_argument(network, call.image if image is None else image))
    size = tuple(count + -count % multiple for count in views[0].canvas)
    modules = find_modules(network, unzoom)
    if modules and views[0].window is not None:
        raise LzuError(
            "the features of a window need no unzoom; leave unzoom empty, or give the warp of the "
            "whole frame as the first view"
        )
    levels: dict[str, list[Level]] = {}
    if modules:
        noise = _noise(network, (2, channels, size[0], size[1]))
        with evaluating(network):
            for name, output in outputs_at(network, call, noise[:1], modules)[0].items():
                maps_of(name, output)
        if check:
            check_cut(network, call, (noise[:1], noise[1:]), modules)
        measured = measure_levels(network, call, modules, (size[0], size[1]), channels)
        levels = _with_phases(measured.levels, phase or {})
        _tell(measured, levels)
        if check:
            _check_identity(network, call, views[0], levels, multiple, channels)
    Wrapping(network, views, levels, call=call, multiple=multiple, channels=channels)
    return network


def _refuse_wrapped(network: nn.Module) -> None:
    """Refuse a network that is wrapped already, or a part of which is."""
    for name, module in network.named_modules():
        if wrapping_of(module) is not None:
            called = f"submodule {name}" if name else type(network).__name__
            raise LzuError(
                f"{called} is wrapped already; call lzu_export.unwrap on it before, or build "
                "another one"
            )


def _refuse_sequential(network: nn.Module, warp: View) -> None:
    """Refuse a learned warp of a chain, which would run the warp's module as its last link."""
    if isinstance(warp, LearnedWarp):
        raise LzuError(
            f"a learned warp becomes a submodule, which {type(network).__name__} would run as a "
            "part of its chain; put the chain into a module of your own"
        )


def _views(warp: View | Sequence[View]) -> tuple[View, ...]:
    """Return the views of a frame.

    Raises:
        LzuError: there are none, they differ in source or canvas, or a later one is no window.
    """
    views = tuple(warp) if isinstance(warp, Sequence) else (warp,)
    if not views or not all(isinstance(each, View) for each in views):
        raise LzuError("warp is no FixedWarp; make one, such as FixedWarp.from_boxes(...)")
    first = views[0]
    for each in views[1:]:
        if each.window is None:
            raise LzuError(
                "a view after the first is no window; make it by FixedWarp.from_window, since only "
                "the first view is unzoomed"
            )
        if (each.source, each.canvas) != (first.source, first.canvas):
            raise LzuError(
                f"views have canvases {first.canvas} and {each.canvas} of frames {first.source} "
                f"and {each.source}; make them equal, so that they are one batch"
            )
    return views


def unwrap(network: Network) -> Network:
    """Remove the hooks that `wrap` added, and return the network.

    Args:
        network: wrapped network; it is changed in place.

    Raises:
        LzuError: the network is not wrapped.
    """
    wrapping = wrapping_of(network)
    if wrapping is None:
        raise LzuError(f"{type(network).__name__} is not wrapped; there is nothing to remove")
    wrapping.remove(network)
    return network


def _noise(network: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Return images of noise on the network's device, the same every time."""
    return image_of(network, torch.randn(shape, generator=torch.Generator().manual_seed(0)))


def _with_phases(
    levels: Mapping[str, Sequence[Level]],
    given: Mapping[str, Sequence[float | tuple[float, float]]],
) -> dict[str, list[Level]]:
    """Return levels with the phases that were given by hand.

    Raises:
        LzuError: a submodule is unknown, has another number of maps, or a phase is no number.
    """
    unknown = [name for name in given if name not in levels]
    if unknown:
        raise LzuError(
            f"phase names {unknown[0]}, which is not among the unzoomed {', '.join(levels)}"
        )
    changed: dict[str, list[Level]] = {}
    for name, found in levels.items():
        values = given.get(name, [level.phase for level in found])
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise LzuError(f"phase of {name} is {values}; give a list with one entry per map")
        if len(values) != len(found):
            raise LzuError(
                f"phase of {name} has {len(values)} entries, but the submodule returns "
                f"{len(found)} maps; give one for each"
            )
        changed[name] = [
            replace(level, phase=_phase(name, each))
            for level, each in zip(found, values, strict=True)
        ]
    return changed


def _phase(name: str, given: float | Sequence[float]) -> tuple[float, float]:
    """Return a phase (y, x) that was given by hand.

    Raises:
        LzuError: it is neither a finite number nor two.
    """
    try:
        y, x = given if isinstance(given, Sequence) else (given, given)
        found = float(y), float(x)
    except (TypeError, ValueError):
        found = (math.nan, math.nan)
    if not all(map(math.isfinite, found)):
        raise LzuError(f"phase of {name} is {given}; give a finite number, or two (y, x)")
    return found


def _tell(measured: Measured, levels: Mapping[str, Sequence[Level]]) -> None:
    """Log where cells lie, and what makes a network sensitive to a warp."""
    for name, found in levels.items():
        for level in found:
            y, x = level.phase
            log.info(
                "%s: stride %d, %d x %d cells, cell (0, 0) centred on canvas pixel (%g, %g)",
                name, level.stride, *level.size, y, x,
            )  # fmt: skip
    for noticed, what in (
        (measured.attends, "attention lies"),
        (measured.positional, "position codes lie"),
    ):
        if noticed:
            log.warning(
                "%s between the image and %s: distances on the zoomed canvas differ "
                "from those that the network was trained with; fine-tune the network with the warp",
                what, ", ".join(levels),
            )  # fmt: skip


def _check_identity(
    network: nn.Module,
    call: Call,
    warp: View,
    levels: Mapping[str, Sequence[Level]],
    multiple: int,
    channels: int,
) -> None:
    """Compare the network with the identity warp's unzoom to the network without hooks.

    Raises:
        LzuError: the outputs differ, so the unzoomed maps do not get back into the network.
    """
    frame = _noise(network, (1, channels, *warp.source))
    uniform = Wrapping(
        network,
        [warp.as_uniform()],
        levels,
        call=call,
        multiple=multiple,
        channels=channels,
        identity_too=True,
    )
    with evaluating(network):
        try:
            mine = dict(named_tensors(call.run(network, frame)))
        finally:
            uniform.remove(network)
        theirs = dict(named_tensors(call.run(network, uniform.zoom.canvas(network, frame))))
    changed = [name for name in theirs if name not in mine or not _close(mine[name], theirs[name])]
    if changed or mine.keys() != theirs.keys():
        called = (changed or sorted(mine.keys() - theirs.keys()))[0] or "the output"
        raise LzuError(
            f"with the identity warp {called} differs from the network's own; unzoom at another "
            f"submodule than {', '.join(levels)} (lzu_export.suggest)"
        )


def _close(value: Tensor, wanted: Tensor) -> bool:
    """Return whether an output equals the wanted one; those that are no floats may differ."""
    if not wanted.is_floating_point():
        return True
    if value.shape != wanted.shape:
        return False
    largest = max(float(wanted.abs().nan_to_num(0.0, 0.0).max()) if wanted.numel() else 0.0, 1e-12)
    return torch.allclose(value, wanted, rtol=0.0, atol=EQUAL * largest, equal_nan=True)

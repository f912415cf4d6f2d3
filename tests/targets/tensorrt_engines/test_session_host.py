"""Inputs that a caller fills in place: nothing is copied, and the memory outlives the session."""

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fakes.fake_tensorrt import X
from fakes.world import World
from lzu_export.errors import LzuError
from lzu_export.targets.tensorrt import session as module
from lzu_export.targets.tensorrt.session import TensorRtSession

BOTH = ("cuda-python", "pycuda")
KINDS = ("copies", "mapped", "managed")
Open = Callable[..., TensorRtSession]


@pytest.fixture
def world() -> World:
    return World(managed=True)


@pytest.mark.parametrize("back_end", BOTH)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_filled_in_place_is_not_copied(
    kind: str, back_end: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Any] = []
    copy = np.copyto

    def counting(to: Any, source: Any) -> None:
        copied.extend([source] if source.dtype == np.float32 else [])  # not the stand-in's bytes
        copy(to, source)

    session = opened(back_end=back_end, memory=kind)
    place = session.host("x")
    assert session.host("x") is place
    assert (place.dtype, place.shape) == (np.float32, X.shape)
    monkeypatch.setattr(module.np, "copyto", counting)
    for step in range(2):
        place[...] = X + step
        np.testing.assert_array_equal(session.run({"x": place})["y"], 2 * (X + step))
    np.testing.assert_array_equal(session.run({"x": place[None][0]})["y"], 2 * (X + 1))
    assert copied == []
    np.testing.assert_array_equal(session.run({"x": X})["y"], 2 * X)
    assert len(copied) == 1
    np.testing.assert_array_equal(place, X)  # a run on another array overwrites it
    session.close()


def test_another_view_of_the_memory_is_copied(opened: Open) -> None:
    """It begins in the same place, or covers it, but its values lie elsewhere."""
    session = opened()
    place = session.host("x")
    place[...] = X
    np.testing.assert_array_equal(session.run({"x": place[::-1]})["y"], 2 * X[::-1])
    square = np.zeros((3, 2), np.float32)
    square[...] = X.T
    np.testing.assert_array_equal(session.run({"x": square.T})["y"], 2 * X)
    session.close()


def test_only_inputs_can_be_filled(opened: Open) -> None:
    session = opened()
    with pytest.raises(LzuError, match=r"^the engine has no input y; its inputs are x$"):
        session.host("y")
    session.close()
    with pytest.raises(LzuError, match=r"the session of model\.engine is closed; open another"):
        session.host("x")


@pytest.mark.parametrize("back_end", BOTH)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("closed", [False, True])
def test_the_memory_lives_as_long_as_an_array_in_it(
    closed: bool, kind: str, back_end: str, world: World, opened: Open
) -> None:
    """A view, such as one frame, keeps the memory of a session that was closed or dropped."""
    session = opened(back_end=back_end, memory=kind)
    view = session.host("x")[0]
    view[...] = [1, 2, 3]
    if closed:
        session.close()
    del session
    gc.collect()
    assert len(world.blocks) == 1
    assert not world.streams
    np.testing.assert_array_equal(view, [1, 2, 3])
    world.thread.stack.clear()
    del view
    gc.collect()
    assert not world.blocks
    assert world.thread.stack == []


def test_what_nobody_asked_for_is_freed_at_once(world: World, opened: Open) -> None:
    session = opened()
    session.close()
    assert not world.blocks

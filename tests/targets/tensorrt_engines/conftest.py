"""Fixtures of device sessions over stand-ins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.fake_tensorrt import PLAN
from fakes.install import install_cuda, install_tensorrt
from fakes.world import World
from lzu_export.targets.cuda.interface import open_cuda
from lzu_export.targets.tensorrt.session import LoadedEngine, TensorRtSession


@pytest.fixture
def world() -> World:
    """A machine with a GPU that has memory of its own."""
    return World()


@pytest.fixture
def load(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., LoadedEngine]:
    """Load a plan in a release of TensorRT over a back end, on a GPU."""

    def loaded(
        version: str = "10.3.0",
        back_end: str = "cuda-python",
        data: bytes = PLAN,
        device: int = 0,
    ) -> LoadedEngine:
        install_cuda(monkeypatch, world, back_end)
        trt = install_tensorrt(monkeypatch, world, version)
        (tmp_path / "model.engine").write_bytes(data)
        return LoadedEngine(trt, tmp_path / "model.engine", open_cuda(number=device))

    return loaded


@pytest.fixture
def opened(load: Callable[..., LoadedEngine]) -> Callable[..., TensorRtSession]:
    """Open a session in a release of TensorRT over a back end, on a GPU."""

    def made(
        version: str = "10.3.0", back_end: str = "cuda-python", device: int = 0, **options: Any
    ) -> TensorRtSession:
        return TensorRtSession(load(version, back_end, device=device), **options)

    return made

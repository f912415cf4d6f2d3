"""Engines of TensorRT on one GPU of several, and on one that shares the host's memory."""

from pathlib import Path

import numpy as np
import pytest

from fakes.world import World
from lzu_export.compiler.build_tensorrt import build_on_device
from lzu_export.errors import LzuError
from lzu_export.runtime import load
from lzu_export.support.device import using_device
from lzu_export.tasks.pytorch import noise_frame
from lzu_export.verification.verify import verify


def test_an_engine_runs_on_the_gpu_that_was_asked_for(bundle: Path, world: World) -> None:
    """It is built there, opened there, runs there, and the session and the manifest say so."""
    world.others = ("RTX 4090", "Orin")
    with using_device(2):
        engine, _ = build_on_device(bundle)
        assert load(bundle, target="tensorrt").session.device == 2
    assert engine.on_device is not None
    assert "on Orin (GPU 2, " in engine.on_device.provider
    world.calls.clear()
    world.chosen.clear()
    with load(bundle, target="tensorrt", device=2) as detector:
        detector(noise_frame((96, 160), 3))
        assert detector.session.device == 2
    assert "IExecutionContext.execute_async_v3" in world.names()
    assert 2 in world.chosen
    assert 1 not in world.chosen
    (note,) = [
        each.note
        for each in verify(bundle, device=2)
        if each.target == "tensorrt" and each.on_device
    ]
    assert "GPU 2" in note
    with pytest.raises(
        LzuError, match=r"no GPU 3: CUDA counts 0 \(Orin\), 1 \(RTX 4090\) and 2 \("
    ):
        load(bundle, target="tensorrt", device=3)
    with pytest.raises(LzuError, match="device 1 is a GPU, but everything runs on the CPU here"):
        load(bundle, device=1)


def test_on_a_jetson_the_fastest_memory_is_kept(bundle: Path, world: World) -> None:
    """By the times of its own launch, which the manifest repeats."""
    world.integrated = world.managed = True
    world.costs = {"mapped": 1.0, "managed": 2.0, "copy": 0.25}
    engine, _ = build_on_device(bundle)
    assert engine.on_device is not None
    assert "copies as the fastest of mapped memory" in engine.on_device.provider
    with load(bundle, target="tensorrt") as detector:
        assert detector.session.memory == "copies"
        frame = noise_frame((96, 160), 3)
        with load(bundle, threads=1) as theirs:
            np.testing.assert_allclose(detector(frame).boxes, theirs(frame).boxes, atol=1e-3)

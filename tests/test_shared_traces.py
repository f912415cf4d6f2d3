"""Equal networks are traced once for all tests, and networks that differ never share a trace."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

torch = pytest.importorskip("torch")

import shared_traces  # noqa: E402
from shared_traces import SharedTraces, fingerprint, folder_of_this_code  # noqa: E402


class Counted:
    """A trace function that counts its calls and puts their number into the graph's name."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, module: Any, *others: Any) -> onnx.ModelProto:
        self.calls += 1
        return helper.make_model(helper.make_graph([], f"trace {self.calls}", [], []))


def network(bias: float = 0.0, stride: int = 1) -> Any:
    made = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, stride=stride))
    with torch.no_grad():
        made[0].weight.fill_(1)
        made[0].bias.fill_(bias)
    return made


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def traces(tmp_path: Path, counted: Counted) -> SharedTraces:
    return SharedTraces(tmp_path / "traces", counted)


def test_equal_networks_are_traced_once(traces: SharedTraces, counted: Counted) -> None:
    example = torch.zeros(1, 1, 2, 2)
    names = [
        traces(each, example, ["x"], ("y",)).graph.name
        for each in (network(), network(), network().train())
    ]
    assert names == ["trace 1"] * 3
    assert counted.calls == 1


@pytest.mark.parametrize(
    "changed",
    [
        lambda example: (network(bias=1), example, ["x"]),
        lambda example: (network(stride=2), example, ["x"]),
        lambda example: (network(), example[:, :, :1], ["x"]),
        lambda example: (network(), example + 1, ["x"]),
        lambda example: (network(), example.double(), ["x"]),
        lambda example: (network(), example, ["frame"]),
        lambda example: (network()[0], example, ["x"]),
    ],
    ids=["weight", "setting", "shape", "example", "type", "name", "class"],
)
def test_what_differs_is_traced_itself(
    changed: Callable[[Any], tuple[Any, ...]], traces: SharedTraces, counted: Counted
) -> None:
    example = torch.zeros(1, 1, 2, 2)
    traces(network(), example, ["x"])
    assert traces(*changed(example)).graph.name == "trace 2"


def test_functions_are_told_apart_by_their_code_and_closure() -> None:
    def adder(amount: int) -> Callable[[int], int]:
        return lambda x: x + amount

    assert fingerprint(adder(1)) == fingerprint(adder(1))
    assert fingerprint(adder(1)) != fingerprint(adder(2))
    assert fingerprint(lambda x: x + 1) != fingerprint(lambda x: x - 1)


@pytest.mark.parametrize(
    "kept",
    [threading.Lock(), type("Local", (), {})(), torch.zeros(1, device="meta")],
    ids=["lock", "local class", "no values"],
)
def test_what_cannot_be_described_is_traced_every_time(
    kept: Any, traces: SharedTraces, counted: Counted
) -> None:
    held = network()
    held.kept = kept
    for _ in range(2):
        traces(held, torch.zeros(1, 1, 2, 2))
    assert counted.calls == 2


def test_settings_have_the_same_fingerprint_in_every_process() -> None:
    program = (
        "from lzu_export.recipes.networks import AnchorSpec; from shared_traces import fingerprint;"
        "print(fingerprint(AnchorSpec(octave_base_scale=3, scales_per_octave=2, ratios=(1, 2))))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(found) == 1


def test_traces_belong_to_code_and_old_ones_of_other_code_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = folder_of_this_code(tmp_path)
    assert folder_of_this_code(tmp_path) == own
    other = tmp_path / "other"
    other.mkdir()
    for folder in (own, other):
        os.utime(folder, (1, 1))
    assert folder_of_this_code(tmp_path) == own  # which is in use again
    assert not other.exists()
    monkeypatch.setattr(shared_traces, "source_digest", lambda root: "changed")
    changed = folder_of_this_code(tmp_path)
    assert changed != own
    assert sorted(tmp_path.iterdir()) == sorted([own, changed])

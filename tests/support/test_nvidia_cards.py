"""NVIDIA's cards: the one that CUDA's number means is found by its place on the PCI bus."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lzu_export.support import hardware, machine, nvidia
from lzu_export.support.cuda_driver import Driver
from lzu_export.support.nvidia import cards_in_use, same_bus

ROWS = """NVIDIA T4, 570.1, 585, 1590, 5000, 40, 30.5, 100, 0x0, 00000000:01:00.0
NVIDIA RTX 4090, 570.1, 2520, 3105, 10501, 61, 312.44, 4096, 0x4, 00000000:C1:00.0
"""
CUDA_ORDER = ("0000:c1:00.0", "0000:01:00.0")
"""The fastest first, as CUDA counts by default; nvidia-smi counts along the bus."""


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with two cards that CUDA counts in another order than nvidia-smi."""
    monkeypatch.delenv("LZU_DEVICE", raising=False)
    monkeypatch.setattr(nvidia, "cards", lambda: nvidia.parse(ROWS))
    drive(monkeypatch, CUDA_ORDER)
    return monkeypatch


def drive(monkeypatch: pytest.MonkeyPatch, buses: tuple[str, ...]) -> None:
    monkeypatch.setattr(nvidia, "find_driver", lambda: Driver((12, 8), buses, buses))


def test_the_card_in_use_is_found_by_its_bus(two: pytest.MonkeyPatch) -> None:
    for number, name in (("0", "NVIDIA RTX 4090"), ("1", "NVIDIA T4")):
        two.setenv("LZU_DEVICE", number)
        assert [each.name for each in cards_in_use()] == [name]
        assert [each.name for each in machine.read().cards] == [name]
        assert [each.name for each in machine.describe().cards] == [name]
        assert hardware.identity().endswith(f"; {name} (driver 570.1)")


def test_a_card_that_cuda_does_not_see_is_not_in_use(two: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES=1 makes the second card number 0."""
    drive(two, ("0000:01:00.0",))
    assert [each.name for each in cards_in_use()] == ["NVIDIA T4"]


def test_all_cards_are_told_where_the_bus_is_unknown(two: pytest.MonkeyPatch) -> None:
    for buses in ((), ("",), ("0000:77:00.0",)):
        drive(two, buses)
        assert len(cards_in_use()) == 2
    two.setattr(nvidia, "find_driver", lambda: None)
    assert len(cards_in_use()) == 2


def test_the_only_card_needs_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a measurement on a processor starts no CUDA."""
    monkeypatch.setattr(nvidia, "cards", lambda: nvidia.parse(ROWS)[:1])
    monkeypatch.setattr(nvidia, "find_driver", lambda: pytest.fail("asked CUDA"))
    assert [each.name for each in cards_in_use()] == ["NVIDIA T4"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0000:01:00.0", "00000000:01:00.0", True),
        ("0001:c1:00.0", "00000001:C1:00.0", True),
        ("0001:c1:00.0", "00000000:C1:00.0", False),
        ("0000:01:00.0", "00000000:10:00.0", False),
        ("", "", False),
        ("", "00000000:01:00.0", False),
    ],
)
def test_cuda_writes_a_shorter_domain_than_nvml(one: str, other: str, same: bool) -> None:
    assert same_bus(one, other) is same


def test_pynvml_tells_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old releases of pynvml return bytes."""

    class Fake(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("NVML_"):
                return name
            values = {
                "nvmlDeviceGetCount": 2,
                "nvmlDeviceGetName": b"T4",
                "nvmlSystemGetDriverVersion": "570.1",
                "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=2**20),
            }
            return lambda *_: values.get(name, 4)

    fake = Fake("pynvml")
    fake.nvmlDeviceGetHandleByIndex = lambda i: i  # type: ignore[attr-defined]
    fake.nvmlDeviceGetPciInfo = lambda i: SimpleNamespace(  # type: ignore[attr-defined]
        busId=(b"00000000:01:00.0", "00000000:C1:00.0")[i]
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert [each.bus for each in nvidia.cards()] == ["00000000:01:00.0", "00000000:C1:00.0"]


def test_power_is_that_of_the_card_in_use() -> None:
    card = nvidia.parse(ROWS)[1]
    command = nvidia.power_command(100, card)
    assert command[command.index("-i") + 1] == "00000000:C1:00.0"
    assert "-i" not in nvidia.power_command(100, card.model_copy(update={"bus": ""}))

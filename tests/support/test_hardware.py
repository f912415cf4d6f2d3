"""What two times have to agree in: boards, power modes and cards tell machines apart."""

from pathlib import Path

import pytest

from lzu_export.support import hardware, nvidia
from lzu_export.support.hardware import identity, key, parse_power_mode
from lzu_export.support.nvidia import Card


def board(root: Path, model: str) -> Path:
    """A board whose device tree says what it is."""
    path = root / "proc/device-tree/model"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(model + "\0")
    return root


def set_mode(folder: Path, mode: str) -> None:
    """An nvpmodel that tells this mode."""
    path = folder / "nvpmodel"
    path.write_text(f"#!/bin/sh\necho 'NV Power Mode: {mode}'\necho 0\n")
    path.chmod(0o755)


def test_boards_of_one_processor_are_told_apart(tmp_path: Path) -> None:
    """An Orin NX and an Orin Nano have the same processor."""
    first, second = (
        identity(board(tmp_path / name, f"NVIDIA Jetson Orin {name}")) for name in ("NX", "Nano")
    )
    assert first != second
    assert "Jetson Orin NX" in first
    assert first.startswith(hardware.processor())


def test_power_modes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = []
    for mode in ("15W", "MAXN"):
        set_mode(tmp_path, mode)
        found.append(identity(tmp_path))
    assert found[0] != found[1]
    assert "15W" in found[0]
    assert "MAXN" in found[1]


def test_cards_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = dict.fromkeys(
        ("clock", "largest_clock", "memory_clock", "celsius", "watts", "memory")
    )
    card = Card.model_validate({"name": "RTX 4090", "driver": "580.1", "limits": (), **nothing})
    monkeypatch.setattr(nvidia, "cards", lambda: (card,))
    assert identity(tmp_path).endswith("; RTX 4090 (driver 580.1)")


def test_a_machine_that_tells_nothing_is_its_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvidia, "cards", lambda: ())
    monkeypatch.setattr(hardware, "power_mode", lambda: None)
    assert identity(tmp_path) == hardware.processor()


def test_the_power_mode_is_nvpmodel_s() -> None:
    assert parse_power_mode("NV Power Mode: MAXN\n0\n") == "MAXN"
    assert parse_power_mode("NVPM WARN: nothing\n") is None


def test_a_machine_is_known_again_by_what_is_its_own(tmp_path: Path) -> None:
    """Many share a processor; images of one system share its id, too."""

    def made(name: str, **files: str) -> str | None:
        for path, text in files.items():
            file = tmp_path / name / path.replace("__", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return key(tmp_path / name)

    host = {"proc__sys__kernel__hostname": "runner"}
    assert made("nothing", **host) is None
    ids = {"etc__machine-id": "abc\n", **host}
    first = made("first", **ids)
    assert first is not None
    assert made("again", **ids) == first
    address = {"sys__class__net__eth0__address": "00:11:22:33:44:55"}
    (tmp_path / "cloned/sys/class/net/eth0/device").mkdir(parents=True)
    keys = {
        first,
        made("cloned", **ids, **address),
        made("virtual", **{**ids, **address, "etc__machine-id": "abd"}),
        made("renamed", **{**ids, "proc__sys__kernel__hostname": "other"}),
        made("board", **{"proc__device-tree__serial-number": "1423\0"}),
    }
    assert len(keys) == 5
    assert "runner" not in str(first)

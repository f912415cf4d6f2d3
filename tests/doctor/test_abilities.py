"""Targets, told from what a machine has."""

from pathlib import Path

import pytest

from lzu_export.doctor import Finding, Machine
from lzu_export.doctor.abilities import abilities, needs
from lzu_export.support.cuda_driver import Driver
from lzu_export.targets.tensorrt.rtx_target import CARDS

ALL = sorted({name for _, build, run in needs() for name in (*build, *run)})


def with_gpu(root: Path, device: str) -> Machine:
    machine = Machine(root)
    machine.__dict__["driver"] = Driver((13, 0), (device,))
    return machine


@pytest.mark.parametrize("lacking", ALL)
def test_each_need_counts(lacking: str, tmp_path: Path) -> None:
    findings = [Finding(name, name != lacking, "") for name in ALL]
    for each in abilities(findings, with_gpu(tmp_path, "NVIDIA GeForce RTX 4090 (8.9)")):
        (_, build, run) = next(row for row in needs() if row[0] == each.target)
        assert each.build == ((lacking,) if lacking in build else ())
        assert each.run == ((lacking,) if lacking in run else ())


def test_cards_of_tensorrt_rtx(tmp_path: Path) -> None:
    """Those of the release that builds here, and no Jetson."""
    findings = [Finding(name, True, "") for name in ALL]
    orin = {each.target: each for each in abilities(findings, with_gpu(tmp_path, "Orin (8.7)"))}
    assert orin["tensorrt-rtx"].run == ("an RTX card (Orin has 8.7)",)
    assert orin["tensorrt"].run == ()
    trt = pytest.importorskip("tensorrt_rtx")
    members = {each.name.removeprefix("SM") for each in trt.ComputeCapability.__members__.values()}
    known = {f"{name[:-1]}.{name[-1]}" for name in members if name.isdigit()}
    assert set(CARDS) == known

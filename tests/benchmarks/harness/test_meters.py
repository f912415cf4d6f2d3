"""What NVIDIA's tools print, and what is made of it; the meter of a test is a shell loop."""

from pathlib import Path

import pytest

from lzu_benchmarks.harness import power, tegrastats
from lzu_export.support import nvidia
from lzu_export.support.interleave import Subject

ORIN = (
    "11-27-2026 10:00:00 RAM 5432/30697MB (lfb 5x4MB) SWAP 0/15349MB (cached 0MB) CPU "
    "[1%@729,0%@729,off,off] EMC_FREQ 0%@2133 GR3D_FREQ 45%@[1300,1300] NVDEC off cpu@46.5C "
    "cv0@-256C gpu@44.125C tj@46.5C VDD_GPU_SOC 2400mW/2400mW VDD_CPU_CV 400mW/400mW "
    "VIN_SYS_5V0 3200mW/3100mW"
)
NANO = "RAM 1800/3964MB CPU [5%@1479,2%@1479] GR3D_FREQ 0%@76 thermal@31C POM_5V_IN 1900/1900 "
NX = "RAM 3000/6854MB CPU [2%@1510] GR3D_FREQ 12% VDD_IN 5336mW/5336mW VDD_SOC 1544mW/1544mW"


def test_a_line_of_tegrastats() -> None:
    found = tegrastats.parse(ORIN)
    assert found.memory == 5432
    assert found.cpu_mhz == (729, 729)
    assert found.gpu_mhz == 1300
    assert found.celsius == {"cpu": 46.5, "gpu": 44.125, "tj": 46.5}  # no sensor that is off
    assert found.watts == pytest.approx(6.0)  # all rails


@pytest.mark.parametrize(("line", "watts", "mhz"), [(NANO, 1.9, 76), (NX, 5.336, None)])
def test_a_rail_of_the_whole_board_is_not_added_to(
    line: str, watts: float, mhz: float | None
) -> None:
    found = tegrastats.parse(line)
    assert found.watts == pytest.approx(watts)
    assert found.gpu_mhz == mhz


def test_another_line_tells_nothing() -> None:
    assert tegrastats.parse("sudo: a password is required").watts is None


def test_rows_of_nvidia_smi() -> None:
    text = (
        "NVIDIA RTX 4090, 570.1, 2520, 3105, 10501, 61, 312.44, 4096, 0x0000000000000004, "
        "00000000:01:00.0\n"
        "NVIDIA T4, 570.1, 585, 1590, 5000, 40, [N/A], 100, [Not Supported], [N/A]\n\n"
    )
    first, second = nvidia.parse(text)
    assert (first.name, first.watts, first.limits) == ("NVIDIA RTX 4090", 312.44, ("power limit",))
    assert (second.watts, second.limits) == (None, ())
    assert (first.bus, second.bus) == ("00000000:01:00.0", "")
    assert nvidia.limits_of(0x1 | 0x2) == ()  # idle, and clocks that were asked for
    assert len(nvidia.limits_of(0xFF)) == len(nvidia.LIMITS)


def test_a_machine_without_cards_and_meters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia.shutil, "which", lambda name: None)
    assert power.find_meter() is None
    assert nvidia.parse("") == ()


def test_power_is_of_the_time_the_subject_runs(tmp_path: Path) -> None:
    script = tmp_path / "meter"
    script.write_text("while true; do echo '10.0, 512'; sleep 0.01; done\n")
    meter = power.Meter("a loop", ["sh", str(script)], power._nvidia)
    ran: list[int] = []
    subject = Subject({"run": ran.append}, lambda number: number)
    found = power.measure_power(meter, subject, seconds=0.3, idle_seconds=0.1)
    assert found is not None
    assert (found.watts, found.idle_watts) == (10, 10)
    assert found.queries == len(ran) > 10
    assert found.joules_per_query == pytest.approx(10 * found.seconds / found.queries)
    assert found.peak_memory == 512 * 2**20
    assert found.readings >= 1


def test_a_meter_that_tells_nothing_gives_no_power() -> None:
    meter = power.Meter("mute", ["sh", "-c", "echo nothing; sleep 5"], power._tegra)
    subject = Subject({"run": lambda value: None}, lambda number: None)
    assert power.measure_power(meter, subject, seconds=0.05, idle_seconds=0.02) is None

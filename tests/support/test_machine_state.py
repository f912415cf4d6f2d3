"""What is read from Linux: from a made-up tree of files, and from this machine without failing."""

import os
from pathlib import Path

import pytest

from lzu_export.support import hardware
from lzu_export.support import machine as module
from lzu_export.support.machine import Reading, describe, peak_memory, read
from lzu_export.support.nvidia import Card
from lzu_export.support.watch import Watch, conditions, throttled


def write(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(str(content))
    return root


CPU = "sys/devices/system/cpu"
ZONE = "sys/class/thermal/thermal_zone0"


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    """As an Orin shows itself."""
    return write(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n",
            "proc/meminfo": "MemTotal:       1024 kB\nMemFree: 1 kB\n",
            "proc/loadavg": "0.52 0.58 0.59 1/467 12345\n",
            "proc/stat": "cpu  100 0 50 1000 7 0 3 2 0 0\ncpu0 1 2 3\n",
            "proc/self/status": "Name:\tx\nVmHWM:\t  2048 kB\n",
            f"{CPU}/cpu0/cpufreq/scaling_cur_freq": 1_000_000,
            f"{CPU}/cpu1/cpufreq/scaling_cur_freq": 2_000_000,
            f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": 2_201_600,
            f"{CPU}/cpu0/cpufreq/scaling_governor": "schedutil\n",
            f"{CPU}/cpu0/thermal_throttle/core_throttle_count": 3,
            "sys/class/hwmon/hwmon1/oc1_event_cnt": 2,
            "sys/class/devfreq/17000000.gpu/cur_freq": 1_300_500_000,
            "sys/class/devfreq/17000000.gpu/max_freq": 1_300_500_000,
            f"{ZONE}/type": "cpu-thermal\n",
            f"{ZONE}/temp": 48_500,
            f"{ZONE}/trip_point_0_type": "passive",
            f"{ZONE}/trip_point_0_temp": 99_000,
            f"{ZONE}/trip_point_1_type": "critical",
            f"{ZONE}/trip_point_1_temp": 104_500,
            "sys/class/thermal/thermal_zone1/type": "cv0-thermal",
            "sys/class/thermal/thermal_zone1/temp": -256_000,  # switched off
            "sys/class/thermal/cooling_device0/type": "pwm-fan",
            "sys/class/thermal/cooling_device0/cur_state": 3,
            "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0",
            "sys/class/thermal/cooling_device1/cur_state": 0,
        },
    )


def test_a_board_is_described(jetson: Path) -> None:
    found = describe(jetson)
    assert found.device == "NVIDIA Jetson AGX Orin Developer Kit"
    assert found.memory == 1024 * 1024
    assert (found.governor, found.largest_cpu_mhz) == ("schedutil", 2201.6)
    assert found.jetson_linux == "36.4.3"
    assert "Orin" in found.identity
    assert "Jetson Linux 36.4.3" in found.identity
    assert "numpy" in found.versions
    assert found.identity == hardware.identity(jetson)
    assert "schedutil" in found.identity


def test_its_state_is_read(jetson: Path) -> None:
    found = read(jetson, cards=False)
    assert (found.cpu_mhz, found.gpu_mhz, found.largest_gpu_mhz) == (1500, 1300.5, 1300.5)
    assert found.celsius == {"cpu-thermal (0)": 48.5}
    assert found.limits == {"cpu-thermal (0)": 99}
    assert found.cooling == ()  # a fan slows nothing down
    assert (found.throttles, found.load) == (5, 0.52)
    assert found.busy == 155 / os.sysconf("SC_CLK_TCK")
    assert peak_memory(jetson) == 2048 * 1024


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path, cards=False).model_dump(exclude={"own"}) == Reading().model_dump(
        exclude={"own"}
    )
    assert peak_memory(tmp_path) is None
    assert describe(tmp_path).governor is None


def test_this_machine_is_described_and_read() -> None:
    assert describe().threads >= 1
    assert read().own > 0


def card(**changes: object) -> Card:
    values = {
        "name": "RTX", "driver": "1", "clock": 2000.0, "largest_clock": 2500.0,
        "memory_clock": 9000.0, "celsius": 60.0, "watts": 100.0, "memory": 900.0, "limits": (),
    }  # fmt: skip
    return Card.model_validate({**values, **changes})


STEADY = Reading(cpu_mhz=2000, gpu_mhz=1300, celsius={"z": 60}, limits={"z": 90}, throttles=4)


@pytest.mark.parametrize(
    ("last", "word"),
    [
        ({"cpu_mhz": 1500}, "the processor's clock fell to 1500 MHz from 2000"),
        ({"gpu_mhz": 900}, "the GPU's clock fell"),
        ({"celsius": {"z": 89.5}}, "z reached 90 C, its limit is 90 C"),
        ({"throttles": 6}, "slowed itself down 2 times"),
        ({"cooling": ("cpufreq-cpu0",)}, "cpufreq-cpu0 was held back"),
        ({"cards": (card(limits=("power limit",)),)}, "RTX was held back: power limit"),
    ],
)
def test_each_sign_of_a_limit_is_told(last: dict[str, object], word: str) -> None:
    readings = [STEADY, STEADY.model_copy(update=last)]
    (found,) = throttled(readings)
    assert word in found


def test_a_steady_machine_is_not_suspected() -> None:
    readings = [STEADY, STEADY.model_copy(update={"cpu_mhz": 1950, "celsius": {"z": 80}})]
    assert throttled(readings) == []
    found = conditions(readings, 3.0)
    assert found.celsius == {"z": (60, 80)}
    assert found.cpu_mhz == (1950, 2000)
    assert found.doubts == ()


def test_work_of_others_makes_a_figure_doubtful() -> None:
    readings = [
        Reading(busy=100.0, own=10.0),
        Reading(busy=112.0, own=15.0),
    ]
    found = conditions(readings, 10.0)
    assert found.others == pytest.approx(0.7)
    assert "0.7 processors" in found.doubts[0]


def test_a_watch_reads_no_more_often_than_it_says(
    jetson: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("lzu_export.support.watch.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(module.nvidia, "cards", lambda: ())
    watch = Watch(jetson, every=1.0)
    for clock[0] in (0.5, 1.1, 1.2, 2.3):
        watch()
    assert len(watch.readings) == 3
    assert watch.finish().readings == 4

"""The number of a GPU: which one counts, and which is refused."""

import os
import re
import threading
from typing import Any

import pytest

from lzu_export.errors import ElsewhereError, LzuError
from lzu_export.support import device
from lzu_export.support.cuda_driver import Driver
from lzu_export.support.device import VARIABLE, check_device, device_number, using_device
from lzu_export.targets.registry import refuse_idle


def test_an_argument_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert (device_number(), device_number(4)) == (0, 4)
    monkeypatch.setenv(VARIABLE, " 3 ")
    assert (device_number(), device_number(0)) == (3, 0)
    for wrong in ("one", "-1", "0,1"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(LzuError, match=f"LZU_DEVICE is '{wrong}', which is no number of a GPU"):
            device_number()


@pytest.mark.parametrize("wrong", ["cuda:1", "1", 1.0, True])
def test_what_is_no_number_is_refused_before_anything_reads_it(
    wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    def enter() -> None:
        with using_device(wrong):
            pytest.fail("the block runs")

    for use in (lambda: device_number(wrong), lambda: refuse_idle(wrong, ["onnxruntime"]), enter):
        with pytest.raises(LzuError, match=re.escape(f"device is {wrong!r}, which is no number")):
            use()
    assert VARIABLE not in os.environ


def test_a_number_holds_in_a_block_for_threads_and_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    found: list[int] = []
    with using_device(2):
        thread = threading.Thread(target=lambda: found.append(device_number()))
        thread.start()
        thread.join()
        assert os.environ[VARIABLE] == "2"  # programs that start here inherit it
        with using_device(None):
            assert device_number() == 2
    assert found == [2]
    assert VARIABLE not in os.environ
    monkeypatch.setenv(VARIABLE, "5")
    with using_device(1):
        assert device_number() == 1
    assert device_number() == 5


def test_a_number_without_gpu_is_refused_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    there = Driver((12, 6), ("T4 (7.5)", "RTX 4090 (8.9)"))
    monkeypatch.setattr(device, "find_driver", lambda: there)
    check_device(1)
    with pytest.raises(LzuError) as caught:
        check_device(2)
    assert str(caught.value) == (
        "there is no GPU 2: CUDA counts 0 (T4 (7.5)) and 1 (RTX 4090 (8.9)); choose one of these"
    )
    for none in (None, Driver((12, 6), ())):
        monkeypatch.setattr(device, "find_driver", lambda none=none: none)
        with pytest.raises(ElsewhereError, match=r"this machine has no GPU 0: .*see lzu-"):
            check_device(0)

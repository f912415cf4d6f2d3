"""Checks of a verification, and the file that CI systems read."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lzu_export.errors import LzuError
from lzu_export.manifest.comparison import Parity
from lzu_export.verification.checks import Check, failed, junit, parity_checks, write_junit

EXACT = Parity(
    target="onnxruntime",
    precision="fp32",
    status="failed",
    probes={"zoomed": 1e-6, "level_0": 2e-3},
    outputs={"boxes": float("nan")},
    limit=1e-4,
)
LOW = Parity(
    target="onnxruntime",
    precision="int8",
    status="passed",
    probes={"zoomed": 0.1},
    snr={"zoomed": 12.0, "level_0": 7.0},
    limit=None,
    snr_limit=8.0,
)


def test_every_probe_point_is_held_against_its_limit() -> None:
    found = {check.name: check.status for check in parity_checks(EXACT)}
    assert found == {
        "deviation of zoomed": "passed",
        "deviation of level_0": "failed",
        "deviation of boxes": "failed",  # what is no number never passes
    }
    found = {check.name: check.status for check in parity_checks(LOW)}
    assert list(found.values()) == ["passed", "failed"]
    assert all(name.startswith("signal-to-noise ratio of") for name in found)
    assert len(failed(parity_checks(EXACT))) == 2


def test_junit_has_a_suite_an_engine(tmp_path: Path) -> None:
    skipped = Check("onnxruntime/int8", "latency", "skipped", "another <machine> & more")
    checks = [*parity_checks(EXACT), *parity_checks(LOW), skipped]
    path = tmp_path / "reports" / "lzu.xml"
    write_junit(path, "fixed-0.5x", checks)
    root = ET.parse(path).getroot()
    assert root.tag == "testsuites"
    counts = {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "6", "failures": "3", "errors": "0", "skipped": "1"}
    first, second = root.findall("testsuite")
    assert first.get("name") == "fixed-0.5x onnxruntime/fp32"
    assert (first.get("tests"), second.get("tests")) == ("3", "3")
    (failure,) = [c for c in first if c.get("name") == "deviation of level_0"]
    assert "0.002 where 0.0001 is allowed" in str(failure[0].get("message"))
    assert second[2][0].get("message") == skipped.message
    assert junit("x", []).count("<testsuite ") == 0


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LzuError, match="cannot be written"):
        write_junit(tmp_path / "file" / "lzu.xml", "x", [])

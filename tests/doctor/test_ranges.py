"""Packages of other releases than are asked for."""

from importlib.metadata import PackageNotFoundError

import pytest

from lzu_export.doctor import ranges
from lzu_export.doctor.ranges import find_ranges

ASKED = [
    "numpy<3,>=1.26",
    "typer<1,>=0.16; python_version >= '3'",
    "onnx<2,>=1.18; extra == 'verify'",
    "bindings<14,>=12.6; extra == 'cuda'",
    "bindings<13,>=12.6; extra == 'cuda12'",
    "mypy>=99; extra == 'dev'",
    "torch>=99; python_version < '3'",
    "lzu-export[verify]; extra == 'dev'",
]


class Metadata:
    """Metadata of a distribution."""

    def get_all(self, _: str) -> list[str]:
        return ["verify", "cuda", "cuda12", "dev"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Releases of the packages that are installed."""
    there = {"numpy": "2.1.0", "mypy": "1.0", "torch": "2.9.1+cpu", "bindings": "13.0.1"}

    def version(name: str) -> str:
        if name not in there:
            raise PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(ranges, "version", version)
    monkeypatch.setattr(ranges, "requires", lambda _: ASKED)
    monkeypatch.setattr(ranges, "metadata", lambda _: Metadata())
    return there


def test_ranges_of_any_extra_will_do_and_those_of_developers_do_not_count(
    installed: dict[str, str],
) -> None:
    finding = find_ranges()
    assert (finding.found, finding.install) == (True, "")
    assert finding.detail == "all 2 are in the ranges of pyproject.toml"


def test_packages_of_other_releases_are_named_with_the_command(installed: dict[str, str]) -> None:
    installed |= {"numpy": "1.24.4", "onnx": "2.0.0rc1"}
    finding = find_ranges()
    assert not finding.found
    assert finding.detail == (
        "of other releases than tested: numpy 1.24.4 (asked for: <3,>=1.26), onnx 2.0.0rc1 "
        "(asked for: <2,>=1.18)"
    )
    assert finding.install.endswith("-m pip install 'numpy<3,>=1.26' 'onnx<2,>=1.18'")


def test_without_a_distribution_nothing_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(ranges, "metadata", requires)
    finding = find_ranges()
    assert finding.found
    assert finding.detail == "not compared: lzu-export itself is not installed"

"""Compare the installed packages with the releases that this package is made for."""

from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import TYPE_CHECKING

from lzu_export.doctor.finding import Finding
from lzu_export.doctor.install import pip

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

OWN = "lzu-export"
"""Name of the distribution whose requirements are compared."""
OTHERS = ("dev", "docs", "examples")
"""Extras that no command needs."""


def find_ranges() -> Finding:
    """Find the packages of other releases than `pyproject.toml` asks for, extras included.

    Packages that are not installed are no matter of this finding.
    """
    try:
        asked = _asked()
    except PackageNotFoundError:
        return Finding("packages", True, f"not compared: {OWN} itself is not installed")
    except ModuleNotFoundError:
        return Finding("packages", True, "not compared: this takes the package packaging")
    compared, wrong = 0, {}
    for name, ranges in asked.items():
        try:
            release = version(name)
        except PackageNotFoundError:
            continue
        compared += 1
        if not any(each.contains(release, prereleases=True) for each in ranges):
            wrong[name] = (release, ranges[0])
    if not wrong:
        return Finding("packages", True, f"all {compared} are in the ranges of pyproject.toml")
    told = ", ".join(
        f"{name} {release} (asked for: {each})" for name, (release, each) in wrong.items()
    )
    command = pip(*(f"{name}{each}" for name, (_, each) in wrong.items()))
    return Finding("packages", False, f"of other releases than tested: {told}", command)


def _asked() -> "dict[str, list[SpecifierSet]]":
    """Return the ranges of each package on this machine; extras may have different ones.

    Raises:
        PackageNotFoundError: this package is not installed.
        ModuleNotFoundError: the package that reads requirements is not installed.
    """
    from packaging.requirements import Requirement

    extras = [each for each in metadata(OWN).get_all("Provides-Extra") or () if each not in OTHERS]
    asked: dict[str, list[SpecifierSet]] = {}
    for line in requires(OWN) or ():
        each = Requirement(line)
        meant = each.marker is None or any(
            each.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if meant and each.name != OWN:
            asked.setdefault(each.name, []).append(each.specifier)
    return asked

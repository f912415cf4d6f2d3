"""Checks of a verification, and a JUnit file of them for continuous integration."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lzu_export.errors import LzuError, readable_os_errors
from lzu_export.manifest.comparison import Deviation, Parity
from lzu_export.support.escaping import xml
from lzu_export.support.files import write_text


class Change(NamedTuple):
    """A figure beside the reference's."""

    now: float
    then: float
    value: float
    """Difference of the two, or their ratio if `relative`."""
    relative: bool
    form: str
    """Format of `now` and `then`, such as `{:.2f} ms`."""
    span: tuple[float, float] | None = None
    """95 % interval of `value`; None for a figure without luck in it, or without an interval."""

    def texts(self) -> tuple[str, str]:
        """Return the change with its sign or as a multiple, and its interval; empty without one."""
        form = "{:.3f}" if self.relative else "{:+.2f}"
        told = form.format(self.value) + (" times" if self.relative else "")
        ends = [form.format(end) for end in self.span or ()]
        return told, f"[{', '.join(ends)}]" if ends else ""


@dataclass(frozen=True)
class Check:
    """Result of comparing one figure with its limit."""

    engine: str
    """Name of the engine, `target/precision`, as in `Parity.engine`."""
    name: str
    status: Literal["passed", "failed", "skipped", "error"]
    message: str
    """Figures in words; or the reason why the check was skipped or could not be made."""
    change: Change | None = None
    """The figure beside the reference's, where both are finite."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        data = {name: value for name, value in vars(self).items() if name != "change"}
        if self.change is None:
            return data
        change = self.change
        low, high = change.span or (None, None)
        kind = "ratio" if change.relative else "difference"
        figures = {"now": change.now, "then": change.then, kind: change.value}
        return {**data, "change": {**figures, "low": low, "high": high}}


def change_of(
    now: float,
    then: float,
    form: str,
    *,
    relative: bool = False,
    span: tuple[float, float] | None = None,
) -> Change | None:
    """Return a figure's change; None if it is no number.

    Args:
        now: the figure.
        then: the reference's.
        form: see `Change.form`.
        relative: whether the change is a ratio, else a difference.
        span: interval of the change.
    """
    if not (math.isfinite(now) and math.isfinite(then) and (then or not relative)):
        return None
    return Change(now, then, now / then if relative else now - then, relative, form, span)


TITLES = {"difference": "deviation of {}", "snr": "signal-to-noise ratio of {}"}
"""Name of a check by `Deviation.figure`; agreements have names of their own."""


def parity_checks(parity: Parity) -> list[Check]:
    """Make a check of every figure in an engine's comparison with PyTorch that has a limit."""
    return deviation_checks(parity.engine, parity.deviations)


def deviation_checks(engine: str, deviations: Iterable[Deviation]) -> list[Check]:
    """Make a check of each deviation that has a limit.

    Args:
        engine: name of the engine, see `Check.engine`.
        deviations: deviations of that engine.
    """
    return [
        Check(
            engine,
            TITLES.get(each.figure, "{}").format(each.name),
            "passed" if each.passed else "failed",
            each.sentence(),
        )
        for each in deviations
        if each.limit is not None and not (each.figure == "found" and not each.limit)
    ]


def failed(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that failed."""
    return [check for check in checks if check.status == "failed"]


def junit(suite: str, checks: Sequence[Check]) -> str:
    """Format checks as JUnit XML, which CI systems show, with one suite per engine."""
    root = ET.Element("testsuites", _counts(checks, suite))
    for engine in dict.fromkeys(check.engine for check in checks):
        mine = [check for check in checks if check.engine == engine]
        part = ET.SubElement(root, "testsuite", _counts(mine, f"{suite} {engine}"))
        for check in mine:
            attributes = {"classname": f"{suite}.{engine}", "name": check.name}
            case = ET.SubElement(part, "testcase", attributes)
            if check.status == "passed":
                ET.SubElement(case, "system-out").text = check.message
            else:
                kind = {"failed": "failure"}.get(check.status, check.status)
                ET.SubElement(case, kind, {"message": check.message})
    for element in root.iter():
        element.attrib = {name: xml(value) for name, value in element.attrib.items()}
        element.text = xml(element.text) if element.text else None
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def write_junit(path: Path, suite: str, checks: Sequence[Check]) -> None:
    """Write the checks as JUnit XML, and make the file's folder if necessary.

    Raises:
        LzuError: the file cannot be written.
    """
    with readable_os_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, junit(suite, checks), named=True)


@contextmanager
def reported(path: Path | None, suite: str, checks: list[Check]) -> Iterator[None]:
    """Write the checks that the block adds as JUnit XML, even if the block fails.

    An exception that ends the block becomes a check of status `error`.

    Raises:
        LzuError: the file cannot be written.
    """
    if path is None:
        yield
        return
    try:
        yield
    except BaseException as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, KeyboardInterrupt):
            reason = "interrupted"
        with suppress(LzuError):  # the first error is the one to report
            write_junit(path, suite, [*checks, Check("verify", "could be run", "error", reason)])
        raise
    write_junit(path, suite, checks)


def _counts(checks: Sequence[Check], name: str) -> dict[str, str]:
    return {
        "name": name,
        "tests": str(len(checks)),
        "failures": str(len(failed(checks))),
        "errors": str(sum(check.status == "error" for check in checks)),
        "skipped": str(sum(check.status == "skipped" for check in checks)),
    }
